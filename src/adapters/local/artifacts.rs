//! Artifacts as files.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;

use super::database::private_folder;
use crate::adapters::artifact_key;
use crate::ports::artifacts::ArtifactStore;
use crate::ports::failure::Failure;

/// Keeps artifacts in a folder, one file per key, for the owner's eyes only.
#[derive(Debug, Clone)]
pub struct LocalArtifacts {
    folder: PathBuf,
}

impl LocalArtifacts {
    /// Keeps artifacts in `folder`, an absolute path, which is made at the first write.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Returns the file of an artifact, whether it is there or not.
    ///
    /// # Errors
    /// Refuses a key that is not a relative path of plain segments.
    pub fn path(&self, key: &str) -> Result<PathBuf, Failure> {
        artifact_key::check(key)?;
        Ok(self.folder.join(key))
    }
}

#[async_trait]
impl ArtifactStore for LocalArtifacts {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), Failure> {
        let path = self.path(key)?;
        let folder = self.folder.clone();
        blocking(format!("write the artifact {key}"), move || replace(&folder, &path, &content)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let path = self.path(key)?;
        blocking(format!("read the artifact {key}"), move || match fs::read(path) {
            Ok(content) => Ok(Some(content.into())),
            // A key below another key's file names nothing.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    fn url(&self, key: &str) -> String {
        format!("file://{}", self.folder.join(key).display())
    }
}

/// Writes a file under a passing name, brings it to the disk, and then gives it its name.
fn replace(folder: &Path, path: &Path, content: &[u8]) -> io::Result<()> {
    private_folder(folder)?;
    let parent = path.parent().unwrap_or(folder);
    private_folder(parent)?;
    // Begins with a name that no key's writer leaves behind; removed by itself unless it gets its name.
    let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(parent)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(parent)?.sync_all()
}

async fn blocking<T: Send + 'static>(
    doing: String,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| Failure::refused(doing, error)),
        Err(stopped) => Err(Failure::unavailable(doing, stopped)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_write_leaves_only_the_file_and_only_for_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let store = LocalArtifacts::new(root.path().join("artifacts"));
        store.put("42/build.log", "one".into()).await.unwrap();
        store.put("42/build.log", "two".into()).await.unwrap();
        let names: Vec<_> =
            fs::read_dir(root.path().join("artifacts/42")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["build.log"]);
        let path = store.path("42/build.log").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(store.url("42/build.log"), format!("file://{}", path.display()));
    }

    #[tokio::test]
    async fn a_link_in_the_place_of_a_file_is_replaced_and_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let store = LocalArtifacts::new(root.path().join("artifacts"));
        store.put("42/a", "x".into()).await.unwrap();
        let outside = root.path().join("outside");
        fs::write(&outside, "untouched").unwrap();
        std::os::unix::fs::symlink(&outside, root.path().join("artifacts/42/build.log")).unwrap();
        store.put("42/build.log", "new".into()).await.unwrap();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
        assert_eq!(store.get("42/build.log").await.unwrap().unwrap(), "new");
    }
}
