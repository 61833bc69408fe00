//! Runs one child process from its start to its end.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::command::Command;
use crate::adapters::lines::Lines;

/// How long a child may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The time after which it is stopped.
    pub deadline: Option<Duration>,
    /// The time between asking it to stop and killing it.
    pub grace: Duration,
    /// The time for which output is still read after its end, should something it started keep the pipe open.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { deadline: None, grace: Duration::from_secs(10), drain: Duration::from_secs(2) }
    }
}

impl Limits {
    /// Limits the run to this time.
    pub fn within(deadline: Duration) -> Self {
        Self { deadline: Some(deadline), ..Self::default() }
    }
}

/// Asks a child to stop; the second request does not wait for it.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Sends TERM, and KILL after the grace period.
    pub gently: CancellationToken,
    /// Sends KILL.
    pub at_once: CancellationToken,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signaled(i32),
}

impl Exit {
    /// Tells whether it exited with 0.
    pub fn succeeded(self) -> bool {
        self == Self::Exited(0)
    }

    /// Returns the code that a shell would give: 128 and the number of the signal where one ended it.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(signal) => 128 + signal,
        }
    }
}

/// Why a child did not run to an end of its own.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is no such program.
    #[error("`{program}` was not found")]
    NotFound {
        /// The program.
        program: String,
    },
    /// It is there and did not start.
    #[error("could not start `{program}`")]
    CouldNotStart {
        /// The program.
        program: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// It took longer than allowed and was stopped.
    #[error("`{program}` was stopped after {seconds} s")]
    TimedOut {
        /// The program.
        program: String,
        /// The limit.
        seconds: u64,
    },
    /// It was told to stop.
    #[error("`{program}` was interrupted")]
    Interrupted {
        /// The program.
        program: String,
    },
    /// The operating system would not tell how it ended.
    #[error("lost track of `{program}`")]
    Lost {
        /// The program.
        program: String,
        /// The reason.
        #[source]
        source: io::Error,
    },
}

/// Runs a command to its end and hands every line of its output to `line`.
///
/// The child has a process group of its own, so that a Ctrl-C on the terminal reaches only packhorse, which stops the
/// group in stages: TERM, a grace period, KILL. Standard output and error are one pipe, so that lines arrive in the order in
/// which they were written. Nothing of the group outlives the call, not even when the future is dropped; a child that makes
/// a session of its own is beyond reach.
pub async fn run(
    command: &Command,
    limits: Limits,
    stop: &Stop,
    line: &(dyn Fn(&str) + Send + Sync),
) -> Result<Exit, ProcessError> {
    let program = command.program();
    let lost = |source| ProcessError::Lost { program: program.clone(), source };
    let began = Instant::now();
    let (mut child, mut output, group) = start(command).map_err(|source| not_started(command, source))?;
    let feeder = feed(command, child.stdin.take());

    let deadline = limits.deadline.map(|limit| began + limit);
    let mut lines = Lines::default();
    let mut buffer = vec![0; 16 * 1024];
    let (mut status, mut open) = (None::<ExitStatus>, true);
    let mut stopped = None::<ProcessError>;
    let (mut kill_at, mut drain_until) = (None::<Instant>, None::<Instant>);
    while status.is_none() || open {
        tokio::select! {
            read = output.read(&mut buffer), if open => match read {
                Ok(0) | Err(_) => open = false,
                Ok(count) => lines.push(&buffer[..count], line),
            },
            ended = child.wait(), if status.is_none() => {
                status = Some(ended.map_err(lost)?);
                drain_until = Some(Instant::now() + limits.drain);
            }
            () = at(deadline), if stopped.is_none() && status.is_none() => {
                let seconds = limits.deadline.unwrap_or_default().as_secs();
                stopped = Some(ProcessError::TimedOut { program: program.clone(), seconds });
                group.signal(Signal::TERM);
                kill_at = Some(Instant::now() + limits.grace);
            }
            () = stop.gently.cancelled(), if stopped.is_none() && status.is_none() => {
                stopped = Some(ProcessError::Interrupted { program: program.clone() });
                group.signal(Signal::TERM);
                kill_at = Some(Instant::now() + limits.grace);
            }
            () = stop.at_once.cancelled(), if status.is_none() && !matches!(kill_at, Some(at) if at <= Instant::now()) => {
                stopped.get_or_insert(ProcessError::Interrupted { program: program.clone() });
                kill_at = Some(Instant::now());
            }
            () = at(kill_at), if status.is_none() => {
                group.signal(Signal::KILL);
                kill_at = None;
                // The leader may be gone already while `wait` has not said so; asking again is harmless.
                status = Some(child.wait().await.map_err(lost)?);
                drain_until = Some(Instant::now() + limits.drain);
            }
            () = at(drain_until), if status.is_some() => open = false,
        }
    }
    lines.finish(line);
    if let Some(feeder) = feeder {
        feeder.abort();
    }
    drop(group);
    // How long others worked is what the time of a command is told apart by (`scripts/bench runner`).
    tracing::debug!(program, milliseconds = began.elapsed().as_millis(), "A child ended");
    match (stopped, status) {
        (Some(error), _) => Err(error),
        (None, Some(status)) => Ok(exit(status)),
        (None, None) => Err(lost(io::ErrorKind::UnexpectedEof.into())),
    }
}

fn start(command: &Command) -> io::Result<(tokio::process::Child, pipe::Receiver, Group)> {
    let (reader, writer) = io::pipe()?;
    let mut std = command.to_std();
    std.stdout(writer.try_clone()?).stderr(writer);
    std.stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    let child = {
        let mut tokio = tokio::process::Command::from(std);
        tokio.process_group(0).spawn()?
        // The writing ends in here are closed now, or the pipe would never end.
    };
    let group = Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
    let output = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    Ok((child, output, group))
}

fn not_started(command: &Command, source: io::Error) -> ProcessError {
    let program = command.program();
    // The operating system gives the same answer for a folder that is not there.
    let folder_is_there = command.cwd.as_ref().is_none_or(|folder| folder.is_dir());
    if source.kind() == io::ErrorKind::NotFound && folder_is_there {
        ProcessError::NotFound { program }
    } else {
        ProcessError::CouldNotStart { program, source }
    }
}

/// Writes the input beside everything else: a child that does not read must not hold up its own end.
fn feed(command: &Command, stdin: Option<tokio::process::ChildStdin>) -> Option<tokio::task::JoinHandle<()>> {
    let (input, mut stdin) = (command.stdin.clone()?, stdin?);
    Some(tokio::spawn(async move {
        // A child that ends without reading its input closes the pipe, which is its right.
        let _ = stdin.write_all(input.expose_secret().as_bytes()).await;
        let _ = stdin.shutdown().await;
    }))
}

async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn exit(status: ExitStatus) -> Exit {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Exited(code),
        (None, signal) => Exit::Signaled(signal.unwrap_or_default()),
    }
}

/// The child's process group, which is killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // Nobody left to receive it is what is wanted.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
