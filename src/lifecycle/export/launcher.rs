//! The launcher that goes into the app image.

use std::fs;
use std::io;

use bytes::Bytes;

use super::layers::LAUNCHER;
use crate::image::layer::FileSource;
use crate::lifecycle::folders::Folders;
use crate::lifecycle::metadata::{GitSource, LauncherMetadata, LauncherSource};

/// packhorse's own launcher: a static program, which `build.rs` builds from `launcher/`.
const OWN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/launcher"));

/// The launcher of the app image.
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program.
    pub program: FileSource,
    /// Its size in bytes.
    pub size: u64,
    /// Its origin, as the label has it.
    pub metadata: LauncherMetadata,
}

impl Launcher {
    /// Returns the builder's launcher, whose origin is `metadata`; where the builder has none, packhorse's own.
    pub fn of_builder(folders: &Folders, metadata: LauncherMetadata) -> io::Result<Self> {
        let path = match folders.resolve(LAUNCHER.as_ref()) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Self::own());
            }
            found => found?,
        };
        let found = fs::metadata(&path)?;
        if !found.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{LAUNCHER}` is not a regular file")));
        }
        Ok(Self { program: FileSource::Path(path), size: found.len(), metadata })
    }

    /// Returns packhorse's own launcher.
    pub fn own() -> Self {
        let git = GitSource { repository: env!("CARGO_PKG_REPOSITORY").to_owned(), commit: String::new() };
        let source = LauncherSource { git };
        let metadata = LauncherMetadata { version: env!("CARGO_PKG_VERSION").to_owned(), source };
        Self { program: FileSource::Bytes(Bytes::from_static(OWN)), size: OWN.len() as u64, metadata }
    }
}
