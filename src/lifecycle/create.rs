//! All phases in turn, as the Go lifecycle's `creator` runs them.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::analyze::{self, AnalyzeError};
use super::build::{self, BuildError};
use super::cache::LayerCache;
use super::detect::{self, DetectError};
use super::environment::Variables;
use super::executor::Executor;
use super::exit::ExitCode;
use super::export::{self, CnbUser, Export, ExportError, Exported, Launcher, Origin};
use super::folders::Folders;
use super::log::Log;
use super::order::{OrderFile, SystemFile, with_system};
use super::restore::{self, Left, RestoreError};
use super::site::Site;
use super::store::{Store, StoreError};
use crate::image::layer::Packer;
use crate::image::{ImageReference, ImageTarget};

/// A build from source to image.
pub struct Create<'a> {
    /// The folders; the layers folder is empty.
    pub folders: &'a Folders,
    /// Where buildpacks run.
    pub executor: &'a dyn Executor,
    /// Who hears what happens.
    pub log: &'a dyn Log,
    /// The variables of the builder image with `HOME` of the CNB user, and proxies; buildpacks see some of them.
    pub environment: &'a [(String, String)],
    /// The CNB user.
    pub user: CnbUser,
    /// The execution environment, such as `production`.
    pub exec_env: &'a str,
    /// The run image.
    pub run_image: Origin<'a>,
    /// The image before.
    pub previous: Option<Origin<'a>>,
    /// Layers kept between builds.
    pub cache: Option<&'a LayerCache>,
    /// Whether nothing of earlier builds is used but what buildpacks remember beyond their layers.
    pub skip_layers: bool,
    /// The launcher.
    pub launcher: Launcher,
    /// The process to start by default, where the user chose one.
    pub process: Option<&'a str>,
    /// The label with the project's metadata, `{}` where nothing is known.
    pub project: &'a str,
    /// The time of the image, in RFC 3339.
    pub created: &'a str,
    /// Makes layers.
    pub packer: Arc<Packer>,
    /// Where the image goes.
    pub target: &'a dyn ImageTarget,
    /// Its names; never none.
    pub names: &'a [ImageReference],
}

/// Why a build ended, by phase.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// While looking at the images.
    #[error("failed to analyze")]
    Analyze(#[from] AnalyzeError),
    /// While reading the builder's files.
    #[error("failed to read {file}")]
    Builder {
        /// The file.
        file: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The builder has image extensions.
    #[error("detected order contains extensions which is not supported by the creator")]
    Extensions,
    /// While looking for buildpacks.
    #[error("failed to detect")]
    Detect(#[from] DetectError),
    /// While restoring.
    #[error("failed to restore")]
    Restore(#[from] RestoreError),
    /// While building.
    #[error("failed to build")]
    Build(#[from] BuildError),
    /// Something that a buildpack left running could not be ended.
    #[error("failed to end what buildpacks left running")]
    Strays(#[source] io::Error),
    /// While exporting.
    #[error("failed to export")]
    Export(#[from] ExportError),
}

impl CreateError {
    /// Returns the exit code that the Go lifecycle has for this.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Analyze(_) => ExitCode::Analyze,
            Self::Detect(DetectError::NothingDetected) => ExitCode::NothingDetected,
            Self::Detect(DetectError::BuildpackFailed) => ExitCode::DetectedWithErrors,
            Self::Detect(DetectError::Incompatible { .. }) => ExitCode::BuildpackApi,
            Self::Detect(DetectError::Store(StoreError::Missing { .. })) | Self::Builder { .. } => ExitCode::Generic,
            Self::Detect(_) | Self::Extensions => ExitCode::Detect,
            Self::Restore(_) => ExitCode::Restore,
            Self::Build(BuildError::Buildpack { .. }) => ExitCode::BuildpackFailed,
            Self::Build(_) | Self::Strays(_) => ExitCode::Build,
            Self::Export(_) => ExitCode::Export,
        }
    }
}

impl Create<'_> {
    /// Runs the phases. A build that fails, or is dropped, leaves no image under the names.
    pub async fn run(self) -> Result<Exported, CreateError> {
        let Self { folders, log, .. } = self;
        log.phase("ANALYZING");
        let run_config = &self.run_image.image.config;
        let target = analyze::target(run_config, folders, log)?;
        let names = analyze::run_image_names(folders, &self.run_image.image.reference);
        let run_image_names = names.map_err(|source| CreateError::Builder { file: "run.toml".to_owned(), source })?;
        let previous_layers = analyze::previous_layers(self.previous);
        let site = Site { folders, executor: self.executor, log, target: &target, exec_env: self.exec_env };
        if let Some(previous) = self.previous.filter(|_| !self.skip_layers) {
            analyze::restore_sboms(&site, previous, &previous_layers).await?;
        }

        log.phase("DETECTING");
        let OrderFile { order, extensions } = self.read_order()?;
        if !extensions.is_empty() {
            return Err(CreateError::Extensions);
        }
        let SystemFile { system } = read(folders, &folders.cnb.inside.join("system.toml"))?;
        let order = with_system(order, &system);
        let pairs = self.environment.iter().map(|(name, value)| (OsStr::new(name), OsStr::new(value)));
        let variables = Variables::for_build(pairs);
        let store = Store::new(folders);
        let detected = detect::detect(&site, &store, &order, &variables).await?;

        log.phase("RESTORING");
        let left = Left { app: &previous_layers, cache: self.cache, skip_layers: self.skip_layers };
        tokio::task::block_in_place(|| restore::restore(&site, &detected.group, left))?;

        log.phase("BUILDING");
        let built = build::build(&site, &store, &detected.group, detected.plan, variables).await?;
        self.executor.end_strays().await.map_err(CreateError::Strays)?;

        log.phase("EXPORTING");
        if let Some(previous) = self.previous {
            log.info(format_args!("Reusing layers from image '{}'", analyze::go_name(&previous.image.pinned())));
        }
        let export = Export {
            site: &site,
            group: &detected.group,
            build: &built,
            run_image: self.run_image,
            run_image_reference: analyze::go_name(&self.run_image.image.pinned()),
            run_image_names,
            previous: self.previous,
            previous_layers: &previous_layers,
            launcher: self.launcher.clone(),
            process: self.process,
            project: self.project,
            user: self.user,
            created: self.created,
            packer: Arc::clone(&self.packer),
            target: self.target,
            names: self.names,
        };
        let exported = export.run().await?;
        if let Some(cache) = self.cache {
            let stored = tokio::task::block_in_place(|| {
                export::store(&site, &detected.group, self.user, cache, &exported.layers)
            });
            if let Err(error) = stored {
                log.warn(format_args!("Failed to export cache: {error}"));
            }
        }
        Ok(exported)
    }

    /// An order in the layers folder, which a platform may have put there, wins.
    fn read_order(&self) -> Result<OrderFile, CreateError> {
        let own = self.folders.layers.inside.join("order.toml");
        let path = if self.folders.exists(&own) { own } else { self.folders.cnb.inside.join("order.toml") };
        read(self.folders, &path)
    }
}

fn read<T: Default + for<'de> Deserialize<'de>>(folders: &Folders, path: &Path) -> Result<T, CreateError> {
    let failed = |source| CreateError::Builder { file: path.display().to_string(), source };
    let Some(text) = folders.read_text(path).map_err(failed)? else { return Ok(T::default()) };
    toml::from_str(&text).map_err(io::Error::other).map_err(failed)
}
