//! What several tests share.

pub(crate) mod lying_server;
pub(crate) mod parts;
