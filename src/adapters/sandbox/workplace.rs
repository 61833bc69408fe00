//! All that one build needs around its buildpacks: folders under both of their names, secrets in memory, and who runs programs.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use secrecy::{ExposeSecret as _, SecretString};

use super::account::Account;
use super::executor::{Janitor, Sandbox, Shared, Users};
use super::remove_tree;
use super::rootfs::Rootfs;
use crate::adapters::private_folder::PrivateFolder;
use crate::lifecycle::{Folder, Folders, Owner};

/// The name of a certificate bundle in the platform folder.
const CERTIFICATES: &str = "ca-certificates.crt";
/// The name of the folder with added buildpacks there.
const BUILDPACKS: &str = "buildpacks";

/// The folders of one build, and what runs its programs. Dropped, all of it is removed; also when packhorse is killed.
pub struct Workplace {
    folders: Folders,
    sandbox: Sandbox,
    account: Account,
    spool: PathBuf,
    _emptied: Option<Emptied>,
    _root: Option<Rootfs>,
    // In this order: the janitor gives up its watch once the folders are gone.
    _private: PrivateFolder,
    _build: PrivateFolder,
    _janitor: Janitor,
}

impl Workplace {
    /// A sandbox over a builder's files, with the folders of the build below `cache`.
    pub fn over(rootfs: &Rootfs, account: Account, helper: &Path, cache: &Path, users: Users) -> io::Result<Self> {
        let builds = cache.join("builds");
        DirBuilder::new().recursive(true).mode(0o700).create(&builds)?;
        let build = PrivateFolder::within(&builds)?;
        let private = PrivateFolder::new()?;
        let janitor = Janitor::over(helper, &[build.path(), private.path()])?;
        let owner = (users == Users::All).then_some(Owner { uid: account.uid, gid: account.gid });
        let own = |name: &str, inside: &Path| -> io::Result<Folder> {
            Ok(Folder::new(inside, owned(build.path().join(name), 0o755, owner)?))
        };
        let app = own("workspace", Path::new("/workspace"))?;
        let layers = own("layers", Path::new("/layers"))?;
        let temporary = Folder::new("/tmp", owned(build.path().join("tmp"), 0o1777, None)?);
        let more = Folder::new("/var/tmp", owned(build.path().join("var-tmp"), 0o1777, None)?);
        let platform = Folder::new("/platform", owned(private.path().join("platform"), 0o755, None)?);
        owned(platform.host.join("env"), 0o755, None)?;
        let spool = owned(build.path().join("spool"), 0o700, None)?;
        // Mounted there, as programs need not fit into memory.
        owned(platform.host.join(BUILDPACKS), 0o755, None)?;
        let added = Folder::new(platform.inside.join(BUILDPACKS), owned(build.path().join(BUILDPACKS), 0o755, None)?);
        let writable =
            |folder: &Folder| Shared { host: folder.host.clone(), inside: folder.inside.clone(), writable: true };
        let mut shared: Vec<Shared> = [&app, &layers, &temporary, &more].map(writable).to_vec();
        shared.extend([&platform, &added].map(|folder| Shared { writable: false, ..writable(folder) }));
        // A home in one of these folders is there already, and one that is the root is nobody's.
        let is_apart =
            |home: &Path| home.parent().is_some() && !shared.iter().any(|folder| home.starts_with(&folder.inside));
        if is_apart(&account.home) {
            shared.push(writable(&own("home", &account.home)?));
        }
        let folders = Folders {
            root: Folder::new("/", &rootfs.folder),
            app,
            layers,
            platform,
            cnb: Folder::new("/cnb", rootfs.folder.join("cnb")),
            added: Some(added),
            scratch: temporary,
            owner,
        };
        let sandbox = Sandbox::over(helper, &rootfs.folder, account.clone(), users, &shared);
        Ok(Self {
            folders,
            sandbox,
            account,
            spool,
            _emptied: None,
            _root: Some(rootfs.clone()),
            _private: private,
            _build: build,
            _janitor: janitor,
        })
    }

