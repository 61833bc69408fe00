//! What stands behind the ports: converts, calls, converts back, sorts the error.

pub mod docker;
mod lines;
pub mod process;
pub mod registry;
