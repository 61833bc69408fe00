//! One `up` per state folder: a later one hands its build over to the first and ends with its result.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// How a pipeline run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The build's number.
    pub build: u64,
    /// Where the app answers, when it was deployed.
    pub url: Option<String>,
    /// The phase that failed.
    pub phase: Option<String>,
    /// What happened there.
    pub cause: Option<String>,
}

/// What the first `up` of a folder holds.
pub struct Holder {
    listener: UnixListener,
    socket: PathBuf,
    _lock: File,
}

/// What `up` is in its folder.
pub enum Standing {
    /// The first: it builds, and serves those that come later.
    First(Holder),
    /// A later one, connected to the first.
    Later(UnixStream),
}

impl Standing {
    /// Finds out, in a folder of its own for this state. A crashed `up` leaves nothing that matters: its lock went with
    /// it, and its socket is made anew.
    ///
    /// # Errors
    /// Fails when the folder cannot be written, or the first `up` does not answer.
    pub async fn take(folder: &Path) -> io::Result<Self> {
        let lock = OpenOptions::new().create(true).append(true).open(folder.join("up.lock"))?;
        let socket = folder.join("up.sock");
        match lock.try_lock() {
            Ok(()) => {
                match std::fs::remove_file(&socket) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
                let listener = UnixListener::bind(&socket)?;
                Ok(Self::First(Holder { listener, socket, _lock: lock }))
            }
            Err(TryLockError::WouldBlock) => Ok(Self::Later(UnixStream::connect(&socket).await?)),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Holder {
    /// Waits for another `up` that asks for a build.
    ///
    /// # Errors
    /// Fails when the socket does.
    pub async fn asked(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The next `up` removes it too, should this fail.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Tells the `up` that asked how its build ended.
///
/// # Errors
/// Fails when it went away.
pub async fn answer(stream: &mut UnixStream, outcome: &Outcome) -> io::Result<()> {
    let mut line = serde_json::to_vec(outcome)?;
    line.push(b'\n');
    stream.write_all(&line).await
}

/// Waits for the result of the build that was handed over; nothing when the first `up` ended before it.
///
/// # Errors
/// Fails when the answer cannot be read.
pub async fn result(stream: UnixStream) -> io::Result<Option<Outcome>> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await?;
    if line.is_empty() { Ok(None) } else { Ok(Some(serde_json::from_str(&line)?)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_later_up_ends_with_the_result_of_its_build() {
        let folder = tempfile::tempdir().unwrap();
        let Standing::First(first) = Standing::take(folder.path()).await.unwrap() else {
            panic!("nobody else is here")
        };
        let Standing::Later(later) = Standing::take(folder.path()).await.unwrap() else { panic!("the first holds it") };
        let outcome =
            Outcome { build: 2, url: None, phase: Some("test".to_owned()), cause: Some("it broke".to_owned()) };
        let mut asked = first.asked().await.unwrap();
        answer(&mut asked, &outcome).await.unwrap();
        assert_eq!(result(later).await.unwrap(), Some(outcome));
    }

    #[tokio::test]
    async fn the_next_up_after_a_crash_is_the_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("up.sock"), "left behind").unwrap();
        assert!(matches!(Standing::take(folder.path()).await.unwrap(), Standing::First(_)));
        assert!(matches!(Standing::take(folder.path()).await.unwrap(), Standing::First(_)));
    }
}
