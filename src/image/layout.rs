//! Images in a folder of OCI's layout: `oci-layout`, `index.json` and `blobs/sha256/…`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tempfile::NamedTempFile;

use super::config::ImageConfig;
use super::digest::{Digest, Hasher};
use super::layer::Layer;
use super::manifest::{Descriptor, Document, Index, Manifest, Platform, RawManifest};
use super::media_type;
use super::reference::{ImageReference, Tag};
use super::source::{BlobStream, ImageError, ImageSource, SourceImage};
use super::target::{ImageTarget, NewImage, Stored};

/// The annotation that holds a name in the index; the whole reference or only its tag.
const NAME: &str = "org.opencontainers.image.ref.name";
/// The longest index, manifest and config that is read.
const LONGEST_DOCUMENT: u64 = 8 * 1024 * 1024;

/// A folder of OCI's layout. It may hold several images, each by its tag.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// Names a folder; it is made by the first write.
    #[must_use]
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Names the folder of an image below `top`, as the lifecycle and `pack` choose it: `host/repository/tag`, and
    /// `host/repository/sha256/…` where a digest is named.
    #[must_use]
    pub fn below(top: &Path, image: &ImageReference) -> Self {
        let repository = top.join(image.repository().full());
        let folder = match image.digest() {
            Some(digest) => repository.join("sha256").join(digest.hex()),
            None => repository.join(image.identifier()),
        };
        Self { folder }
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the file of a blob, whether it is there or not.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    /// Returns the names of the images.
    pub fn index(&self) -> Result<Option<Index>, ImageError> {
        let path = self.folder.join("index.json");
        let doing = || format!("read `{}`", path.display());
        let bytes = match read_bounded(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ImageError::Disk { doing: doing(), source }),
        };
        let index = serde_json::from_slice(&bytes).map_err(|source| ImageError::Json { doing: doing(), source })?;
        Ok(Some(index))
    }

    fn blobs(&self) -> PathBuf {
        self.folder.join("blobs").join("sha256")
    }

    fn find(
        &self,
        image: &ImageReference,
        platform: &Platform,
    ) -> Result<Option<(Digest, Manifest, String)>, ImageError> {
        let Some(index) = self.index()? else {
            return Ok(None);
        };
        let is_named = |entry: &&Descriptor| {
            let name = entry.other.get("annotations").and_then(|annotations| annotations.get(NAME)?.as_str());
            name.is_some_and(|name| name == image.identifier() || name.parse() == Ok(image.clone()))
        };
        let entry = match image.digest() {
            Some(digest) => index.manifests.iter().find(|entry| entry.digest == *digest),
            // A layout with one image is that image, whatever its name.
            None if index.manifests.len() == 1 => index.manifests.first(),
            None => index.manifests.iter().find(is_named),
        };
        let Some(entry) = entry else {
            return Ok(None);
        };
        let unreadable = |source| ImageError::Manifest { image: image.clone(), source };
        let raw = self.document(entry)?;
        match raw.read().map_err(unreadable)? {
            Document::Image(manifest) => Ok(Some((raw.digest, manifest, raw.media_type))),
            Document::Index(index) => {
                let Some(entry) = index.image_for(platform) else {
                    return Ok(None);
                };
                let raw = self.document(entry)?;
                match raw.read().map_err(unreadable)? {
                    Document::Image(manifest) => Ok(Some((raw.digest, manifest, raw.media_type))),
                    Document::Index(_) => Ok(None),
                }
            }
        }
    }

    /// Reads a small blob and checks it.
    fn document(&self, descriptor: &Descriptor) -> Result<RawManifest, ImageError> {
        let path = self.blob_path(&descriptor.digest);
        let bytes = read_bounded(&path).map_err(disk(format!("read `{}`", path.display())))?;
        let found = Digest::of(&bytes);
        if found != descriptor.digest {
            let place = path.display().to_string();
            return Err(ImageError::Damaged { place, found, wanted: descriptor.digest.clone() });
        }
        Ok(RawManifest { digest: found, media_type: descriptor.media_type.clone(), bytes: bytes.into() })
    }

    /// Makes the folder, should it not be there.
    fn prepare(&self) -> Result<(), ImageError> {
        let doing = format!("make the image layout `{}`", self.folder.display());
        let prepare = || {
            fs::create_dir_all(self.blobs())?;
            let marker = self.folder.join("oci-layout");
            if marker.exists() { Ok(()) } else { write(&marker, br#"{"imageLayoutVersion":"1.0.0"}"#) }
        };
        prepare().map_err(disk(doing))
    }

    /// Puts a file in the place of a blob whose digest was computed from it.
    fn keep(&self, file: &Path, digest: &Digest) -> Result<Stored, ImageError> {
        self.prepare()?;
        let place = self.blob_path(digest);
        if place.exists() {
            return Ok(Stored::AlreadyThere);
        }
        let doing = format!("write `{}`", place.display());
        let keep = || match fs::hard_link(file, &place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            // Another filesystem, or one without hard links.
            Err(_) => {
                let mut copy = NamedTempFile::new_in(self.blobs())?;
                io::copy(&mut File::open(file)?, &mut copy)?;
                persist(copy, &place)
            }
            Ok(()) => Ok(()),
        };
        keep().map_err(disk(doing)).map(|()| Stored::Sent)
    }

    fn keep_bytes(&self, digest: &Digest, bytes: &[u8]) -> Result<(), ImageError> {
        self.prepare()?;
        let place = self.blob_path(digest);
        if place.exists() {
            return Ok(());
        }
        write(&place, bytes).map_err(disk(format!("write `{}`", place.display())))
    }

    /// Lists `image` under each name, in the place of what had that name.
    fn list(&self, image: &NewImage, names: &[Tag]) -> Result<(), ImageError> {
        let marker = self.folder.join("oci-layout");
        let doing = format!("write `{}`", self.folder.join("index.json").display());
        // Two writers at once would each lose the other's names.
        let lock = File::open(&marker).and_then(|file| file.lock().map(|()| file)).map_err(disk(doing.clone()))?;
        let mut index = self.index()?.unwrap_or_else(|| Index {
            schema_version: 2,
            media_type: Some(media_type::OCI_INDEX.to_owned()),
            manifests: Vec::new(),
            other: std::collections::BTreeMap::new(),
        });
        let mut entry = Descriptor::of(&image.media_type, &image.manifest_bytes);
        entry.platform = Some(Platform { os: image.config.os.clone(), ..Platform::linux(&image.config.architecture) });
        if names.is_empty() {
            index.manifests.retain(|other| other.digest != entry.digest);
            index.manifests.push(entry.clone());
        }
        for name in names {
            let annotations = serde_json::json!({ NAME: name });
            index.manifests.retain(|other| other.other.get("annotations") != Some(&annotations));
            let mut entry = entry.clone();
            entry.other.insert("annotations".to_owned(), annotations);
            index.manifests.push(entry);
        }
        let bytes = serde_json::to_vec(&index).map_err(|source| ImageError::Json { doing: doing.clone(), source })?;
        let written = write(&self.folder.join("index.json"), &bytes).map_err(disk(doing));
        drop(lock);
        written
    }
}

#[async_trait]
impl ImageSource for Layout {
    async fn image(&self, image: &ImageReference, platform: &Platform) -> Result<Option<SourceImage>, ImageError> {
        let Some((digest, manifest, media_type)) = self.find(image, platform)? else {
            return Ok(None);
        };
        let config = self.document(&manifest.config)?;
        let config: ImageConfig = serde_json::from_slice(&config.bytes)
            .map_err(|source| ImageError::Json { doing: format!("read the config of `{image}`"), source })?;
        Ok(Some(SourceImage { reference: image.clone(), digest, media_type, manifest, config }))
    }

    async fn blob(&self, _: &SourceImage, blob: &Descriptor) -> Result<BlobStream, ImageError> {
        let path = self.blob_path(&blob.digest);
        let doing = format!("read `{}`", path.display());
        let file = tokio::fs::File::open(&path).await.map_err(disk(doing.clone()))?;
        let pieces = tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024);
        let pieces = pieces.map_err(move |source| ImageError::Disk { doing: doing.clone(), source }).boxed();
        let wanted = blob.digest.clone();
        let checked = stream::try_unfold((pieces, Hasher::default()), move |(mut pieces, mut hasher)| {
            let (wanted, place) = (wanted.clone(), path.display().to_string());
            async move {
                if let Some(piece) = pieces.try_next().await? {
                    hasher.update(&piece);
                    return Ok(Some((piece, (pieces, hasher))));
                }
                let found = hasher.finish();
                if found == wanted { Ok(None) } else { Err(ImageError::Damaged { place, found, wanted }) }
            }
        });
        Ok(checked.boxed())
    }
}

