//! Processes that outlive packhorse and are found again by a record: the add-ons of tests, which one command of a build starts
//! and another one ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use super::command::Command;
use super::supervisor::ProcessError;

/// Writes down which process this is and becomes the program. So there is no moment in which the program runs and no record tells of
/// it, whenever packhorse is killed.
const BECOME: &str = r#"read -r stat </proc/$$/stat && printf '%s\n' "$stat" && exec "$@" >&2"#;
/// How long a process may take to write its record.
const BEGIN: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_millis(10);

/// A process in the background. The time of its start tells it from a later process with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Background {
    pid: Pid,
    started: u64,
}

impl Background {
    /// Starts a program in the background, with a group of its own and without input; what it prints goes to `log`.
    ///
    /// Whoever calls owns the folders of `record` and `log`: the program itself can write neither name.
    pub fn start(command: &Command, record: &Path, log: &Path) -> Result<(), ProcessError> {
        let program = command.program();
        let failed = |source| ProcessError::CouldNotStart { program: program.clone(), source };
        let file = |path: &Path| OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
        let (record, log) = (file(record).map_err(failed)?, file(log).map_err(failed)?);
        let mut become_it = command.through_a_shell(BECOME).to_std();
        become_it.stdin(Stdio::null()).stdout(record).stderr(log).process_group(0);
        // Its end is seen in `/proc`; nobody waits for it here, since it is to live on.
        become_it.spawn().map_err(failed)?;
        Ok(())
    }

    /// Finds the process of a record; `None` where none was begun or it has ended.
    pub async fn found(record: &Path) -> io::Result<Option<Self>> {
        let until = Instant::now() + BEGIN;
        loop {
            let mut text = String::new();
            match File::open(record) {
                Ok(mut file) => file.read_to_string(&mut text)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            };
            if let Some(process) = text.strip_suffix('\n').and_then(Stat::read) {
                let process = Self { pid: process.pid, started: process.started };
                return Ok(Some(process).filter(Self::lives));
            }
            // One that was begun a moment ago.
            if Instant::now() > until {
                return Ok(None);
            }
            sleep(BETWEEN).await;
        }
    }

    /// Tells whether it has not ended.
    pub fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid.as_raw_nonzero()));
        stat.ok().and_then(|stat| Stat::read(&stat)).is_some_and(|stat| stat.lives && stat.started == self.started)
    }

    /// Ends it: with `gently`, and with KILL when the time is up. Returns when it is gone.
    pub async fn end(&self, gently: Signal, grace: Duration) {
        for (signal, time) in [(gently, grace), (Signal::KILL, BEGIN)] {
            if !self.lives() {
                return;
            }
            // Nobody left to receive it is what is wanted.
            let _ = kill_process(self.pid, signal);
            let until = Instant::now() + time;
            while self.lives() && Instant::now() < until {
                sleep(BETWEEN).await;
            }
        }
    }
}

/// A line of `/proc/{pid}/stat` (`proc_pid_stat(5)`).
struct Stat {
    pid: Pid,
    lives: bool,
    started: u64,
}

impl Stat {
    fn read(line: &str) -> Option<Self> {
        // The name of the program may hold anything.
        let (head, tail) = line.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let pid = Pid::from_raw(head.split_whitespace().next()?.parse().ok()?)?;
        let lives = !["Z", "X"].contains(fields.first()?);
        Some(Self { pid, lives, started: fields.get(19)?.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        Command::new("/bin/sh").args(["-c", script])
    }

    #[tokio::test]
    async fn a_process_is_found_by_its_record_and_ended() {
        let folder = tempfile::tempdir().unwrap();
        let (record, log) = (folder.path().join("record"), folder.path().join("log"));
        assert_eq!(Background::found(&record).await.unwrap(), None);
        let script = "echo \"$SET ${HOME-none}\" >&2; echo out; mkfifo fifo; read line <>fifo";
        let command = shell(script).only_own_env().env("SET", "yes").env("PATH", "/usr/bin:/bin");
        Background::start(&command.current_dir(folder.path()), &record, &log).unwrap();
        let found = Background::found(&record).await.unwrap().expect("it runs");
        while std::fs::read_to_string(&log).unwrap() != "yes none\nout\n" {
            assert!(found.lives());
            sleep(BETWEEN).await;
        }
        found.end(Signal::TERM, Duration::from_secs(10)).await;
        assert!(!found.lives());
        assert_eq!(Background::found(&record).await.unwrap(), None);
    }

    #[tokio::test]
    async fn one_that_ignores_its_order_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let (record, log) = (folder.path().join("record"), folder.path().join("log"));
        let command = shell("trap '' TERM; echo begun; mkfifo fifo; read line <>fifo").current_dir(folder.path());
        Background::start(&command, &record, &log).unwrap();
        let found = Background::found(&record).await.unwrap().expect("it runs");
        while std::fs::read_to_string(&log).unwrap().is_empty() {
            sleep(BETWEEN).await;
        }
        found.end(Signal::TERM, Duration::from_millis(50)).await;
        assert!(!found.lives());
    }

    #[tokio::test]
    async fn a_later_process_with_the_same_number_is_somebody_else() {
        let own = std::fs::read_to_string("/proc/self/stat").unwrap();
        let own = Stat::read(&own).unwrap();
        let earlier = Background { pid: own.pid, started: own.started - 1 };
        assert!(!earlier.lives());
        earlier.end(Signal::KILL, Duration::ZERO).await;
    }

    #[test]
    fn a_name_with_blanks_and_brackets_does_not_confuse() {
        let line = "42 (a ) b) S 1 42 42 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 777 0";
        let stat = Stat::read(line).unwrap();
        assert_eq!((stat.pid.as_raw_nonzero().get(), stat.lives, stat.started), (42, true, 777));
        assert!(Stat::read("42").is_none());
    }
}
