//! Manifests, indexes and descriptors.
//!
//! They are read for what packhorse needs. Fields it does not know are kept in `other`, and a
//! manifest that only gets another tag is passed on as the bytes that came: its digest must stay.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Digest;
use super::media_type;

/// Points at a blob or manifest: its digest, size in bytes and media type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// The media type of what it points at.
    pub media_type: String,
    /// The size in bytes.
    pub size: u64,
    /// The digest of the bytes.
    pub digest: Digest,
    /// In an index: what the image runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Fields that packhorse has no use for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Descriptor {
    /// Returns the descriptor of `bytes`.
    #[must_use]
    pub fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            size: bytes.len() as u64,
            digest: Digest::of(bytes),
            platform: None,
            other: BTreeMap::new(),
        }
    }
}

/// What an image runs on, in Go's names (`linux`, `amd64`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// The operating system.
    pub os: String,
    /// The processor.
    pub architecture: String,
    /// The processor's variant, `v8` for example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Fields that packhorse has no use for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Platform {
    /// Returns Linux on `architecture`.
    #[must_use]
    pub fn linux(architecture: &str) -> Self {
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None, other: BTreeMap::new() }
    }

    /// Returns Linux on the processor that packhorse itself runs on.
    #[must_use]
    pub fn host() -> Self {
        Self::linux(match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        })
    }

    /// Tells whether an image for `self` runs where `wanted` is; a variant counts only if wanted.
    #[must_use]
    pub fn serves(&self, wanted: &Self) -> bool {
        self.os == wanted.os
            && self.architecture == wanted.architecture
            && (wanted.variant.is_none() || self.variant == wanted.variant)
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

/// The manifest of one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u64,
    /// The manifest's own media type; OCI lets it be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The image config.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
    /// Fields that packhorse has no use for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// One name for the images of several platforms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u64,
    /// The index's own media type; OCI lets it be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// The images.
    pub manifests: Vec<Descriptor>,
    /// Fields that packhorse has no use for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl Index {
    /// Returns the first image that runs on `wanted`.
    ///
    /// Entries without a platform, or for `unknown/unknown` as build attestations are, are not images to run.
    #[must_use]
    pub fn image_for(&self, wanted: &Platform) -> Option<&Descriptor> {
        self.manifests.iter().find(|entry| entry.platform.as_ref().is_some_and(|platform| platform.serves(wanted)))
    }
}

/// A manifest as a registry gave it: checked bytes, and how to read them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawManifest {
    /// The digest of `bytes`, computed here.
    pub digest: Digest,
    /// The media type, from the answer's header or else from the text itself.
    pub media_type: String,
    /// The bytes, exactly as they came.
    pub bytes: bytes::Bytes,
}

/// A manifest, read.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// One image.
    Image(Manifest),
    /// Several images.
    Index(Index),
}

impl RawManifest {
    /// Reads the text as its media type says.
    pub fn read(&self) -> Result<Document, ManifestError> {
        if media_type::is_index(&self.media_type) {
            Ok(Document::Index(serde_json::from_slice(&self.bytes)?))
        } else if media_type::is_manifest(&self.media_type) {
            Ok(Document::Image(serde_json::from_slice(&self.bytes)?))
        } else {
            Err(ManifestError::MediaType(self.media_type.chars().take(100).collect()))
        }
    }
}

/// Why bytes are not a manifest that packhorse reads.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Schema 1, an artifact, or something else altogether.
    #[error("media type `{0}` is neither an image nor an index of images")]
    MediaType(String),
    /// Not the JSON that the media type promises.
    #[error("it cannot be read")]
    Json(#[from] serde_json::Error),
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn unknown_fields_survive_a_round_trip() {
        let text = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": {"mediaType": media_type::OCI_CONFIG, "size": 2, "digest": DIGEST, "data": "e30="},
            "layers": [],
            "subject": {"mediaType": "x", "size": 1, "digest": DIGEST},
        });
        let manifest: Manifest = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(manifest).unwrap(), text);
    }

    #[test]
    fn index_gives_the_image_of_the_platform_and_never_an_attestation() {
        let entry = |os: &str, architecture: &str, size: u64| {
            serde_json::json!({"mediaType": media_type::OCI_MANIFEST, "size": size, "digest": DIGEST,
                "platform": {"os": os, "architecture": architecture}})
        };
        let index: Index = serde_json::from_value(serde_json::json!({
            "schemaVersion": 2,
            "manifests": [entry("unknown", "unknown", 1), entry("linux", "arm64", 2), entry("linux", "amd64", 3)],
        }))
        .unwrap();
        let size = |architecture| index.image_for(&Platform::linux(architecture)).map(|found| found.size);
        assert_eq!(size("arm64"), Some(2));
        assert_eq!(size("amd64"), Some(3));
        assert_eq!(size("s390x"), None);
    }

    #[test]
    fn schema_1_is_refused_by_name() {
        let raw = RawManifest {
            digest: Digest::of(b"{}"),
            media_type: "application/vnd.docker.distribution.manifest.v1+json".to_owned(),
            bytes: bytes::Bytes::from_static(b"{}"),
        };
        assert!(matches!(raw.read(), Err(ManifestError::MediaType(_))));
    }
}
