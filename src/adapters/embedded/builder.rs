//! Runs a build: gathers what the lifecycle needs, and hands it over.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::try_join;
use secrecy::ExposeSecret;

use super::app_files::{AppFiles, Copy};
use super::base::{Base, is_inside_a_builder};
use super::destination::Destination;
use super::failure::{ENGINE, not_possible, of_create};
use super::images::{Found, Images};
use super::kept::{self, Kept};
use super::order;
use super::settings::EmbeddedSettings;
use super::told::Told;
use crate::adapters::sandbox::{Sandbox, Users, Workplace, beside, remove_tree};
use crate::domain::build_variables::{CERTIFICATE_VARIABLES, is_variable_name};
use crate::domain::manifest::{ProjectToml, SourceFile};
use crate::domain::redact::Redactor;
use crate::image::ImageReference;
use crate::image::draft::CREATED;
use crate::image::layer::{Compression, FileSource, Packer};
use crate::lifecycle::Create;
use crate::lifecycle::cache::{Handover, ImageCache, LayerCache};
use crate::lifecycle::export::{CnbUser, Launcher};
use crate::lifecycle::metadata::LauncherMetadata;
use crate::ports::failure::{Failure, chain};
use crate::ports::image_builder::{BuildOutput, BuiltImage, Cache, ImageBuild, ImageBuildError, ImageBuilder};

/// The execution environment of app images.
const EXEC_ENV: &str = "production";

/// The engine `embedded`.
pub struct EmbeddedBuilder {
    settings: EmbeddedSettings,
}

impl EmbeddedBuilder {
    /// Builds with these settings. Needs a runtime of several threads.
    pub fn new(settings: EmbeddedSettings) -> Self {
        Self { settings }
    }

    /// Tells how a build would be run on this machine, or in words why none can be, with the way out.
    pub async fn readiness(helper: &Path, variables: &[(String, String)], cache: &Path) -> Result<String, String> {
        let user = if rustix::process::geteuid().is_root() { "root" } else { "an ordinary user" };
        let place = if is_inside_a_builder(variables) {
            format!("in place, as {user}: this machine is a builder image")
        } else {
            let tried = Sandbox::try_out(helper, Users::of_process()).await;
            tried.map_err(|error| chain(&error))?;
            format!("in a sandbox, as {user}")
        };
        let there = cache.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
        let can_be_made = there.is_dir() && rustix::fs::access(there, rustix::fs::Access::WRITE_OK).is_ok();
        if can_be_made {
            return Ok(format!("{place}; builders and caches in {}", cache.display()));
        }
        Err(format!(
            "builders and caches cannot be kept in {}: make it writable, or name another folder in PACKHORSE_CACHE_DIR",
            cache.display()
        ))
    }
}

#[async_trait]
impl ImageBuilder for EmbeddedBuilder {
    fn name(&self) -> &'static str {
        ENGINE
    }

    async fn build(&self, build: &ImageBuild, output: &dyn BuildOutput) -> Result<BuiltImage, ImageBuildError> {
        let redactor = Redactor::new(build.env.values().map(ExposeSecret::expose_secret));
        let told = Told::new(output, redactor, build.verbose, build.publish);
        tokio::select! {
            biased;
            result = self.make(build, &told).boxed() => result,
            () = self.settings.stop.gently.cancelled() => Err(ImageBuildError::Interrupted),
        }
    }
}

