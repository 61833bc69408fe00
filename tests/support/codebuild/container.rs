//! The build container: one shell for all commands, with everything that is started in it. On this machine it is a session of
//! processes; where the project names an image, a container of it with the engine's default profile and no privilege.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::docker::{docker, random_name};
use crate::support::parts;

/// Something to kill in the middle of a build.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    pub(crate) when: KillWhen,
    pub(crate) what: KillWhat,
}

/// When to kill.
#[derive(Clone, Debug)]
pub(crate) enum KillWhen {
    /// A line of the log has this in it.
    Line(String),
    /// This file is there.
    File(PathBuf),
}

/// What to kill, with SIGKILL.
#[derive(Clone, Debug)]
pub(crate) enum KillWhat {
    /// Everything, as when CodeBuild takes the container away.
    Container,
    /// Each process whose program has this name; the shell lives on and sees 137.
    Program(String),
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With this exit status.
    Status(i32),
    /// The container was killed meanwhile.
    Killed,
}

enum Heard {
    Line(String),
    /// The shell is done with a command.
    Status(i32),
    /// The shell itself has ended with this status.
    ShellEnded(i32),
    OutputClosed,
}

/// An image of the project, and what its containers see of the machine.
#[derive(Clone, Debug)]
pub(crate) struct ProjectImage {
    pub(crate) image: String,
    /// Files that are seen under the same path, for reading only.
    pub(crate) mounts: Vec<PathBuf>,
}

/// A running container of a project's image, removed with all in it.
struct Running {
    name: String,
}

impl Running {
    fn start(image: &ProjectImage, folders: &[&Path]) -> Self {
        let name = random_name("codebuild");
        let mut run: Vec<String> =
            ["run", "--detach", "--init", "--network", "host", "--name", &name].map(str::to_owned).to_vec();
        let writable = folders.iter().map(|folder| format!("{0}:{0}", folder.display()));
        let mounts = image.mounts.iter().map(|file| format!("{0}:{0}:ro", file.display()));
        run.extend(writable.chain(mounts).flat_map(|mount| ["--volume".to_owned(), mount]));
        run.extend([&image.image, "sleep", "infinity"].map(str::to_owned));
        docker(&run.iter().map(String::as_str).collect::<Vec<_>>());
        Self { name }
    }

    /// The processes inside, as this machine numbers them.
    fn processes(&self) -> Vec<Process> {
        let listed = Command::new(parts::docker_cli()).args(["top", &self.name, "-eo", "pid"]).output().unwrap();
        let numbers: Vec<u32> =
            String::from_utf8_lossy(&listed.stdout).lines().filter_map(|line| line.trim().parse().ok()).collect();
        all_processes().into_iter().filter(|process| numbers.contains(&process.pid)).collect()
    }

    fn remove(&self) {
        let _ = Command::new(parts::docker_cli()).args(["rm", "-f", "-v", &self.name]).output();
    }
}

/// A container: its shell runs in a session of its own, by which all of it is found again.
pub(super) struct Container {
    shell: String,
    environment: BTreeMap<String, String>,
    folder: PathBuf,
    scripts: tempfile::TempDir,
    nonce: String,
    running: Option<Shell>,
    image: Option<Running>,
    sessions: Vec<u32>,
    commands: usize,
    kill: Option<Kill>,
    killed: bool,
}

struct Shell {
    stdin: std::process::ChildStdin,
    heard: Receiver<Heard>,
}

/// How long a killed thing may take to be gone.
const SOON: Duration = Duration::from_secs(10);

impl Container {
    /// `work` holds the source, and is seen in a container of an image too.
    pub(super) fn new(
        shell: &str,
        environment: BTreeMap<String, String>,
        (work, folder): (&Path, &Path),
        kill: Option<Kill>,
        image: Option<&ProjectImage>,
    ) -> Self {
        let scripts = tempfile::tempdir().unwrap();
        let image = image.map(|image| Running::start(image, &[work, scripts.path()]));
        Self {
            image,
            shell: shell.to_owned(),
            environment,
            folder: folder.to_owned(),
            scripts,
            nonce: format!("stand-in-{}", fastrand::u64(..)),
            running: None,
            sessions: Vec::new(),
            commands: 0,
            kill,
            killed: false,
        }
    }

