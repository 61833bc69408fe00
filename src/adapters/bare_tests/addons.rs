//! Add-ons as processes: each in a folder of its build, found again there by a later command of the same build.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{sleep, timeout};

use super::{postgres, programs, redis};
use crate::adapters::process::{Background, Command, Exit, Limits, Stop, run};
use crate::adapters::sandbox::remove_tree;
use crate::domain::addons::{process_rules, process_url, rules};
use crate::domain::manifest::AddonKind;
use crate::image::Digest;
use crate::ports::failure::{Failure, chain};
use crate::ports::test_bed::{AddonRequest, TestBedError};

/// The time between two questions whether an add-on answers.
const BETWEEN: Duration = Duration::from_millis(50);
/// How often an add-on is started on another port: somebody else may have taken the free one meanwhile.
const ATTEMPTS: usize = 3;
/// How many of its last lines explain why an add-on died.
const LAST_LINES: usize = 10;
/// How long an add-on may take to end. Its data goes anyway.
const GRACE: Duration = Duration::from_secs(10);
/// Which process it is, in the folder of an add-on.
const RECORD: &str = "process";
const LOG: &str = "log";
/// What the add-on itself may write.
const OWN: &str = "own";

/// Starts add-ons as processes, and ends them.
///
/// They live on when packhorse ends, since one command of a build starts them for another. All that is known of them lies in a
/// folder named after the build, so that any later command finds and removes what a killed one left.
#[derive(Debug, Clone)]
pub struct AddonProcesses {
    folder: PathBuf,
    path: String,
    user: Option<(u32, u32)>,
    ready_within: Duration,
}

/// The add-on of a kind, about to be started.
pub(super) struct Starting<'a> {
    /// Its programs, in the order of its rules.
    pub(super) programs: &'a [PathBuf],
    /// A folder that belongs to its user alone.
    pub(super) own: &'a Path,
    pub(super) port: u16,
    pub(super) password: &'a SecretString,
    user: Option<(u32, u32)>,
}

/// How to run it.
pub(super) struct Server {
    pub(super) command: Command,
    /// Exits with 0 once it answers.
    pub(super) ready: Command,
}

impl Starting<'_> {
    /// A program of the add-on, as its user and with nothing of packhorse's variables.
    pub(super) fn program(&self, index: usize) -> Command {
        let program = self.programs.get(index).map_or(Path::new("/"), PathBuf::as_path);
        let command = Command::new(program).only_own_env().as_user(self.user).current_dir(self.own);
        command.env("LC_ALL", "C").env("PATH", "/usr/local/bin:/usr/bin:/bin")
    }

    /// Writes a file that only the add-on's user may read.
    pub(super) fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        use std::io::Write as _;
        let path = self.own.join(name);
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        file.write_all(content.as_bytes())?;
        give(&path, self.user)?;
        Ok(path)
    }
}

impl AddonProcesses {
    /// Runs them as `user`, where packhorse is root (PostgreSQL refuses to be root), with programs from the folders of `path`. Their
    /// folders lie below `base`.
    pub fn new(base: &Path, path: &str, user: Option<(u32, u32)>) -> Self {
        let ready_within = Duration::from_mins(1);
        Self { folder: base.to_owned(), path: path.to_owned(), user, ready_within }
    }

    /// Sets how long add-ons may take until they answer; a minute if this is not called.
    #[must_use]
    pub fn ready_within(mut self, limit: Duration) -> Self {
        self.ready_within = limit;
        self
    }

    /// Starts all of them at once and returns, when each answers, the variables by which they are found.
    pub(super) async fn start(
        &self,
        build_id: &str,
        addons: &[AddonRequest],
    ) -> Result<BTreeMap<String, String>, TestBedError> {
        // Before anything is started, as all of them are needed.
        let found: Vec<(AddonKind, Vec<PathBuf>)> =
            addons.iter().map(|addon| self.programs(addon)).collect::<Result<_, _>>()?;
        let folder = self.of_build(build_id);
        let made = |source| Failure::refused(format!("make the folder `{}`", folder.display()), source);
        DirBuilder::new().recursive(true).create(&self.folder).map_err(made)?;
        // Its name can be guessed, so whoever made it first is not trusted with it.
        DirBuilder::new().mode(0o711).create(&folder).map_err(made)?;
        let started = found.iter().map(|(kind, programs)| self.start_one(*kind, programs, &folder));
        Ok(try_join_all(started).await?.into_iter().collect())
    }

    fn programs(&self, addon: &AddonRequest) -> Result<(AddonKind, Vec<PathBuf>), TestBedError> {
        let kind = addon.kind;
        let refused = |reason| TestBedError::NoAddon { kind, reason };
        if let Some(image) = &addon.image {
            return Err(refused(format!("it is to be the image `{image}`, and there is no Docker")));
        }
        let found = programs::find(&process_rules(kind), &self.path);
        found.map(|programs| (kind, programs)).map_err(|missing| {
            refused(format!("there is no Docker, so it would be a process of this machine, and {missing}"))
        })
    }

