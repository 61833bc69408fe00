//! The files of a build: what CodeBuild uploads, the skip marker, and the source itself.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use sha2::{Digest as _, Sha256};

use super::RunnerSettings;
use super::error::RunnerError;
use crate::domain::build_environment::CodeBuildEnvironment;
use crate::domain::manifest::effective;

/// The log of the image build.
pub(super) const BUILD_LOG: &str = "build.log";
/// The output of the tests.
pub(super) const TEST_LOG: &str = "test.log";
/// The commit, for people.
pub(super) const COMMIT: &str = "commit.txt";
/// The processes that the image's buildpacks declared.
pub(super) const METADATA: &str = "metadata.toml";

/// Ends the name of a file that is not complete yet.
const UNFINISHED: &str = ".packhorse-unfinished";

/// The folders of a build.
#[derive(Debug, Clone)]
pub(super) struct Workspace {
    /// The source.
    pub(super) source: PathBuf,
    /// Where the build's files go.
    pub(super) outputs: PathBuf,
    /// The path of the config file in the source.
    pub(super) config_path: String,
    /// The name of its archived copy.
    pub(super) archived_config: String,
    skip_marker: String,
    apart: Vec<PathBuf>,
}

impl Workspace {
    pub(super) fn new(settings: &RunnerSettings, environment: &CodeBuildEnvironment) -> Self {
        let archived_config = settings.namespace.config_file();
        Self {
            source: settings.source.clone(),
            outputs: settings.outputs.clone(),
            config_path: environment.config_file.clone().unwrap_or_else(|| archived_config.clone()),
            archived_config,
            skip_marker: settings.namespace.skip_marker_file(&environment.build_id),
            apart: settings.apart.clone(),
        }
    }

    /// Tells whether the build's files lie in the source, which then belongs to the build.
    pub(super) fn owns_source(&self) -> bool {
        self.source == self.outputs
    }

    /// Names the files of a build that are not in the source yet: those will not be part of the app when they are.
    pub(super) fn outputs_to_come(&self) -> BTreeSet<String> {
        let archived = Some(&*self.archived_config).filter(|name| *name != self.config_path);
        let names = [BUILD_LOG, TEST_LOG, COMMIT, METADATA].into_iter().chain(archived);
        names.filter(|name| !self.source.join(name).exists()).map(str::to_owned).collect()
    }

    /// Writes a file of the build as a whole; a crash leaves the old one or the new one, a failure nothing else.
    pub(super) fn write(&self, name: &str, content: &[u8]) -> Result<(), RunnerError> {
        let (path, unfinished) = (self.outputs.join(name), self.outputs.join(format!(".{name}{UNFINISHED}")));
        let write = || {
            fs::create_dir_all(&self.outputs)?;
            fs::write(&unfinished, content)?;
            fs::rename(&unfinished, &path)
        };
        write().map_err(|error| {
            // On a full disk it would take the room that the files to come need.
            let _ = fs::remove_file(&unfinished);
            RunnerError::file("write", &path)(error)
        })
    }

    /// Makes the files that CodeBuild uploads empty where they are missing, so that the upload finds all of them.
    pub(super) fn write_placeholders(&self) -> Result<(), RunnerError> {
        for name in [BUILD_LOG, TEST_LOG, METADATA, &self.archived_config] {
            if !self.outputs.join(name).exists() {
                self.write(name, b"")?;
            }
        }
        Ok(())
    }

    /// Archives a config file that lies elsewhere as the user wrote it, for a build that did not get as far as its own.
    pub(super) fn archive_config_elsewhere(&self, text: Option<&str>) -> Result<(), RunnerError> {
        let Some(text) = text.filter(|_| self.config_path != self.archived_config) else { return Ok(()) };
        let archived = fs::read(self.outputs.join(&self.archived_config)).unwrap_or_default();
        if archived.starts_with(effective::HEADER.as_bytes()) {
            return Ok(());
        }
        self.write(&self.archived_config, text.as_bytes())
    }

    /// Makes the commands that follow do nothing.
    pub(super) fn mark_skipped(&self) -> Result<(), RunnerError> {
        self.write(&self.skip_marker, b"")
    }

    pub(super) fn is_marked_skipped(&self) -> bool {
        self.outputs.join(&self.skip_marker).exists()
    }

    /// Takes the mark of an earlier attempt away.
    pub(super) fn unmark(&self) -> Result<(), RunnerError> {
        remove_if_there(&self.outputs.join(&self.skip_marker))
    }

