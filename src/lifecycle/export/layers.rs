//! The layers of an app image that do not come from the run image.

use std::path::PathBuf;

use super::{CnbUser, Export, ExportError, parents, root_of};
use crate::image::Digest;
use crate::image::layer::{EntryKind, LayerEntry, LayerError, LayerFolder, Order, Ownership};
use crate::lifecycle::build::FORMATS;
use crate::lifecycle::folders::Folders;
use crate::lifecycle::metadata::Process;
use crate::lifecycle::site::Site;
use crate::lifecycle::slices;

/// The entries of a layer, one after the other.
pub(super) type Entries = Box<dyn Iterator<Item = Result<LayerEntry, LayerError>> + Send>;

/// A layer that is to be made, unless the image before has it.
pub(super) struct Job {
    /// Its name in messages; none for layers of the app.
    pub(super) name: Option<String>,
    /// What history says of it.
    pub(super) created_by: String,
    /// The digests under which the image before may have it.
    pub(super) known: Vec<String>,
    /// Its digest, where nobody has touched it since it was restored.
    pub(super) untouched: Option<Digest>,
    /// Whether the cache is to have it too.
    pub(super) cached: bool,
    /// The folder that nobody needs once the layer is in the image.
    pub(super) spent: Option<PathBuf>,
    /// Makes the entries; may be asked several times.
    pub(super) entries: Box<dyn Fn() -> Entries + Send + Sync>,
}

/// The launcher's place in the image.
pub(super) const LAUNCHER: &str = "/cnb/lifecycle/launcher";

/// A folder of the layers folder that becomes a layer.
pub(in crate::lifecycle) fn folder(folders: &Folders, user: CnbUser, path: PathBuf) -> LayerFolder {
    let CnbUser { uid, gid } = user;
    let contents = Ownership::Fixed { uid, gid };
    LayerFolder { root: root_of(folders), path, parents: parents(folders, user), contents, order: Order::DepthFirst }
}

pub(super) fn of_folder(export: &Export<'_>, path: PathBuf, name: &str, created_by: &str, known: &str) -> Job {
    let folder = folder(export.site.folders, export.user, path);
    Job {
        name: Some(name.to_owned()),
        created_by: created_by.to_owned(),
        known: vec![known.to_owned()],
        untouched: export.looked.untouched(&folder.path).cloned(),
        cached: false,
        spent: None,
        entries: Box::new(move || Box::new(folder.entries())),
    }
}

/// The app: one layer, or one per slice and the rest.
pub(super) fn of_app(export: &Export<'_>) -> Result<Vec<Job>, ExportError> {
    let folders = export.site.folders;
    let folder = LayerFolder { order: Order::Flat, ..folder(folders, export.user, folders.app.inside.clone()) };
    let slices: Vec<Vec<String>> =
        export.build.slices.iter().map(|slice| slice.paths.clone().unwrap_or_default()).collect();
    let layers = slices::cut(&folder, &slices)?;
    let known: Vec<String> = export.previous_layers.app.iter().map(|layer| layer.sha.clone()).collect();
    let several = layers.len() > 1;
    let job = |(index, layer): (usize, slices::AppLayer)| {
        let created_by =
            if several { format!("Application Slice: {}", index + 1) } else { "Application Layer".to_owned() };
        Job {
            name: None,
            created_by,
            known: known.clone(),
            untouched: None,
            cached: false,
            spent: None,
            entries: Box::new(move || layer.entries()),
        }
    };
    Ok(layers.into_iter().enumerate().map(job).collect())
}

pub(super) fn of_launcher(export: &Export<'_>) -> Job {
    let launcher = export.launcher.clone();
    let entries = move || -> Entries {
        let kind = EntryKind::File { source: launcher.program.clone(), size: launcher.size };
        let program = LayerEntry { path: LAUNCHER.into(), kind, mode: 0o755, uid: 0, gid: 0 };
        let folders = ["/cnb", "/cnb/lifecycle"].map(|path| LayerEntry::directory(path, 0o755));
        Box::new(folders.into_iter().chain([program]).map(Ok))
    };
    Job {
        name: Some("buildpacksio/lifecycle:launcher".to_owned()),
        created_by: "Buildpacks Application Launcher".to_owned(),
        known: vec![export.previous_layers.launcher.sha.clone()],
        untouched: None,
        cached: false,
        spent: None,
        entries: Box::new(entries),
    }
}

/// The links by which processes are started.
pub(super) fn of_process_types(export: &Export<'_>, processes: &[Process]) -> Result<Job, ExportError> {
    let kinds: Vec<String> = processes.iter().map(|process| process.kind.clone()).collect();
    for kind in &kinds {
        if kind.is_empty() || kind.contains(['/', '>', '<', ':', '|', '&', '\\']) {
            return Err(ExportError::ProcessType(kind.clone()));
        }
    }
    let entries = move || -> Entries {
        let folders = ["/cnb", "/cnb/process"].map(|path| LayerEntry::directory(path, 0o755));
        let links =
            kinds.clone().into_iter().map(|kind| LayerEntry::symlink(format!("/cnb/process/{kind}"), 0o755, LAUNCHER));
        Box::new(folders.into_iter().chain(links).map(Ok))
    };
    Ok(Job {
        name: Some("buildpacksio/lifecycle:process-types".to_owned()),
        created_by: "Buildpacks Process Types".to_owned(),
        known: vec![export.previous_layers.process_types.sha.clone()],
        untouched: None,
        cached: false,
        spent: None,
        entries: Box::new(entries),
    })
}

/// Puts the SBOMs of lifecycle and launcher, which the builder has, beside those of the buildpacks.
pub(super) fn copy_lifecycle_sboms(site: &Site<'_>) -> Result<(), ExportError> {
    let folders = site.folders;
    let (from, to) = (folders.cnb.inside.join("lifecycle"), folders.layers.inside.join("sbom"));
    for (component, folder) in
        [("lifecycle", "build/buildpacksio_lifecycle"), ("launcher", "launch/buildpacksio_lifecycle/launcher")]
    {
        for (format, _) in FORMATS {
            let name = format!("{component}.{format}");
            if !folders.exists(&from.join(&name)) {
                site.log.warn(format_args!("Did not find SBOM {name} in {}", from.display()));
                continue;
            }
            folders
                .copy(&from.join(&name), &to.join(folder).join(format))
                .map_err(|source| ExportError::Files { doing: format!("copy {name}"), source })?;
        }
    }
    Ok(())
}
