//! OCI images: references, manifests, configs, and the client that speaks to registries.
//!
//! Knows nothing of AWS or of an app's pipeline, and could be lifted out as a crate of its own.

pub mod config;
pub mod credentials;
pub mod digest;
pub mod manifest;
pub mod media_type;
pub mod reference;
pub mod registry;

pub use config::ImageConfig;
pub use credentials::{Credential, CredentialSource};
pub use digest::Digest;
pub use manifest::{Descriptor, Platform};
pub use reference::{ImageReference, ReferenceError, Registry, Repository, Tag};
pub use registry::{RegistryClient, RegistryError, RegistryOptions};