    /// Names the files in the source that are not part of the app, as patterns for the image build.
    pub(super) fn not_of_the_app<'w>(&self, written: impl IntoIterator<Item = &'w String>) -> Vec<String> {
        let mut patterns = vec![".git".to_owned()];
        patterns.extend(self.apart.iter().map(|path| format!("/{}", path.display())));
        if self.owns_source() {
            patterns.extend(written.into_iter().map(|name| format!("/{name}")));
            patterns.push(format!("/{}", self.skip_marker));
            patterns.push(format!("/.*{UNFINISHED}"));
        }
        patterns
    }

    /// Returns a file of the source, or nothing when there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, RunnerError> {
        let path = self.source.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RunnerError::file("read", &path)(error)),
        }
    }

    /// Tells whether the config file of the source is one that an earlier run has archived there.
    pub(super) fn config_is_archived(&self) -> Result<bool, RunnerError> {
        Ok(self.read(&self.archived_config)?.is_some_and(|bytes| bytes.starts_with(effective::HEADER.as_bytes())))
    }

    /// Puts the user's config file back where an archived one stands, so that the app is built as it was written.
    pub(super) fn restore_config(&self, original: Option<&str>) -> Result<(), RunnerError> {
        let replaced = self.owns_source() && self.config_path == self.archived_config;
        if !replaced || !self.config_is_archived()? {
            return Ok(());
        }
        match original {
            Some(text) => self.write(&self.archived_config, text.as_bytes()),
            None => remove_if_there(&self.outputs.join(&self.archived_config)),
        }
    }

    /// Replaces a `.git` that is a file by the folder that it names. At every moment one of the two is there.
    ///
    /// A work tree keeps its file: its folder cannot stand alone. A failure leaves all as it was.
    pub(super) fn complete_git_folder(&self) -> Result<(), RunnerError> {
        if !self.owns_source() {
            return Ok(());
        }
        let (git, copy) = (self.source.join(".git"), self.source.join(format!(".git{UNFINISHED}")));
        // What an earlier run left: an unfinished copy, or the file that was exchanged for the copy.
        remove_all(&copy).map_err(RunnerError::file("remove", &copy))?;
        let Ok(pointer) = fs::read_to_string(&git) else { return Ok(()) };
        let Some(folder) = pointer.strip_prefix("gitdir:").map(|rest| self.source.join(rest.trim())) else {
            return Ok(());
        };
        if !folder.is_dir() || folder.join("commondir").exists() {
            return Ok(());
        }
        copy_folder(&folder, &copy).map_err(RunnerError::file("copy", &folder))?;
        exchange(&copy, &git).map_err(RunnerError::file("replace", &git))?;
        remove_all(&copy).map_err(RunnerError::file("remove", &copy))
    }

    /// Makes a name for a source without history from all of its content.
    pub(super) fn content_hash(&self) -> Result<String, RunnerError> {
        let mut hash = Sha256::new();
        let leave = |path: &Path| path == Path::new(".git") || self.apart.iter().any(|apart| apart == path);
        hash_folder(&self.source, Path::new(""), &leave, &mut hash).map_err(RunnerError::file("read", &self.source))?;
        // As long as the name of a commit, which is what readers expect.
        Ok(hex::encode(hash.finalize()).split_off(24))
    }
}

fn remove_if_there(path: &Path) -> Result<(), RunnerError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RunnerError::file("remove", path)(error)),
        _ => Ok(()),
    }
}

