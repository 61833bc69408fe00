//! A `packhorse up` that was started as its users start it, and the app that it runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use super::docker::{docker, random_name};
use super::parts;

/// How long anything may take that a test waits for; the guestbook's first build downloads what it needs.
pub(crate) const DEADLINE: Duration = Duration::from_mins(3);

/// An app in a folder of its own; what ran and what was made of it goes with it.
pub(crate) struct App {
    pub(crate) parent: tempfile::TempDir,
    pub(crate) name: String,
}

impl App {
    /// An app with this Procfile, this test command and one page.
    pub(crate) fn small(procfile: &str, test: &str) -> Self {
        let app = Self::empty();
        let manifest = serde_json::json!({
            "stack": "debian-12",
            "environments": { "test": { "scripts": { "test": test } } },
        });
        app.write("Procfile", procfile);
        app.write("app.json", &manifest.to_string());
        app.write("index.html", "first version\n");
        app
    }

    /// A copy of the example.
    pub(crate) fn guestbook() -> Self {
        let app = Self::empty();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guestbook/.");
        let copied = Command::new("cp").arg("-r").arg(example).arg(app.folder()).status().unwrap();
        assert!(copied.success());
        app
    }

    pub(crate) fn empty() -> Self {
        let app = Self { parent: tempfile::tempdir().unwrap(), name: random_name("up") };
        fs::create_dir(app.folder()).unwrap();
        app
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.parent.path().join(&self.name)
    }

    pub(crate) fn write(&self, file: &str, content: &str) {
        fs::write(self.folder().join(file), content).unwrap();
    }

    /// Starts `packhorse up` on it.
    pub(crate) fn up(&self, flags: &[&str]) -> Up {
        let mut command = self.command("up");
        command.args(["--network", "host", "--ca-bundle", &parts::ca_bundle()]).args(flags);
        Up::start(command)
    }

    /// Runs `packhorse down` on it.
    pub(crate) fn down(&self, flags: &[&str]) -> Ended {
        let mut command = self.command("down");
        command.args(flags);
        let ended = Up::start(command).end();
        assert!(ended.status.success(), "{}", ended.stderr);
        ended
    }

