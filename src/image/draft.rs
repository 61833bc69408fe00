//! An image being put together on top of another one.

use super::config::{History, ImageConfig};
use super::digest::Digest;
use super::manifest::{Descriptor, Manifest};
use super::media_type;
use super::source::{ImageError, SourceImage};
use super::target::NewImage;

/// The time of images and their history: the same for equal input. See [`super::layer`] for that of files.
pub const CREATED: &str = "1980-01-01T00:00:01Z";

/// An image being put together on top of another one.
///
/// Manifest type, config type and annotations are those of the base, as are all fields of the config that nobody sets.
#[derive(Debug, Clone)]
pub struct ImageDraft {
    /// The config. Layers and history are appended by [`Self::push`].
    pub config: ImageConfig,
    manifest: Manifest,
    media_type: String,
}

impl ImageDraft {
    /// Begins with all of `base`.
    pub fn on(base: &SourceImage) -> Result<Self, ImageError> {
        base.check()?;
        let mut config = base.config.clone();
        normalize_history(&mut config);
        // What `docker commit` and `docker import` once left; the Go lifecycle drops it too.
        for field in ["container", "container_config", "comment", "id", "parent"] {
            config.other.remove(field);
        }
        Ok(Self { config, manifest: base.manifest.clone(), media_type: base.media_type.clone() })
    }

    /// Begins with nothing, for `os` and `architecture` in Go's names.
    #[must_use]
    pub fn empty(os: &str, architecture: &str) -> Self {
        let mut config =
            ImageConfig { os: os.to_owned(), architecture: architecture.to_owned(), ..ImageConfig::default() };
        config.rootfs.other.insert("type".to_owned(), "layers".into());
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            config: Descriptor::of(media_type::OCI_CONFIG, b""),
            layers: Vec::new(),
            other: std::collections::BTreeMap::new(),
        };
        Self { config, manifest, media_type: media_type::OCI_MANIFEST.to_owned() }
    }

    /// Adds a layer on top; `created_by` is what history says of it.
    ///
    /// A gzip layer gets the name that fits the manifest, Docker's or OCI's: they are the same format. Docker's manifests know gzip
    /// only: with another layer they become OCI's.
    pub fn push(&mut self, diff_id: Digest, layer: Descriptor, created_by: &str) {
        self.push_with(diff_id, layer, History { created_by: created_by.to_owned(), ..History::default() });
    }

    /// Adds a layer on top with its step of history; see [`Self::push`].
    pub(super) fn push_with(&mut self, diff_id: Digest, mut layer: Descriptor, step: History) {
        let is_gzip = [media_type::OCI_LAYER_GZIP, media_type::DOCKER_LAYER_GZIP].contains(&layer.media_type.as_str());
        if [media_type::OCI_LAYER_ZSTD, media_type::OCI_LAYER].contains(&layer.media_type.as_str()) {
            self.become_oci();
        }
        if is_gzip {
            let docker = self.media_type == media_type::DOCKER_MANIFEST;
            let fitting = if docker { media_type::DOCKER_LAYER_GZIP } else { media_type::OCI_LAYER_GZIP };
            fitting.clone_into(&mut layer.media_type);
        }
        self.config.rootfs.diff_ids.push(diff_id);
        self.config.history.push(step);
        self.manifest.layers.push(layer);
    }

    /// Gives the manifest, and what it lists, OCI's names instead of Docker's.
    fn become_oci(&mut self) {
        if self.media_type != media_type::DOCKER_MANIFEST {
            return;
        }
        media_type::OCI_MANIFEST.clone_into(&mut self.media_type);
        self.manifest.media_type = Some(self.media_type.clone());
        media_type::OCI_CONFIG.clone_into(&mut self.manifest.config.media_type);
        for layer in &mut self.manifest.layers {
            if layer.media_type == media_type::DOCKER_LAYER_GZIP {
                media_type::OCI_LAYER_GZIP.clone_into(&mut layer.media_type);
            }
        }
    }

    /// Takes all layers away, and their history.
    pub(super) fn clear_layers(&mut self) {
        self.config.rootfs.diff_ids.clear();
        self.config.history.clear();
        self.manifest.layers.clear();
    }

    /// Returns the image; its time and that of every step is `created`, in RFC 3339.
    pub fn finish(mut self, created: &str) -> Result<NewImage, ImageError> {
        let failed = |doing: &str| {
            let doing = doing.to_owned();
            move |source| ImageError::Json { doing, source }
        };
        self.config.created = Some(created.to_owned());
        for step in &mut self.config.history {
            step.created = Some(created.to_owned());
        }
        let config_bytes = self.config.to_json().map_err(failed("write the config of an image"))?;
        self.manifest.config = Descriptor {
            other: self.manifest.config.other.clone(),
            ..Descriptor::of(&self.manifest.config.media_type, &config_bytes)
        };
        // The config inside the descriptor would be the base's.
        self.manifest.config.other.remove("data");
        let manifest_bytes = serde_json::to_vec(&self.manifest).map_err(failed("write the manifest of an image"))?;
        Ok(NewImage {
            config: self.config,
            config_bytes: config_bytes.into(),
            manifest: self.manifest,
            manifest_bytes: manifest_bytes.into(),
            media_type: self.media_type,
        })
    }
}

