//! Where programs lie.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Finds a program as starting it would: a name in the folders of `PATH`, a path as it stands.
pub fn find(program: &OsStr) -> Option<PathBuf> {
    let name = Path::new(program);
    if name.components().count() > 1 {
        return Some(name.to_owned()).filter(|path| is_program(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

/// Tells whether this is a file that somebody may run.
pub fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_looked_for_in_path_and_a_path_is_taken_as_it_stands() {
        let shell = find(OsStr::new("sh")).unwrap();
        assert_eq!(find(shell.as_os_str()), Some(shell));
        let folder = tempfile::tempdir().unwrap();
        for missing in [folder.path().to_owned(), folder.path().join("sh"), "no-such-program".into()] {
            assert_eq!(find(missing.as_os_str()), None);
        }
    }
}
