//! Runs `pack build`.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;

use super::arguments::{CA_INSIDE, Setting, Variables, arguments};
use super::descriptor::descriptor;
use super::report::{digest, published};
use crate::adapters::docker::{Docker, DockerAddress};
use crate::adapters::private_folder::PrivateFolder;
use crate::adapters::process::{Command, Exit, Limits, ProcessError, Stop, run};
use crate::domain::build_variables::{CERTIFICATE_VARIABLES, is_variable_name};
use crate::domain::layer_figures::LayerFigures;
use crate::domain::lifecycle_phase::{LifecyclePhase, failed_with};
use crate::domain::redact::Redactor;
use crate::image::ImageReference;
use crate::image::layer::Compression;
use crate::ports::container_engine::{ApiVersion, ContainerEngine};
use crate::ports::failure::{Failure, chain};
use crate::ports::image_builder::{BuildOutput, BuiltImage, Cache, ImageBuild, ImageBuildError, ImageBuilder};
use crate::ports::image_store::ImageStore;

const ENGINE: &str = "pack";
/// The oldest API with which the lifecycle's Docker client writes images into a daemon (Docker Engine 25).
const DAEMON_API: ApiVersion = ApiVersion { major: 1, minor: 44 };

/// How `pack` is run.
#[derive(Clone)]
pub struct PackSettings {
    /// The program: a path, or a name that is looked up in `PATH`.
    pub program: OsString,
    /// The image that runs the privileged phases for a builder that is not trusted; `pack`'s own choice if absent.
    pub lifecycle_image: Option<String>,
    /// The time after which a build is stopped.
    pub limit: Option<Duration>,
    /// Stops the build.
    pub stop: Stop,
}

impl Default for PackSettings {
    fn default() -> Self {
        Self { program: ENGINE.into(), lifecycle_image: None, limit: None, stop: Stop::default() }
    }
}

/// The engine `pack`.
pub struct PackBuilder {
    settings: PackSettings,
    docker: Docker,
    registry: Option<Arc<dyn ImageStore>>,
}

impl PackBuilder {
    /// Builds with this daemon. `registry` is where caches lie; without it a missing cache has no fallback.
    pub fn new(settings: PackSettings, docker: Docker, registry: Option<Arc<dyn ImageStore>>) -> Self {
        Self { settings, docker, registry }
    }

    /// Refuses what this daemon cannot do, before a build has begun.
    fn check(&self, build: &ImageBuild) -> Result<(), ImageBuildError> {
        if build.publish {
            return match build.compression {
                Compression::Gzip | Compression::None => Ok(()),
                Compression::Zstd => Err(not_possible(
                    "it compresses layers with gzip only: leave out zstd, or build with the engine `embedded`"
                        .to_owned(),
                )),
            };
        }
        let version = self.docker.api_version();
        if version < DAEMON_API {
            return Err(not_possible(format!(
                "the image would stay with the Docker daemon at {}, which speaks API {version}, and the buildpacks' \
                 lifecycle needs {DAEMON_API} (Docker Engine 25) for that: publish the image to a registry instead, or \
                 update Docker",
                self.docker.address()
            )));
        }
        Ok(())
    }

    /// Gives the fallback's name to a cache that is not there yet. Nothing here can fail a build.
    async fn seed_cache(&self, build: &ImageBuild) -> Option<()> {
        let Cache::Image { image, fallback: Some(fallback) } = &build.cache else { return None };
        let registry = self.registry.as_ref().filter(|_| build.publish)?;
        let (image, fallback): (ImageReference, ImageReference) = (image.parse().ok()?, fallback.parse().ok()?);
        if image.repository() != fallback.repository() {
            return None;
        }
        match registry.resolve(&image).await {
            Err(Failure::NotFound { .. }) => {
                let tagged = registry.tag(&fallback, &[image.tag()?.clone()]).await;
                if let Err(failure) = tagged {
                    tracing::debug!(cause = chain(&failure), "There is no other cache to begin with");
                }
            }
            Ok(_) => {}
            Err(failure) => tracing::debug!(cause = chain(&failure), "Could not look for the cache"),
        }
        Some(())
    }

