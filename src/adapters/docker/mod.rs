//! Docker, by its API.

mod addons;
mod connect;
mod containers;
mod engine;
mod failure;
pub mod image_store;
mod images;
pub mod labels;
mod networks;
pub mod place;
mod processes;
mod test_bed;

pub use connect::{DockerAddress, DockerSettings};
pub use engine::Docker;
pub use processes::ContainerProcesses;
pub use test_bed::ContainerTestBed;
