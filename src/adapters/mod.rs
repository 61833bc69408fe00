//! What stands behind the ports: converts, calls, converts back, sorts the error.

mod artifact_key;
#[cfg(feature = "aws")]
pub mod aws;
pub mod bare_tests;
pub mod docker;
pub mod embedded;
pub mod lambda_runtime;
mod lane_document;
mod lines;
pub mod local;
pub mod machine;
pub mod memory;
pub mod pack;
mod parameter_name;
mod private_folder;
pub mod process;
pub mod registry;
pub mod sandbox;
pub mod webhook;
