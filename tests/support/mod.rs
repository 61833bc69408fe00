//! What several tests share.

pub(crate) mod app;
pub(crate) mod codebuild;
pub(crate) mod docker;
pub(crate) mod lanes;
pub(crate) mod lying_server;
pub(crate) mod parts;
pub(crate) mod suite;
