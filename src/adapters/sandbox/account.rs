//! The CNB user of a builder image: as whom buildpacks run.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::image::ImageConfig;

/// The user and group as whom buildpacks run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's number, never 0.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The user's name.
    pub name: String,
    /// The user's home.
    pub home: PathBuf,
}

/// Why there is no user to run buildpacks as.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The image does not say.
    #[error("the builder does not set `{0}` to a number: it is no builder image")]
    Variable(&'static str),
    /// The specification forbids it.
    #[error("the image is to run as root, which buildpacks and what they make never do")]
    Root,
    /// The user has no entry.
    #[error("user {0} has no entry in the image's `/etc/passwd`")]
    NoEntry(u32),
    /// The user has no entry.
    #[error("user `{0}` has no entry in the image's `/etc/passwd`")]
    NoName(String),
    /// The list cannot be read.
    #[error("the image's `/etc/passwd` cannot be read")]
    Unreadable(#[source] io::Error),
}

impl Account {
    /// Finds the user that an image's variables name in its `/etc/passwd`, below `root`.
    pub fn of_image(config: &ImageConfig, root: &Path) -> Result<Self, AccountError> {
        Self::of_variables(|name| config.env(name).map(str::to_owned), root)
    }

    /// Finds the user that `CNB_USER_ID` and `CNB_GROUP_ID` name, as `lookup` tells them.
    pub fn of_variables(lookup: impl Fn(&str) -> Option<String>, root: &Path) -> Result<Self, AccountError> {
        let number = |name| lookup(name).and_then(|text| text.parse().ok()).ok_or(AccountError::Variable(name));
        let (uid, gid) = (number("CNB_USER_ID")?, number("CNB_GROUP_ID")?);
        if uid == 0 {
            return Err(AccountError::Root);
        }
        let entry = entries(root)?.into_iter().find(|entry| entry.uid == uid).ok_or(AccountError::NoEntry(uid))?;
        Ok(Self { gid, ..entry })
    }

    /// Finds the user that an image is to run as, `user` or `user:group` by name or number, in its `/etc/passwd` below `root`.
    ///
    /// A group by name is not looked up; the user's own is taken.
    pub fn of_user(user: &str, root: &Path) -> Result<Self, AccountError> {
        let (user, group) = user.split_once(':').unwrap_or((user, ""));
        let number: Option<u32> = user.parse().ok();
        let is_it = |entry: &Self| number.map_or(entry.name == user, |uid| entry.uid == uid);
        if user.is_empty() || number == Some(0) {
            return Err(AccountError::Root);
        }
        let unknown = || number.map_or_else(|| AccountError::NoName(user.to_owned()), AccountError::NoEntry);
        let entry = entries(root)?.into_iter().find(is_it).ok_or_else(unknown)?;
        if entry.uid == 0 {
            return Err(AccountError::Root);
        }
        let gid = group.parse().unwrap_or(entry.gid);
        Ok(Self { gid, ..entry })
    }
}

/// Reads a file of a root filesystem, links followed as inside.
fn read_inside(root: &Path, path: &Path) -> io::Result<Vec<u8>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    use std::io::Read as _;
    let root = rustix::fs::openat(CWD, root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(1 << 20).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn entries(root: &Path) -> Result<Vec<Account>, AccountError> {
    let users = read_inside(root, Path::new("etc/passwd")).map_err(AccountError::Unreadable)?;
    Ok(users.split(|byte| *byte == b'\n').filter_map(entry).collect())
}

fn entry(line: &[u8]) -> Option<Account> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
    let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let home = PathBuf::from(OsString::from_vec(home.to_vec()));
    Some(Account { uid: number(uid)?, gid: number(gid)?, name: String::from_utf8_lossy(name).into_owned(), home })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let users = "root:x:0:0:root:/root:/bin/bash\nbroken\ncnb:x:1000:7::/home/cnb:/bin/bash\nb:x:1000:1:::\n";
        std::fs::create_dir(root.path().join("etc")).unwrap();
        std::fs::write(root.path().join("etc/passwd"), users).unwrap();
        root
    }

    #[test]
    fn the_first_entry_of_the_user_counts() {
        let root = root();
        let lookup = |name: &str| Some(if name == "CNB_USER_ID" { "1000" } else { "1001" }.to_owned());
        let cnb = |gid| Account { uid: 1000, gid, name: "cnb".to_owned(), home: "/home/cnb".into() };
        assert_eq!(Account::of_variables(lookup, root.path()).unwrap(), cnb(1001));
        let missing = Account::of_variables(|_| Some("7".to_owned()), root.path());
        assert!(matches!(missing, Err(AccountError::NoEntry(7))));
    }

    #[test]
    fn an_image_names_its_user_in_four_ways() {
        let root = root();
        for (user, gid) in [("1000", 7), ("1000:1002", 1002), ("cnb", 7), ("cnb:users", 7)] {
            let found = Account::of_user(user, root.path()).unwrap();
            assert_eq!((found.uid, found.gid, found.name.as_str()), (1000, gid, "cnb"), "{user}");
        }
        for user in ["", "0", "root", "root:1000"] {
            assert!(matches!(Account::of_user(user, root.path()), Err(AccountError::Root)), "{user}");
        }
        assert!(matches!(Account::of_user("x", root.path()), Err(AccountError::NoName(_))));
    }

    #[test]
    fn an_image_that_is_no_builder_is_told_from_one_that_wants_root() {
        let lookup =
            |uid: &'static str| move |name: &str| (name == "CNB_USER_ID" || uid == "0").then(|| uid.to_owned());
        let nowhere = Path::new("/nowhere");
        assert!(matches!(Account::of_variables(|_| None, nowhere), Err(AccountError::Variable("CNB_USER_ID"))));
        assert!(matches!(Account::of_variables(lookup("1000"), nowhere), Err(AccountError::Variable("CNB_GROUP_ID"))));
        assert!(matches!(Account::of_variables(lookup("0"), nowhere), Err(AccountError::Root)));
    }
}
