//! What the commands of one build tell each other: one private file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::RunnerError;
use super::metadata::BuildMetadata;

/// What is known of a build so far. Values of variables are in it, so it is readable by its user alone.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    /// Where `prebuild` got to.
    pub prebuild: Prebuild,
    /// How often `build` began; each has a candidate tag of its own.
    pub attempt: u32,
    /// Whether the app's lane is told of this build.
    pub lane: LaneUse,
    /// What was said once and is not said again.
    pub told: BTreeSet<String>,
    /// The commit.
    pub commit: String,
    /// The config file as the user wrote it; the archived one takes its place at the end of `build`.
    pub config: Option<Original>,
    /// The variables by which tests reach their add-ons.
    pub addon_env: BTreeMap<String, String>,
    /// Whether something of the test bed may still be there.
    pub test_bed: bool,
    /// The image, once it is made.
    pub image: Option<MadeImage>,
    /// The files that the runner has put into the source, which are not part of the app.
    pub written: BTreeSet<String>,
    /// What `build.json` will say.
    pub metadata: BuildMetadata,
}

/// Where `prebuild` got to.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub(super) enum Prebuild {
    /// It has not come to an end.
    #[default]
    Unfinished,
    /// There is something to build.
    Ready,
    /// There is nothing to build.
    Skipped,
    /// It failed; `build` says so where clients look.
    Failed {
        /// On one line.
        cause: String,
        /// In full.
        text: String,
    },
}

/// Whether the app's lane is told of this build.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LaneUse {
    /// Nobody has asked yet.
    #[default]
    Unknown,
    /// It is.
    Told,
    /// There is none, or it may not be used: the build goes on as if there were none.
    Absent,
}

/// A file of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Original {
    /// What it said; nothing when it was not there.
    pub text: Option<String>,
}

/// The image of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct MadeImage {
    /// The tag under which it was made.
    pub candidate: String,
    /// Its digest, or its id in the daemon.
    pub digest: String,
}

/// The private folder of one build.
#[derive(Debug, Clone)]
pub(super) struct StateDir(PathBuf);

const FILE: &str = "state.json";

impl StateDir {
    /// Opens the folder of a build and makes it if need be.
    ///
    /// Its name can be guessed, so one that somebody else made first, or that others can read, is refused.
    pub(super) fn open(root: &Path, build_id: &str) -> Result<Self, RunnerError> {
        fs::create_dir_all(root).map_err(RunnerError::file("make the folder", root))?;
        let path = root.join(format!("packhorse-{}", hex::encode(&Sha256::digest(build_id.as_bytes())[..12])));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                const OTHERS: u32 = 0o077;
                let found = fs::symlink_metadata(&path).map_err(RunnerError::file("look at", &path))?;
                let ours =
                    found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & OTHERS == 0;
                if !ours {
                    return Err(RunnerError::NotPrivate { path });
                }
            }
            Err(error) => return Err(RunnerError::file("make the folder", &path)(error)),
        }
        Ok(Self(path))
    }

    /// Returns the path of a private file.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Returns what is known of the build, or nothing before its first command.
    pub(super) fn load(&self) -> Result<Option<State>, RunnerError> {
        let path = self.file(FILE);
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|source| RunnerError::DamagedState { path, source }).map(Some)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(RunnerError::file("read", &path)(error)),
        }
    }

    /// Writes what is known; a crash leaves the old file or the new one.
    pub(super) fn save(&self, state: &State) -> Result<(), RunnerError> {
        let path = self.file(FILE);
        let bytes =
            serde_json::to_vec(state).map_err(|source| RunnerError::DamagedState { path: path.clone(), source })?;
        self.write(FILE, &bytes)
    }

    /// Removes what is known, so that no later command takes it for true.
    pub(super) fn forget(&self) -> Result<(), RunnerError> {
        let path = self.file(FILE);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(RunnerError::file("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// Writes a private file as a whole; one that cannot be finished is removed.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunnerError> {
        let (path, temporary) = (self.file(name), self.file(&format!("{name}.new")));
        let write = || {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(bytes)?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&temporary);
            RunnerError::file("write", &path)(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_user_can_read_what_the_commands_tell_each_other() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::open(root.path(), "shop:1").unwrap();
        assert!(dir.load().unwrap().is_none());
        dir.save(&State { attempt: 3, ..State::default() }).unwrap();
        assert_eq!(StateDir::open(root.path(), "shop:1").unwrap().load().unwrap().unwrap().attempt, 3);
        assert!(StateDir::open(root.path(), "shop:2").unwrap().load().unwrap().is_none());
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&dir.0), mode(&dir.file(FILE))), (0o700, 0o600));
    }

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing_unfinished() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::open(root.path(), "shop:1").unwrap();
        fs::create_dir(dir.file(FILE)).unwrap();
        let error = dir.save(&State::default()).unwrap_err();
        assert!(
            error.to_string().contains("could not write `") && error.to_string().ends_with("/state.json`"),
            "{error}"
        );
        assert_eq!(fs::read_dir(&dir.0).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_that_others_can_read_or_that_leads_elsewhere_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateDir::open(root.path(), "shop:1").unwrap();
        fs::set_permissions(&dir.0, fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(StateDir::open(root.path(), "shop:1"), Err(RunnerError::NotPrivate { .. })));
        fs::remove_dir(&dir.0).unwrap();
        std::os::unix::fs::symlink(root.path(), &dir.0).unwrap();
        assert!(matches!(StateDir::open(root.path(), "shop:1"), Err(RunnerError::NotPrivate { .. })));
    }
}
