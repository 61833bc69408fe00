//! Reads a source tree's history with the `git` program.

use std::path::Path;

use async_trait::async_trait;

use super::probe::{ProbeError, probe};
use crate::ports::failure::Failure;
use crate::ports::source_history::SourceHistory;

/// The `git` program.
#[derive(Debug, Clone, Copy, Default)]
pub struct Git;

/// Shallow and detached trees are fine with all of this. A tree that belongs to another user is refused by git unless it is
/// told otherwise; nothing here runs anything that the tree configures.
const ANY_OWNER: [&str; 4] = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false"];

impl Git {
    async fn ask(source: &Path, doing: &str, args: &[&str]) -> Result<String, Failure> {
        let args: Vec<&str> = ANY_OWNER.iter().chain(args).copied().collect();
        probe("git", &args, Some(source)).await.map_err(|error| Failure::refused(doing, error))
    }
}

#[async_trait]
impl SourceHistory for Git {
    async fn head(&self, source: &Path) -> Result<String, Failure> {
        let commit = Self::ask(source, "find the commit", &["rev-parse", "--verify", "HEAD^{commit}"]).await?;
        Ok(commit.trim().to_owned())
    }

    async fn describe_head(&self, source: &Path) -> Result<String, Failure> {
        Self::ask(source, "describe the commit", &["--no-pager", "log", "-n1", "--decorate=no", "--no-color"]).await
    }

    async fn file_at_head(&self, source: &Path, path: &str) -> Result<String, Failure> {
        let object = format!("HEAD:./{path}");
        let args: Vec<&str> = ANY_OWNER.into_iter().chain(["show", object.as_str()]).collect();
        match probe("git", &args, Some(source)).await {
            Ok(mut text) => {
                // The probe takes the last line end away.
                text.push('\n');
                Ok(text)
            }
            Err(ProbeError::Failed { .. }) => Err(Failure::NotFound { what: format!("`{path}` in the last commit") }),
            Err(error) => Err(Failure::refused(format!("read `{path}` from the last commit"), error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn repository() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "one\n").unwrap();
        let identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"];
        for args in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "first"]] {
            let args: Vec<&str> = identity.iter().chain(args).copied().collect();
            probe("git", &args, Some(folder.path())).await.unwrap();
        }
        folder
    }

    #[tokio::test]
    async fn a_commit_is_found_described_and_read() {
        let folder = repository().await;
        let head = Git.head(folder.path()).await.unwrap();
        assert_eq!(head.len(), 40);
        assert!(Git.describe_head(folder.path()).await.unwrap().starts_with(&format!("commit {head}\n")));
        std::fs::write(folder.path().join("a.txt"), "two\n").unwrap();
        assert_eq!(Git.file_at_head(folder.path(), "a.txt").await.unwrap(), "one\n");
        assert!(matches!(Git.file_at_head(folder.path(), "b.txt").await, Err(Failure::NotFound { .. })));
    }

    #[tokio::test]
    async fn a_folder_without_history_is_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Git.head(folder.path()).await.is_err());
    }
}
