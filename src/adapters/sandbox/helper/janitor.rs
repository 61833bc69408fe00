//! Removes the folders of a build whose packhorse was killed.

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

/// How often removal is tried: processes of the build end at the same time as the lifeline, and may still write.
const ATTEMPTS: u32 = 200;
const PAUSE: Duration = Duration::from_millis(25);

/// Waits for the end of standard input, then removes what is left of these folders.
pub(super) fn wait_and_remove(folders: &[OsString]) {
    // Signals for packhorse's group, such as a terminal's, are not for this process.
    let _ = rustix::process::setsid();
    let mut byte = [0];
    while matches!(io::stdin().read(&mut byte), Ok(1..)) {}
    for folder in folders {
        for _ in 0..ATTEMPTS {
            if crate::adapters::sandbox::remove_tree(Path::new(folder)).is_ok() {
                break;
            }
            std::thread::sleep(PAUSE);
        }
    }
}
