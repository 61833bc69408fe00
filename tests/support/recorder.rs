//! A Docker engine of its own, and programs, of which every execve is recorded.
#![allow(dead_code, reason = "each build of the tests uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::http;
use super::parts;
use super::under::under;

/// How long the engine may take to start and to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// Engine 26 under `strace`, with data, sockets and containers of its own; gone when dropped.
pub(crate) struct Recorder {
    folder: tempfile::TempDir,
    engine: Child,
    runs: u32,
}

/// A program that was started.
#[derive(Debug, Clone)]
pub(crate) struct Execution {
    /// The path of the program; empty when it was started from an open file.
    pub(crate) path: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<String>,
    /// The id of the container in which it ran; none outside.
    pub(crate) container: Option<String>,
}

impl Recorder {
    /// Starts the engine and waits for its answer.
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let root = format!("{}/scripts/in-debian-13", env!("CARGO_MANIFEST_DIR"));
        let engine = traced(&at("engine.log"))
            .args(["unshare", "--mount", "--propagation", "slave", &root, "dockerd", "--log-level=warn"])
            .args(["--storage-driver=overlay2", "--group=root", "--exec-root=/run/docker-recorded"])
            .args([format!("--host=unix://{}", at("docker.sock")), format!("--pidfile={}", at("docker.pid"))])
            .arg(format!("--data-root={}", at("data")))
            // It leaves the machine's bridges and packet filter to the engines that run already.
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .arg("--default-address-pool=base=10.228.0.0/16,size=24")
            .stdout(Stdio::null())
            .stderr(fs::File::create(at("dockerd.log")).unwrap())
            .spawn()
            .unwrap();
        let mut recorder = Self { folder, engine, runs: 0 };
        let end = Instant::now() + PATIENCE;
        while !recorder.answers() {
            let ended = recorder.engine.try_wait().unwrap();
            let log = fs::read_to_string(recorder.folder.path().join("dockerd.log")).unwrap();
            assert!(ended.is_none() && Instant::now() < end, "the engine did not start: {log}");
            std::thread::yield_now();
        }
        recorder
    }

    fn answers(&self) -> bool {
        let asked = Command::new(parts::docker_cli()).args(["version"]).env("DOCKER_HOST", self.address()).output();
        asked.unwrap().status.success()
    }

    /// Where the engine listens, for `DOCKER_HOST`.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// Runs Docker's own client against the engine.
    pub(crate) fn docker(&self, args: &[&str]) -> String {
        let output = Command::new(parts::docker_cli()).args(args).env("DOCKER_HOST", self.address()).output().unwrap();
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Gets an image of the tests' registry and gives it this name.
    pub(crate) fn provide(&self, image: &str, name: &str) {
        self.docker(&["pull", "-q", image]);
        self.docker(&["tag", image, name]);
    }

    /// Runs a program to its end.
    pub(crate) fn record(&mut self, command: &Command) -> Output {
        self.runs += 1;
        let log = self.folder.path().join(format!("run-{}.log", self.runs));
        under(traced(&log.display().to_string()), command).output().unwrap()
    }

    /// The folders in which the engine keeps what it has: images, volumes, containers, and their state while they run.
    pub(crate) fn kept(&self) -> Vec<PathBuf> {
        let run = format!("/proc/{}/root/run", self.pid().unwrap());
        vec![self.folder.path().join("data"), PathBuf::from(run), self.folder.path().join("dockerd.log")]
    }

    /// All that was started so far: by the engine, and by each program that was recorded.
    pub(crate) fn executions(&self) -> Vec<Execution> {
        let runs = (1..=self.runs).map(|run| format!("run-{run}.log"));
        let logs = std::iter::once("engine.log".to_owned()).chain(runs);
        logs.flat_map(|log| read(&fs::read_to_string(self.folder.path().join(log)).unwrap())).collect()
    }

    fn pid(&self) -> Option<i32> {
        fs::read_to_string(self.folder.path().join("docker.pid")).ok()?.trim().parse().ok()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Bridges would outlive the engine.
        let _ = Command::new(parts::docker_cli())
            .args(["network", "prune", "-f"])
            .env("DOCKER_HOST", self.address())
            .output();
        // Its end is strace's, which is waited for; the engine stops its containers first.
        if let Some(pid) = self.pid().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            let end = Instant::now() + PATIENCE;
            while Instant::now() < end && matches!(self.engine.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        let _ = self.engine.kill();
        let _ = self.engine.wait();
    }
}

fn traced(log: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "--seccomp-bpf", "-v", "-s", "1000000", "-e", "signal=none", "--decode-pids=pidns"]);
    command.args(["-e", "trace=execve,execveat,clone,clone3,fork,vfork", "-o", log, "--"]);
    command
}