impl EmbeddedBuilder {
    async fn make(&self, build: &ImageBuild, told: &Told<'_>) -> Result<BuiltImage, ImageBuildError> {
        let settings = &self.settings;
        let project = project(build)?;
        let name: ImageReference = build.image.parse().map_err(|error| Failure::refused("name the image", error))?;
        check_network(build, told)?;
        let images = Images::new(build.docker_config.as_deref(), Arc::clone(&settings.credentials))?;
        let destination = Destination::of(settings, &images, build, &name, told).await?;
        // Much of this waits for a registry, and nothing of the one needs the other.
        let place = async {
            let base = Base::prepare(settings, &images, build, told).boxed().await?;
            let brought =
                order::bring(settings, &images, base.workplace.folders(), build, &project, told).boxed().await?;
            order::declare(base.workplace.folders(), build, &project, &brought)?;
            hand_over_variables(&base.workplace, build, &project, told)?;
            let run_image = base.run_image(&images, build, destination.registry(&name));
            let ((), run_image) = try_join(bring_app(&base.workplace, build, &project), run_image).boxed().await?;
            told.say(&format!("Run image {}", run_image.image.pinned()));
            Ok((base, run_image))
        };
        let ((base, run_image), previous) =
            try_join(place, destination.previous(&images, build, &name, told)).boxed().await?;
        let workplace = &base.workplace;
        let cache = self.cache(&images, build, told).await;
        let cache = cache.as_ref().map(|(cache, _)| cache);
        let packing = Packing::new(workplace, settings, destination.compression(build))?;
        let account = workplace.account();
        let create = Create {
            folders: workplace.folders(),
            executor: workplace.executor(),
            log: told,
            environment: &base.environment,
            user: CnbUser { uid: account.uid, gid: account.gid },
            exec_env: EXEC_ENV,
            run_image: run_image.origin(),
            chosen_run_image: build.run_image.as_deref(),
            previous: previous.as_ref().map(Found::origin),
            cache,
            skip_layers: build.cache == Cache::None,
            launcher: launcher(&base)?,
            process: None,
            project: "{}",
            created: CREATED,
            packer: Arc::clone(&packing.0),
            target: destination.target(),
            names: std::slice::from_ref(&name),
        };
        let exported = create.run().boxed().await.map_err(|error| of_create(error, told))?;
        kept::limit_handed(&settings.cache);
        let mut alike = vec![&run_image.image];
        alike.extend(previous.as_ref().map(|found| &found.image));
        destination.deliver(build, &name, exported.digest, &alike, told).await
    }

    /// Makes the cache ready, with the folder that must be kept meanwhile. A build never fails for it.
    async fn cache(&self, images: &Images, build: &ImageBuild, told: &Told<'_>) -> Option<(LayerCache, Option<Kept>)> {
        let unusable = |error: &dyn std::error::Error| {
            told.say(&format!("Warning: the cache cannot be used ({}): building without it", chain(error)));
        };
        let handover = |name: &str| Handover::below(kept::handed(&self.settings.cache, name), remove_tree);
        match &build.cache {
            Cache::None => None,
            Cache::Volume(name) => {
                let folder = kept::layers(&self.settings.cache, name);
                let kept = Kept::take(&self.settings.cache, &folder, told).await;
                let kept = kept.inspect_err(|error| unusable(error)).ok()?;
                Some((LayerCache::new(folder).with_handover(handover(name)), Some(kept)))
            }
            Cache::Image { image, fallback } => {
                let name = image;
                let image = image.parse().inspect_err(|error| unusable(error)).ok()?;
                let fallbacks = fallback.iter().filter_map(|name| name.parse().ok()).collect();
                let cache = LayerCache::in_registry(ImageCache::new(&images.client, image, fallbacks));
                Some((cache.with_handover(handover(name)), None))
            }
        }
    }
}

/// Refuses a network that buildpacks would not have, and tells of one that means nothing here.
fn check_network(build: &ImageBuild, told: &Told<'_>) -> Result<(), ImageBuildError> {
    match build.network.as_deref() {
        None | Some("host" | "default" | "bridge") => Ok(()),
        Some("none") => {
            let reason = "buildpacks have the machine's network, and `none` is asked for: use `--engine pack`, or another network";
            Err(not_possible(reason))
        }
        Some(name) => {
            told.say(&format!(
                "Warning: there is no network `{name}` without Docker: buildpacks have the machine's network"
            ));
            Ok(())
        }
    }
}

