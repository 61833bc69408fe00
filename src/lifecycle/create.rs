//! All phases in turn, as the Go lifecycle's `creator` runs them.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::analyze::{self, AnalyzeError};
use super::build::{self, BuildError};
use super::cache::{CacheError, LayerCache, NewLayers};
use super::detect::{self, DetectError, Detected};
use super::environment::Variables;
use super::executor::Executor;
use super::exit::ExitCode;
use super::export::{self, Cached, CnbUser, Export, ExportError, Exported, Launcher, Origin};
use super::folders::Folders;
use super::log::Log;
use super::looked::Looked;
use super::order::{OrderFile, SystemFile, with_system};
use super::restore::{self, Left, RestoreError, with_causes};
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
    /// Its name, where it is not the builder's own choice.
    pub chosen_run_image: Option<&'a str>,
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
    #[error("failed to detect: detected order contains extensions which is not supported by the creator")]
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
        let names = analyze::run_image_names(folders, &self.run_image.image.reference, self.chosen_run_image);
        let run_image_names = names.map_err(|source| CreateError::Builder { file: "run.toml".to_owned(), source })?;
        let previous_layers = analyze::previous_layers(self.previous);
        let site = Site { folders, executor: self.executor, log, target: &target, exec_env: self.exec_env };
        if let Some(previous) = self.previous.filter(|_| !self.skip_layers) {
            analyze::restore_sboms(&site, previous, &previous_layers).await?;
        }

        // Neither needs what is built, and both wait for a registry most of the time.
        let base = export::take_base(self.run_image, self.target);
        let cached = async {
            match self.cache {
                Some(cache) if !self.skip_layers => cache.find().await,
                _ => Ok(None),
            }
        };
        let made = async {
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
            let detected = detect::detect(&site, &store, &order, &variables);
            let (detected, cached) = futures_util::future::join(detected, cached).await;
            let Detected { group, plan } = detected?;

            log.phase("RESTORING");
            let found = cached.unwrap_or_else(|error| {
                log.warn(format_args!("The cache cannot be read: {}", with_causes(&error)));
                None
            });
            let cache = self.cache.map(|cache| (cache, found.as_ref()));
            let left = Left { app: &previous_layers, cache, skip_layers: self.skip_layers };
            let restored = restore::restore(&site, &group, self.user, left).await?;

            log.phase("BUILDING");
            let built = build::build(&site, &store, &group, plan, variables).await?;
            self.executor.end_strays().await.map_err(CreateError::Strays)?;
            let is_handed_over = self.cache.is_some_and(|cache| cache.handover().is_some());
            let looked = Looked::at(&site, &group, self.user, restored, is_handed_over).await;
            Ok((group, found, looked, built))
        };
        let (base, made) = futures_util::future::join(base, made).await;
        let (group, found, looked, built) = made?;

        log.phase("EXPORTING");
        base?;
        if let Some(previous) = self.previous {
            log.info(format_args!("Reusing layers from image '{}'", analyze::go_name(&previous.image.pinned())));
        }
        let kept = self.cache.and_then(|cache| begin(cache, log));
        let export = Export {
            site: &site,
            group: &group,
            build: &built,
            run_image: self.run_image,
            run_image_reference: analyze::go_name(&self.run_image.image.pinned()),
            run_image_names,
            previous: self.previous,
            previous_layers: &previous_layers,
            looked: &looked,
            cache: self.cache.zip(found.as_ref()),
            kept: kept.as_ref(),
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
        if let Some((cache, set)) = self.cache.zip(kept) {
            let cached = Cached {
                site: &site,
                group: &group,
                user: self.user,
                cache,
                found: found.as_ref(),
                set,
                looked: &looked,
                previous: self.previous,
                exported: &exported,
                packer: &self.packer,
            };
            if let Err(error) = export::store(cached).await {
                log.warn(format_args!("Failed to export cache: {}", with_causes(&error)));
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

/// Begins a new set in the cache; one that cannot be written costs the next build time.
fn begin<'c>(cache: &'c LayerCache, log: &dyn Log) -> Option<NewLayers<'c>> {
    let failed = |error: CacheError| log.warn(format_args!("The cache cannot be written: {}", with_causes(&error)));
    cache.begin().map_err(failed).ok()
}

fn read<T: Default + for<'de> Deserialize<'de>>(folders: &Folders, path: &Path) -> Result<T, CreateError> {
    let failed = |source| CreateError::Builder { file: path.display().to_string(), source };
    let Some(text) = folders.read_text(path).map_err(failed)? else { return Ok(T::default()) };
    toml::from_str(&text).map_err(io::Error::other).map_err(failed)
}
