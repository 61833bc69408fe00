//! Makes app images.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::domain::layer_figures::LayerFigures;
use crate::image::layer::Compression;

/// What to build.
#[derive(Debug, Clone)]
pub struct ImageBuild {
    /// The folder of the source.
    pub source: PathBuf,
    /// The builder image.
    pub builder: String,
    /// The run image, where the builder's own choice is not wanted.
    pub run_image: Option<String>,
    /// Buildpacks in order; empty lets the builder detect.
    pub buildpacks: Vec<String>,
    /// The name to give the image; a tag of the repository when published.
    pub image: String,
    /// The image whose layers may be used again, such as `{repository}:latest`.
    pub previous_image: Option<String>,
    /// Build variables; never on a command line, in a layer or in a log.
    pub env: BTreeMap<String, SecretString>,
    /// Whether the image goes to its registry, or stays with the Docker daemon.
    pub publish: bool,
    /// How layers that are made anew are compressed, where it is published.
    pub compression: Compression,
    /// Where layers are kept between builds.
    pub cache: Cache,
    /// The network of build containers, such as `host`.
    pub network: Option<String>,
    /// A PEM file of certificate authorities that downloads during the build trust.
    pub ca_bundle: Option<PathBuf>,
    /// Patterns of files that are not part of the app, in the syntax of `.gitignore`.
    pub exclude: Vec<String>,
    /// Whether the builder may run all phases in one container with registry credentials.
    pub trust_builder: bool,
    /// A private folder with the registry logins of this build, in the layout of `DOCKER_CONFIG`.
    pub docker_config: Option<PathBuf>,
    /// Whether the engine may say all it knows; values of variables stay hidden.
    pub verbose: bool,
}

/// Where layers are kept between builds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cache {
    /// An image in a registry; `fallback` is read when `image` is not there yet. Never fails a build.
    Image {
        /// Written, and read first.
        image: String,
        /// Read when the first is missing.
        fallback: Option<String>,
    },
    /// A volume of the Docker daemon, with a stable name made from this text.
    Volume(String),
    /// Nowhere.
    None,
}

/// A made image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// The name it was given.
    pub image: String,
    /// Its digest in the registry, or its id in the daemon.
    pub digest: String,
    /// What was there already and what was made anew.
    pub layers: LayerFigures,
    /// The folder in OCI's layout that holds it, where neither a registry nor a daemon does.
    pub layout: Option<PathBuf>,
}

/// Receives what an engine says, line by line, and the steps it goes through.
pub trait BuildOutput: Send + Sync {
    /// A line of output, without its line end.
    fn line(&self, line: &str);

    /// The image is in its registry under this digest, while the engine may still be busy with its cache.
    fn published(&self, _digest: &str) {}
}

/// Why no image was made.
#[derive(Debug, thiserror::Error)]
pub enum ImageBuildError {
    /// The app or its buildpacks are at fault; the output says why.
    #[error("the image build failed in its `{step}` step (exit code {code})")]
    Failed {
        /// The step of the lifecycle, or of the engine.
        step: String,
        /// The exit code.
        code: i32,
    },
    /// The engine cannot do what is asked on this machine.
    #[error("{engine} cannot build here: {reason}")]
    NotPossible {
        /// The engine.
        engine: &'static str,
        /// The reason, and the way out.
        reason: String,
    },
    /// It took longer than allowed.
    #[error("the image build was stopped after {seconds} s")]
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// It was told to stop.
    #[error("the image build was interrupted")]
    Interrupted,
    /// Something outside refused or did not answer.
    #[error(transparent)]
    Outside(#[from] super::failure::Failure),
}

/// Makes an image from source.
#[async_trait]
pub trait ImageBuilder: Send + Sync {
    /// The engine's name, as in `--engine`.
    fn name(&self) -> &'static str;

    /// Builds, and publishes when asked; a stopped or failed build leaves no name pointing at a broken image.
    async fn build(&self, build: &ImageBuild, output: &dyn BuildOutput) -> Result<BuiltImage, ImageBuildError>;
}
