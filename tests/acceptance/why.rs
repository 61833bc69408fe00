//! Causes that only real parts have: an app that is broken in some way, the real `up`, and what `why` says of it.
//!
//! With `INSTA_UPDATE=always` what each run leaves behind becomes a fixture of `tests/why`.

use std::path::Path;
use std::process::Command;

use packhorse::adapters::local::{LocalState, SystemClock};
use packhorse::domain::lane::LaneKey;
use packhorse::ports::clock::Clock as _;
use packhorse::ports::lane_store::LaneStore as _;
use packhorse::ports::records::Records as _;
use serde_json::{Value, json};

use crate::support::docker::{Broom, random_name};
use crate::support::parts;
use crate::why::Fixture;

/// Runs an app that is broken and holds the cause that `why` names against the one that is expected.
async fn broken(cause: &str, what: &str, files: &[(&str, &str)]) {
    let name = random_name("why").replace(|c: char| c.is_ascii_digit(), "x");
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join(&name);
    std::fs::create_dir(&folder).unwrap();
    for (file, content) in files {
        std::fs::write(folder.join(file), content).unwrap();
    }
    let _broom = Broom(name.clone());
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
        command.args(arguments).current_dir(&folder);
        command.env("DOCKER_HOST", parts::docker()).env("PACKHORSE_PACK", parts::pack());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, err) = run(&["up", "--once", "--network", "host"]);
    assert_eq!(code, Some(1), "{out}{err}");
    let (code, out, err) = run(&["why", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["cause"], cause, "{told:#}");
    if std::env::var("INSTA_UPDATE").as_deref() == Ok("always") {
        keep(cause, what, &folder, &name).await;
    }
}

async fn keep(cause: &str, what: &str, folder: &Path, name: &str) {
    let state = LocalState::open(&folder.join(".packhorse")).unwrap();
    let key = LaneKey::app(name.parse().unwrap());
    let record = state.builds(&key, 1).await.unwrap().remove(0);
    let lane = state.load(&key).await.unwrap().map(|found| found.lane);
    let failed =
        record.phases.values().find(|phase| phase.state == packhorse::domain::lane::PhaseState::Failed).unwrap();
    let log = failed.logs.strip_prefix("file://").and_then(|path| std::fs::read_to_string(path).ok());
    let fixture = Fixture {
        made_by: format!("packhorse up --once, on {what}"),
        now: SystemClock.now(),
        record,
        lane,
        metadata: None,
        log,
    };
    // Neither the folder of this run nor its name says anything.
    let text = serde_json::to_string_pretty(&fixture).unwrap() + "\n";
    let text = text.replace(&folder.parent().unwrap().display().to_string(), "/home/dev").replace(name, "shop");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/why/{cause}--on-this-machine.json"));
    std::fs::write(file, text).unwrap();
}

fn manifest(test: &str) -> String {
    json!({ "stack": "debian-12", "environments": { "test": { "scripts": { "test": test } } } }).to_string()
}

const SERVES: &str = "web: exec python3 -m http.server $PORT\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26 and pack"]
async fn tests_that_fail() {
    broken("tests-failed", "an app whose tests fail", &[("Procfile", SERVES), ("app.json", &manifest("exit 3"))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26 and pack"]
async fn a_release_command_that_fails() {
    let procfile = format!("{SERVES}release: echo broken; exit 3\n");
    let files = [("Procfile", procfile.as_str()), ("app.json", &manifest("true"))];
    broken("command-failed", "an app whose release command fails", &files).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26 and pack"]
async fn a_release_command_that_is_not_in_the_image() {
    let procfile = format!("{SERVES}release: no-such-program --now\n");
    let files = [("Procfile", procfile.as_str()), ("app.json", &manifest("true"))];
    broken("command-not-found", "an app whose release command is not in the image", &files).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26 and pack"]
async fn a_process_that_does_not_stay_up() {
    let files = [("Procfile", "web: echo broken; exit 5\n"), ("app.json", &manifest("true"))];
    broken("process-crashed", "an app whose web process ends at once", &files).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26 and pack"]
async fn a_builder_whose_registry_does_not_answer() {
    // Nobody listens at the first port.
    let manifest = json!({ "stack": "localhost:1/none/builder:1" }).to_string();
    broken(
        "builder-not-fetched",
        "an app whose builder lies nowhere",
        &[("Procfile", SERVES), ("app.json", &manifest)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26 and pack"]
async fn a_source_for_which_there_is_no_buildpack() {
    broken(
        "no-buildpack-fits",
        "a folder without any app",
        &[("README", "nothing\n"), ("app.json", &manifest("true"))],
    )
    .await;
}