/// Reads a log of `strace`.
fn read(log: &str) -> Vec<Execution> {
    let mut parents: BTreeMap<u32, u32> = BTreeMap::new();
    let mut executions: Vec<(u32, Execution)> = Vec::new();
    let mut containers: BTreeMap<u32, String> = BTreeMap::new();
    for line in log.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let (Ok(pid), call) = (pid.parse::<u32>(), call.trim_start()) else { continue };
        let name = call.trim_start_matches("<... ").split(['(', ' ']).next().unwrap_or_default();
        match name {
            "clone" | "clone3" | "fork" | "vfork" => {
                if let Some(child) = child(call) {
                    parents.insert(child, pid);
                }
            }
            "execve" | "execveat" if !call.starts_with("<...") => {
                let execution = execution(call);
                let begins = execution.arguments.first().is_some_and(|name| name == "runc")
                    && execution.arguments.get(1).is_some_and(|verb| verb == "init");
                let state = execution.environment.iter().find_map(|pair| pair.strip_prefix("_LIBCONTAINER_STATEDIR="));
                if let (true, Some(state)) = (begins, state) {
                    containers.insert(pid, state.rsplit('/').next().unwrap_or_default().to_owned());
                }
                executions.push((pid, execution));
            }
            _ => {}
        }
    }
    let container = |pid: u32| {
        let mut line = std::iter::successors(Some(pid), |pid| parents.get(pid).copied()).take(100);
        line.find_map(|pid| containers.get(&pid).cloned())
    };
    executions.into_iter().map(|(pid, found)| Execution { container: container(pid), ..found }).collect()
}

/// The child that a call made, by the number it has for `strace`.
fn child(call: &str) -> Option<u32> {
    let (_, result) = call.rsplit_once(" = ")?;
    let translated = result.split_once("/* ").and_then(|(_, rest)| rest.split(' ').next());
    translated.unwrap_or(result).trim().parse().ok()
}

fn execution(call: &str) -> Execution {
    let mut lists: [Vec<String>; 3] = Default::default();
    let mut list = 0;
    let mut rest = call;
    while let Some(at) = rest.find(['"', '[', ')']) {
        let (what, after) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = after;
        match what {
            b'[' => list += 1,
            b'"' => {
                let end = end_of_text(after);
                assert!(!after[end + 1..].starts_with("..."), "cut off: {call}");
                lists[list].push(after[..end].to_owned());
                rest = &after[end + 1..];
            }
            _ => break,
        }
    }
    let [path, arguments, environment] = lists;
    let path = path.into_iter().next().unwrap_or_default();
    Execution { path, arguments, environment, container: None }
}

fn end_of_text(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at,
            _ => {}
        }
    }
    panic!("no end: {text}")
}

/// A value that must not be found, in its forms.
pub(crate) struct Planted {
    pub(crate) value: String,
    folder: tempfile::TempDir,
}

impl Planted {
    pub(crate) fn new() -> Self {
        use base64::Engine as _;
        let value: String = std::iter::repeat_with(fastrand::alphanumeric).take(48).collect();
        let mut forms = vec![value.clone(), hex::encode(&value)];
        // The digits that are the same whatever stands before and after.
        for before in 0..3 {
            let text = format!("{}{value}", "x".repeat(before));
            let digits = base64::engine::general_purpose::STANDARD.encode(text);
            forms.push(digits[4..digits.len() - 4].to_owned());
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("forms"), forms.join("\n")).unwrap();
        Self { value, folder }
    }

