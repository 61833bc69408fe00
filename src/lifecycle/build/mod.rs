//! The build phase: each buildpack in turn makes its layers.

mod launch_toml;
mod processes;
mod sbom;

pub(crate) use sbom::FORMATS;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::environment::{BUILD_PATHS, Unsuffixed, Variables};
use super::executor::Exit;
use super::go_json;
use super::inside::with_suffix;
use super::layer_dir::{LayerFile, LayerFileError, layers_folder};
use super::metadata::{BuildMetadata, Member};
use super::plan::{Plan, Require, buildpack_plan};
use super::site::{Call, Site};
use super::store::{Installed, Store, StoreError};
use launch_toml::{BomEntry, LaunchToml};
use processes::Processes;
use sbom::SbomFile;

/// Why a build ended.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A buildpack failed; its output says why.
    #[error("{exit}")]
    Buildpack {
        /// The buildpack.
        element: String,
        /// How it ended.
        exit: Exit,
    },
    /// A buildpack could not be started.
    #[error("could not run {program}")]
    NotStarted {
        /// Its program.
        program: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// A buildpack is missing or broken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that a buildpack wrote is refused.
    #[error("buildpack `{element}` wrote what cannot be used")]
    Layer {
        /// The buildpack.
        element: String,
        /// The reason.
        #[source]
        source: LayerFileError,
    },
    /// What a buildpack wrote breaks a rule.
    #[error("buildpack `{element}`: {rule}")]
    Rule {
        /// The buildpack.
        element: String,
        /// The rule.
        rule: String,
    },
    /// A file of the engine's own making could not be written, or one of a buildpack's not read.
    #[error("could not {doing}")]
    Files {
        /// What was tried.
        doing: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// Where the metadata of a build lies, inside the layers folder.
pub const METADATA_FILE: &str = "config/metadata.toml";

/// Runs each buildpack of the group and writes `config/metadata.toml` and the SBOMs.
///
/// `variables` are those with which detection began.
pub async fn build(
    site: &Site<'_>,
    store: &Store<'_>,
    group: &[Member],
    mut plan: Plan,
    mut variables: Variables,
) -> Result<BuildMetadata, BuildError> {
    let layers = &site.folders.layers.inside;
    site.folders.remove(&layers.join("sbom")).map_err(files("remove the SBOMs of an earlier build"))?;
    let mut metadata = BuildMetadata { buildpacks: group.to_vec(), ..BuildMetadata::default() };
    let mut processes = Processes::default();
    let (mut sboms, mut launch_bom, mut build_bom) = (Vec::new(), Vec::new(), Vec::new());
    for member in group {
        let installed = store.find_version(&member.id, &member.version)?;
        let requires = plan.for_buildpack(&member.id);
        let made = BuildpackRun { site, member, installed: &installed, requires }.run(&mut variables).await?;
        plan.remove_met(&made.met);
        metadata.labels.extend(made.launch.labels);
        metadata.slices.extend(made.launch.slices);
        if let Some(kind) = processes.add(made.launch.processes) {
            site.log.warn(format_args!(
                "redefining the following default process type with a process not marked as default: {kind}"
            ));
        }
        sboms.extend(made.sboms);
        launch_bom.extend(made.launch.bom);
        build_bom.extend(made.build_bom);
    }
    let copied = sboms.iter().try_for_each(|sbom: &SbomFile| sbom.copy(site.folders));
    copied.map_err(files("copy the SBOMs of buildpacks"))?;
    for (kind, bom) in [("launch", launch_bom), ("build", build_bom)] {
        let path = layers.join("sbom").join(kind).join("sbom.legacy.json");
        let bom: Option<Vec<BomEntry>> = (!bom.is_empty()).then_some(bom);
        let text = format!("{}\n", go_json::to_string(&bom));
        site.folders.write(&path, text.as_bytes()).map_err(files("write the SBOM of older kind"))?;
    }
    (metadata.processes, metadata.default_process) = processes.finish();
    let text = metadata.to_toml();
    site.folders.write(&layers.join(METADATA_FILE), text.as_bytes()).map_err(files("write `config/metadata.toml`"))?;
    Ok(metadata)
}

fn files(doing: &str) -> impl FnOnce(io::Error) -> BuildError {
    let doing = doing.to_owned();
    |source| BuildError::Files { doing, source }
}

/// What one buildpack made.
struct Made {
    met: BTreeSet<String>,
    launch: LaunchToml,
    sboms: Vec<SbomFile>,
    build_bom: Vec<BomEntry>,
}

/// One run of a `bin/build`.
struct BuildpackRun<'r> {
    site: &'r Site<'r>,
    member: &'r Member,
    installed: &'r Installed,
    requires: Vec<Require>,
}

impl BuildpackRun<'_> {
    async fn run(&self, variables: &mut Variables) -> Result<Made, BuildError> {
        let Self { site, member, installed, requires } = self;
        let layers = layers_folder(site.folders, &member.id);
        site.folders.create_folder(&layers).map_err(files("make a folder for layers"))?;
        let scratch = site.folders.scratch.inside.join(format!("{}-{:016x}", member.id.folder(), fastrand::u64(..)));
        let plan = scratch.join("plan.toml");
        site.folders.write(&plan, buildpack_plan(requires).as_bytes()).map_err(files("write a build plan"))?;
        let call = Call::Build { layers: &layers, plan: &plan };
        let program = site.program(installed, call, variables).map_err(files("read variables"))?;
        let ran = site.executor.run(&program, &mut |bytes| site.log.output(bytes)).await;
        // Nothing depends on it; the folder goes at the end of the build.
        let _ = site.folders.remove(&scratch);
        let not_started = |source| BuildError::NotStarted { program: program.argv[0].display().to_string(), source };
        let exit = ran.map_err(not_started)?;
        if !exit.succeeded() {
            return Err(BuildError::Buildpack { element: member.to_string(), exit });
        }
        let found = self.read_layers(&layers)?;
        self.extend(variables, &found).map_err(files("read the variables of a layer"))?;
        self.read_rest(&layers, &found)
    }

    /// Reads the file of each layer. A layer that is for nothing is put aside.
    fn read_layers(&self, layers: &Path) -> Result<BTreeMap<PathBuf, LayerFile>, BuildError> {
        let folders = self.site.folders;
        let mut found = BTreeMap::new();
        let listed = folders.list(layers).map_err(files("read the layers of a buildpack"))?;
        for entry in listed.iter().filter(|entry| !entry.is_folder) {
            let Some(name) = entry.name.to_str().and_then(|name| name.strip_suffix(".toml")) else { continue };
            let layer = layers.join(name);
            let file = LayerFile::read(folders, &layer).map_err(|source| self.refused(source))?;
            if !file.build && !file.launch && !file.cache {
                self.put_aside(&layer).map_err(files("rename a layer that is for nothing"))?;
            }
            found.insert(layer, file);
        }
        Ok(found)
    }

    fn put_aside(&self, layer: &Path) -> io::Result<()> {
        let folder = self.site.folders.resolve(layer.parent().unwrap_or(layer))?;
        let name = layer.file_name().unwrap_or_default();
        match std::fs::rename(folder.join(name), with_suffix(&folder.join(name), ".ignore")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Lets later buildpacks see the build layers, in the byte order of their files' names.
    fn extend(&self, variables: &mut Variables, found: &BTreeMap<PathBuf, LayerFile>) -> io::Result<()> {
        let folders = self.site.folders;
        let mut layers: Vec<_> = found.iter().filter(|(_, file)| file.build).map(|(layer, _)| layer).collect();
        layers.sort_by_key(|layer| with_suffix(layer, ".toml"));
        for layer in layers {
            for (name, names) in BUILD_PATHS {
                let folder = layer.join(name);
                if folders.exists(&folder) {
                    variables.prepend_folder(folder.as_os_str(), names);
                }
            }
            for name in ["env", "env.build"] {
                variables.apply_folder(&folders.env_files(&layer.join(name))?, Unsuffixed::Overrides);
            }
        }
        Ok(())
    }

    fn read_rest(&self, layers: &Path, found: &BTreeMap<PathBuf, LayerFile>) -> Result<Made, BuildError> {
        let Self { site, member, installed, requires } = self;
        let build = launch_toml::read_build(site.folders, &layers.join("build.toml"), requires);
        let build = build.map_err(|error| self.broken(error))?;
        let sboms =
            sbom::find(site.folders, layers, &installed.buildpack, found).map_err(|error| self.broken(error))?;
        let launch = launch_toml::read_launch(site, &layers.join("launch.toml"), &installed.buildpack);
        let mut launch = launch.map_err(|error| self.broken(error))?;
        let mut build_bom = build.bom;
        for bom in [&mut launch.bom, &mut build_bom] {
            launch_toml::claim(bom, member).map_err(|error| self.broken(error))?;
        }
        if (!launch.bom.is_empty() || !build_bom.is_empty()) && sboms.is_empty() {
            site.log.warn(format_args!(
                "BOM table is deprecated in this buildpack api version, though it remains supported for backwards compatibility. \
                 Buildpack authors should write BOM information to <layer>.sbom.<ext>, launch.sbom.<ext>, or build.sbom.<ext>."
            ));
        }
        let unmet: BTreeSet<_> = build.unmet.into_iter().collect();
        let met = requires.iter().map(|require| require.name.clone()).filter(|name| !unmet.contains(name)).collect();
        Ok(Made { met, launch, sboms, build_bom })
    }

    fn refused(&self, source: LayerFileError) -> BuildError {
        BuildError::Layer { element: self.member.to_string(), source }
    }

    fn broken(&self, broken: Broken) -> BuildError {
        match broken {
            Broken::File(source) => self.refused(source),
            Broken::Rule(rule) => BuildError::Rule { element: self.member.to_string(), rule },
        }
    }
}

/// Why what a buildpack wrote is refused.
#[derive(Debug)]
enum Broken {
    File(LayerFileError),
    Rule(String),
}

impl From<LayerFileError> for Broken {
    fn from(error: LayerFileError) -> Self {
        Self::File(error)
    }
}

#[cfg(test)]
mod tests;
