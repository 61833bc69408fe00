//! The source tree as CodeBuild lays it out: a checkout of one commit.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a build is given to build.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The app's folder; its content becomes one commit.
    pub(crate) folder: PathBuf,
    pub(crate) git: GitLayout,
}

/// Where the repository lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GitLayout {
    /// In `.git`, HEAD detached at the commit.
    Folder,
    /// Beside the tree; `.git` is a file that points there.
    File,
    /// Nowhere, as with a zip from S3.
    None,
}

impl Source {
    pub(crate) fn of(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), git: GitLayout::Folder }
    }
}

/// Lays the source out in `to` and returns the commit; equal content has the same commit every time.
pub(super) fn check_out(source: &Source, to: &Path, beside: &Path) -> String {
    copy(&source.folder, to);
    if source.git == GitLayout::None {
        return String::new();
    }
    let separate = beside.join("git");
    let mut init = vec!["init", "--quiet", "--initial-branch=main"];
    let separate_text = format!("--separate-git-dir={}", separate.display());
    if source.git == GitLayout::File {
        init.push(&separate_text);
    }
    git(to, &init);
    git(to, &["add", "--all", "--force"]);
    git(to, &["commit", "--quiet", "--allow-empty", "--message", "The app as it is"]);
    git(to, &["checkout", "--quiet", "--detach"]);
    if source.git == GitLayout::File {
        // CodeBuild's file has no line end.
        std::fs::write(to.join(".git"), format!("gitdir: {}", separate.display())).unwrap();
    }
    git(to, &["rev-parse", "HEAD"])
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(arguments)
        .env("HOME", folder)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .envs([("GIT_AUTHOR_NAME", "tester"), ("GIT_AUTHOR_EMAIL", "tester@example.com")])
        .envs([("GIT_COMMITTER_NAME", "tester"), ("GIT_COMMITTER_EMAIL", "tester@example.com")])
        .envs([("GIT_AUTHOR_DATE", "1767225600 +0000"), ("GIT_COMMITTER_DATE", "1767225600 +0000")])
        .output()
        .unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if entry.file_name() == ".git" || entry.file_name() == ".packhorse" {
            continue;
        }
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(entry.path()).unwrap(), &target).unwrap();
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}
