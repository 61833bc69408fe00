//! Puts the app image together.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::layers::{self, Job, LAUNCHER};
use super::{Export, ExportError, Exported, Origin};
use crate::image::layer::Packer;
use crate::image::{Descriptor, Digest, ImageDraft};
use crate::lifecycle::api::PLATFORM_API;
use crate::lifecycle::go_json;
use crate::lifecycle::labels::{self, BuildpackMetadata, LayerMetadata, LayersMetadata, Sha, Stack, StoreMetadata};
use crate::lifecycle::layer_dir::{BuildpackLayers, FoundLayer, LayerFile};
use crate::lifecycle::metadata::Member;

/// How many layers are made or sent at the same time: one is compressed while another one is on its way.
const AT_ONCE: usize = 3;

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
    reused: bool,
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
    let base = take_base(&export);
    let own = place_all(&export, &mut draft, &mut metadata);
    futures_util::future::try_join(base, own).await?;

    configure(&export, &mut draft, &metadata)?;
    let image = draft.finish(export.created)?;
    let (log, names) = (export.site.log, export.names);
    log.info(format_args!("Saving {}...", names.first().map(ToString::to_string).unwrap_or_default()));
    let digest = export.target.finish(&image, names).await?;
    log.info(format_args!("*** Images ({digest}):"));
    for name in names {
        log.info(format_args!("      {name}"));
    }
    Ok(Exported { digest, layers: metadata })
}

async fn take_base(export: &Export<'_>) -> Result<(), ExportError> {
    let Origin { image, source } = export.run_image;
    stream::iter(image.layers().map(|(_, layer)| layer))
        .map(|layer| export.target.take_layer(source, image, layer))
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    Ok(())
}

/// Makes and sends every layer in the order of the image.
async fn place_all(
    export: &Export<'_>,
    draft: &mut ImageDraft,
    metadata: &mut LayersMetadata,
) -> Result<(), ExportError> {
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
    let mut shas = Vec::new();
    let mut reused_of_app = 0;
    let app_places = of_buildpacks + 1..of_buildpacks + 1 + of_app;
    while let Some(Placed { name, created_by, diff_id, descriptor, reused }) = placed.try_next().await? {
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
    Ok(())
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
        return Ok(Part::Made(layers::of_folder(export, layer.path.clone(), &name, &created_by, known)));
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

/// Brings a layer to where the image goes: the one of the image before where that is the same, else a new one.
async fn place(export: &Export<'_>, part: Part) -> Result<Placed, ExportError> {
    match part {
        Part::Kept { name, created_by, sha } => {
            let kept = take_over(export, &sha).await?;
            let (diff_id, descriptor) = kept.ok_or_else(|| ExportError::NothingToReuse(name.clone()))?;
            Ok(Placed { name: Some(name), created_by, diff_id, descriptor, reused: true })
        }
        Part::Made(job) => {
            let may_be_known = export.previous.is_some() && job.known.iter().any(|sha| !sha.is_empty());
            let Job { name, created_by, known, entries } = job;
            let entries = Arc::new(std::sync::Mutex::new(entries));
            if may_be_known {
                let again = Arc::clone(&entries);
                let digest = work(&export.packer, move |packer| packer.digest(locked(&again))).await?;
                if known.contains(&digest.diff_id.to_string())
                    && let Some((diff_id, descriptor)) = take_over(export, digest.diff_id.as_str()).await?
                {
                    return Ok(Placed { name, created_by, diff_id, descriptor, reused: true });
                }
            }
            let layer = work(&export.packer, move |packer| packer.pack(locked(&entries))).await?;
            export.target.put_layer(&layer).await?;
            Ok(Placed { name, created_by, diff_id: layer.diff_id, descriptor: layer.descriptor, reused: false })
        }
    }
}

fn locked(entries: &std::sync::Mutex<Box<dyn Fn() -> layers::Entries + Send>>) -> layers::Entries {
    (entries.lock().unwrap_or_else(std::sync::PoisonError::into_inner))()
}

/// Runs something that blocks, on a thread of its own.
async fn work<T: Send + 'static>(
    packer: &Arc<Packer>,
    run: impl FnOnce(&Packer) -> Result<T, crate::image::layer::LayerError> + Send + 'static,
) -> Result<T, ExportError> {
    let packer = Arc::clone(packer);
    tokio::task::spawn_blocking(move || run(&packer)).await.map_err(|_| ExportError::Worker)?.map_err(Into::into)
}

/// Takes a layer of the image before over, where it has one of this digest.
async fn take_over(export: &Export<'_>, sha: &str) -> Result<Option<(Digest, Descriptor)>, ExportError> {
    let (Some(Origin { image, source }), Ok(diff_id)) = (export.previous, sha.parse::<Digest>()) else {
        return Ok(None);
    };
    let Some(descriptor) = image.layer(&diff_id) else { return Ok(None) };
    export.target.take_layer(source, image, descriptor).await?;
    Ok(Some((diff_id, descriptor.clone())))
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
