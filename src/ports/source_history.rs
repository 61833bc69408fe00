//! The history of a source tree: git.

use std::path::Path;

use async_trait::async_trait;

use super::failure::Failure;

/// Reads the history of a source tree. A tree without one, or without the program to read it, is a failure that callers
/// can live with.
#[async_trait]
pub trait SourceHistory: Send + Sync {
    /// Returns the full name of the commit that is checked out.
    async fn head(&self, source: &Path) -> Result<String, Failure>;

    /// Returns that commit with its author, time and message, for people.
    async fn describe_head(&self, source: &Path) -> Result<String, Failure>;

    /// Returns a file as that commit has it; [`Failure::NotFound`] when it has none.
    async fn file_at_head(&self, source: &Path, path: &str) -> Result<String, Failure>;
}