    /// Tells whether a text holds it.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        fs::read_to_string(self.folder.path().join("forms")).unwrap().lines().any(|form| text.contains(form))
    }

    /// Names the files below these paths that hold it; packed ones count as their content.
    pub(crate) fn files_with_it(&self, paths: &[PathBuf]) -> Vec<String> {
        let script = r#"forms=$1; shift
            find "$@" -xdev -type f ! -path '*/netns/*' -print0 2>/dev/null | LC_ALL=C xargs -0r grep -aFl -f "$forms" --
            find "$@" -xdev -type f \( -name '*.gz' -o -name '*.tgz' \) -print0 2>/dev/null |
                while IFS= read -r -d '' file; do gzip -dc "$file" | LC_ALL=C grep -aFq -f "$forms" && echo "$file"; done
            true"#;
        let mut command = Command::new("/bin/bash");
        command.args(["-c", script, "find"]).arg(self.folder.path().join("forms")).args(paths);
        let output = command.output().unwrap();
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }

    /// Names what holds it of all that the registry has under a repository: manifests, configs, and layers as they were
    /// before they were packed. Layers that another image has too, such as the run image, are older than the value.
    pub(crate) fn blobs_with_it(&self, repository: &str, known: &str) -> Vec<String> {
        let bench = tempfile::tempdir().unwrap();
        let script = r#"
            set -euo pipefail; cd "$1"; base=http://$2/v2; repository=$3; known=$4; forms=$5
            types='application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json,
              application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json'
            get() { curl -sfL -H "Accept: $(echo $types)" "$base/$1"; }
            blobs() { grep -oE 'sha256:[0-9a-f]{64}' "$@" | sort -u; }
            get "$known/manifests/debian-12" >known.json; blobs known.json >known
            get "$repository/tags/list" >tags.json
            for tag in $(tr -d '{}[]"' <tags.json | sed 's/.*tags://; s/,/ /g'); do
              get "$repository/manifests/$tag" >"manifest-$tag"
              blobs "manifest-$tag" >>wanted
            done
            for digest in $(sort -u wanted | grep -vxF -f known); do
              get "$repository/blobs/$digest" >packed || get "$repository/manifests/$digest" >packed
              gzip -dcf packed >"content-$digest"
            done
            echo "looked at $(ls | grep -c '^content-') blobs of $(ls | grep -c '^manifest-') tags"
            LC_ALL=C grep -aFl -f "$forms" -- manifest-* content-* || true"#;
        let mut command = Command::new("/bin/bash");
        command.args(["-c", script, "registry"]).arg(bench.path());
        command.args([&parts::registry(), repository, known]).arg(self.folder.path().join("forms"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let (looked, found) = text.split_once('\n').unwrap();
        println!("{looked}");
        assert!(!looked.contains("looked at 0"), "{looked}");
        found.lines().map(str::to_owned).collect()
    }

    /// Names the objects of a bucket in moto that hold it, and how many there are.
    pub(crate) fn objects_with_it(&self, bucket: &str) -> (usize, Vec<String>) {
        let listed = http::ask(&parts::moto(), "s3", "GET", &format!("/{bucket}"), &[], "").body;
        let keys: Vec<&str> = listed.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next()).collect();
        let content = |key: &str| http::ask(&parts::moto(), "s3", "GET", &format!("/{bucket}/{key}"), &[], "").body;
        (keys.len(), keys.iter().filter(|key| self.is_in(&content(key))).map(ToString::to_string).collect())
    }
}

#[test]
fn a_record_tells_arguments_from_environment_and_containers_from_their_engine() {
    let log = concat!(
        "10 execve(\"/usr/bin/runc\", [\"runc\", \"create\"], [\"A=1\"]) = 0\n",
        "10 clone(child_stack=NULL, flags=CLONE_VM|SIGCHLD) = 11\n",
        "11 execveat(6, \"\", [\"runc\", \"init\"], [\"_LIBCONTAINER_STATEDIR=/run/moby/c1\"], AT_EMPTY_PATH <unfinished ...>\n",
        "11 clone(child_stack=0x1, flags=SIGCHLD <unfinished ...>\n",
        "12 execve(\"/bin/sh\", [\"sh\", \"-c\", \"echo \\\"]\\\" [\"], [\"B=2\", \"C=\"]) = 0\n",
        "11 <... clone resumed>) = 2 /* 12 in strace's PID NS */\n",
        "11 <... execveat resumed>) = 0\n",
        "12 +++ exited with 0 +++\n",
    );
    let [create, init, shell] = &read(log)[..] else { panic!() };
    assert_eq!((create.path.as_str(), &create.container), ("/usr/bin/runc", &None));
    assert_eq!(init.container.as_deref(), Some("c1"));
    assert_eq!(shell.container.as_deref(), Some("c1"));
    assert_eq!(shell.arguments, ["sh", "-c", r#"echo \"]\" ["#]);
    assert_eq!(shell.environment, ["B=2", "C="]);
}