    /// Sets a variable for the commands that follow.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
        if self.running.is_some() {
            // A shell that runs must be told; one that starts gets its environment as a whole.
            let quoted = value.replace('\'', r"'\''");
            self.run(&format!("export {name}='{quoted}'"), &mut |_| {});
        }
    }

    /// Returns what a text means in double quotes of the shell, with its variables as they are now.
    pub(super) fn expand(&mut self, text: &str) -> String {
        let mut lines = Vec::new();
        self.run(&format!("printf '%s\\n' \"{text}\""), &mut |line| lines.push(line));
        lines.join("\n")
    }

    /// Runs a command in the shell that all commands share, and hands on its output line by line.
    pub(super) fn run(&mut self, command: &str, output: &mut dyn FnMut(String)) -> Ended {
        if self.killed {
            return Ended::Killed;
        }
        self.commands += 1;
        let script = self.scripts.path().join(self.commands.to_string());
        std::fs::write(&script, format!("{command}\n")).unwrap();
        if self.running.is_none() {
            self.running = Some(self.start());
        }
        let shell = self.running.as_mut().unwrap();
        // A shell that is gone is heard of below.
        let _ = writeln!(shell.stdin, "{}", script.display());
        self.listen(output)
    }

    fn listen(&mut self, output: &mut dyn FnMut(String)) -> Ended {
        let mut shell_ended: Option<(i32, Instant)> = None;
        loop {
            let shell = self.running.as_ref().unwrap();
            let heard = shell.heard.recv_timeout(Duration::from_millis(10));
            match heard {
                Ok(Heard::Line(line)) => {
                    let hit = matches!(&self.kill, Some(Kill { when: KillWhen::Line(part), .. }) if line.contains(part.as_str()));
                    output(line);
                    if hit && self.strike() {
                        return Ended::Killed;
                    }
                }
                Ok(Heard::Status(status)) => return Ended::Status(status),
                Ok(Heard::ShellEnded(status)) => shell_ended = Some((status, Instant::now())),
                Ok(Heard::OutputClosed) | Err(RecvTimeoutError::Disconnected) => {
                    if let Some((status, _)) = shell_ended {
                        self.running = None;
                        return Ended::Status(status);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    // Something in the background may hold the output open for longer than the shell lives.
                    if let Some((status, _)) = shell_ended.filter(|(_, since)| since.elapsed() > Duration::from_secs(1))
                    {
                        self.running = None;
                        return Ended::Status(status);
                    }
                }
            }
            let hit = matches!(&self.kill, Some(Kill { when: KillWhen::File(file), .. }) if file.exists());
            if hit && self.strike() {
                return Ended::Killed;
            }
        }
    }

    /// Kills what was asked for, once; tells whether that was the container.
    fn strike(&mut self) -> bool {
        match self.kill.take().map(|kill| kill.what) {
            Some(KillWhat::Container) => {
                self.killed = true;
                self.running = None;
                self.kill_all();
                true
            }
            Some(KillWhat::Program(name)) => {
                for process in self.processes().into_iter().filter(|process| process.name == name) {
                    kill(process.pid);
                }
                false
            }
            None => false,
        }
    }

    fn start(&mut self) -> Shell {
        // Each line on stdin names a script; the shell runs it in itself, so that `cd` and variables stay.
        let nonce = &self.nonce;
        let script = format!("while IFS= read -r script; do . \"$script\" < /dev/null; echo \"{nonce} $?\"; done");
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = self
            .shell_with(&script)
            .stdin(Stdio::piped())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            .spawn()
            .unwrap();
        self.sessions.push(child.id());
        let stdin = child.stdin.take().unwrap();
        let (tell, heard) = mpsc::channel();
        let tell_end = tell.clone();
        let nonce = format!("{nonce} ");
        std::thread::spawn(move || {
            let mut lines = BufReader::new(reader);
            let mut line = Vec::new();
            while lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).into_owned();
                let text = text.strip_suffix('\n').unwrap_or(&text);
                // The last line of a command may lack its end.
                let (before, status) = match text.split_once(&nonce) {
                    Some((before, status)) => (before, status.parse().ok()),
                    None => (text, None),
                };
                if status.is_none() || !before.is_empty() {
                    let _ = tell.send(Heard::Line(before.to_owned()));
                }
                if let Some(status) = status {
                    let _ = tell.send(Heard::Status(status));
                }
                line.clear();
            }
            let _ = tell.send(Heard::OutputClosed);
        });
        std::thread::spawn(move || {
            let status = wait(&mut child);
            let _ = tell_end.send(Heard::ShellEnded(status));
        });
        Shell { stdin, heard }
    }

    fn shell_with(&self, script: &str) -> Command {
        let Some(container) = &self.image else {
            let mut command = Command::new("setsid");
            command.args([&self.shell, "-c", script]).env_clear().envs(&self.environment).current_dir(&self.folder);
            return command;
        };
        let file = self.scripts.path().join("environment");
        let lines: Vec<String> = self.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(&file, lines.concat()).unwrap();
        let mut command = Command::new(parts::docker_cli());
        command.args(["exec", "--interactive", "--env-file"]).arg(file).arg("--workdir").arg(&self.folder);
        command.args([&container.name, &self.shell, "-c", script]);
        command
    }

    /// Ends everything that still runs in the container.
    pub(super) fn kill_all(&mut self) {
        if let Some(container) = &self.image {
            container.remove();
        }
        let until = Instant::now() + SOON;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > until {
                return;
            }
            for process in &left {
                kill(process.pid);
            }
            std::thread::yield_now();
        }
    }

    /// The processes of the container: those in its sessions, and whatever they started in sessions of their own.
    fn processes(&self) -> Vec<Process> {
        if let Some(container) = &self.image {
            return container.processes();
        }
        let all = all_processes();
        let mut found: Vec<Process> = Vec::new();
        loop {
            let before = found.len();
            for process in &all {
                let ours = self.sessions.contains(&process.session)
                    || found.iter().any(|parent| parent.pid == process.parent || parent.pid == process.session);
                if ours && !found.iter().any(|known| known.pid == process.pid) {
                    found.push(process.clone());
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.running = None;
        self.kill_all();
    }
}

fn wait(child: &mut Child) -> i32 {
    match child.wait() {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        Err(_) => -1,
    }
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[derive(Clone, Debug)]
struct Process {
    pid: u32,
    parent: u32,
    session: u32,
    name: String,
}

/// Reads every process that lives from `/proc` (`proc_pid_stat(5)`).
fn all_processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let (head, tail) = stat.rsplit_once(')')?;
            let (pid, name) = head.split_once(" (")?;
            let fields: Vec<&str> = tail.split_whitespace().collect();
            let number = |index: usize| fields.get(index)?.parse().ok();
            let lives = !["Z", "X"].contains(fields.first()?);
            lives.then_some(Process {
                pid: pid.parse().ok()?,
                parent: number(1)?,
                session: number(3)?,
                name: name.to_owned(),
            })
        })
        .collect()
}
