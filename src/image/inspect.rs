//! What an image is: told without its layers, and what changed between two.

use std::collections::BTreeMap;

use serde::Serialize;

use super::lifecycle_label::{self, LifecycleLabel};
use super::manifest::Platform;
use super::source::SourceImage;

/// The label in which a lifecycle keeps buildpacks and processes.
const BUILD_METADATA: &str = "io.buildpacks.build.metadata";

/// What an image is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The name it was asked for by.
    pub image: String,
    /// The digest of its manifest.
    pub digest: String,
    /// Operating system and processor.
    pub platform: String,
    /// When it was made; the same for all images of a lifecycle.
    pub created: Option<String>,
    /// Size of its compressed layers in bytes.
    pub size: u64,
    /// User, or user and group.
    pub user: String,
    /// What always comes first.
    pub entrypoint: Vec<String>,
    /// What a caller may replace.
    pub cmd: Vec<String>,
    /// The folder in which it starts.
    pub working_dir: String,
    /// Its variables.
    pub env: BTreeMap<String, String>,
    /// Its labels, but for those that are told here in another form.
    pub labels: BTreeMap<String, String>,
    /// What it stands on, for images of a lifecycle.
    pub run_image: Option<RunImageTold>,
    /// The buildpacks that made it.
    pub buildpacks: Vec<BuildpackTold>,
    /// The processes it can run.
    pub processes: Vec<ProcessTold>,
    /// Its layers, the lowest first.
    pub layers: Vec<LayerTold>,
    /// Its bills of materials, where they were read.
    pub sbom: Vec<super::sbom::Document>,
}

/// A run image.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunImageTold {
    /// Its name.
    pub image: Option<String>,
    /// The very image.
    pub reference: String,
}

/// A buildpack.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct BuildpackTold {
    /// Its id.
    pub id: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProcessTold {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Program and arguments, all of them.
    pub command: Vec<String>,
    /// Whether it is the one to run where none is asked for.
    pub default: bool,
    /// The buildpack that defined it.
    pub buildpack: String,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerTold {
    /// What it is: `run image`, `app`, `heroku/python:venv`; or what made it.
    pub name: String,
    /// The digest of its archive.
    pub diff_id: String,
    /// Its compressed size in bytes.
    pub size: u64,
}

/// Something that differs between two images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What: `buildpack heroku/python`, `env PATH`.
    pub what: String,
    /// How it was; absent where it was not there.
    pub before: Option<String>,
    /// How it is; absent where it is gone.
    pub after: Option<String>,
}

#[derive(Default, serde::Deserialize)]
struct BuildMetadata {
    #[serde(default)]
    buildpacks: Vec<BuildpackTold>,
    #[serde(default)]
    processes: Option<Vec<Process>>,
    #[serde(default, rename = "buildpack-default-process-type")]
    default: String,
}

#[derive(serde::Deserialize)]
struct Process {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    command: serde_json::Value,
    #[serde(default)]
    args: Option<Vec<String>>,
    #[serde(default, rename = "buildpackID")]
    buildpack: String,
}

impl Inspection {
    /// Tells what `image` is. Labels that cannot be read are told as they are.
    #[must_use]
    pub fn of(image: &SourceImage) -> Self {
        let SourceImage { reference, digest, media_type: _, manifest, config } = image;
        let label = lifecycle_label::read(config).ok();
        let build: Option<BuildMetadata> =
            config.label(BUILD_METADATA).and_then(|text| serde_json::from_str(text).ok());
        let mut labels = config.config.labels.clone();
        for (name, told) in [(lifecycle_label::LABEL, label.is_some()), (BUILD_METADATA, build.is_some())] {
            if told {
                labels.remove(name);
            }
        }
        let BuildMetadata { buildpacks, processes, default } = build.unwrap_or_default();
        let processes = processes.unwrap_or_default().into_iter().map(|process| ProcessTold::of(process, &default));
        let mut platform = Platform::linux(&config.architecture);
        platform.os.clone_from(&config.os);
        platform.variant = config.other.get("variant").and_then(|variant| Some(variant.as_str()?.to_owned()));
        let variables = config.config.env.iter().filter_map(|pair| pair.split_once('='));
        Self {
            image: reference.to_string(),
            digest: digest.to_string(),
            platform: platform.to_string(),
            created: config.created.clone(),
            size: manifest.layers.iter().map(|layer| layer.size).sum(),
            user: config.config.user.clone(),
            entrypoint: config.config.entrypoint.clone(),
            cmd: config.config.cmd.clone(),
            working_dir: config.config.working_dir.clone(),
            env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            labels,
            run_image: label.as_ref().map(|label| RunImageTold {
                image: label.run_image.image.clone(),
                reference: label.run_image.reference.clone(),
            }),
            buildpacks,
            processes: processes.collect(),
            layers: layers(image, label.as_ref()),
            sbom: Vec::new(),
        }
    }

