//! Puts the app image together.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::layers::{self, Job, LAUNCHER};
use super::{AtHand, Export, ExportError, Exported, Origin};
use crate::image::layer::{Layer, LayerError, LayerMemory, Packer, archive_size};
use crate::image::sending::send;
use crate::image::{Descriptor, Digest, ImageDraft, ImageError, ImageTarget, RegistryError};
use crate::lifecycle::api::PLATFORM_API;
use crate::lifecycle::cache::CopyInCache;
use crate::lifecycle::go_json;
use crate::lifecycle::labels::{self, BuildpackMetadata, LayerMetadata, LayersMetadata, Sha, Stack, StoreMetadata};
use crate::lifecycle::layer_dir::{BuildpackLayers, FoundLayer, LayerFile};
use crate::lifecycle::metadata::Member;

/// How many layers are made or sent at the same time: one is compressed while another one is on its way.
const AT_ONCE: usize = 4;
/// How many layers of the run image are taken over at the same time; a registry does the work.
const TAKEN_AT_ONCE: usize = 8;

/// What a layer of the image is to be.
enum Part {
    /// Made from files.
    Made(Job),
    /// Taken over unseen from the image before.
    Kept { name: String, created_by: String, sha: String },
}

/// A layer that is where the image goes.
struct Placed {
    name: Option<String>,
    created_by: String,
    diff_id: Digest,
    descriptor: Descriptor,
    /// Whether the image before has it under the same name.
    reused: bool,
    /// Where it was made for this image.
    made: Option<Layer>,
}

pub(super) async fn export(export: Export<'_>) -> Result<Exported, ExportError> {
    let run = export.run_image.image;
    let Some(top_layer) = run.top_layer() else { return Err(ExportError::EmptyRunImage(run.reference.clone())) };
    let mut metadata = LayersMetadata::default();
    metadata.run_image.top_layer = top_layer.to_string();
    metadata.run_image.reference.clone_from(&export.run_image_reference);
    metadata.run_image.names = export.run_image_names.clone();
    metadata.stack = Some(Stack { run_image: export.run_image_names.clone() });
    layers::copy_lifecycle_sboms(export.site)?;

    let mut draft = ImageDraft::on(run)?;
    let made = place_all(&export, &mut draft, &mut metadata).await?;
    configure(&export, &mut draft, &metadata)?;
    let image = draft.finish(export.created)?;
    let (log, names) = (export.site.log, export.names);
    log.info(format_args!("Saving {}...", names.first().map(ToString::to_string).unwrap_or_default()));
    let digest = export.target.finish(&image, names).await?;
    log.exported(&digest);
    log.info(format_args!("*** Images ({digest}):"));
    for name in names {
        log.info(format_args!("      {name}"));
    }
    let at_hand = AtHand::new(&image, names.first().unwrap_or(&run.reference), made);
    Ok(Exported { digest, layers: metadata, at_hand })
}