    /// The builder image in which packhorse itself runs: `/workspace` and `/layers` are the image's own, which must be empty, and
    /// are emptied afterwards. A killed build leaves them as they are for the next one.
    ///
    /// As root, what is made there is given to the CNB user, and only that user and root see the secrets.
    pub fn in_place(account: Account, helper: &Path) -> io::Result<Self> {
        let emptied = Some(Emptied::take()?);
        // Memory has little room in a container, and runs no programs.
        let (private, build) = (PrivateFolder::new()?, PrivateFolder::within(&std::env::temp_dir())?);
        let janitor = Janitor::over(helper, &[build.path(), private.path()])?;
        let owner = rustix::process::geteuid().is_root().then_some(Owner { uid: account.uid, gid: account.gid });
        for folder in owner.iter().flat_map(|_| [private.path(), build.path()]) {
            rustix::fs::chown(folder, None, Some(Gid::from_raw(account.gid)))?;
            fs::set_permissions(folder, Permissions::from_mode(0o710))?;
        }
        let platform = owned(private.path().join("platform"), 0o755, None)?;
        owned(platform.join("env"), 0o755, None)?;
        let scratch = owned(build.path().join("scratch"), 0o755, owner)?;
        let spool = owned(build.path().join("spool"), 0o700, None)?;
        let added = Some(Folder::in_place(owned(build.path().join(BUILDPACKS), 0o755, None)?));
        let folders = Folders { platform: Folder::in_place(platform), added, ..Folders::in_place(scratch, owner) };
        let sandbox = Sandbox::in_place(helper, &account);
        Ok(Self {
            folders,
            sandbox,
            account,
            spool,
            _emptied: emptied,
            _root: None,
            _private: private,
            _build: build,
            _janitor: janitor,
        })
    }

    /// The folders.
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// What runs programs.
    pub fn executor(&self) -> &Sandbox {
        &self.sandbox
    }

    /// As whom buildpacks run.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// A folder on disk for the engine's own files, which buildpacks do not see.
    pub fn spool(&self) -> &Path {
        &self.spool
    }

    /// Hands a variable to the buildpacks, as a file in memory.
    pub fn set_variable(&self, name: &str, value: &SecretString) -> io::Result<()> {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        readable(&self.folders.platform.host.join("env").join(name), value.expose_secret().as_bytes())
    }

    /// Hands over certificate authorities and returns the path by which programs find them. No part of any image.
    pub fn trust(&self, bundle: &Path) -> io::Result<PathBuf> {
        let folder = self.folders.platform.join(CERTIFICATES);
        readable(&folder.host, &fs::read(bundle)?)?;
        Ok(folder.inside)
    }
}

/// The image's own folders in which a build works in place.
const OWN: [&str; 2] = ["/workspace", "/layers"];
/// What tells that what lies there is a build's.
const MARK: &str = "/layers/.packhorse";

/// The image's own folders, empty. Dropped, they are emptied again.
pub(in crate::adapters) struct Emptied;

impl Emptied {
    pub(in crate::adapters) fn take() -> io::Result<Self> {
        if !Path::new(MARK).exists() {
            for folder in OWN {
                if fs::read_dir(folder)?.next().is_some() {
                    return Err(io::Error::other(format!(
                        "`{folder}` is not empty, and it is where an app is built in place: move what is there elsewhere"
                    )));
                }
            }
            fs::write(MARK, "")?;
        }
        Self::empty()?;
        Ok(Self)
    }

    fn empty() -> io::Result<()> {
        for folder in OWN {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path != Path::new(MARK) {
                    remove_tree(&path)?;
                }
            }
        }
        Ok(())
    }
}

impl Drop for Emptied {
    fn drop(&mut self) {
        if Self::empty().is_ok() {
            let _ = fs::remove_file(MARK);
        }
    }
}

/// Makes a folder with exactly this mode.
fn owned(path: PathBuf, mode: u32, owner: Option<Owner>) -> io::Result<PathBuf> {
    fs::create_dir(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(mode))?;
    if let Some(Owner { uid, gid }) = owner {
        rustix::fs::chown(&path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    Ok(path)
}

/// Writes a file that the CNB user can read; the folder above keeps others away.
fn readable(path: &Path, content: &[u8]) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, Permissions::from_mode(0o444))
}