    /// Runs another command on what `up` keeps, and returns what it prints.
    pub(crate) fn client(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
        command.args(arguments).arg("--state-dir").arg(self.folder().join(".packhorse"));
        let output = command.env("DOCKER_HOST", parts::docker()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// How often the services were brought to changed settings.
    pub(crate) fn times_followed(&self) -> usize {
        let log = fs::read_to_string(self.folder().join(".packhorse/activity.jsonl")).unwrap();
        log.lines().filter(|line| line.contains(r#""what":"settings-ordered""#)).count()
    }

    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
        command.arg(name).arg(self.folder()).env("DOCKER_HOST", parts::docker()).env("PACKHORSE_PACK", parts::pack());
        command
    }

    /// All that Docker has of it, by name.
    pub(crate) fn left(&self) -> Vec<String> {
        let name = format!("name={}", self.name);
        let mut left = words(&docker(&["ps", "-a", "--filter", &name, "--format", "{{.Names}}"]));
        left.extend(words(&docker(&["network", "ls", "--filter", &name, "--format", "{{.Name}}"])));
        left
    }

    /// The names of its images.
    pub(crate) fn images(&self) -> Vec<String> {
        words(&docker(&["images", "--format", "{{.Tag}}", &format!("packhorse/{}", self.name)]))
    }

    /// The volumes in which its builds keep their cache.
    pub(crate) fn caches(&self) -> Vec<String> {
        let all = words(&docker(&["volume", "ls", "-q"]));
        let own = packhorse::adapters::pack::cache_volumes(&self.name);
        all.into_iter().filter(|volume| own.contains(volume)).collect()
    }

    /// The label of all its containers and networks.
    pub(crate) fn lane(&self) -> String {
        let instance = fs::read_to_string(self.folder().join(".packhorse/instance")).unwrap();
        format!("label=packhorse.lane={}@{}", self.name, instance.trim())
    }

    /// The processes of it that run.
    pub(crate) fn running(&self, role: &str) -> Vec<String> {
        let role = format!("label=packhorse.role={role}");
        words(&docker(&["ps", "--filter", &self.lane(), "--filter", &role, "--format", "{{.Names}}"]))
    }

    /// The image that the tag `latest` names, if there is one.
    pub(crate) fn latest(&self) -> Option<String> {
        let reference = format!("reference=packhorse/{}:latest", self.name);
        words(&docker(&["images", "--no-trunc", "--filter", &reference, "--format", "{{.ID}}"])).pop()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let script = r#"
            "$0" ps -aq --filter "name=$1" | xargs -r "$0" rm -fv
            "$0" network ls -q --filter "name=$1" | xargs -r "$0" network rm
            "$0" volume rm "$2" "$3"
            "$0" images --format '{{.Repository}}:{{.Tag}}' "packhorse/$1" | xargs -r "$0" rmi"#;
        let [build, launch] = packhorse::adapters::pack::cache_volumes(&self.name);
        let _ = Command::new("/bin/bash")
            .args(["-c", script, &parts::docker_cli(), &self.name, &build, &launch])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// A started `packhorse up`, with its output; told to stop when it goes out of scope.
pub(crate) struct Up {
    pub(crate) child: Child,
    pub(crate) stdout: Receiver<String>,
    pub(crate) read: Vec<String>,
    pub(crate) stderr: Arc<Mutex<String>>,
    pub(crate) said: Receiver<String>,
    pub(crate) readers: Vec<JoinHandle<()>>,
}

/// How it ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: String,
}

impl Up {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, stdout) = channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let whole = Arc::clone(&stderr);
        let (saying, said) = channel();
        let readers = vec![
            thread::spawn(move || {
                for line in BufReader::new(out).lines() {
                    // The test may have seen enough.
                    let _ = lines.send(line.unwrap());
                }
            }),
            thread::spawn(move || {
                for line in BufReader::new(err).lines() {
                    let line = line.unwrap();
                    let mut whole = whole.lock().unwrap();
                    whole.push_str(&line);
                    whole.push('\n');
                    let _ = saying.send(line);
                }
            }),
        ];
        Self { child, stdout, read: Vec::new(), stderr, said, readers }
    }

    /// Waits for a line on stdout.
    pub(crate) fn line(&mut self, awaited: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.stdout.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.read.push(line.clone());
                    if awaited(&line) {
                        return line;
                    }
                }
                Err(why) => {
                    let said = self.stderr.lock().unwrap();
                    panic!("{why}; stdout:\n{}\nstderr:\n{said}", self.read.join("\n"));
                }
            }
        }
    }

    /// Waits until it says where the app answers.
    pub(crate) fn live(&mut self) -> String {
        let line = self.line(|line| line.contains(" is live: "));
        line.rsplit_once("http://").unwrap().1.to_owned()
    }

    /// Waits for a line on stderr.
    pub(crate) fn hears(&self, awaited: &str) {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(awaited) => return,
                Ok(_) => {}
                Err(why) => panic!("{why}; stderr:\n{}", self.stderr.lock().unwrap()),
            }
        }
    }

    /// What a machine that runs out of memory does: nobody can clean up.
    pub(crate) fn kill(mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.child.wait().unwrap();
    }

    /// What Ctrl-C does on a terminal.
    pub(crate) fn interrupt(&self) {
        // It may have ended by itself.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::INT);
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let until = Instant::now() + DEADLINE;
        loop {
            match self.stdout.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => self.read.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end: {}\n{}", self.read.join("\n"), self.stderr.lock().unwrap())
                }
            }
        }
        let status = self.child.wait().unwrap();
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        Ended { status, stdout: std::mem::take(&mut self.read), stderr: self.stderr.lock().unwrap().clone() }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.interrupt();
            let _ = self.child.wait();
        }
    }
}

impl Ended {
    /// The lines of stdout, with `--json` an object each and nothing else.
    pub(crate) fn objects(&self) -> Vec<Value> {
        let line = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.iter().map(line).collect()
    }

    /// What `--json` says about the end of the build: one object, and the last.
    pub(crate) fn result(&self) -> Value {
        let mut objects = self.objects();
        let results = objects.iter().filter(|object| object["type"] == "result").count();
        let last = objects.pop().unwrap_or_default();
        assert_eq!((results, &last["type"]), (1, &"result".into()), "{}\n{}", self.stdout.join("\n"), self.stderr);
        last["result"].clone()
    }

    /// The phases that changed, such as `test failed`, in order.
    pub(crate) fn phases(&self) -> Vec<String> {
        let changes = self.objects().into_iter().filter(|object| object["type"] == "phase");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        changes
            .map(|change| format!("{} {}", text(&change["detail"]["phase"]), text(&change["detail"]["state"])))
            .collect()
    }

    /// Says that a phase failed, in the result and in the last line.
    pub(crate) fn assert_failed_in(&self, phase: &str, cause: &str) {
        let result = self.result();
        assert_eq!(self.status.code(), Some(1), "{}", self.stderr);
        assert_eq!(result["phase"], phase, "{result}");
        assert_eq!(result["url"], Value::Null);
        assert!(result["cause"].as_str().unwrap().contains(cause), "{result}");
        assert_eq!(self.phases().last().unwrap(), &format!("{phase} failed"));
        assert!(self.stderr.contains(&format!("failed in its {phase} phase: ")), "{}", self.stderr);
    }
}

pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}
