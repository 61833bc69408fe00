//! What several tests share.

pub(crate) mod account;
pub(crate) mod app;
pub(crate) mod aws;
#[cfg(feature = "aws")]
pub(crate) mod build_service;
pub(crate) mod client_decoder;
pub(crate) mod codebuild;
#[cfg(feature = "aws")]
pub(crate) mod crash;
pub(crate) mod creator;
pub(crate) mod docker;
pub(crate) mod dynamodb;
pub(crate) mod fault_proxy;
pub(crate) mod http;
pub(crate) mod lanes;
pub(crate) mod lying_server;
pub(crate) mod no_images;
#[cfg(feature = "aws")]
pub(crate) mod orchestrated;
pub(crate) mod parts;
pub(crate) mod recorder;
pub(crate) mod sandbox;
pub(crate) mod step;
pub(crate) mod suite;
