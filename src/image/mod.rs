//! OCI images: references, manifests, configs, and the client that speaks to registries.
//!
//! Knows nothing of AWS or of an app's pipeline, and could be lifted out as a crate of its own.

pub mod config;
mod config_json;
pub mod credentials;
pub mod digest;
pub mod docker_archive;
pub mod draft;
pub mod go_json;
pub mod inspect;
pub mod layer;
pub mod layout;
pub mod lifecycle_label;
pub mod manifest;
pub mod media_type;
pub mod rebase;
pub mod reference;
pub mod registry;
pub mod sbom;
pub mod sending;
pub mod source;
pub mod target;

pub use config::ImageConfig;
pub use credentials::{Credential, CredentialSource};
pub use digest::Digest;
pub use docker_archive::DockerArchive;
pub use draft::ImageDraft;
pub use layout::Layout;
pub use manifest::{Descriptor, Platform};
pub use reference::{ImageReference, ReferenceError, Registry, Repository, Tag};
pub use registry::{RegistryClient, RegistryError, RegistryOptions, RegistryTarget};
pub use source::{ImageError, ImageSource, SourceImage};
pub use target::{ImageTarget, NewImage, Stored};
