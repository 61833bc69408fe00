//! How the engine works on this machine.

use std::path::PathBuf;
use std::sync::Arc;

use crate::adapters::docker::Docker;
use crate::adapters::process::Stop;
use crate::image::CredentialSource;

/// How the engine works on this machine.
#[derive(Clone)]
pub struct EmbeddedSettings {
    /// The program packhorse, which is started again around each program of a buildpack.
    pub helper: PathBuf,
    /// The user's folder for what stays between builds: builders, caches, and builds under way. It need not be there.
    pub cache: PathBuf,
    /// The address of the registry of buildpacks.
    pub buildpack_registry: String,
    /// The Docker daemon, where there is one: it gets images that are not published.
    pub docker: Option<Docker>,
    /// Logins to registries.
    pub credentials: Arc<dyn CredentialSource>,
    /// Variables of proxies, which buildpacks get too.
    pub proxies: Vec<(String, String)>,
    /// The variables of this process, which are the builder's where packhorse runs inside one.
    pub variables: Vec<(String, String)>,
    /// Stops a build.
    pub stop: Stop,
}

impl EmbeddedSettings {
    /// Where builders are unpacked.
    pub(super) fn roots(&self) -> PathBuf {
        self.cache.join("roots")
    }

    /// Where buildpacks are unpacked that come as images.
    pub(super) fn buildpacks(&self) -> PathBuf {
        self.cache.join("buildpacks")
    }
}
