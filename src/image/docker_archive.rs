//! An image as the archive that `docker load` takes.
//!
//! It is an OCI layout with Docker's `manifest.json` beside it, as Docker itself saves images since version 25: old
//! engines read the one, new ones with containerd's store the other.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tempfile::{NamedTempFile, TempDir};

use super::digest::Digest;
use super::layer::Layer;
use super::layout::{Layout, blocking, disk};
use super::manifest::{Descriptor, Manifest};
use super::reference::{ImageReference, Tag};
use super::source::{ImageError, ImageSource, SourceImage};
use super::target::{ImageTarget, NewImage, Stored};

/// An archive that comes into being when its image is finished.
pub struct DockerArchive {
    path: PathBuf,
    layout: Layout,
    /// Beside the archive, so that what is large lies where there is room for it. Goes with its last user.
    spool: Arc<TempDir>,
}

impl DockerArchive {
    /// Names the archive and makes a folder for its parts beside it.
    pub fn at(path: impl Into<PathBuf>) -> Result<Self, ImageError> {
        let path = path.into();
        let doing = format!("make the archive `{}`", path.display());
        let spool = tempfile::Builder::new().prefix(".docker-archive-").tempdir_in(folder_of(&path));
        let spool = spool.map_err(disk(doing))?;
        let layout = Layout::at(spool.path());
        Ok(Self { path, layout, spool: Arc::new(spool) })
    }
}

/// Puts the archive of an image together from what lies in `layout`, which holds no other image.
///
/// The lowest `left_out` layers are named and not written: for a daemon that has them and knows layers by themselves.
pub fn write_image(
    out: impl io::Write,
    layout: &Layout,
    image: &SourceImage,
    names: &[ImageReference],
    left_out: usize,
) -> io::Result<()> {
    let parts = Parts { manifest: &image.manifest, digest: image.digest.clone(), left_out };
    parts.write(out, layout, names)?.flush()
}

/// What an archive is made of.
struct Parts<'a> {
    manifest: &'a Manifest,
    digest: Digest,
    /// How many of the lowest layers are named only.
    left_out: usize,
}

impl Parts<'_> {
    fn write<W: io::Write>(&self, out: W, layout: &Layout, names: &[ImageReference]) -> io::Result<W> {
        let blob = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
        let tags: Vec<String> = names.iter().map(|name| tagged(name).to_string()).collect();
        let layers: Vec<String> = self.manifest.layers.iter().map(|layer| blob(&layer.digest)).collect();
        let config = &self.manifest.config.digest;
        let manifest = serde_json::json!([{ "Config": blob(config), "RepoTags": tags, "Layers": layers }]);
        let manifest = serde_json::to_vec(&manifest)?;
        let mut archive = tar::Builder::new(out);
        for name in ["oci-layout", "index.json"] {
            let bytes = std::fs::read(layout.folder().join(name))?;
            append(&mut archive, name, bytes.len() as u64, bytes.as_slice())?;
        }
        append(&mut archive, "manifest.json", manifest.len() as u64, manifest.as_slice())?;
        let mut blobs: Vec<&Digest> =
            self.manifest.layers.iter().skip(self.left_out).map(|layer| &layer.digest).collect();
        blobs.extend([config, &self.digest]);
        blobs.sort_unstable();
        blobs.dedup();
        for digest in blobs {
            let file = File::open(layout.blob_path(digest))?;
            append(&mut archive, &blob(digest), file.metadata()?.len(), file)?;
        }
        archive.into_inner()
    }
}

fn write(path: &Path, layout: &Layout, image: &NewImage, names: &[ImageReference]) -> io::Result<()> {
    let file = io::BufWriter::with_capacity(256 * 1024, NamedTempFile::new_in(folder_of(path))?);
    let parts = Parts { manifest: &image.manifest, digest: image.digest(), left_out: 0 };
    let file = parts.write(file, layout, names)?.into_inner().map_err(io::IntoInnerError::into_error)?;
    super::layout::persist(file, path)
}

fn append(archive: &mut tar::Builder<impl io::Write>, name: &str, size: u64, bytes: impl io::Read) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    archive.append_data(&mut header, name, bytes)
}

fn tagged(name: &ImageReference) -> ImageReference {
    name.with_tag(name.tag().cloned().unwrap_or_else(Tag::latest))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[async_trait]
impl ImageTarget for DockerArchive {
    async fn put_layer(&self, layer: &Layer) -> Result<Stored, ImageError> {
        self.layout.put_layer(layer).await
    }

    async fn has_layer(&self, layer: &Descriptor) -> Result<bool, ImageError> {
        self.layout.has_layer(layer).await
    }

    async fn take_layer(
        &self,
        source: &dyn ImageSource,
        from: &SourceImage,
        layer: &Descriptor,
    ) -> Result<Stored, ImageError> {
        self.layout.take_layer(source, from, layer).await
    }

    async fn finish(&self, image: &NewImage, names: &[ImageReference]) -> Result<Digest, ImageError> {
        let digest = self.layout.finish(image, names).await?;
        let (path, layout, image, names) = (self.path.clone(), self.layout.clone(), image.clone(), names.to_vec());
        let spool = Arc::clone(&self.spool);
        blocking(move || {
            let written = write(&path, &layout, &image, &names);
            drop(spool);
            written.map_err(disk(format!("write the archive `{}`", path.display())))
        })
        .await?;
        Ok(digest)
    }
}
