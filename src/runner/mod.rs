//! The build runner: three commands inside CodeBuild, or the first half of the pipeline on one machine.
//!
//! `prebuild` decides whether to build and prepares, `build` makes the image under its candidate name, `postbuild` tests it
//! and gives it its names. What they tell each other lies in one private file per build (`state`), so each may be killed
//! and repeated. Their only way to advance the pipeline is to commit facts to the app's lane (`facts`).

mod build;
mod error;
mod facts;
mod fetch_ahead;
mod helpless;
mod log;
mod login;
mod manifests;
mod metadata;
mod names;
mod postbuild;
mod prebuild;
mod session;
mod state;
mod workspace;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use build::build;
pub use error::RunnerError;
pub use helpless::{Command, cannot_begin};
pub use metadata::{
    BuildMetadata, BuilderMetadata, BuildpackMetadata, CacheMetadata, ImageMetadata, PhaseMetadata, TestMetadata,
    TestOutcome,
};
pub use postbuild::postbuild;
pub use prebuild::prebuild;

use crate::domain::catalogue::Catalogue;
use crate::domain::namespace::Namespace;
use crate::image::CredentialSource;
use crate::image::layer::Compression;
use crate::orchestrator::LanePorts;
use crate::ports::artifacts::ArtifactStore;
use crate::ports::image_builder::ImageBuilder;
use crate::ports::image_store::ImageStore;
use crate::ports::parameters::ParameterStore;
use crate::ports::review_apps::ReviewApps;
use crate::ports::source_history::SourceHistory;
use crate::ports::test_bed::TestBed;
use crate::ui::Printer;

/// All that the runner touches outside, and its settings.
#[derive(Clone)]
pub struct RunnerContext {
    /// The app's lane, where there is one.
    pub lanes: LanePorts,
    /// Config variables and the state of review apps.
    pub parameters: Arc<dyn ParameterStore>,
    /// Where `{n}/build.json` goes.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// The stacks of review apps.
    pub review_apps: Arc<dyn ReviewApps>,
    /// What makes the image.
    pub builder: Arc<dyn ImageBuilder>,
    /// Where the image gets its names: the registry when images are published, else the Docker daemon.
    pub images: Arc<dyn ImageStore>,
    /// Where tests run.
    pub test_bed: Arc<dyn TestBed>,
    /// The logins for registries.
    pub credentials: Arc<dyn CredentialSource>,
    /// The history of the source.
    pub history: Arc<dyn SourceHistory>,
    /// The one way out.
    pub printer: Printer,
    /// Told when the build is to stop.
    pub interrupt: CancellationToken,
    /// The settings.
    pub settings: RunnerSettings,
}

/// The settings of the runner, each from one place outside.
#[derive(Debug, Clone)]
pub struct RunnerSettings {
    /// The wire names.
    pub namespace: Namespace,
    /// The environment of the build (`data-contract` 4.2), as given.
    pub variables: BTreeMap<String, String>,
    /// The folder of the source.
    pub source: PathBuf,
    /// The folder that receives the build's files. In CodeBuild it is the source itself, from which they are uploaded; where
    /// it is another one, nothing is ever written to the source.
    pub outputs: PathBuf,
    /// Paths in the source, relative to it, that are not part of the app: kept out of the image and of the source's name.
    pub apart: Vec<PathBuf>,
    /// The folder below which each build has a private one, such as the system's folder for temporary files.
    pub private: PathBuf,
    /// Whether images go to a registry (`DOCKER_REPO`), or stay with the Docker daemon.
    pub publish: bool,
    /// How their layers are compressed in a registry.
    pub compression: Compression,
    /// The builders that are known.
    pub catalogue: Catalogue,
    /// The builder to use whatever the app says.
    pub builder: Option<String>,
    /// The run image to use whatever the builder says.
    pub run_image: Option<String>,
    /// Whether every builder may run all phases in one container; known ones may anyway.
    pub trust_builder: bool,
    /// The time limit for tests where neither they nor the project set one.
    pub test_limit: Duration,
    /// The network of build containers.
    pub network: Option<String>,
    /// Certificate authorities that downloads during the build trust besides the usual ones.
    pub ca_bundle: Option<PathBuf>,
}

/// Where `up` keeps the state of an app, in the app's folder.
pub const STATE_FOLDER: &str = ".packhorse";

impl RunnerSettings {
    /// The time limit for tests where nobody sets one; CodeBuild itself ends a build after an hour by default.
    pub const TEST_LIMIT: Duration = Duration::from_mins(50);

    /// Makes the settings of a build in CodeBuild: its files lie in the source, and images go to a registry.
    pub fn in_codebuild(
        variables: BTreeMap<String, String>,
        source: PathBuf,
        private: PathBuf,
        catalogue: Catalogue,
    ) -> Self {
        Self {
            namespace: Namespace::default(),
            variables,
            outputs: source.clone(),
            source,
            apart: vec![STATE_FOLDER.into()],
            private,
            publish: true,
            compression: Compression::default(),
            catalogue,
            builder: None,
            run_image: None,
            trust_builder: false,
            test_limit: Self::TEST_LIMIT,
            network: None,
            ca_bundle: None,
        }
    }
}

/// How a command ended. All there is to say was printed; inside CodeBuild the exit code is 0 or 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepEnd {
    /// The commands that follow may run; one that finds nothing to do ends so too.
    Done,
    /// The build failed.
    Failed {
        /// What happened, on one line.
        cause: String,
    },
}