/// Brings the layers of the run image to where the image goes. That needs nothing of the build, and may be done meanwhile.
pub async fn take_base(run_image: Origin<'_>, target: &dyn ImageTarget) -> Result<(), ExportError> {
    let Origin { image, source } = run_image;
    // Owned, or the compiler cannot tell that the whole may move between threads.
    let layers: Vec<Descriptor> = image.layers().map(|(_, layer)| layer.clone()).collect();
    stream::iter(layers)
        .map(|layer| async move { target.take_layer(source, image, &layer).await })
        .buffer_unordered(TAKEN_AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(())
}

/// Makes and sends every layer in the order of the image; returns those that were made.
async fn place_all(
    export: &Export<'_>,
    draft: &mut ImageDraft,
    metadata: &mut LayersMetadata,
) -> Result<Vec<Layer>, ExportError> {
    let mut parts = Vec::new();
    let mut found_of = Vec::new();
    for member in export.group {
        let BuildpackLayers { layers, store } = BuildpackLayers::read(export.site.folders, &member.id)?;
        let (launch, malformed) = split(layers);
        if !malformed.is_empty() {
            return Err(ExportError::Malformed(malformed.iter().map(|name| format!("{}:{name}", member.id)).collect()));
        }
        let mut files = Vec::new();
        for (layer, file) in launch {
            parts.push(buildpack_part(export, member, &layer, &file)?);
            files.push((layer.name, file));
        }
        found_of.push((member, files, store));
    }
    let of_buildpacks = parts.len();
    let folder = |name: &str| export.site.folders.layers.inside.join(name);
    let previous = export.previous_layers;
    let sbom = previous.sbom.as_ref().map_or("", |layer| layer.sha.as_str());
    parts.push(Part::Made(layers::of_folder(
        export,
        folder("sbom/launch"),
        "buildpacksio/lifecycle:launch.sbom",
        "Software Bill-of-Materials",
        sbom,
    )));
    let app = layers::of_app(export)?;
    let of_app = app.len();
    parts.extend(app.into_iter().map(Part::Made));
    parts.push(Part::Made(layers::of_launcher(export)));
    let config = previous.config.sha.as_str();
    parts.push(Part::Made(layers::of_folder(
        export,
        folder("config"),
        "buildpacksio/lifecycle:config",
        "Buildpacks Launcher Config",
        config,
    )));
    if !export.build.processes.is_empty() {
        parts.push(Part::Made(layers::of_process_types(export, &export.build.processes)?));
    }

    let mut placed = stream::iter(parts).map(|part| place(export, part)).buffered(AT_ONCE);
    let (mut shas, mut all_made) = (Vec::new(), Vec::new());
    let mut reused_of_app = 0;
    let app_places = of_buildpacks + 1..of_buildpacks + 1 + of_app;
    while let Some(Placed { name, created_by, diff_id, descriptor, reused, made }) = placed.try_next().await? {
        let log = export.site.log;
        let verb = if reused { "Reusing" } else { "Adding" };
        match name {
            Some(name) => log.info(format_args!("{verb} layer '{name}'")),
            None => reused_of_app += usize::from(reused),
        }
        shas.push(Sha { sha: diff_id.to_string() });
        if shas.len() == app_places.end {
            if reused_of_app > 0 {
                log.info(format_args!("Reused {reused_of_app}/{of_app} app layer(s)"));
            }
            if reused_of_app < of_app {
                log.info(format_args!("Added {}/{of_app} app layer(s)", of_app - reused_of_app));
            }
        }
        draft.push(diff_id, descriptor, &created_by);
        all_made.extend(made);
    }
    let mut shas = shas.into_iter();
    for (member, files, store) in found_of {
        metadata.buildpacks.push(buildpack_metadata(member, files, store, &mut shas));
    }
    metadata.sbom = shas.next();
    metadata.app = shas.by_ref().take(of_app).collect();
    metadata.launcher = shas.next().unwrap_or_default();
    metadata.config = shas.next().unwrap_or_default();
    metadata.process_types = shas.next().unwrap_or_default();
    Ok(all_made)
}

/// Returns the layers that are part of the image, and the names of those whose file is refused.
fn split(found: Vec<FoundLayer>) -> (Vec<(FoundLayer, LayerFile)>, Vec<String>) {
    let (mut launch, mut malformed) = (Vec::new(), Vec::new());
    for layer in found {
        match &layer.file {
            Ok(file) if file.launch => {
                let file = file.clone();
                launch.push((layer, file));
            }
            Ok(_) => {}
            Err(_) => malformed.push(layer.name),
        }
    }
    (launch, malformed)
}

fn buildpack_part(
    export: &Export<'_>,
    member: &Member,
    layer: &FoundLayer,
    file: &LayerFile,
) -> Result<Part, ExportError> {
    let name = format!("{}:{}", member.id, layer.name);
    let created_by = format!("Layer: '{}', Created by buildpack: {member}", layer.name);
    let before = export.previous_layers.buildpack(&member.id).and_then(|buildpack| buildpack.layers.get(&layer.name));
    if layer.has_contents {
        let known = before.map_or("", |before| before.sha.as_str());
        let job = layers::of_folder(export, layer.path.clone(), &name, &created_by, known);
        // Of one that is a link only the link goes.
        let spent = (!file.cache).then(|| layer.path.clone());
        return Ok(Part::Made(Job { cached: file.cache, spent, ..job }));
    }
    if file.cache {
        return Err(ExportError::NothingToCache(name));
    }
    match before {
        Some(before) => Ok(Part::Kept { name, created_by, sha: before.sha.clone() }),
        None => Err(ExportError::NothingToReuse(name)),
    }
}

fn buildpack_metadata(
    member: &Member,
    files: Vec<(String, LayerFile)>,
    store: Option<toml::Table>,
    shas: &mut impl Iterator<Item = Sha>,
) -> BuildpackMetadata {
    let layer = |(name, file): (String, LayerFile)| {
        let LayerFile { build, launch, cache, metadata } = file;
        let data = metadata.as_ref().map(go_json::from_toml).unwrap_or_default();
        let sha = shas.next().unwrap_or_default().sha;
        (name, LayerMetadata { sha, data, build, launch, cache })
    };
    let layers: BTreeMap<_, _> = files.into_iter().map(layer).collect();
    let store = store.map(|table| StoreMetadata { metadata: go_json::from_toml(&table.into()) });
    BuildpackMetadata { key: member.id.to_string(), version: member.version.clone(), layers, store }
}

/// Brings a layer to where the image goes, and has its folder removed where nobody needs it any more.
async fn place(export: &Export<'_>, part: Part) -> Result<Placed, ExportError> {
    match part {
        Part::Kept { name, created_by, sha } => {
            let kept = match sha.parse() {
                Ok(diff_id) => take_over(export, &diff_id).await?.map(|descriptor| (diff_id, descriptor)),
                Err(_) => None,
            };
            let (diff_id, descriptor) = kept.ok_or_else(|| ExportError::NothingToReuse(name.clone()))?;
            Ok(Placed { name: Some(name), created_by, diff_id, descriptor, reused: true, made: None })
        }
        Part::Made(mut job) => {
            let spent = job.spent.take();
            let placed = make(export, job).await?;
            if let Some(folder) = spent {
                // While other layers are made. Whatever is left of it goes with all other folders of the build.
                let folders = export.site.folders.clone();
                tokio::task::spawn_blocking(move || folders.remove(&folder));
            }
            Ok(placed)
        }
    }
}

/// Whatever is known of a layer is tried first, for the least work: one that nobody touched since it was restored, then one whose digest
/// is known, else it is made.
async fn make(export: &Export<'_>, job: Job) -> Result<Placed, ExportError> {
    let Job { name, created_by, known, untouched, cached, spent: _, entries } = job;
    let reused = |diff_id: &Digest| known.iter().any(|sha| sha == diff_id.as_str());
    if let Some(diff_id) = untouched
        && let Some(descriptor) = take_over(export, &diff_id).await?
    {
        let reused = reused(&diff_id);
        return Ok(Placed { name, created_by, diff_id, descriptor, reused, made: None });
    }
    let entries: Arc<dyn Fn() -> layers::Entries + Send + Sync> = entries.into();
    let mut read = None;
    if is_digest_worth_knowing(export, &known, &entries).await? {
        let again = Arc::clone(&entries);
        let layer = work(&export.packer, move |packer| packer.read(again())).await?;
        let diff_id = layer.digest.diff_id.clone();
        if let Some(descriptor) = take_over(export, &diff_id).await? {
            let reused = reused(&diff_id);
            return Ok(Placed { name, created_by, diff_id, descriptor, reused, made: None });
        }
        read = Some(layer);
    }
    let by_now = read.as_ref().map(|read| read.digest.diff_id.as_str());
    let copy = export.kept.filter(|_| cached).and_then(|kept| kept.copy(by_now));
    let archive = copy.as_ref().map(CopyInCache::archive);
    let (layer, _) = send(&export.packer, export.target, read, archive, move || entries()).await?;
    if let Some(copy) = copy {
        copy.keep(&layer.diff_id);
    }
    let Layer { diff_id, descriptor, .. } = layer.clone();
    let reused = reused(&diff_id);
    Ok(Placed { name, created_by, diff_id, descriptor, reused, made: Some(layer) })
}

/// Tells whether a layer is to be read for its digest before it is compressed, which may then not be needed.
async fn is_digest_worth_knowing(
    export: &Export<'_>,
    known: &[String],
    entries: &Arc<dyn Fn() -> layers::Entries + Send + Sync>,
) -> Result<bool, ExportError> {
    if export.previous.is_some() && known.iter().any(|sha| !sha.is_empty()) {
        return Ok(true);
    }
    if export.packer.memory().is_none_or(LayerMemory::is_empty) {
        return Ok(false);
    }
    let entries = Arc::clone(entries);
    work(&export.packer, move |packer| {
        let size = archive_size(entries())?;
        Ok(packer.memory().is_some_and(|memory| memory.has_one_of(size)))
    })
    .await
}

/// Runs something that blocks, on a thread of its own.
async fn work<T: Send + 'static>(
    packer: &Arc<Packer>,
    run: impl FnOnce(&Packer) -> Result<T, LayerError> + Send + 'static,
) -> Result<T, ExportError> {
    let packer = Arc::clone(packer);
    tokio::task::spawn_blocking(move || run(&packer)).await.map_err(|_| ExportError::Worker)?.map_err(Into::into)
}

