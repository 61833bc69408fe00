//! The label `io.buildpacks.lifecycle.metadata`, by which the next build finds the layers of this one, and that of the cache.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::order::BuildpackId;

/// The label with [`LayersMetadata`].
pub const LIFECYCLE_METADATA: &str = "io.buildpacks.lifecycle.metadata";
/// The label with the build's metadata.
pub const BUILD_METADATA: &str = "io.buildpacks.build.metadata";
/// The label with the project's metadata.
pub const PROJECT_METADATA: &str = "io.buildpacks.project.metadata";
/// The label with the execution environment.
pub const EXEC_ENV: &str = "io.buildpacks.exec-env";

/// Which layers an image has, and what its buildpacks remember of them. Fields are in the order in which Go writes them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayersMetadata {
    /// The app's layers.
    #[serde(default, deserialize_with = "lenient")]
    pub app: Vec<Sha>,
    /// The bill of materials.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sbom: Option<Sha>,
    /// The buildpacks' layers.
    #[serde(default, deserialize_with = "lenient")]
    pub buildpacks: Vec<BuildpackMetadata>,
    /// The launcher's configuration.
    #[serde(default)]
    pub config: Sha,
    /// The launcher.
    #[serde(default)]
    pub launcher: Sha,
    /// The links by which processes are started.
    #[serde(default, rename = "process-types")]
    pub process_types: Sha,
    /// What it was built upon.
    #[serde(default, rename = "runImage")]
    pub run_image: RunImageMetadata,
    /// The same for older readers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Stack>,
}

/// The digest of a layer's archive; empty where there is no layer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sha {
    /// The digest.
    #[serde(default)]
    pub sha: String,
}

/// The layers of one buildpack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildpackMetadata {
    /// Its id.
    pub key: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// The layers by name.
    #[serde(default, deserialize_with = "lenient")]
    pub layers: BTreeMap<String, LayerMetadata>,
    /// What it remembers beyond any layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreMetadata>,
}

/// One layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerMetadata {
    /// The digest of its archive.
    #[serde(default)]
    pub sha: String,
    /// What its buildpack remembers of it.
    #[serde(default)]
    pub data: Value,
    /// Whether later buildpacks see it.
    #[serde(default)]
    pub build: bool,
    /// Whether it is part of the image.
    #[serde(default)]
    pub launch: bool,
    /// Whether it is kept for the next build.
    #[serde(default)]
    pub cache: bool,
}

/// `store.toml` of a buildpack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoreMetadata {
    /// Anything.
    #[serde(default)]
    pub metadata: Value,
}

/// The run image of an app image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunImageMetadata {
    /// The digest of its uppermost layer's archive: where a rebase cuts.
    #[serde(default, rename = "topLayer")]
    pub top_layer: String,
    /// Its name with its digest.
    #[serde(default)]
    pub reference: String,
    /// Its names.
    #[serde(flatten)]
    pub names: RunImageNames,
}

/// The names of a run image, as the builder lists them in `run.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunImageNames {
    /// The image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// The same image elsewhere.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<String>,
}

/// What older readers want to know of the run image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Its names.
    #[serde(default, rename = "runImage")]
    pub run_image: RunImageNames,
}

/// Which layers a cache has.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CacheMetadata {
    /// The bills of materials of its layers.
    #[serde(default)]
    pub sbom: Sha,
    /// The buildpacks' layers.
    #[serde(default, deserialize_with = "lenient")]
    pub buildpacks: Vec<BuildpackMetadata>,
}

/// Go writes `null` for an empty list or map.
fn lenient<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl LayersMetadata {
    /// Reads the label; one that cannot be read is as good as none.
    pub fn parse(label: &str) -> Option<Self> {
        serde_json::from_str(label).ok()
    }

    /// Returns what is known of a buildpack.
    pub fn buildpack(&self, id: &BuildpackId) -> Option<&BuildpackMetadata> {
        find(&self.buildpacks, id)
    }
}

impl CacheMetadata {
    /// Returns what is known of a buildpack.
    pub fn buildpack(&self, id: &BuildpackId) -> Option<&BuildpackMetadata> {
        find(&self.buildpacks, id)
    }
}

fn find<'m>(buildpacks: &'m [BuildpackMetadata], id: &BuildpackId) -> Option<&'m BuildpackMetadata> {
    buildpacks.iter().find(|buildpack| buildpack.key == id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::go_json;

    /// The shape is the Go lifecycle's own.
    #[test]
    fn label_keeps_gos_order_and_its_nulls() {
        let label = r#"{"app":[{"sha":"sha256:a"}],"sbom":{"sha":"sha256:s"},"buildpacks":[{"key":"heroku/python","version":"6.5.6","layers":{"dep":{"sha":"sha256:d","data":null,"build":false,"launch":true,"cache":false}},"store":{"metadata":{}}}],"config":{"sha":"sha256:c"},"launcher":{"sha":"sha256:l"},"process-types":{"sha":""},"runImage":{"topLayer":"sha256:t","reference":"index.docker.io/heroku/heroku@sha256:r","image":"docker.io/heroku/heroku:24","mirrors":["m"]},"stack":{"runImage":{"image":"docker.io/heroku/heroku:24","mirrors":["m"]}}}"#;
        let parsed = LayersMetadata::parse(label).unwrap();
        assert_eq!(go_json::to_string(&parsed), label);
        assert!(parsed.buildpack(&"heroku/python".parse().unwrap()).unwrap().layers["dep"].launch);
    }

    #[test]
    fn older_and_odd_labels_are_read() {
        let parsed =
            LayersMetadata::parse(r#"{"app":null,"buildpacks":[{"key":"a","layers":null}],"future":1}"#).unwrap();
        assert_eq!(parsed.buildpacks[0].layers.len(), 0);
        assert_eq!(LayersMetadata::parse("nonsense"), None);
        assert_eq!(LayersMetadata::parse(r#"{"app":"sha256:a"}"#), None);
    }
}
