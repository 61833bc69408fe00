//! An engine that runs containers: Docker.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use super::failure::Failure;
use crate::image::ImageConfig;

/// The version of an engine's API, such as `1.45`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ApiVersion {
    /// The part before the point.
    pub major: u32,
    /// The part after it.
    pub minor: u32,
}

impl ApiVersion {
    /// Reads `major.minor`.
    pub fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: major.parse().ok()?, minor: minor.parse().ok()? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Labels of a container or network; a filter matches where all of them are there.
pub type Labels = BTreeMap<String, String>;

/// A container to be made.
#[derive(Debug, Clone, Default)]
pub struct ContainerSpec {
    /// Its name, which no other container has.
    pub name: String,
    /// The image, by name, digest or id.
    pub image: String,
    /// Replaces the image's entrypoint; the image's own arguments are then dropped too.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's arguments.
    pub command: Option<Vec<String>>,
    /// Variables; those of the image are kept.
    pub env: BTreeMap<String, SecretString>,
    /// The networks that it joins with its names there; the default bridge if there is none.
    pub networks: BTreeMap<String, Vec<String>>,
    /// A port inside that is published on a free port of 127.0.0.1.
    pub publish: Option<u16>,
    /// Labels.
    pub labels: Labels,
    /// Folders and files of this machine, mounted at a path inside, read-only.
    pub mounts: BTreeMap<PathBuf, String>,
    /// Folders inside that lie in memory, empty at first; they take the place of volumes of the image.
    pub in_memory: Vec<String>,
    /// Whether a small init process reaps orphans and forwards signals.
    pub init: bool,
    /// The most memory that it may use, in MiB; without one, what the machine has.
    pub memory: Option<u32>,
}

/// What an engine knows of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: ContainerState,
    /// Whether something in it was killed since its memory ran out.
    pub out_of_memory: bool,
    /// Its labels.
    pub labels: Labels,
    /// Where its published ports answer on this machine.
    pub published: BTreeMap<u16, SocketAddr>,
}

/// Where a container stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerState {
    /// It was made and has not run; the error of an attempt to start it, or empty.
    Created {
        /// What the engine said.
        error: String,
    },
    /// It runs.
    Running,
    /// It ended with this code.
    Exited {
        /// The exit code.
        code: i64,
    },
}

impl ContainerState {
    /// Tells whether it runs.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running)
    }
}

/// What an engine knows of an image.
#[derive(Debug, Clone)]
pub struct ImageFacts {
    /// Its id in the engine, `sha256:…`.
    pub id: String,
    /// The names by digest under which registries have it.
    pub repo_digests: Vec<String>,
    /// Its names here.
    pub repo_tags: Vec<String>,
    /// Its config.
    pub config: ImageConfig,
}

/// Which part of a log to read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogRange {
    /// Whether to wait for further lines until the container ends.
    pub follow: bool,
    /// How many lines from the end; all of them if absent.
    pub tail: Option<u32>,
}

/// Receives lines of output, without their ends.
pub type LineSink<'a> = dyn Fn(&str) + Send + Sync + 'a;

/// Runs containers. Whatever removes or stops succeeds where there is nothing left to do.
#[async_trait]
pub trait ContainerEngine: Send + Sync {
    /// Returns the newest version of the API that both the engine and packhorse speak.
    fn api_version(&self) -> ApiVersion;

    /// Makes a private network; one of that name that is there already is kept.
    async fn create_network(&self, name: &str, labels: &Labels) -> Result<(), Failure>;

    /// Returns the names of the networks with all of these labels.
    async fn networks(&self, labels: &Labels) -> Result<Vec<String>, Failure>;

    /// Cuts all containers off from a network.
    async fn clear_network(&self, name: &str) -> Result<(), Failure>;

    /// Removes a network; containers are cut off from it first.
    async fn remove_network(&self, name: &str) -> Result<(), Failure>;

    /// Pulls an image unless the engine has it.
    async fn ensure_image(&self, image: &str) -> Result<(), Failure>;

    /// Returns what the engine knows of an image, or [`Failure::NotFound`].
    async fn image(&self, image: &str) -> Result<ImageFacts, Failure>;

    /// Gives an image a further name, `repository:tag`.
    async fn tag_image(&self, image: &str, name: &str) -> Result<(), Failure>;

    /// Takes a name of an image away and returns whether it was there; the image goes only with its last name.
    async fn untag_image(&self, name: &str) -> Result<bool, Failure>;

    /// Returns all names of images in a repository, `repository:tag` each.
    async fn image_names(&self, repository: &str) -> Result<Vec<String>, Failure>;

    /// Removes a volume with what it holds.
    async fn remove_volume(&self, name: &str) -> Result<(), Failure>;

    /// Makes a container and does not start it; [`Failure::Conflict`] when the name is taken.
    async fn create(&self, container: &ContainerSpec) -> Result<(), Failure>;

    /// Starts a container; one that runs is left as it is.
    async fn start(&self, name: &str) -> Result<(), Failure>;

    /// Returns what the engine knows of a container, or nothing.
    async fn container(&self, name: &str) -> Result<Option<ContainerFacts>, Failure>;

    /// Returns the containers with all of these labels, by name.
    async fn containers(&self, labels: &Labels) -> Result<Vec<ContainerFacts>, Failure>;

    /// Waits for the end of a container and returns its exit code.
    async fn wait(&self, name: &str) -> Result<i64, Failure>;

    /// Hands the lines of a container's log to `sink`, output and errors as they came.
    async fn logs(&self, name: &str, range: LogRange, sink: &LineSink<'_>) -> Result<(), Failure>;

    /// Runs a program inside a running container and returns its exit code.
    async fn exec(&self, name: &str, argv: &[&str]) -> Result<i64, Failure>;

    /// Asks a container to stop and kills it after the grace period.
    async fn stop(&self, name: &str, grace: Duration) -> Result<(), Failure>;

    /// Kills and removes a container with its anonymous volumes.
    async fn remove(&self, name: &str) -> Result<(), Failure>;

    /// Returns a file of a container, which need not run, or nothing when there is no such file.
    async fn copy_out(&self, name: &str, path: &str) -> Result<Option<Vec<u8>>, Failure>;
}