    /// Returns what differs in `newer`: by name, the run image and the layers last.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let (before, after) = (self.facts(), newer.facts());
        let mut names: Vec<&(u8, String)> = before.keys().chain(after.keys()).collect();
        names.sort_unstable();
        names.dedup();
        names
            .into_iter()
            .map(|name| (name, before.get(name), after.get(name)))
            .filter(|(_, before, after)| before != after)
            .map(|((_, what), before, after)| Change {
                what: what.clone(),
                before: before.cloned(),
                after: after.cloned(),
            })
            .collect()
    }

    /// Everything that can differ, by rank and name.
    fn facts(&self) -> BTreeMap<(u8, String), String> {
        let mut facts = BTreeMap::new();
        let mut add = |rank, name: String, value: String| facts.insert((rank, name), value);
        for buildpack in &self.buildpacks {
            add(0, format!("buildpack {}", buildpack.id), buildpack.version.clone());
        }
        for process in &self.processes {
            let default = if process.default { " (default)" } else { "" };
            add(1, format!("process {}", process.kind), format!("{}{default}", words(&process.command)));
        }
        add(2, "platform".to_owned(), self.platform.clone());
        add(2, "user".to_owned(), self.user.clone());
        add(2, "entrypoint".to_owned(), words(&self.entrypoint));
        add(2, "command".to_owned(), words(&self.cmd));
        add(2, "working folder".to_owned(), self.working_dir.clone());
        for (name, value) in &self.env {
            add(3, format!("env {name}"), value.clone());
        }
        for (name, value) in &self.labels {
            add(4, format!("label {name}"), value.clone());
        }
        if let Some(run_image) = &self.run_image {
            add(5, "run image".to_owned(), run_image.reference.clone());
        }
        let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
        for layer in &self.layers {
            let number = seen.entry(&layer.name).and_modify(|number| *number += 1).or_insert(1);
            let name = if *number == 1 { layer.name.clone() } else { format!("{} {number}", layer.name) };
            add(6, format!("layer {name}"), format!("{} ({})", short(&layer.diff_id), size(layer.size)));
        }
        facts
    }
}

impl ProcessTold {
    fn of(process: Process, default: &str) -> Self {
        let Process { kind, command, args, buildpack } = process;
        let mut words = match command {
            serde_json::Value::Array(words) => {
                words.iter().filter_map(|word| Some(word.as_str()?.to_owned())).collect()
            }
            serde_json::Value::String(command) => vec![command],
            _ => Vec::new(),
        };
        words.extend(args.unwrap_or_default());
        Self { default: kind == default, kind, command: words, buildpack }
    }
}

fn layers(image: &SourceImage, label: Option<&LifecycleLabel>) -> Vec<LayerTold> {
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut run_layers = 0;
    if let Some(label) = label {
        let position = image.config.rootfs.diff_ids.iter().position(|layer| *layer == label.run_image.top_layer);
        run_layers = position.map_or(0, |position| position + 1);
        for (layer, name) in
            [(&label.config, "config"), (&label.launcher, "launcher"), (&label.process_types, "process types")]
        {
            names.insert(&layer.sha, name.to_owned());
        }
        names.extend(label.app.iter().map(|layer| (layer.sha.as_str(), "app".to_owned())));
        names.extend(label.sbom.iter().map(|layer| (layer.sha.as_str(), "SBOM".to_owned())));
        for buildpack in &label.buildpacks {
            for (name, layer) in &buildpack.layers {
                names.insert(&layer.sha, format!("{}:{name}", buildpack.key));
            }
        }
    }
    let steps: Vec<_> = image.config.history.iter().filter(|step| !step.empty_layer).collect();
    let step = |position: usize| steps.get(position).filter(|_| steps.len() == image.manifest.layers.len());
    image
        .layers()
        .enumerate()
        .map(|(position, (diff_id, layer))| {
            let name = match names.get(diff_id.as_str()) {
                _ if position < run_layers => "run image".to_owned(),
                Some(name) => name.clone(),
                None => step(position).map(|step| step.created_by.clone()).unwrap_or_default(),
            };
            LayerTold { name, diff_id: diff_id.to_string(), size: layer.size }
        })
        .collect()
}

/// Joins words, quoting those that would not stay one.
#[must_use]
pub fn words(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@%+,".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Tells a size in the unit that suits it.
#[must_use]
pub fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let bytes = bytes as f64;
    match bytes {
        1e9.. => format!("{:.1} GB", bytes / 1e9),
        1e6.. => format!("{:.1} MB", bytes / 1e6),
        1e3.. => format!("{:.1} kB", bytes / 1e3),
        _ => format!("{bytes} B"),
    }
}

/// Shortens a digest for people, as Docker does.
#[must_use]
pub fn short(digest: &str) -> &str {
    let hex = digest.strip_prefix("sha256:").unwrap_or(digest);
    hex.get(..12).unwrap_or(hex)
}
