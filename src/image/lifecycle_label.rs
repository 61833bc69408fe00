//! `io.buildpacks.lifecycle.metadata`: what a lifecycle remembers of the layers that it made.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::config::ImageConfig;
use super::digest::Digest;
use super::go_json::{self, FieldOrder, InOrder};
use super::reference::ImageReference;

/// The label's name.
pub const LABEL: &str = "io.buildpacks.lifecycle.metadata";

/// The label, as far as images are told and rebased by it. It is never written from this: other fields would be lost.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct LifecycleLabel {
    /// The layers of the app.
    #[serde(default)]
    pub app: Vec<LayerRef>,
    /// The bills of materials.
    #[serde(default)]
    pub sbom: Option<LayerRef>,
    /// The layers of buildpacks.
    #[serde(default)]
    pub buildpacks: Vec<BuildpackLayers>,
    /// `config/metadata.toml`.
    #[serde(default)]
    pub config: LayerRef,
    /// The launcher.
    #[serde(default)]
    pub launcher: LayerRef,
    /// The links by which processes are started.
    #[serde(default, rename = "process-types")]
    pub process_types: LayerRef,
    /// The run image below all that.
    #[serde(rename = "runImage")]
    pub run_image: RunImage,
    /// The run image again, as older lifecycles wrote it.
    #[serde(default)]
    stack: Option<Stack>,
}

/// A layer by the digest of its archive; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct LayerRef {
    /// The digest, or nothing.
    #[serde(default)]
    pub sha: String,
}

/// The layers of a buildpack.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct BuildpackLayers {
    /// The buildpack's id.
    pub key: String,
    /// Its layers by name.
    #[serde(default)]
    pub layers: BTreeMap<String, LayerRef>,
}

/// The run image that an app image stands on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RunImage {
    /// The digest of its uppermost layer's archive: what lies above is the app's.
    #[serde(rename = "topLayer")]
    pub top_layer: Digest,
    /// The very image, pinned.
    #[serde(default)]
    pub reference: String,
    /// Its name.
    #[serde(default)]
    pub image: Option<String>,
    /// Other names of it.
    #[serde(default)]
    pub mirrors: Vec<String>,
}

impl RunImage {
    /// Returns its names, the first choice first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.image.iter().chain(&self.mirrors).map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Stack {
    #[serde(default, rename = "runImage")]
    run_image: StackImage,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct StackImage {
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    mirrors: Vec<String>,
}

/// Reads the label of an image. A run image that only `stack` names counts.
pub fn read(config: &ImageConfig) -> Result<LifecycleLabel, LabelError> {
    let text = config.label(LABEL).ok_or(LabelError::Missing)?;
    let mut label: LifecycleLabel = serde_json::from_str(text)?;
    if let (None, Some(Stack { run_image: StackImage { image, mirrors } })) =
        (&label.run_image.image, label.stack.take())
    {
        (label.run_image.image, label.run_image.mirrors) = (image, mirrors);
    }
    Ok(label)
}

/// Writes the label as the Go lifecycle does.
pub fn write(label: &Value) -> Result<String, LabelError> {
    Ok(go_json::to_string(&InOrder { value: label, order: &ORDER })?)
}

static ORDER: FieldOrder = FieldOrder {
    fields: &["app", "sbom", "buildpacks", "config", "launcher", "process-types", "runImage", "stack"],
    always: &["app", "buildpacks", "config", "launcher", "process-types", "runImage"],
    below: &[("buildpacks", &BUILDPACK), ("runImage", &RUN_IMAGE)],
};
static BUILDPACK: FieldOrder = FieldOrder {
    fields: &["key", "version", "layers", "store"],
    always: &["key", "version", "layers"],
    below: &[("layers", &LAYERS)],
};
static LAYERS: FieldOrder = FieldOrder { fields: &[], always: &[], below: &[("*", &LAYER)] };
static LAYER: FieldOrder = FieldOrder {
    fields: &["sha", "data", "build", "launch", "cache"],
    always: &["sha", "data", "build", "launch", "cache"],
    below: &[],
};
static RUN_IMAGE: FieldOrder = FieldOrder {
    fields: &["topLayer", "reference", "image", "mirrors"],
    always: &["topLayer", "reference"],
    below: &[],
};

/// Returns an image's name as Go's registry library spells it: `index.docker.io` is Docker Hub.
#[must_use]
pub fn go_name(image: &ImageReference) -> String {
    let name = image.full();
    match name.strip_prefix("docker.io/") {
        Some(rest) => format!("index.docker.io/{rest}"),
        None => name,
    }
}

/// Why an image's label says nothing.
#[derive(Debug, thiserror::Error)]
pub enum LabelError {
    /// There is none.
    #[error("it has no label `{LABEL}`")]
    Missing,
    /// It is not what a lifecycle writes.
    #[error("its label `{LABEL}` cannot be read")]
    Json(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Written by the Go lifecycle 0.21.
    const WRITTEN: &str = concat!(
        r#"{"app":[{"sha":"sha256:a"}],"sbom":{"sha":"sha256:b"},"buildpacks":[{"key":"heroku/python","version":"6.5.6","#,
        r#""layers":{"dep":{"sha":"sha256:c","data":null,"build":false,"launch":true,"cache":false}},"store":{"metadata":{}}}],"#,
        r#""config":{"sha":"sha256:d"},"launcher":{"sha":"sha256:e"},"process-types":{"sha":""},"runImage":{"topLayer":"#,
        r#""sha256:0000000000000000000000000000000000000000000000000000000000000000","reference":"r@sha256:f","#,
        r#""image":"run:1","mirrors":["mirror/run:1"]},"stack":{"runImage":{"image":"run:1","mirrors":["mirror/run:1"]}}}"#,
    );

    #[test]
    fn label_is_written_as_it_was_read() {
        let value: Value = serde_json::from_str(WRITTEN).unwrap();
        assert_eq!(write(&value).unwrap(), WRITTEN);
        let mut config = ImageConfig::default();
        config.config.labels.insert(LABEL.to_owned(), WRITTEN.to_owned());
        let label = read(&config).unwrap();
        assert_eq!(label.run_image.names().collect::<Vec<_>>(), ["run:1", "mirror/run:1"]);
        assert_eq!(label.buildpacks[0].layers["dep"].sha, "sha256:c");
    }

    #[test]
    fn docker_hub_has_its_name_of_old_in_go() {
        assert_eq!(go_name(&"debian:12".parse().unwrap()), "index.docker.io/library/debian:12");
        assert_eq!(go_name(&"localhost:5000/a".parse().unwrap()), "localhost:5000/a");
    }
}