#[async_trait]
impl ImageTarget for Layout {
    async fn put_layer(&self, layer: &Layer) -> Result<Stored, ImageError> {
        let (layout, layer) = (self.clone(), layer.clone());
        blocking(move || layout.keep(&layer.blob, &layer.descriptor.digest)).await
    }

    async fn has_layer(&self, layer: &Descriptor) -> Result<bool, ImageError> {
        Ok(self.blob_path(&layer.digest).exists())
    }

    async fn take_layer(
        &self,
        source: &dyn ImageSource,
        from: &SourceImage,
        layer: &Descriptor,
    ) -> Result<Stored, ImageError> {
        self.prepare()?;
        let place = self.blob_path(&layer.digest);
        if place.exists() {
            return Ok(Stored::AlreadyThere);
        }
        let mut pieces = source.blob(from, layer).await?;
        let doing = || format!("write `{}`", place.display());
        let (mut file, path) = NamedTempFile::new_in(self.blobs()).map_err(disk(doing()))?.into_parts();
        while let Some(piece) = pieces.try_next().await? {
            file = blocking(move || file.write_all(&piece).map(|()| file).map_err(disk("write a layer"))).await?;
        }
        // The stream has ended without an error, so the digest is right.
        persist(NamedTempFile::from_parts(file, path), &place).map_err(disk(doing()))?;
        Ok(Stored::Sent)
    }

    async fn finish(&self, image: &NewImage, names: &[ImageReference]) -> Result<Digest, ImageError> {
        let digest = image.digest();
        self.keep_bytes(image.id(), &image.config_bytes)?;
        self.keep_bytes(&digest, &image.manifest_bytes)?;
        let names: Vec<Tag> = names.iter().map(|name| name.tag().cloned().unwrap_or_else(Tag::latest)).collect();
        self.list(image, &names)?;
        Ok(digest)
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(ImageError::Disk { doing: "work with files".to_owned(), source: io::Error::other(error) }),
    }
}

pub(super) fn disk(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ImageError {
    let doing = doing.into();
    move |source| ImageError::Disk { doing, source }
}

/// Writes a file so that nobody ever sees half of it.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = NamedTempFile::new_in(path.parent().unwrap_or(path))?;
    file.write_all(bytes)?;
    persist(file, path)
}

pub(super) fn persist(file: NamedTempFile, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // Temporary files are for their owner alone; an image is for whoever may enter its folder.
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST_DOCUMENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST_DOCUMENT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "more than 8 MiB"));
    }
    Ok(bytes)
}
