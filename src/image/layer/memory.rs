//! What layers became when they were compressed, remembered between builds.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::image::digest::Digest;
use crate::image::manifest::Descriptor;

/// Above this, the older half is forgotten: some ten thousand layers.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What layers became when they were compressed: by the digest of an archive, its blob.
///
/// A layer that is made again need not be compressed where the registry still has the blob, which whoever uses this asks first. Lost or
/// damaged, it costs time only. Several programs may use one file at once.
#[derive(Debug)]
pub struct LayerMemory {
    file: PathBuf,
    known: Mutex<BTreeMap<Digest, Line>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    diff_id: Digest,
    size: u64,
    blob: Descriptor,
}

impl LayerMemory {
    /// Reads the file, which need not be there. Lines that cannot be read are left out.
    #[must_use]
    pub fn open(file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        let known = read(&file).unwrap_or_default().into_iter().map(|line| (line.diff_id.clone(), line)).collect();
        Self { file, known: Mutex::new(known) }
    }

    /// Returns the blob that an archive once became.
    #[must_use]
    pub fn blob(&self, diff_id: &Digest) -> Option<Descriptor> {
        self.lines().get(diff_id).map(|line| line.blob.clone())
    }

    /// Tells whether an archive of so many bytes is known, and its digest therefore worth knowing.
    #[must_use]
    pub fn has_one_of(&self, size: u64) -> bool {
        self.lines().values().any(|line| line.size == size)
    }

    /// Tells whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines().is_empty()
    }

    /// Remembers a layer. One line is written at once, so that a program that ends leaves no half of it that is taken for whole.
    pub(super) fn remember(&self, diff_id: &Digest, size: u64, blob: &Descriptor) {
        let line = Line { diff_id: diff_id.clone(), size, blob: blob.clone() };
        let before = self.lines().insert(diff_id.clone(), line.clone());
        if before.as_ref() != Some(&line) {
            // It is only a help: without it the next build is slower.
            let _ = self.append(&line);
        }
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<Digest, Line>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append(&self, line: &Line) -> io::Result<()> {
        if let Some(folder) = self.file.parent() {
            fs::create_dir_all(folder)?;
        }
        if fs::metadata(&self.file).is_ok_and(|metadata| metadata.len() > LONGEST) {
            self.halve()?;
        }
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        OpenOptions::new().append(true).create(true).open(&self.file)?.write_all(&bytes)
    }

    fn halve(&self) -> io::Result<()> {
        let lines = read(&self.file)?;
        let mut newer = tempfile::NamedTempFile::new_in(self.file.parent().unwrap_or(Path::new(".")))?;
        for line in lines.iter().skip(lines.len() / 2) {
            serde_json::to_writer(&mut newer, line)?;
            newer.write_all(b"\n")?;
        }
        newer.persist(&self.file)?;
        Ok(())
    }
}

fn read(file: &Path) -> io::Result<Vec<Line>> {
    let mut text = Vec::new();
    File::open(file)?.take(2 * LONGEST).read_to_end(&mut text)?;
    Ok(text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_are_known_again_and_damaged_lines_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("below/layers");
        let memory = LayerMemory::open(&file);
        assert!(memory.is_empty());
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        memory.remember(&one, 10, &Descriptor::of("gzip", b"1"));
        memory.remember(&one, 10, &Descriptor::of("gzip", b"1"));
        memory.remember(&two, 20, &Descriptor::of("gzip", b"2"));
        let mut text = fs::read(&file).unwrap();
        assert_eq!(text.split(|byte| *byte == b'\n').count(), 3);
        text.truncate(text.len() - 9);
        fs::write(&file, text).unwrap();
        let memory = LayerMemory::open(&file);
        assert_eq!(memory.blob(&one), Some(Descriptor::of("gzip", b"1")));
        assert_eq!(memory.blob(&two), None);
        assert!(memory.has_one_of(10) && !memory.has_one_of(20));
    }

    #[test]
    fn it_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("layers");
        let line = |number: u32| {
            let line = Line { diff_id: Digest::of(&number.to_le_bytes()), size: 1, blob: Descriptor::of("gzip", b"") };
            serde_json::to_string(&line).unwrap() + "\n"
        };
        fs::write(&file, (0..25_000).map(line).collect::<String>()).unwrap();
        let before = fs::metadata(&file).unwrap().len();
        assert!(before > LONGEST);
        LayerMemory::open(&file).remember(&Digest::of(b"new"), 1, &Descriptor::of("gzip", b"1"));
        assert!(fs::metadata(&file).unwrap().len() < before / 2 + 1000);
        let memory = LayerMemory::open(&file);
        assert!(memory.blob(&Digest::of(b"new")).is_some());
        assert!(memory.blob(&Digest::of(&24_999_u32.to_le_bytes())).is_some());
        assert!(memory.blob(&Digest::of(&0_u32.to_le_bytes())).is_none());
    }
}
