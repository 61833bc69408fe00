//! Reads `layers/config/metadata.toml`, the list of an app image's processes, without a container.

use std::io::{self, Read as _};

use super::RegistryClient;
use super::error::{BoxError, RegistryError};
use crate::image::config::ImageConfig;
use crate::image::digest::Digest;
use crate::image::manifest::Platform;
use crate::image::reference::ImageReference;

/// The label in which the lifecycle keeps the diff IDs of the layers it made.
const LIFECYCLE_METADATA: &str = "io.buildpacks.lifecycle.metadata";
/// The longest layer, compressed and not: it holds one small file and, with old lifecycles, a bill of materials.
const LONGEST_LAYER: usize = 4 * 1024 * 1024;
const LONGEST_UNPACKED: u64 = 16 * 1024 * 1024;

impl RegistryClient {
    /// Returns the text of `layers/config/metadata.toml`, or `None` for an image that no buildpacks made.
    pub async fn build_metadata(
        &self,
        image: &ImageReference,
        platform: &Platform,
    ) -> Result<Option<String>, RegistryError> {
        let (digest, manifest) = self.image_manifest(image, platform).await?;
        let config = self.config_of(image, &manifest).await?;
        let doing = || format!("read the build metadata of `{image}`");
        let unreadable =
            |source: BoxError| RegistryError::Unreadable { registry: image.registry().clone(), doing: doing(), source };
        let Some(diff_id) = config_layer(&config).map_err(unreadable)? else {
            return Ok(None);
        };
        let position = config.rootfs.diff_ids.iter().position(|layer| *layer == diff_id);
        let layer = position.and_then(|position| manifest.layers.get(position)).ok_or_else(|| {
            unreadable(format!("its label names layer {diff_id}, which manifest {digest} does not have").into())
        })?;
        let packed = self.blob_bytes(image.repository(), layer, LONGEST_LAYER).await?;
        let text = tokio::task::spawn_blocking(move || metadata_toml(&packed, &diff_id))
            .await
            .map_err(|error| unreadable(error.into()))?
            .map_err(|error| unreadable(error.into()))?;
        Ok(Some(text))
    }
}

fn config_layer(config: &ImageConfig) -> Result<Option<Digest>, BoxError> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        config: Option<Layer>,
    }
    #[derive(serde::Deserialize)]
    struct Layer {
        sha: Digest,
    }
    let Some(label) = config.label(LIFECYCLE_METADATA) else {
        return Ok(None);
    };
    let metadata: Metadata =
        serde_json::from_str(label).map_err(|error| format!("its label `{LIFECYCLE_METADATA}`: {error}"))?;
    Ok(metadata.config.map(|layer| layer.sha))
}

/// Unpacks the layer in memory, checks it against its diff ID and returns the one file.
fn metadata_toml(packed: &[u8], diff_id: &Digest) -> io::Result<String> {
    let wrong = |message: &str| io::Error::new(io::ErrorKind::InvalidData, message);
    let mut unpacked = Vec::new();
    match packed {
        [0x1f, 0x8b, ..] => {
            flate2::read::MultiGzDecoder::new(packed).take(LONGEST_UNPACKED + 1).read_to_end(&mut unpacked)?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            zstd::stream::Decoder::new(packed)?.take(LONGEST_UNPACKED + 1).read_to_end(&mut unpacked)?;
        }
        plain => unpacked.extend_from_slice(plain),
    }
    if unpacked.len() as u64 > LONGEST_UNPACKED {
        return Err(wrong("its config layer unpacks to more than 16 MiB"));
    }
    if Digest::of(&unpacked) != *diff_id {
        return Err(wrong("its config layer does not unpack to the diff ID in its config"));
    }
    for entry in tar::Archive::new(unpacked.as_slice()).entries()? {
        let mut entry = entry?;
        // The lifecycle writes absolute names, below the layers folder of the builder.
        if entry.path()?.ends_with("config/metadata.toml") {
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            return Ok(text);
        }
    }
    Err(wrong("its config layer has no config/metadata.toml"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn layer(name: &str, text: &[u8]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append(&header, text).unwrap();
        archive.into_inner().unwrap()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn metadata_is_read_from_an_absolute_name_packed_or_not() {
        let plain = layer("/layers/config/metadata.toml", b"processes = []\n");
        let diff_id = Digest::of(&plain);
        assert_eq!(metadata_toml(&plain, &diff_id).unwrap(), "processes = []\n");
        assert_eq!(metadata_toml(&gzip(&plain), &diff_id).unwrap(), "processes = []\n");
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        assert_eq!(metadata_toml(&zstd, &diff_id).unwrap(), "processes = []\n");
    }

    #[test]
    fn layer_that_does_not_fit_its_diff_id_or_unpacks_hugely_is_refused() {
        let plain = layer("/layers/config/metadata.toml", b"x");
        let error = metadata_toml(&plain, &Digest::of(b"")).unwrap_err();
        assert!(error.to_string().contains("diff ID"), "{error}");
        let bomb = gzip(&vec![0; 17 * 1024 * 1024]);
        assert!(bomb.len() < LONGEST_LAYER);
        let error = metadata_toml(&bomb, &Digest::of(b"")).unwrap_err();
        assert!(error.to_string().contains("16 MiB"), "{error}");
        let other = layer("/layers/config/other", b"x");
        assert!(metadata_toml(&other, &Digest::of(&other)).is_err());
    }

    #[test]
    fn image_without_the_label_has_no_config_layer() {
        assert_eq!(config_layer(&ImageConfig::default()).unwrap(), None);
        let mut config = ImageConfig::default();
        config.config.labels.insert(LIFECYCLE_METADATA.to_owned(), "{".to_owned());
        assert!(config_layer(&config).is_err());
    }
}
