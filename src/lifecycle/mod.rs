//! The embedded lifecycle of Cloud Native Buildpacks: detect, restore, build, export, and the launcher.
//!
//! Behaves as Platform API 0.15. Knows nothing of AWS or of an app's pipeline, and could be lifted out as a crate of its own. Where
//! buildpacks run is behind [`executor::Executor`]; paths inside and outside that place meet in [`folders::Folders`].

pub mod analyze;
pub mod api;
pub mod build;
pub mod buildpack;
pub mod cache;
pub mod create;
pub mod detect;
pub mod environment;
pub mod executor;
pub mod exit;
pub mod export;
pub mod folders;
pub mod glob;
pub mod go_json;
pub mod inside;
pub mod labels;
pub mod layer_dir;
pub mod log;
pub mod looked;
pub mod metadata;
pub mod order;
pub mod plan;
pub mod restore;
pub mod site;
pub mod slices;
pub mod store;
pub mod target;
pub mod toml_writer;
mod untar;

pub use create::{Create, CreateError};
pub use executor::{Executor, Exit, Output, Program};
pub use folders::{Folder, Folders, Owner};
