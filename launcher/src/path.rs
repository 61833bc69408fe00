//! Paths, and the folders and programs at them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::failure::{Cause, Result};
use crate::system;

/// Joins two paths, without `.`, `..` and doubled slashes; links count for nothing.
pub fn join(folder: &Path, below: impl AsRef<Path>) -> PathBuf {
    let mut joined = PathBuf::new();
    for part in folder.join(below).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if joined.file_name().is_some_and(|name| name != "..") => {
                joined.pop();
            }
            Component::ParentDir if joined.has_root() => {}
            part => joined.push(part),
        }
    }
    joined
}

/// Makes a folder the one in which this process is.
pub fn change_to(folder: &Path) -> Result<()> {
    std::env::set_current_dir(folder).map_err(|error| Cause::of_path("chdir", folder, &error))
}

/// Lists a folder by name; a folder that does not exist is empty.
pub fn list(folder: &Path) -> Result<Vec<(OsString, FileType)>> {
    let read = || -> io::Result<Vec<_>> {
        let mut all = fs::read_dir(folder)?
            .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))))
            .collect::<io::Result<Vec<_>>>()?;
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(all)
    };
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(|error| Cause::of_path("open", folder, &error)),
    }
}

/// Reads a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let mut file = fs::File::open(path).map_err(|error| Cause::of_path("open", path, &error))?;
    file.read_to_end(&mut content).map_err(|error| Cause::of_path("read", path, &error))?;
    Ok(content)
}

/// Tells whether anything is at a path; a link that leads nowhere is nothing.
pub fn exists(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Cause::of_path("stat", path, &error)),
    }
}

/// Finds a program: where its name says, or in the folders of a `PATH`.
pub fn find_program(name: &OsStr, path: &OsStr) -> Result<PathBuf> {
    let failed = |cause: &str| Cause::new(format!("exec: {:?}: {cause}", name.display().to_string()));
    let missing = || failed("executable file not found in $PATH");
    if ["", ".", ".."].iter().any(|no_program| name == *no_program) {
        return Err(missing());
    }
    if name.as_bytes().contains(&b'/') {
        let program = PathBuf::from(name);
        return is_program(&program).map(|()| program).map_err(|Cause(cause)| failed(&cause));
    }
    let folders = path.as_bytes().split(|byte| *byte == b':').filter(|_| !path.is_empty());
    let found = folders
        .map(|folder| if folder.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(folder)) })
        .map(|folder| join(folder, name))
        .find(|program| is_program(program).is_ok());
    match found {
        // Whoever can write into the app's folder would decide what runs.
        Some(program) if program.is_relative() => {
            Err(failed("cannot run executable found relative to current directory"))
        }
        Some(program) => Ok(program),
        None => Err(missing()),
    }
}

fn is_program(path: &Path) -> Result<()> {
    let metadata = fs::metadata(path).map_err(|error| Cause::of_path("stat", path, &error))?;
    if metadata.is_dir() {
        return Err(Cause::new("is a directory"));
    }
    Ok(system::may_execute(path)?)
}