    fn prepare(&self, build: &ImageBuild, output: &dyn BuildOutput) -> Result<Prepared, ImageBuildError> {
        let outside = |error: io::Error| Failure::refused("prepare the private folder of a build", error);
        let folder = PrivateFolder::new().map_err(outside)?;
        let own = match fs::read_to_string(build.source.join("project.toml")) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::refused("read `project.toml`", error).into()),
        };
        let source = fs::canonicalize(&build.source)
            .map_err(|error| Failure::refused(format!("open `{}`", build.source.display()), error))?;
        let text = descriptor(own.as_deref(), &source, &build.exclude);
        let text = text.map_err(|error| Failure::refused("prepare the image build", error))?;
        let descriptor = folder.file("project.toml", &text).map_err(outside)?;
        let report = folder.folder("report").map_err(outside)?;
        let home = folder.folder("home").map_err(outside)?;
        let mut command = Command::new(&self.settings.program)
            .env("PACK_HOME", &home)
            .env("PACK_VOLUME_KEY", "packhorse")
            .env("DOCKER_HOST", self.docker.address().to_string())
            .without_env("DOCKER_CONTEXT");
        if let Some(config) = &build.docker_config {
            command = command.env("DOCKER_CONFIG", config);
        }
        let (variables, command) = self.variables(build, &folder, command, output).map_err(outside)?;
        let setting = Setting {
            docker: self.docker.address(),
            variables,
            descriptor: &descriptor,
            report: &report,
            lifecycle_image: self.settings.lifecycle_image.as_deref(),
        };
        let command = command.args(arguments(build, &setting));
        Ok(Prepared { command, report: report.join("report.toml"), _folder: folder })
    }

    fn variables(
        &self,
        build: &ImageBuild,
        folder: &PrivateFolder,
        mut command: Command,
        output: &dyn BuildOutput,
    ) -> io::Result<(Variables, Command)> {
        let (known, odd): (Vec<_>, Vec<_>) = build.env.iter().partition(|(key, _)| is_variable_name(key));
        for (key, _) in odd {
            output.line(&format!("warning: `{key}` cannot be the name of a variable: the build does not get it"));
        }
        if matches!(self.docker.address(), DockerAddress::Unix(_)) {
            let mut all: Vec<(&str, &str)> = Vec::new();
            if build.ca_bundle.is_some() {
                let own = CERTIFICATE_VARIABLES.iter().filter(|name| !build.env.contains_key(**name));
                all.extend(own.map(|name| (*name, CA_INSIDE)));
            }
            all.extend(known.iter().map(|(key, value)| (key.as_str(), value.expose_secret())));
            let mounted = if all.is_empty() { None } else { Some(folder.variables("env", all)?) };
            return Ok((Variables::Mounted(mounted), command));
        }
        if build.ca_bundle.is_some() {
            output.line("warning: Docker runs on another machine: the build does not get the certificate bundle");
        }
        let (mut file, mut names) = (String::new(), Vec::new());
        for (key, value) in known {
            let text = value.expose_secret();
            // `pack` trims the lines of its file. What it cannot hold goes through its environment, where it must not
            // change what `pack` itself does.
            if !text.contains('\n') && text.trim_end() == text {
                file.extend([key, "=", text, "\n"]);
            } else if PACK_READS.contains(&key.as_str()) {
                output.line(&format!("warning: `{key}` has several lines and means something to pack: left out"));
            } else {
                command = command.secret_env(key, value.clone());
                names.push(key.clone());
            }
        }
        Ok((Variables::Forwarded { file: folder.file("env-file", &file)?, names }, command))
    }
}

/// Variables that `pack` reads for itself.
const PACK_READS: [&str; 8] =
    ["DOCKER_CONFIG", "DOCKER_HOST", "HOME", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "PACK_HOME", "PATH"];

/// Everything a build needs, with what must go when it ends.
struct Prepared {
    command: Command,
    report: PathBuf,
    _folder: PrivateFolder,
}

fn not_possible(reason: String) -> ImageBuildError {
    ImageBuildError::NotPossible { engine: ENGINE, reason }
}

