//! The engine `embedded`: our own lifecycle over a builder's files, without Docker and without `pack`.

mod app_files;
mod base;
mod builder;
mod buildpack_images;
mod buildpack_registry;
mod destination;
mod failure;
mod images;
mod kept;
mod order;
mod settings;
mod told;

pub use base::is_inside_a_builder;
pub use builder::EmbeddedBuilder;
pub use buildpack_registry::BUILDPACK_REGISTRY;
pub use kept::kept_folders;
pub use settings::EmbeddedSettings;
