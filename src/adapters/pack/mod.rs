//! The engine `pack`: the Cloud Native Buildpacks' own client, with Docker.

mod arguments;
mod builder;
mod descriptor;
mod report;

pub use arguments::cache_volumes;
pub use builder::{PackBuilder, PackSettings};
