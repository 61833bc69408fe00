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
    #[error("the builder wants buildpacks to run as root, which the lifecycle refuses")]
    Root,
    /// The user has no entry.
    #[error("user {0} has no entry in the builder's `/etc/passwd`")]
    NoEntry(u32),
    /// The list cannot be read.
    #[error("the builder's `/etc/passwd` cannot be read")]
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
        let users = read_inside(root, Path::new("etc/passwd")).map_err(AccountError::Unreadable)?;
        find(&users, uid).map(|(name, home)| Self { uid, gid, name, home }).ok_or(AccountError::NoEntry(uid))
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

fn find(users: &[u8], uid: u32) -> Option<(String, PathBuf)> {
    users.split(|byte| *byte == b'\n').find_map(|line| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
        let [name, _, number, _, _, home, ..] = fields.as_slice() else { return None };
        let number: u32 = std::str::from_utf8(number).ok()?.parse().ok()?;
        let home = PathBuf::from(OsString::from_vec(home.to_vec()));
        (number == uid).then(|| (String::from_utf8_lossy(name).into_owned(), home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_entry_of_the_user_counts() {
        let users = b"root:x:0:0:root:/root:/bin/bash\nbroken\ncnb:x:1000:1000::/home/cnb:/bin/bash\nb:x:1000:1:::\n";
        assert_eq!(find(users, 1000), Some(("cnb".to_owned(), PathBuf::from("/home/cnb"))));
        assert_eq!(find(users, 7), None);
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
