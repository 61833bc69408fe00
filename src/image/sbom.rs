//! The bills of materials in an image's SBOM layer.

use std::io::{self, Read as _};

use bytes::BytesMut;
use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::Value;

use super::digest::Digest;
use super::lifecycle_label;
use super::source::{ImageError, ImageSource, SourceImage};

/// A bill of materials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Document {
    /// Where it lies below the layers folder's `sbom/launch`: buildpack, layer and file.
    pub path: String,
    /// Its format, as its file name tells: `cdx`, `spdx`, `syft`.
    pub format: String,
    /// How many components or packages it lists.
    pub components: usize,
}

/// The longest SBOM layer, compressed and not.
const LONGEST_LAYER: u64 = 64 * 1024 * 1024;
const LONGEST_UNPACKED: u64 = 512 * 1024 * 1024;

/// Reads the SBOM layer of an image; nothing where it has none.
pub async fn read(source: &dyn ImageSource, image: &SourceImage) -> Result<Vec<Document>, ImageError> {
    let label = lifecycle_label::read(&image.config).ok();
    let Some(diff_id) = label.and_then(|label| label.sbom?.sha.parse::<Digest>().ok()) else {
        return Ok(Vec::new());
    };
    let failed = |source| ImageError::Disk { doing: format!("read the SBOM of `{}`", image.reference), source };
    let Some(layer) = image.layer(&diff_id) else {
        return Err(ImageError::NoLayer { image: image.reference.clone(), layer: diff_id });
    };
    if layer.size > LONGEST_LAYER {
        return Err(failed(io::Error::new(io::ErrorKind::FileTooLarge, "its layer has more than 64 MiB")));
    }
    let packed: BytesMut = source.blob(image, layer).await?.try_collect().await?;
    let documents = tokio::task::spawn_blocking(move || documents(&packed, &diff_id)).await;
    documents.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)
}

fn documents(packed: &[u8], diff_id: &Digest) -> io::Result<Vec<Document>> {
    let mut archive = Vec::new();
    let reader: Box<dyn io::Read> = match packed {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(packed)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::stream::Decoder::new(packed)?),
        _ => Box::new(packed),
    };
    reader.take(LONGEST_UNPACKED + 1).read_to_end(&mut archive)?;
    let wrong = |message: &str| io::Error::new(io::ErrorKind::InvalidData, message);
    if archive.len() as u64 > LONGEST_UNPACKED {
        return Err(wrong("its layer unpacks to more than 512 MiB"));
    }
    if Digest::of(&archive) != *diff_id {
        return Err(wrong("its layer does not unpack to the diff ID in its config"));
    }
    let mut found = Vec::new();
    for entry in tar::Archive::new(archive.as_slice()).entries()? {
        let mut entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(format) = path.rsplit('/').next().and_then(|name| name.strip_prefix("sbom.")?.strip_suffix(".json"))
        else {
            continue;
        };
        let format = format.to_owned();
        let mut text = Vec::new();
        entry.read_to_end(&mut text)?;
        let value: Value = serde_json::from_slice(&text).unwrap_or_default();
        // The lists of CycloneDX, SPDX and Syft; the old format is a list itself.
        let listed = ["components", "packages", "artifacts"].iter().find_map(|name| value.get(name)?.as_array());
        let components = listed.or(value.as_array()).map_or(0, Vec::len);
        let path = path.split_once("/sbom/launch/").map_or(path.as_str(), |(_, path)| path).to_owned();
        found.push(Document { path, format, components });
    }
    Ok(found)
}