fn project(build: &ImageBuild) -> Result<ProjectToml, Failure> {
    let name = "project.toml";
    let reading = |error: Box<dyn std::error::Error + Send + Sync>| Failure::refused(format!("read `{name}`"), error);
    let bytes = match std::fs::read(build.source.join(name)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ProjectToml::default()),
        Err(error) => return Err(reading(error.into())),
    };
    let file = SourceFile::decode(name, &bytes).map_err(|error| reading(error.into()))?;
    Ok(ProjectToml::read(&file).map_err(|error| reading(error.into()))?.value)
}

async fn bring_app(workplace: &Workplace, build: &ImageBuild, project: &ProjectToml) -> Result<(), ImageBuildError> {
    let folders = workplace.folders();
    let copy = Copy {
        from: build.source.clone(),
        to: folders.app.host.clone(),
        files: AppFiles::new(&project.include, &project.exclude, &build.exclude),
        owner: folders.owner,
    };
    let doing = "bring the app's files to where they are built";
    // As `pack` has it: an app may write into its own folder, as whatever user it runs.
    let open = Permissions::from_mode(0o777);
    std::fs::set_permissions(&folders.app.host, open).map_err(|error| Failure::refused(doing, error))?;
    let copied = beside(move |stop| copy.run(&stop)).await.map_err(|error| Failure::refused(doing, error))?;
    Ok(copied.map_err(|error| Failure::refused(doing, error))?)
}

/// Writes variables as files in memory: those of `project.toml`, and over them the build's own.
fn hand_over_variables(
    workplace: &Workplace,
    build: &ImageBuild,
    project: &ProjectToml,
    told: &Told<'_>,
) -> Result<(), ImageBuildError> {
    let failed = |error| Failure::refused("hand variables to the buildpacks", error);
    let of_project = project.build_env.iter().filter(|(name, _)| !build.env.contains_key(*name));
    let mut all: Vec<(String, secrecy::SecretString)> =
        of_project.map(|(name, value)| (name.clone(), value.clone().into())).collect();
    if let Some(bundle) = &build.ca_bundle {
        let inside = workplace
            .trust(bundle)
            .map_err(|error| Failure::refused(format!("read the certificate bundle `{}`", bundle.display()), error))?;
        let own = CERTIFICATE_VARIABLES.iter().filter(|name| !build.env.contains_key(**name));
        all.extend(own.map(|name| ((*name).to_owned(), inside.display().to_string().into())));
    }
    all.extend(build.env.iter().map(|(name, value)| (name.clone(), value.clone())));
    for (name, value) in &all {
        if is_variable_name(name) {
            workplace.set_variable(name, value).map_err(failed)?;
        } else {
            told.say(&format!("Warning: `{name}` cannot be the name of a variable: the build does not get it"));
        }
    }
    Ok(())
}

/// The builder's launcher; packhorse's own where it has none.
fn launcher(base: &Base) -> Result<Launcher, ImageBuildError> {
    let Some(program) = base.launcher() else { return Ok(Launcher::own()) };
    let size =
        std::fs::metadata(&program).map_err(|error| Failure::refused("read the builder's launcher", error))?.len();
    let metadata = LauncherMetadata { version: base.lifecycle.clone(), ..LauncherMetadata::default() };
    Ok(Launcher { program: FileSource::Path(program), size, metadata })
}

/// Makes layers. Dropped, it ends what is under way and waits for that, so that nothing is written any more.
struct Packing(Arc<Packer>);

impl Packing {
    fn new(
        workplace: &Workplace,
        settings: &EmbeddedSettings,
        compression: Compression,
    ) -> Result<Self, ImageBuildError> {
        let packer = Packer::new(workplace.spool(), compression);
        let packer = packer.map_err(|error| Failure::refused("prepare to make layers", error))?;
        let memory = match compression {
            Compression::Gzip => "gzip-layers",
            Compression::Zstd => "zstd-layers",
            Compression::None => "plain-layers",
        };
        Ok(Self(Arc::new(packer.with_memory(settings.cache.join(memory)))))
    }
}

impl Drop for Packing {
    fn drop(&mut self) {
        self.0.stop().store(true, Ordering::Relaxed);
        while Arc::strong_count(&self.0) > 1 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