/// Leaves one step per layer: steps without a layer go, and where the rest does not match, all are blank.
pub(super) fn normalize_history(config: &mut ImageConfig) {
    let layers = config.rootfs.diff_ids.len();
    config.history.retain(|step| !step.empty_layer);
    if config.history.len() != layers {
        config.history = vec![History::default(); layers];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(media_type: &str) -> SourceImage {
        let diff_id = Digest::of(b"layer");
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "container": "abc", "rootfs": {"type": "layers", "diff_ids": [diff_id]},
            "config": {"Env": ["A=b"]},
            "history": [{"created_by": "base", "created": "2024-01-01T00:00:00Z"}, {"created_by": "ENV", "empty_layer": true}],
        });
        let layer = Descriptor::of(media_type::DOCKER_LAYER_GZIP, b"packed");
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": media_type, "config": Descriptor::of("config", b""), "layers": [layer],
            "annotations": {"kept": "yes"},
        });
        SourceImage {
            reference: "run:1".parse().unwrap(),
            digest: Digest::of(b"manifest"),
            media_type: media_type.to_owned(),
            manifest: serde_json::from_value(manifest).unwrap(),
            config: serde_json::from_value(config).unwrap(),
        }
    }

    #[test]
    fn an_image_keeps_what_its_base_has_and_tells_one_time() {
        let mut draft = ImageDraft::on(&base(media_type::OCI_MANIFEST)).unwrap();
        draft.push(Digest::of(b"app"), Descriptor::of(media_type::OCI_LAYER_GZIP, b"app"), "Application Layer");
        let image = draft.finish(CREATED).unwrap();
        let steps: Vec<_> =
            image.config.history.iter().map(|step| (step.created.as_deref(), step.created_by.as_str())).collect();
        assert_eq!(steps, [(Some(CREATED), "base"), (Some(CREATED), "Application Layer")]);
        assert_eq!(image.config.created.as_deref(), Some(CREATED));
        assert!(!image.config.other.contains_key("container"));
        assert_eq!(image.manifest.other["annotations"]["kept"], "yes");
        assert_eq!(image.manifest.config.digest, Digest::of(&image.config_bytes));
        assert_eq!(image.manifest.config.media_type, "config");
        assert_eq!(image.manifest.layers[1].media_type, media_type::OCI_LAYER_GZIP);
    }

    #[test]
    fn layers_in_dockers_manifest_have_dockers_type() {
        let mut draft = ImageDraft::on(&base(media_type::DOCKER_MANIFEST)).unwrap();
        draft.push(Digest::of(b"app"), Descriptor::of(media_type::OCI_LAYER_GZIP, b"app"), "");
        let image = draft.finish(CREATED).unwrap();
        assert_eq!(image.manifest.layers[1].media_type, media_type::DOCKER_LAYER_GZIP);
        assert_eq!(image.media_type, media_type::DOCKER_MANIFEST);
    }

    #[test]
    fn a_zstd_layer_makes_dockers_manifest_ocis() {
        let mut draft = ImageDraft::on(&base(media_type::DOCKER_MANIFEST)).unwrap();
        draft.push(Digest::of(b"app"), Descriptor::of(media_type::OCI_LAYER_ZSTD, b"app"), "");
        draft.push(Digest::of(b"old"), Descriptor::of(media_type::DOCKER_LAYER_GZIP, b"old"), "");
        let image = draft.finish(CREATED).unwrap();
        let layers: Vec<_> = image.manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect();
        assert_eq!(layers, [media_type::OCI_LAYER_GZIP, media_type::OCI_LAYER_ZSTD, media_type::OCI_LAYER_GZIP]);
        assert_eq!(image.manifest.config.media_type, media_type::OCI_CONFIG);
        assert_eq!(image.manifest.media_type.as_deref(), Some(media_type::OCI_MANIFEST));
        assert_eq!(image.media_type, media_type::OCI_MANIFEST);
    }

    #[test]
    fn history_that_does_not_match_its_layers_is_blank() {
        let mut image = base(media_type::OCI_MANIFEST);
        image.config.history.truncate(0);
        let draft = ImageDraft::on(&image).unwrap();
        assert_eq!(draft.config.history, [History::default()]);
    }

    #[test]
    fn a_base_whose_config_has_other_layers_than_its_manifest_is_refused() {
        let mut image = base(media_type::OCI_MANIFEST);
        image.manifest.layers.clear();
        assert!(matches!(ImageDraft::on(&image), Err(ImageError::Layers { manifest: 0, config: 1, .. })));
    }
}