/// Takes a layer over from wherever one of this digest is: the image before, the cache, or the place the image goes to.
async fn take_over(export: &Export<'_>, diff_id: &Digest) -> Result<Option<Descriptor>, ExportError> {
    let of_previous = export.previous.and_then(|Origin { image, source }| Some((image.layer(diff_id)?, image, source)));
    let of_cache = export.cache.and_then(|(cache, found)| cache.blob(found, diff_id)?.blob);
    for (blob, image, source) in of_previous.into_iter().chain(of_cache) {
        match export.target.take_layer(source, image, blob).await {
            Ok(_) => return Ok(Some(blob.clone())),
            // A registry that has lost it; it is made again.
            Err(ImageError::Registry(RegistryError::NotFound { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match export.packer.memory().and_then(|memory| memory.blob(diff_id)) {
        Some(blob) if export.target.has_layer(&blob).await? => Ok(Some(blob)),
        _ => Ok(None),
    }
}

fn configure(export: &Export<'_>, draft: &mut ImageDraft, metadata: &LayersMetadata) -> Result<(), ExportError> {
    let Export { site, build, launcher, .. } = export;
    let entrypoint = entrypoint(export)?;
    let config = &mut draft.config;
    let mut label = |name: &str, value: String| {
        site.log.info(format_args!("Adding label '{name}'"));
        config.config.labels.insert(name.to_owned(), value);
    };
    label(labels::LIFECYCLE_METADATA, go_json::to_string(metadata));
    label(labels::BUILD_METADATA, build.to_label(&launcher.metadata));
    label(labels::PROJECT_METADATA, export.project.to_owned());
    for from_buildpack in &build.labels {
        label(&from_buildpack.key, from_buildpack.value.clone());
    }
    if !site.exec_env.is_empty() {
        label(labels::EXEC_ENV, site.exec_env.to_owned());
    }
    // A path with `=` in it is read as empty by the Go tools.
    let path = config.env("PATH").filter(|path| !path.contains('=')).unwrap_or_default().to_owned();
    let folders = site.folders;
    config.set_env("CNB_LAYERS_DIR", &folders.layers.inside.display().to_string());
    config.set_env("CNB_APP_DIR", &folders.app.inside.display().to_string());
    config.set_env("CNB_PLATFORM_API", PLATFORM_API);
    config.set_env("CNB_DEPRECATION_MODE", "quiet");
    config.set_env("PATH", &format!("/cnb/process:/cnb/lifecycle:{path}"));
    config.config.working_dir = folders.app.inside.display().to_string();
    config.config.entrypoint = vec![entrypoint];
    config.config.cmd = Vec::new();
    Ok(())
}

fn entrypoint(export: &Export<'_>) -> Result<String, ExportError> {
    let Export { build, process, site, .. } = export;
    let default = match process {
        Some(kind) if build.process(kind).is_none() => return Err(ExportError::NoSuchProcess((*kind).to_owned())),
        Some(kind) => kind,
        None => build.default_process.as_str(),
    };
    if default.is_empty() {
        site.log.info(format_args!("no default process type"));
        return Ok(LAUNCHER.to_owned());
    }
    site.log.info(format_args!("Setting default process type '{default}'"));
    Ok(format!("/cnb/process/{default}"))
}