/// What the output has told so far.
#[derive(Default)]
struct Seen {
    phase: Option<LifecyclePhase>,
    code: Option<i32>,
    layers: LayerFigures,
    /// Whether an error named the cache image.
    cache_failed: bool,
}

impl Seen {
    /// The phase that ended with an error: as the exit code says, else the last that began.
    fn failed_in(&self) -> Option<LifecyclePhase> {
        self.code.and_then(LifecyclePhase::of_exit_code).or(self.phase)
    }
}

#[async_trait]
impl ImageBuilder for PackBuilder {
    fn name(&self) -> &'static str {
        ENGINE
    }

    async fn build(&self, build: &ImageBuild, output: &dyn BuildOutput) -> Result<BuiltImage, ImageBuildError> {
        self.check(build)?;
        self.seed_cache(build).await;
        match self.attempt(build, output).await {
            Err(Attempt { failure, cache: Some(cache) }) => {
                output.line(&format!("warning: {failure}: the cache `{cache}` is at fault; building again without it"));
                let bare = ImageBuild { cache: Cache::None, ..build.clone() };
                self.attempt(&bare, output).await.map_err(|attempt| attempt.failure)
            }
            result => result.map_err(|attempt| attempt.failure),
        }
    }
}

/// An attempt that failed.
struct Attempt {
    failure: ImageBuildError,
    /// The cache image, where that was the reason.
    cache: Option<String>,
}

impl<E: Into<ImageBuildError>> From<E> for Attempt {
    fn from(failure: E) -> Self {
        Self { failure: failure.into(), cache: None }
    }
}

impl PackBuilder {
    async fn attempt(&self, build: &ImageBuild, output: &dyn BuildOutput) -> Result<BuiltImage, Attempt> {
        let redactor = Redactor::new(build.env.values().map(ExposeSecret::expose_secret));
        let prepared = self.prepare(build, output)?;
        let seen = Mutex::new(Seen::default());
        let cache = match &build.cache {
            Cache::Image { image, .. } if build.publish => Some(image.as_str()),
            _ => None,
        };
        let line = |line: &str| {
            if let Ok(mut seen) = seen.lock() {
                seen.phase = LifecyclePhase::begun_by(line).or(seen.phase);
                seen.code = failed_with(line).or(seen.code);
                seen.layers.count(line);
                seen.cache_failed |= line.contains("ERROR: ") && cache.is_some_and(|cache| line.contains(cache));
            }
            output.line(&redactor.redact(line));
            if let Some(digest) = published(line).filter(|_| build.publish) {
                output.published(digest);
            }
        };
        let limits = Limits { deadline: self.settings.limit, ..Limits::default() };
        let exit = run(&prepared.command, limits, &self.settings.stop, &line).await.map_err(|error| match error {
            ProcessError::NotFound { program } => not_possible(format!(
                "`{program}` was not found: install it (https://buildpacks.io/docs/for-platform-operators/how-to/integrate-ci/pack/) \
                 or name it in PACKHORSE_PACK"
            )),
            ProcessError::TimedOut { seconds, .. } => ImageBuildError::TimedOut { seconds },
            ProcessError::Interrupted { .. } => ImageBuildError::Interrupted,
            other => Failure::refused("run pack", other).into(),
        })?;
        let seen = seen.into_inner().unwrap_or_default();
        if !exit.succeeded() {
            // Restoring does nothing but read the cache.
            let restoring = seen.failed_in() == Some(LifecyclePhase::Restore);
            let cache = cache.filter(|_| seen.cache_failed || restoring).map(str::to_owned);
            return Err(Attempt { failure: failed(&seen, exit), cache });
        }
        let report = fs::read_to_string(&prepared.report).ok();
        let digest = report
            .as_deref()
            .and_then(digest)
            .ok_or_else(|| Failure::refused("find the digest of the new image", "pack left no report of it"))?;
        Ok(BuiltImage { image: build.image.clone(), digest, layers: seen.layers, layout: None })
    }
}

fn failed(seen: &Seen, exit: Exit) -> ImageBuildError {
    let step = seen.failed_in().map_or(ENGINE, LifecyclePhase::as_str).to_owned();
    ImageBuildError::Failed { step, code: seen.code.unwrap_or_else(|| exit.code()) }
}
