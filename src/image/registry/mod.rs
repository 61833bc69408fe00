//! The client that speaks to registries: the OCI distribution API, as ECR, Docker Hub and the
//! `registry` image serve it.
//!
//! Everything that is read is bounded and checked against its digest. Deleting goes by tag only:
//! there is no function that deletes by digest, which would take other names of an image along.

mod auth;
mod blobs;
mod challenge;
mod error;
mod manifests;
mod metadata_layer;
mod options;
mod patience;
mod request;
mod roots;
mod source;
mod target;
mod transport;
mod upload;

use std::sync::Arc;

pub use blobs::{Mounted, VerifiedBlob};
pub use error::RegistryError;
pub use manifests::{Deleted, Tagged};
pub use options::{OptionsError, RegistryOptions, RetryPolicy};
pub use roots::machine_roots;
pub use target::RegistryTarget;
pub use upload::{BlobSource, Uploaded};

use super::credentials::CredentialSource;
use super::reference::Registry;

/// A client for any number of registries. Clones share connections, tokens and what was learnt.
#[derive(Clone)]
pub struct RegistryClient {
    shared: Arc<Shared>,
}

struct Shared {
    transport: transport::Transport,
    auth: auth::Authenticator,
}

impl RegistryClient {
    /// Makes a client that gets its logins from `credentials`. Connects to nothing yet.
    pub fn new(options: RegistryOptions, credentials: Arc<dyn CredentialSource>) -> Result<Self, OptionsError> {
        let transport = transport::Transport::new(options)?;
        Ok(Self { shared: Arc::new(Shared { transport, auth: auth::Authenticator::new(credentials) }) })
    }
}

/// Returns the host of `registry`'s API, with its port.
fn api_host(registry: &Registry) -> &str {
    if registry.is_docker_hub() { "registry-1.docker.io" } else { registry.as_str() }
}
