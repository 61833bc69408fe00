//! Docker, by its API.

mod connect;
mod containers;
mod engine;
mod failure;
pub mod image_store;
mod images;
mod networks;

pub use connect::{DockerAddress, DockerSettings};
pub use engine::Docker;
