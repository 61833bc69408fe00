//! Where buildpacks run without Docker: root filesystems of builders, namespaces over them, or in place.

pub mod account;
pub mod executor;
mod helper;
mod order;
mod refusal;
pub mod rootfs;
mod work;
pub mod workplace;

use std::io;
use std::path::Path;

pub use executor::{Janitor, Sandbox, Shared, Users};
pub use helper::entrance;
pub(in crate::adapters) use work::beside;
pub(in crate::adapters) use workplace::Emptied;
pub use workplace::Workplace;

/// Removes a folder with all that is below, whatever modes folders have. One that is not there is no error.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    match rootfs::remove_path(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
