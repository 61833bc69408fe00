//! What several tests share.

pub(crate) mod docker;
pub(crate) mod lying_server;
pub(crate) mod parts;
