//! One `up` per state folder: a later one hands its build over to the first and ends with its result; `down` tells the
//! first to end.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt as _, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// How a pipeline run ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The build's number.
    pub build: u64,
    /// Where the app answers, when it was deployed.
    pub url: Option<String>,
    /// The phase that failed.
    pub phase: Option<String>,
    /// What happened there.
    pub cause: Option<String>,
    /// Whether nothing was to be done: the build that is live has the same image and the same configuration.
    #[serde(default)]
    pub unchanged: bool,
}

/// What somebody asks the first `up` for, as one word on a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Build the folder as it is now, and answer with the outcome.
    Build,
    /// End, and close the connection by that.
    Stop,
}

impl Wish {
    fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Stop => "stop",
        }
    }
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

impl Standing {
    /// Becomes the first, after the one that is here was told to end and has ended.
    ///
    /// # Errors
    /// Fails when the folder cannot be written.
    pub async fn take_from_others(folder: &Path) -> io::Result<Holder> {
        loop {
            match Self::take(folder).await {
                Ok(Self::First(holder)) => return Ok(holder),
                Ok(Self::Later(mut first)) => {
                    // It may be on its way out already, and then it does not read any more.
                    let _ = ask(&mut first, Wish::Stop).await;
                    // The end of the connection is all there is to read, in whatever way it comes.
                    let _ = first.read_to_end(&mut Vec::new()).await;
                }
                // Between giving up its socket and its lock.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Holder {
    /// Waits for somebody who asks for something; who asks for nothing that is known is left.
    ///
    /// # Errors
    /// Fails when the socket does.
    pub async fn asked(&self) -> io::Result<(Wish, UnixStream)> {
        loop {
            let mut stream = self.listener.accept().await?.0;
            let mut line = String::new();
            // The word is sent with the connection, so that nobody waits here for long.
            let mut reader = BufReader::new(&mut stream).take(16);
            let read = tokio::time::timeout(Duration::from_secs(1), reader.read_line(&mut line)).await;
            let wish = [Wish::Build, Wish::Stop].into_iter().find(|wish| wish.as_str() == line.trim());
            if let (Some(wish), Ok(Ok(_))) = (wish, read) {
                return Ok((wish, stream));
            }
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // The next `up` removes it too, should this fail.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Asks the first `up` for something.
///
/// # Errors
/// Fails when it went away.
pub async fn ask(stream: &mut UnixStream, wish: Wish) -> io::Result<()> {
    stream.write_all(format!("{}\n", wish.as_str()).as_bytes()).await
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
        let Standing::Later(mut later) = Standing::take(folder.path()).await.unwrap() else {
            panic!("the first holds it")
        };
        let outcome = Outcome {
            build: 2,
            phase: Some("test".to_owned()),
            cause: Some("it broke".to_owned()),
            ..Outcome::default()
        };
        // Somebody who connects and goes away concerns nobody.
        drop(Standing::take(folder.path()).await.unwrap());
        ask(&mut later, Wish::Build).await.unwrap();
        let (wish, mut asked) = first.asked().await.unwrap();
        assert_eq!(wish, Wish::Build);
        answer(&mut asked, &outcome).await.unwrap();
        assert_eq!(result(later).await.unwrap(), Some(outcome));
    }

    #[tokio::test]
    async fn the_first_is_told_to_end_and_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let Standing::First(first) = Standing::take(folder.path()).await.unwrap() else {
            panic!("nobody else is here")
        };
        let path = folder.path().to_owned();
        let taking = tokio::spawn(async move { Standing::take_from_others(&path).await });
        let (wish, stream) = first.asked().await.unwrap();
        assert_eq!(wish, Wish::Stop);
        assert!(!taking.is_finished());
        drop(stream);
        drop(first);
        taking.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_next_up_after_a_crash_is_the_first() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("up.sock"), "left behind").unwrap();
        assert!(matches!(Standing::take(folder.path()).await.unwrap(), Standing::First(_)));
        assert!(matches!(Standing::take(folder.path()).await.unwrap(), Standing::First(_)));
    }
}
