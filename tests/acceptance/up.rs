//! `packhorse up`, as its users start it: real images, real containers, real requests.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::support::docker::{docker, random_name};
use crate::support::{parts, sandbox};

/// How long anything may take that a test waits for; the guestbook's first build downloads what it needs.
const DEADLINE: Duration = Duration::from_mins(3);
/// A web process that shows its folder, made of what the run image has.
const WEB: &str = "web: exec python3 -m http.server $PORT\n";

/// An app in a folder of its own; what ran and what was made of it goes with it.
struct App {
    parent: tempfile::TempDir,
    name: String,
}

impl App {
    /// An app with this Procfile, this test command and one page.
    fn small(procfile: &str, test: &str) -> Self {
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
    fn guestbook() -> Self {
        let app = Self::empty();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guestbook/.");
        let copied = Command::new("cp").arg("-r").arg(example).arg(app.folder()).status().unwrap();
        assert!(copied.success());
        app
    }

    fn empty() -> Self {
        let app = Self { parent: tempfile::tempdir().unwrap(), name: random_name("up") };
        fs::create_dir(app.folder()).unwrap();
        app
    }

    fn folder(&self) -> PathBuf {
        self.parent.path().join(&self.name)
    }

    fn write(&self, file: &str, content: &str) {
        fs::write(self.folder().join(file), content).unwrap();
    }

    /// Starts `packhorse up` on it.
    fn up(&self, flags: &[&str]) -> Up {
        let mut command = self.command("up");
        command.args(["--network", "host", "--ca-bundle", &parts::ca_bundle()]).args(flags);
        Up::start(command)
    }

    /// Runs `packhorse down` on it.
    fn down(&self, flags: &[&str]) -> Ended {
        let mut command = self.command("down");
        command.args(flags);
        let ended = Up::start(command).end();
        assert!(ended.status.success(), "{}", ended.stderr);
        ended
    }

    /// Runs another command on what `up` keeps, and returns what it prints.
    fn client(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
        command.args(arguments).arg("--state-dir").arg(self.folder().join(".packhorse"));
        let output = command.env("DOCKER_HOST", parts::docker()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// How often the services were brought to changed settings.
    fn times_followed(&self) -> usize {
        let log = fs::read_to_string(self.folder().join(".packhorse/activity.jsonl")).unwrap();
        log.lines().filter(|line| line.contains(r#""what":"settings-ordered""#)).count()
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
        command.arg(name).arg(self.folder()).env("DOCKER_HOST", parts::docker()).env("PACKHORSE_PACK", parts::pack());
        command
    }

    /// All that Docker has of it, by name.
    fn left(&self) -> Vec<String> {
        let name = format!("name={}", self.name);
        let mut left = words(&docker(&["ps", "-a", "--filter", &name, "--format", "{{.Names}}"]));
        left.extend(words(&docker(&["network", "ls", "--filter", &name, "--format", "{{.Name}}"])));
        left
    }

    /// The names of its images.
    fn images(&self) -> Vec<String> {
        words(&docker(&["images", "--format", "{{.Tag}}", &format!("packhorse/{}", self.name)]))
    }

    /// The volumes in which its builds keep their cache.
    fn caches(&self) -> Vec<String> {
        let all = words(&docker(&["volume", "ls", "-q"]));
        let own = packhorse::adapters::pack::cache_volumes(&self.name);
        all.into_iter().filter(|volume| own.contains(volume)).collect()
    }

    /// The label of all its containers and networks.
    fn lane(&self) -> String {
        let instance = fs::read_to_string(self.folder().join(".packhorse/instance")).unwrap();
        format!("label=packhorse.lane={}@{}", self.name, instance.trim())
    }

    /// The processes of it that run.
    fn running(&self, role: &str) -> Vec<String> {
        let role = format!("label=packhorse.role={role}");
        words(&docker(&["ps", "--filter", &self.lane(), "--filter", &role, "--format", "{{.Names}}"]))
    }

    /// The image that the tag `latest` names, if there is one.
    fn latest(&self) -> Option<String> {
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
struct Up {
    child: Child,
    stdout: Receiver<String>,
    read: Vec<String>,
    stderr: Arc<Mutex<String>>,
    said: Receiver<String>,
    readers: Vec<JoinHandle<()>>,
}

/// How it ended.
struct Ended {
    status: ExitStatus,
    stdout: Vec<String>,
    stderr: String,
}

impl Up {
    fn start(mut command: Command) -> Self {
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
    fn line(&mut self, awaited: impl Fn(&str) -> bool) -> String {
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
    fn live(&mut self) -> String {
        let line = self.line(|line| line.contains(" is live: "));
        line.rsplit_once("http://").unwrap().1.to_owned()
    }

    /// Waits for a line on stderr.
    fn hears(&self, awaited: &str) {
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
    fn kill(mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        self.child.wait().unwrap();
    }

    /// What Ctrl-C does on a terminal.
    fn interrupt(&self) {
        // It may have ended by itself.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::INT);
    }

    /// Waits for its end.
    fn end(mut self) -> Ended {
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
    fn objects(&self) -> Vec<Value> {
        let line = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.iter().map(line).collect()
    }

    /// What `--json` says about the end of the build: one object, and the last.
    fn result(&self) -> Value {
        let mut objects = self.objects();
        let results = objects.iter().filter(|object| object["type"] == "result").count();
        let last = objects.pop().unwrap_or_default();
        assert_eq!((results, &last["type"]), (1, &"result".into()), "{}\n{}", self.stdout.join("\n"), self.stderr);
        last["result"].clone()
    }

    /// The phases that changed, such as `test failed`, in order.
    fn phases(&self) -> Vec<String> {
        let changes = self.objects().into_iter().filter(|object| object["type"] == "phase");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        changes
            .map(|change| format!("{} {}", text(&change["detail"]["phase"]), text(&change["detail"]["state"])))
            .collect()
    }

    /// Says that a phase failed, in the result and in the last line.
    fn assert_failed_in(&self, phase: &str, cause: &str) {
        let result = self.result();
        assert_eq!(self.status.code(), Some(1), "{}", self.stderr);
        assert_eq!(result["phase"], phase, "{result}");
        assert_eq!(result["url"], Value::Null);
        assert!(result["cause"].as_str().unwrap().contains(cause), "{result}");
        assert_eq!(self.phases().last().unwrap(), &format!("{phase} failed"));
        assert!(self.stderr.contains(&format!("failed in its {phase} phase: ")), "{}", self.stderr);
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// A port that was free a moment ago.
fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// Sends one request and returns the whole response.
fn ask(address: &str, method: &str, path: &str, form: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    )
    .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Sends one request on a connection that stays and returns the response.
fn ask_again(stream: &mut TcpStream, address: &str) -> String {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: {address}\r\n\r\n").unwrap();
    let mut response = Vec::new();
    let mut byte = [0];
    let wanted = |response: &[u8]| {
        let text = String::from_utf8_lossy(response).to_lowercase();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length: usize = head.split("content-length: ").nth(1)?.lines().next()?.trim().parse().ok()?;
        Some(body.len() >= length)
    };
    while wanted(&response) != Some(true) {
        stream.read_exact(&mut byte).unwrap_or_else(|error| panic!("{error} after {response:?}"));
        response.push(byte[0]);
    }
    String::from_utf8(response).unwrap()
}

/// Whether a response has the status 200.
fn answers(response: &str) -> bool {
    response.starts_with("HTTP/1.1 200 ")
}

/// Clients that ask for the page, one request after the other, until told to stop: some on a connection that stays, some on
/// a new one each time.
struct Requests {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<String>>>,
}

impl Requests {
    fn start(address: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let client = |stays: bool| {
            let (stop, address) = (Arc::clone(&stop), address.to_owned());
            thread::spawn(move || {
                let mut responses = Vec::new();
                let mut connection = stays.then(|| TcpStream::connect(&address).unwrap());
                while !stop.load(Ordering::Relaxed) {
                    responses.push(match &mut connection {
                        Some(connection) => ask_again(connection, &address),
                        None => ask(&address, "GET", "/", ""),
                    });
                }
                responses
            })
        };
        let clients = (0..6).map(|number| client(number % 2 == 0)).collect();
        Self { stop, clients }
    }

    /// Every response to each client.
    fn end(self) -> Vec<Vec<String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn the_guestbook_ends_with_a_url_that_keeps_entries() {
    let app = App::guestbook();
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    let signed = ask(&address, "POST", "/entries", "author=Test&text=Rivers+and+roads");
    assert!(signed.starts_with("HTTP/1.1 303 "), "{signed}");
    let page = ask(&address, "GET", "/", "");
    assert!(answers(&page), "{page}");
    assert!(page.contains("Rivers and roads"), "{page}");
}

#[test]
#[ignore = "needs Docker Engine 26 and the registry"]
fn the_guestbook_runs_from_an_image_that_packhorse_itself_has_made() {
    let app = App::guestbook();
    let cache = app.parent.path().join("cache");
    fs::create_dir_all(sandbox::roots()).unwrap();
    fs::create_dir(&cache).unwrap();
    std::os::unix::fs::symlink(sandbox::roots(), cache.join("roots")).unwrap();
    let mut command = app.command("up");
    command
        .args(["--port", &free_port(), "--engine", "embedded", "--builder", &parts::builder()])
        .args(["--ca-bundle", &parts::ca_bundle()])
        .env("PACKHORSE_PACK", "/nonexistent/pack")
        .env("PACKHORSE_CACHE_DIR", &cache);
    let mut up = Up::start(command);
    let address = up.live();
    assert!(answers(&ask(&address, "GET", "/", "")), "the guestbook does not answer");
    assert!(up.stderr.lock().unwrap().contains("Engine embedded: as asked for"));
    up.interrupt();
    let ended = up.end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!(fs::read_dir(cache.join("builds")).unwrap().count(), 0);

    // What the builds have kept goes with the rest.
    let kept = |name: &str| fs::read_dir(cache.join(name)).unwrap().count();
    assert_eq!((kept("layers"), kept("docker")), (1, 1));
    let mut command = app.command("down");
    command.arg("--volumes").env("PACKHORSE_CACHE_DIR", &cache);
    let ended = Up::start(command).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert_eq!((kept("layers"), kept("docker")), (0, 0));
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_second_up_replaces_the_release_without_losing_a_request() {
    let app = App::small(WEB, "true");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    let first = app.running("service");

    app.write("index.html", "second version\n");
    let requests = Requests::start(&address);
    let second = app.up(&["--json"]).end();
    let responses = requests.end();

    assert!(second.status.success(), "{}", second.stderr);
    assert_eq!(second.result()["build"], 2);
    assert_eq!(second.result()["url"], format!("http://{address}"));
    for client in &responses {
        let lost = client.iter().find(|response| !answers(response));
        assert_eq!(lost, None);
        assert!(client.first().unwrap().ends_with("first version\n"));
        // Once the new release has answered, nobody sees the old one.
        let change = client.iter().position(|response| response.ends_with("second version\n"));
        assert!(client[change.unwrap_or(client.len())..].iter().all(|response| response.ends_with("second version\n")));
    }
    assert!(responses.iter().flatten().any(|response| response.ends_with("second version\n")));
    assert!(ask(&address, "GET", "/", "").ends_with("second version\n"));
    let now = app.running("service");
    assert_eq!(now.len(), 1);
    assert_ne!(now, first);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn one_run_goes_through_every_phase_and_leaves_nothing_running() {
    let app = App::small(&format!("{WEB}release: echo migrated\n"), "true");
    let ended = app.up(&["--once", "--json", "--port", &free_port()]).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    let each = ["build", "test", "finalize", "release", "deploy"];
    let phases: Vec<_> =
        each.iter().flat_map(|phase| [format!("{phase} started"), format!("{phase} succeeded")]).collect();
    assert_eq!(ended.phases(), phases);
    assert!(app.latest().is_some());
    assert_eq!(words(&docker(&["ps", "-q", "--filter", &app.lane()])), [""; 0]);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn without_an_engine_the_result_says_so_too() {
    let app = App::small(WEB, "true");
    let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
    command.args(["up", "--once", "--json"]).arg(app.folder()).env("DOCKER_HOST", "unix:///no/such/docker.sock");
    let ended = Up::start(command).end();
    assert_eq!(ended.status.code(), Some(4), "{}", ended.stderr);
    assert!(ended.result()["cause"].as_str().unwrap().contains("/no/such/docker.sock"), "{}", ended.result());
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_failing_test_ends_the_build_and_moves_no_tag() {
    let app = App::small(WEB, "test -f index.html");
    let good = app.up(&["--once", "--json", "--port", &free_port()]).end();
    assert!(good.status.success(), "{}", good.stderr);
    let latest = app.latest();
    assert!(latest.is_some());

    fs::rename(app.folder().join("index.html"), app.folder().join("other.html")).unwrap();
    let ended = app.up(&["--once", "--json", "--port", &free_port()]).end();
    ended.assert_failed_in("test", "code 1");
    assert_eq!(app.latest(), latest);
    assert!(app.images().iter().all(|tag| !tag.starts_with("candidate-")), "{:?}", app.images());

    let fresh = App::small(WEB, "exit 4");
    fresh.up(&["--once", "--json", "--port", &free_port()]).end().assert_failed_in("test", "code 4");
    assert_eq!(fresh.latest(), None);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_failing_release_starts_no_service() {
    let app = App::small(&format!("{WEB}release: echo no such table; exit 3\n"), "true");
    let ended = app.up(&["--once", "--json", "--port", &free_port()]).end();
    ended.assert_failed_in("release", "3");
    assert!(!ended.phases().iter().any(|phase| phase.starts_with("deploy")));
    let services = ["ps", "-aq", "--filter", &app.lane(), "--filter", "label=packhorse.role=service"];
    assert_eq!(words(&docker(&services)), [""; 0]);

    let ended = app.up(&["--once", "--port", &free_port()]).end();
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(ended.stdout, [""; 0]);
    assert!(ended.stderr.contains("error: build 2 failed in its release phase: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("\nno such table\n"), "the command's own words: {}", ended.stderr);
    assert!(ended.stderr.contains("next: see the release command in `Procfile`"), "{}", ended.stderr);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_crashing_web_process_ends_with_its_last_words() {
    let app = App::small("web: echo no port for me; exit 1\n", "true");
    let ended = app.up(&["--once", "--json", "--port", &free_port()]).end();
    ended.assert_failed_in("deploy", "`web` exited with code 1; its last lines:\nno port for me");
    assert_eq!(app.running("service"), [""; 0]);

    let ended = app.up(&["--once", "--port", &free_port()]).end();
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.contains("error: build 2 failed in its deploy phase: "), "{}", ended.stderr);
    assert!(ended.stderr.contains("`web` must answer on `$PORT`"), "{}", ended.stderr);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_second_up_without_a_change_repeats_nothing_and_says_so() {
    let app = App::small(&format!("{WEB}release: echo migrated\n"), "echo tested");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    let (services, tasks, images) = (app.running("service"), app.left(), app.images());

    let second = app.up(&["--json"]).end();
    assert!(second.status.success(), "{}", second.stderr);
    let result = second.result();
    assert_eq!((&result["build"], &result["unchanged"]), (&1.into(), &true.into()), "{result}");
    assert_eq!(result["url"], format!("http://{address}"));
    assert_eq!((app.running("service"), app.left(), app.images()), (services, tasks, images));
    up.line(|line| line.contains("Build 1 is live: "));
    let said = up.stderr.lock().unwrap().clone();
    assert!(said.contains("nothing is tested, released or deployed again"), "{said}");
    assert_eq!((said.matches("\ntested\n").count(), said.matches("\nmigrated\n").count()), (1, 1), "{said}");

    app.write("index.html", "second version\n");
    let third = app.up(&["--json"]).end();
    assert_eq!((&third.result()["unchanged"], third.status.code()), (&false.into(), Some(0)));
    assert!(ask(&address, "GET", "/", "").ends_with("second version\n"));
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_variable_of_a_second_up_is_a_change() {
    let page = "mkdir -p /tmp/page && cd /tmp/page && echo $GREETING >index.html";
    let app = App::small(&format!("web: {page} && exec python3 -m http.server $PORT\n"), "true");
    let file = app.parent.path().join("variables.env");
    let flags = ["--json", "--env-file", file.to_str().unwrap()];
    fs::write(&file, "GREETING=welcome\n").unwrap();
    let port = free_port();
    let mut up = app.up(&["--env-file", flags[2], "--port", &port]);
    let address = up.live();
    assert!(ask(&address, "GET", "/", "").ends_with("welcome\n"));
    assert_eq!(app.up(&flags).end().result()["unchanged"], true);

    fs::write(&file, "GREETING=farewell\n").unwrap();
    let ended = app.up(&flags).end();
    assert_eq!(ended.result()["unchanged"], false, "{}", ended.stderr);
    assert!(ask(&address, "GET", "/", "").ends_with("farewell\n"));
}

/// What the services are brought to is followed by them, and nobody loses a request meanwhile.
fn follows(app: &App, up: &Up, address: &str, commands: &[&[&str]]) -> Vec<String> {
    let requests = Requests::start(address);
    for command in commands {
        app.client(command);
    }
    up.hears("runs with the changed settings");
    let lost: Vec<String> = requests.end().into_iter().flatten().filter(|response| !answers(response)).collect();
    assert_eq!(lost, [""; 0], "after {commands:?}");
    app.running("service")
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn changed_settings_of_a_running_app_are_followed_without_losing_a_request() {
    let page = "mkdir -p /tmp/page && cd /tmp/page && echo $GREETING >index.html";
    let app = App::small(&format!("web: {page} && exec python3 -m http.server $PORT\n"), "true");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    let first = app.running("service");
    let two = follows(&app, &up, &address, &[&["ps", "scale", "web=2"]]);
    assert!(two.len() == 2 && two.contains(&first[0]), "{first:?} {two:?}");
    assert_eq!(follows(&app, &up, &address, &[&["ps", "scale", "web", "1-3"]]), first, "the fewest run");

    let several: [&[&str]; 3] =
        [&["config", "set", "GREETING=welcome"], &["config", "set", "LEVEL=1"], &["config", "unset", "LEVEL"]];
    let changed = follows(&app, &up, &address, &several);
    assert!(changed.len() == 1 && changed != first, "{first:?} {changed:?}");
    assert!(ask(&address, "GET", "/", "").ends_with("welcome\n"));
    let again = follows(&app, &up, &address, &[&["ps", "restart", "web"]]);
    assert!(again.len() == 1 && again != changed, "{changed:?} {again:?}");
    assert_eq!(app.times_followed(), 4, "changes that come together lead to one restart");

    app.client(&["scheduled-tasks", "create", "--schedule", "* * * * ? *", "echo the job says $GREETING; exit 4"]);
    up.hears("the job says welcome");
    up.hears("(exited with code 4)");
    app.client(&["scheduled-tasks", "delete", "1"]);
    up.hears("runs with the changed settings");
    assert_eq!(app.running("service"), again, "a job is no reason to restart");
    up.interrupt();
    let ended = up.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert!(!ended.stderr.contains("welcome\"") && app.left().is_empty(), "{:?}", app.left());
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn other_commands_show_and_change_what_a_running_up_runs() {
    let app = App::small(WEB, "true");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    app.write("index.html", "second version\n");
    assert_eq!(app.up(&["--json"]).end().result()["build"], 2);
    assert!(ask(&address, "GET", "/", "").ends_with("second version\n"));
    let shown: Value = serde_json::from_str(&app.client(&["ps", "--json"])).unwrap();
    assert_eq!((&shown[0]["name"], &shown[0]["build_number"]), (&"web".into(), &"2".into()), "{shown}");
    assert!(app.client(&["logs"]).contains("web "));

    assert!(app.client(&["rollback"]).contains("returns to build 1"));
    up.hears("rolled back to build 1");
    assert!(ask(&address, "GET", "/", "").ends_with("first version\n"));
    let releases: Value = serde_json::from_str(&app.client(&["releases", "--json"])).unwrap();
    let runs = |index: usize| (releases[index]["build_number"].as_u64(), releases[index]["running"].as_bool());
    assert_eq!((runs(0), runs(1)), ((Some(2), Some(false)), (Some(1), Some(true))), "{releases}");
    assert!(app.client(&["why"]).contains("build 1 has taken its place since"));

    // A build that is not newer than what was rolled back to is made and takes over again.
    app.write("index.html", "third version\n");
    assert_eq!(app.up(&["--json"]).end().result()["build"], 3);
    assert!(ask(&address, "GET", "/", "").ends_with("third version\n"));
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn the_state_of_up_is_no_part_of_the_image_and_of_the_history() {
    let app = App::small(WEB, "test ! -e .packhorse");
    app.write("secrets.env", "TOKEN=9f8e7d6c5b4a3928\n");
    for number in 1..=2 {
        let env_file = app.folder().join("secrets.env");
        let ended =
            app.up(&["--once", "--json", "--env-file", env_file.to_str().unwrap(), "--port", &free_port()]).end();
        assert!(ended.status.success(), "{}", ended.stderr);
        assert_eq!(ended.result()["build"], number);
    }
    assert_eq!(fs::read_to_string(app.folder().join(".packhorse/.gitignore")).unwrap(), "*\n");
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn after_a_kill_the_next_up_takes_over_what_runs_and_removes_what_was_begun() {
    let app = App::small(WEB, "true");
    let port = free_port();
    let mut up = app.up(&["--port", &port]);
    up.live();
    let running = app.running("service");
    up.kill();
    assert_eq!(app.running("service"), running, "nobody has stopped it");
    let mut up = app.up(&["--port", &port]);
    up.hears("Build 1 still runs and serves until another one takes its place");
    up.live();
    assert_eq!(app.running("service"), running, "nothing has changed");

    // Killed in the middle of the tests of another build.
    let manifest = fs::read_to_string(app.folder().join("app.json")).unwrap();
    app.write("app.json", &manifest.replace("\"true\"", "\"echo tests begin; exec tail -f /dev/null\""));
    let mut asking = app.up(&["--json"]);
    up.hears("tests begin");
    up.kill();
    let left = asking.child.wait().unwrap();
    assert_eq!(left.code(), Some(1), "whose build was lost");
    app.write("app.json", &manifest);
    let ended = app.up(&["--once", "--json", "--port", &port]).end();
    assert!(ended.status.success(), "{}", ended.stderr);
    assert!(ended.stderr.contains("was ended during build 3; cleaning up"), "{}", ended.stderr);
    assert_eq!(ended.result()["build"], 1, "it ran all the time, and nothing has changed");
    assert_eq!(app.left(), [""; 0]);
    assert!(app.images().iter().all(|tag| !tag.starts_with("candidate-")), "{:?}", app.images());
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn ctrl_c_in_the_middle_of_the_tests_leaves_nothing() {
    let app = App::small(WEB, "true");
    let manifest = serde_json::json!({
        "stack": "debian-12",
        "environments": { "test": {
            "addons": ["heroku-redis:in-dyno"],
            "scripts": { "test": "echo tests begin; exec tail -f /dev/null" },
        } },
    });
    app.write("app.json", &manifest.to_string());
    let up = app.up(&["--json", "--port", &free_port()]);
    up.hears("tests begin");
    up.interrupt();
    let ended = up.end();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.stderr);
    assert_eq!(ended.result()["cause"], "interrupted");
    assert_eq!(app.left(), [""; 0]);
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn down_stops_an_app_and_keeps_its_data_until_it_is_told_otherwise() {
    let app = App::small(WEB, "true");
    app.write("app.json", &serde_json::json!({ "stack": "debian-12", "addons": ["heroku-redis"] }).to_string());
    assert!(app.down(&[]).stdout[0].contains("nothing to stop"));
    let mut up = app.up(&["--port", &free_port()]);
    up.live();

    let stopped = app.down(&[]);
    assert!(stopped.stdout[0].contains("the data of redis"), "{:?}", stopped.stdout);
    assert_eq!(up.end().status.code(), Some(0));
    let left = app.left();
    assert_eq!(left.len(), 2, "the add-on and its network: {left:?}");
    assert_eq!(words(&docker(&["ps", "-q", "--filter", &app.lane()])), [""; 0]);
    assert_eq!(app.caches().len(), 2);

    app.down(&["--volumes"]);
    assert_eq!((app.left(), app.caches(), app.images()), (vec![], vec![], vec![]));
    assert!(!app.folder().join(".packhorse").exists());
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn ctrl_c_stops_all_that_was_started() {
    let app = App::small(&format!("{WEB}worker: exec python3 -c 'import signal; signal.pause()'\n"), "true");
    let mut up = app.up(&["--port", &free_port()]);
    let address = up.live();
    assert_eq!(app.running("service").len(), 2);
    up.interrupt();
    let ended = up.end();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    assert_eq!(app.left(), [""; 0], "no container, no network");
    assert!(TcpStream::connect(address).is_err());
}
