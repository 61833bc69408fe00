//! Sets up where tests run: the exported layers where they lie in the app image, read back from where the image was pushed.
//!
//! What buildpacks left in the folders of their build is not what was exported: there are layers that only builds use, and layers
//! that were used again without ever lying there. So the layers come from the image, and each is checked by its digest.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret as _;

use crate::adapters::private_folder::PrivateFolder;
use crate::adapters::sandbox::account::{Account, AccountError};
use crate::adapters::sandbox::rootfs::{Limits, Over, Owners, RootStore, RootfsError};
use crate::adapters::sandbox::{Emptied, Janitor, Sandbox, Shared, Users};
use crate::image::lifecycle_label::{self, LabelError};
use crate::image::{ImageConfig, ImageError, ImageReference, ImageSource, Platform, ReferenceError, SourceImage};
use crate::lifecycle::Program;
use crate::ports::failure::Failure;
use crate::ports::test_bed::TestRun;

/// The folders that buildpacks write, as they are called in every app image.
const FOLDERS: [&str; 2] = ["/layers", "/workspace"];

/// Where tests run without Docker.
#[derive(Debug, Clone)]
pub enum Place {
    /// In the builder image in which packhorse itself runs, as its CNB user.
    BuildImage(Account),
    /// In a sandbox over the files of the app image.
    Sandbox(Users),
}

/// Why tests have no place to run.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("`{name}` is no name of an image")]
    Name {
        name: String,
        #[source]
        source: ReferenceError,
    },
    #[error("there is no image `{0}`")]
    NoImage(ImageReference),
    #[error(transparent)]
    Image(Box<ImageError>),
    #[error("`{0}` was not made by buildpacks, and without Docker only such images can be tested")]
    NotByBuildpacks(ImageReference),
    #[error("`{image}` cannot be told apart from its run image")]
    Label {
        image: ImageReference,
        #[source]
        source: LabelError,
    },
    #[error("the run image of `{0}` is none of its layers")]
    NoRunImage(ImageReference),
    #[error(transparent)]
    Layers(Box<RootfsError>),
    #[error(transparent)]
    User(#[from] AccountError),
    #[error("could not {doing}")]
    Files {
        doing: String,
        #[source]
        source: io::Error,
    },
}

impl From<ImageError> for StageError {
    fn from(error: ImageError) -> Self {
        Self::Image(Box::new(error))
    }
}

impl From<RootfsError> for StageError {
    fn from(error: RootfsError) -> Self {
        match error {
            RootfsError::Image(error) => error.into(),
            error => Self::Layers(Box::new(error)),
        }
    }
}

impl From<StageError> for Failure {
    fn from(error: StageError) -> Self {
        let refused = |error| Self::refused("set up the place of the tests", error);
        match error {
            StageError::Image(error) => match *error {
                ImageError::Registry(error) => error.into(),
                error => refused(StageError::from(error)),
            },
            error => refused(error),
        }
    }
}

fn files(doing: impl Into<String>) -> impl FnOnce(io::Error) -> StageError {
    let doing = doing.into();
    |source| StageError::Files { doing, source }
}

/// A place that is set up; dropped, all that lies there is removed.
pub(super) struct Stage {
    pub(super) sandbox: Sandbox,
    config: ImageConfig,
    home: PathBuf,
    _kept: Kept,
}

/// What is removed with a place.
#[expect(dead_code, reason = "kept for its drop")]
enum Kept {
    /// The build image's own folders.
    InPlace(Emptied),
    /// The janitor gives up its watch once the folder is gone.
    Private(PrivateFolder, Janitor),
}

impl Stage {
    /// Sets it up for an image.
    pub(super) async fn set_up(
        place: &Place,
        helper: &Path,
        source: &dyn ImageSource,
        image: &str,
    ) -> Result<Self, StageError> {
        let name: ImageReference =
            image.parse().map_err(|source| StageError::Name { name: image.to_owned(), source })?;
        let found = source.image(&name, &Platform::host()).await?.ok_or_else(|| StageError::NoImage(name.clone()))?;
        found.check()?;
        match place {
            Place::BuildImage(account) => Self::in_place(account, helper, source, &found).await,
            Place::Sandbox(users) => Self::in_sandbox(*users, helper, source, &found).await,
        }
    }