fn remove_all(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Exchanges two paths at once; where the file system cannot, one after the other.
fn exchange(new: &Path, old: &Path) -> io::Result<()> {
    if renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE).is_ok() {
        return Ok(());
    }
    let aside = new.with_extension("old");
    fs::rename(old, &aside)?;
    fs::rename(new, old)?;
    remove_all(&aside)
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

fn hash_folder(root: &Path, below: &Path, leave: &dyn Fn(&Path) -> bool, hash: &mut Sha256) -> io::Result<()> {
    let mut entries = fs::read_dir(root.join(below))?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (kind, path) = (entry.file_type()?, below.join(entry.file_name()));
        if leave(&path) || entry.file_name().to_string_lossy().ends_with(UNFINISHED) {
            continue;
        }
        let mut part = |kind: &[u8], content: &[u8]| {
            let name = path.as_os_str().as_encoded_bytes();
            for bytes in [kind, name, content] {
                hash.update((bytes.len() as u64).to_be_bytes());
                hash.update(bytes);
            }
        };
        if kind.is_dir() {
            part(b"folder", b"");
            hash_folder(root, &path, leave, hash)?;
        } else if kind.is_symlink() {
            part(b"link", fs::read_link(entry.path())?.as_os_str().as_encoded_bytes());
        } else if kind.is_file() {
            part(b"file", &fs::read(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn workspace(source: &Path) -> Workspace {
        let variables: BTreeMap<String, String> =
            [("APPNAME", "shop"), ("CODEBUILD_BUILD_ID", "shop:1"), ("CODEBUILD_BUILD_NUMBER", "1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let environment = CodeBuildEnvironment::read(&variables).unwrap();
        let settings = RunnerSettings::in_codebuild(
            variables,
            source.to_path_buf(),
            source.to_path_buf(),
            crate::domain::catalogue::Catalogue::default(),
        );
        Workspace::new(&settings, &environment)
    }

    #[test]
    fn a_git_file_becomes_the_folder_that_it_names() {
        let root = tempfile::tempdir().unwrap();
        let (source, elsewhere) = (root.path().join("src"), root.path().join("elsewhere"));
        fs::create_dir_all(elsewhere.join("refs/heads")).unwrap();
        fs::create_dir(&source).unwrap();
        fs::write(elsewhere.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        fs::write(source.join(".git"), "gitdir: ../elsewhere\n").unwrap();
        fs::create_dir(source.join(".git.packhorse-unfinished")).unwrap();
        for _ in 0..2 {
            workspace(&source).complete_git_folder().unwrap();
            assert_eq!(fs::read_to_string(source.join(".git/HEAD")).unwrap(), "ref: refs/heads/main\n");
            assert!(source.join(".git/refs/heads").is_dir());
            assert_eq!(fs::read_dir(&source).unwrap().count(), 1);
            assert!(elsewhere.join("HEAD").exists());
        }
    }

    #[test]
    fn a_git_file_that_leads_nowhere_or_to_a_work_tree_stays() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(".git"), "gitdir: /nowhere/at/all").unwrap();
        workspace(root.path()).complete_git_folder().unwrap();
        assert!(root.path().join(".git").is_file());
        let tree = root.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("commondir"), "../..").unwrap();
        fs::write(root.path().join(".git"), "gitdir: tree").unwrap();
        workspace(root.path()).complete_git_folder().unwrap();
        assert!(root.path().join(".git").is_file());
    }

    #[test]
    fn an_archived_config_gives_way_to_the_users() {
        let root = tempfile::tempdir().unwrap();
        let (workspace, config) = (workspace(root.path()), root.path().join("apppack.toml"));
        let archived = format!("{}\n[build]\n", effective::HEADER);
        fs::write(&config, &archived).unwrap();
        workspace.restore_config(Some("# mine\n")).unwrap();
        assert_eq!(fs::read_to_string(&config).unwrap(), "# mine\n");
        workspace.restore_config(None).unwrap();
        assert!(config.exists(), "the user's own file is never removed");
        fs::write(&config, &archived).unwrap();
        workspace.restore_config(None).unwrap();
        assert!(!config.exists());
    }

    #[test]
    fn a_source_without_history_is_named_by_its_content() {
        let root = tempfile::tempdir().unwrap();
        let hash = || workspace(root.path()).content_hash().unwrap();
        fs::write(root.path().join("a"), "bc").unwrap();
        let first = hash();
        assert_eq!((first.len(), hash()), (40, first.clone()));
        fs::create_dir(root.path().join(".git")).unwrap();
        assert_eq!(hash(), first);
        fs::create_dir(root.path().join(".packhorse")).unwrap();
        fs::write(root.path().join(".packhorse/state.db"), "secrets").unwrap();
        assert_eq!(hash(), first);
        assert!(workspace(root.path()).not_of_the_app([]).contains(&"/.packhorse".to_owned()));
        fs::write(root.path().join("a"), "b").unwrap();
        assert_ne!(hash(), first);
    }

    #[test]
    fn what_lies_apart_is_no_part_of_the_app_nor_of_its_name() {
        let root = tempfile::tempdir().unwrap();
        let mut workspace = workspace(root.path());
        fs::write(root.path().join("a"), "b").unwrap();
        let before = workspace.content_hash().unwrap();
        fs::create_dir(root.path().join(".packhorse")).unwrap();
        fs::write(root.path().join(".packhorse/state.db"), "secret").unwrap();
        fs::write(root.path().join(".env"), "secret").unwrap();
        assert_ne!(workspace.content_hash().unwrap(), before);
        workspace.apart = vec![".packhorse".into(), ".env".into()];
        assert_eq!(workspace.content_hash().unwrap(), before);
        let patterns = workspace.not_of_the_app([]);
        assert!(["/.packhorse", "/.env"].iter().all(|pattern| patterns.iter().any(|known| known == pattern)));
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing_unfinished() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("build.log")).unwrap();
        let error = workspace(root.path()).write("build.log", b"line\n").unwrap_err();
        assert!(error.cause().starts_with(&format!("could not write `{}/build.log`: ", root.path().display())));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn placeholders_replace_nothing() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("build.log"), "line\n").unwrap();
        workspace(root.path()).write_placeholders().unwrap();
        assert_eq!(fs::read_to_string(root.path().join("build.log")).unwrap(), "line\n");
        for name in ["test.log", "metadata.toml", "apppack.toml"] {
            assert_eq!(fs::read_to_string(root.path().join(name)).unwrap(), "");
        }
    }
}