    async fn start_one(
        &self,
        kind: AddonKind,
        programs: &[PathBuf],
        folder: &Path,
    ) -> Result<(String, String), TestBedError> {
        let folder = folder.join(kind.as_str());
        let failed = |reason: String| TestBedError::Addon { addon: kind.as_str().to_owned(), reason };
        let mut attempt = 1;
        loop {
            match self.attempt(kind, programs, &folder).await {
                Ok(url) => return Ok((rules(kind).variable.to_owned(), url)),
                Err(Stuck::Taken(_)) if attempt < ATTEMPTS => attempt += 1,
                Err(Stuck::Taken(reason) | Stuck::Other(reason)) => return Err(failed(reason)),
            }
        }
    }

    async fn attempt(&self, kind: AddonKind, programs: &[PathBuf], folder: &Path) -> Result<String, Stuck> {
        let own = folder.join(OWN);
        remove_tree(folder)?;
        DirBuilder::new().mode(0o711).create(folder)?;
        DirBuilder::new().mode(0o700).create(&own)?;
        give(&own, self.user)?;
        let (port, password) = (free_port()?, password());
        let starting = Starting { programs, own: &own, port, password: &password, user: self.user };
        let server = match kind {
            AddonKind::Postgres => postgres::prepare(&starting).await?,
            AddonKind::Redis => redis::prepare(&starting)?,
        };
        let (record, log) = (folder.join(RECORD), folder.join(LOG));
        Background::start(&server.command, &record, &log).map_err(|error| Stuck::Other(chain(&error)))?;
        let process = Background::found(&record).await?;
        let ended = || {
            let last = last_lines(&log);
            let reason = format!("`{}` ended{last}", server.command.program());
            if last.contains("in use") { Stuck::Taken(reason) } else { Stuck::Other(reason) }
        };
        let process = process.ok_or_else(ended)?;
        let ready = async {
            // One that dies is noticed at once, not when the time is up.
            while process.lives() {
                let limits = Limits { grace: Duration::ZERO, ..Limits::within(self.ready_within) };
                let answer = run(&server.ready, limits, &Stop::default(), &|_| ()).await;
                // Somebody else may answer on that port.
                if answer.is_ok_and(Exit::succeeded) && process.lives() {
                    return true;
                }
                sleep(BETWEEN).await;
            }
            false
        };
        match timeout(self.ready_within, ready).await {
            Ok(true) => Ok(process_url(kind, port, password.expose_secret())),
            Ok(false) => Err(ended()),
            Err(_) => {
                let (seconds, last) = (self.ready_within.as_secs(), last_lines(&log));
                Err(Stuck::Other(format!("`{}` did not succeed within {seconds} s{last}", server.ready.program())))
            }
        }
    }

    /// Ends the add-ons of a build and removes their data; none counts as done.
    pub(super) async fn remove(&self, build_id: &str) -> Result<(), Failure> {
        let folder = self.of_build(build_id);
        let failed = |source| Failure::refused(format!("remove the add-ons in `{}`", folder.display()), source);
        match fs::symlink_metadata(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A record that somebody else wrote could name any process.
            Ok(found) if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() => {
                return Err(failed(io::Error::other("it belongs to somebody else")));
            }
            Err(error) => return Err(failed(error)),
            Ok(_) => {}
        }
        let ended = join_all(AddonKind::ALL.map(|kind| {
            let record = folder.join(kind.as_str()).join(RECORD);
            async move {
                if let Some(process) = Background::found(&record).await? {
                    let gently = match kind {
                        AddonKind::Postgres => postgres::END,
                        AddonKind::Redis => redis::END,
                    };
                    process.end(gently, GRACE).await;
                }
                Ok(())
            }
        }));
        ended.await.into_iter().collect::<io::Result<()>>().map_err(failed)?;
        remove_tree(&folder).map_err(failed)
    }

    fn of_build(&self, build_id: &str) -> PathBuf {
        self.folder.join(format!("packhorse-addons-{}", &Digest::of(build_id.as_bytes()).hex()[..24]))
    }
}

/// Why an add-on did not start.
pub(super) enum Stuck {
    /// Its port was taken meanwhile.
    Taken(String),
    /// Anything else.
    Other(String),
}

impl From<io::Error> for Stuck {
    fn from(error: io::Error) -> Self {
        Self::Other(chain(&error))
    }
}

/// Gives a file to a user; root only.
fn give(path: &Path, user: Option<(u32, u32)>) -> io::Result<()> {
    user.map_or(Ok(()), |(uid, gid)| std::os::unix::fs::lchown(path, Some(uid), Some(gid)))
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn password() -> SecretString {
    std::iter::repeat_with(fastrand::alphanumeric).take(32).collect::<String>().into()
}

fn last_lines(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n");
    if last.is_empty() { String::new() } else { format!("; its last lines:\n{last}") }
}