    async fn in_place(
        account: &Account,
        helper: &Path,
        source: &dyn ImageSource,
        image: &SourceImage,
    ) -> Result<Self, StageError> {
        let is_root = rustix::process::geteuid().is_root();
        let wanted = exported(image, is_root)?;
        let emptied = Emptied::take().map_err(files("prepare the folders of the app"))?;
        let spool = tempfile::tempdir().map_err(files("make a folder for downloads"))?;
        let owners = if is_root { Owners::Kept } else { Owners::Own };
        let over = Over { root: Path::new("/"), spool: spool.path(), owners, limits: Limits::default() };
        over.lay(source, image, |layer| wanted.contains(&layer.to_string())).await?;
        let sandbox = Sandbox::in_place(helper, account);
        Ok(Self { sandbox, config: image.config.clone(), home: account.home.clone(), _kept: Kept::InPlace(emptied) })
    }

    async fn in_sandbox(
        users: Users,
        helper: &Path,
        source: &dyn ImageSource,
        image: &SourceImage,
    ) -> Result<Self, StageError> {
        let made = || files("make a folder for the files of the tests");
        Sandbox::try_out(helper, users).await.map_err(files("make a sandbox"))?;
        // On disk: memory has no room for an image, and runs no programs.
        let private = PrivateFolder::within(&std::env::temp_dir()).map_err(made())?;
        let janitor = Janitor::over(helper, &[private.path()]).map_err(made())?;
        let owners = if users == Users::All { Owners::Kept } else { Owners::Own };
        // Of its own: tests may write into the app's folder, which no other run is to see.
        let store = RootStore::new(private.path().join("roots"), owners);
        let root = store.get(source, &image.pinned(), &|_| ()).await?;
        let account = Account::of_user(&root.config.config.user, &root.folder)?;
        // The user inside has to get through to what is shared.
        fs::set_permissions(private.path(), Permissions::from_mode(0o711)).map_err(made())?;
        let mut shared = Vec::new();
        for folder in FOLDERS.into_iter().map(Path::new).chain([account.home.as_path()]) {
            let host = root.folder.join(folder.strip_prefix("/").unwrap_or(folder));
            // A link would lead to the machine's own files.
            if fs::symlink_metadata(&host).is_ok_and(|found| found.is_dir()) && folder.parent().is_some() {
                shared.push(Shared { host, inside: folder.to_owned(), writable: true });
            }
        }
        for folder in ["tmp", "var/tmp"] {
            let host = private.path().join(folder.replace('/', "-"));
            fs::create_dir(&host).map_err(made())?;
            fs::set_permissions(&host, Permissions::from_mode(0o1777)).map_err(made())?;
            shared.push(Shared { host, inside: Path::new("/").join(folder), writable: true });
        }
        let home = account.home.clone();
        let sandbox = Sandbox::over(helper, &root.folder, account, users, &shared);
        Ok(Self { sandbox, config: root.config, home, _kept: Kept::Private(private, janitor) })
    }

    /// The program that runs the tests, with the variables that a container of the image would have.
    pub(super) fn program(&self, argv: Vec<String>, run: &TestRun) -> Program {
        let of_image = self.config.config.env.iter().filter_map(|pair| pair.split_once('='));
        let mut env: BTreeMap<OsString, OsString> = of_image.map(|(name, value)| (name.into(), value.into())).collect();
        env.entry("HOME".into()).or_insert_with(|| self.home.clone().into());
        env.extend(run.env.iter().map(|(name, value)| (name.into(), value.expose_secret().into())));
        let folder = Some(self.config.config.working_dir.as_str()).filter(|folder| !folder.is_empty());
        Program { argv: argv.into_iter().map(OsString::from).collect(), env, working_dir: folder.unwrap_or("/").into() }
    }
}

/// Names the layers above the run image, by the digests of their archives.
///
/// Only root may write below `/cnb`. For others the launcher is that of the build image, which is where it came from.
fn exported(image: &SourceImage, with_launcher: bool) -> Result<HashSet<String>, StageError> {
    let name = || image.reference.clone();
    let label = lifecycle_label::read(&image.config).map_err(|error| match error {
        LabelError::Missing => StageError::NotByBuildpacks(name()),
        source @ LabelError::Json(_) => StageError::Label { image: name(), source },
    })?;
    let all = &image.config.rootfs.diff_ids;
    let top = all.iter().position(|layer| *layer == label.run_image.top_layer);
    let top = top.ok_or_else(|| StageError::NoRunImage(name()))?;
    let below_cnb = [&label.launcher.sha, &label.process_types.sha];
    let above = all.iter().skip(top + 1).map(ToString::to_string);
    Ok(above.filter(|layer| with_launcher || !below_cnb.contains(&layer)).collect())
}
