//! The activity log as a file of JSON lines.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use async_trait::async_trait;

use crate::domain::activity::Line;
use crate::domain::lane::LaneKey;
use crate::ports::activity_log::ActivityLog;
use crate::ports::failure::Failure;

/// Adds lines to one file, which only its owner can read; each is written at once and whole.
#[derive(Debug, Clone)]
pub struct ActivityFile(PathBuf);

impl ActivityFile {
    /// Uses this file, and makes it when there is something to write.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

#[async_trait]
impl ActivityLog for ActivityFile {
    async fn append(&self, _: &LaneKey, lines: &[Line]) -> Result<(), Failure> {
        let path = self.0.clone();
        let doing = format!("write {}", path.display());
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line).map_err(|error| Failure::refused(&doing, error))?;
            text.push(b'\n');
        }
        let write = move || {
            let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
            file.write_all(&text)
        };
        let written = tokio::task::spawn_blocking(write).await;
        written.map_err(std::io::Error::other).flatten().map_err(|error| Failure::refused(doing, error))
    }
}
