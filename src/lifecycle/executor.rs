//! Where the programs of buildpacks run: in place, or in a sandbox.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;

/// A program of a buildpack, with all that it is to see. Every path is one inside the place where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The program's absolute path, then its arguments.
    pub argv: Vec<OsString>,
    /// The whole environment; nothing is added to it.
    pub env: BTreeMap<OsString, OsString>,
    /// The folder in which it starts.
    pub working_dir: PathBuf,
}

/// How a program ended.
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

    /// Returns the code that Go reports: -1 where a signal ended the program.
    pub fn code(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signaled(_) => -1,
        }
    }
}

/// What Go calls the signals from 1 on.
const SIGNALS: [&str; 15] = [
    "hangup",
    "interrupt",
    "quit",
    "illegal instruction",
    "trace/breakpoint trap",
    "aborted",
    "bus error",
    "floating point exception",
    "killed",
    "user defined signal 1",
    "segmentation fault",
    "user defined signal 2",
    "broken pipe",
    "alarm clock",
    "terminated",
];

impl fmt::Display for Exit {
    /// Writes it in Go's words, which people search for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit status {code}"),
            Self::Signaled(signal) => {
                let known = usize::try_from(*signal).ok().and_then(|signal| SIGNALS.get(signal.checked_sub(1)?));
                match known {
                    Some(name) => write!(f, "signal: {name}"),
                    None => write!(f, "signal: signal {signal}"),
                }
            }
        }
    }
}

/// Receives what a program prints. A type of its own, as `async_trait` would tie the bytes of a call to the whole run.
pub type Output<'o> = dyn FnMut(&[u8]) + Send + 'o;

/// Runs the programs of buildpacks.
///
/// Each runs as the CNB user with umask 022, without new privileges, with standard input empty and with standard output and error
/// as one pipe. Several may run at the same time.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Runs `program` to its end and hands over its output as it comes, in pieces that end anywhere.
    ///
    /// An error means that the program could not be started, or was lost; a program that fails is an [`Exit`]. Dropping the future
    /// ends the program and all that it started.
    async fn run(&self, program: &Program, output: &mut Output<'_>) -> io::Result<Exit>;

    /// Ends what earlier programs left running, and returns when it is gone.
    ///
    /// Called before layers are read: a process that still writes would tear them.
    async fn end_strays(&self) -> io::Result<()>;
}
