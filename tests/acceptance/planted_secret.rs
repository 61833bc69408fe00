//! A secret that is planted in an app's config variables: where it is after everything has run, and which processes had it.
#![cfg(feature = "aws")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::cli::Ran;
use crate::support::aws::Bucket;
use crate::support::lanes;
use crate::support::parts;
use crate::support::recorder::{Execution, Planted, Recorder};
use crate::support::step::{Parameter, Steps};

const PROCFILE: &str = "web: exec python3 -m http.server $PORT\nrelease: echo the-release-runs\n";
const TEST: &str = "echo the-tests-run";

fn manifest() -> String {
    serde_json::json!({
        "stack": parts::builder(),
        "environments": {"test": {"scripts": {"test": TEST}, "env": {"PLAIN": "yes"}}},
    })
    .to_string()
}

#[test]
#[ignore = "needs strace, root, Docker Engine 26, pack, a registry and moto"]
fn a_planted_secret_is_found_only_in_the_processes_that_need_it() {
    let planted = Planted::new();
    let mut recorder = Recorder::start();
    recorder.provide(&parts::builder(), "packhorse/builder:debian-12");
    recorder.provide(&format!("{}/packhorse/run:debian-12", parts::registry()), "packhorse/run:debian-12");
    assert!(planted.files_with_it(&recorder.kept()).is_empty());

    a_build_in_codebuild_leaves_it_nowhere(&planted, &mut recorder);
    a_release_on_one_machine_leaves_it_in_the_store_alone(&planted, &mut recorder);
    recorder.docker(&["container", "prune", "-f"]);
    let mut kept = planted.files_with_it(&recorder.kept());
    // The book of containerd itself: the environment of every container, in pages that it frees without wiping them.
    kept.retain(|file| !file.ends_with("/io.containerd.metadata.v1.bolt/meta.db"));
    assert!(kept.is_empty(), "the engine keeps it in {kept:#?}");

    only_those_that_need_it_had_it(&planted, &recorder.executions());
}

fn a_build_in_codebuild_leaves_it_nowhere(planted: &Planted, recorder: &mut Recorder) {
    let bucket = Bucket::make();
    let steps = Steps::named(&lanes::random_name("shop"))
        .with("DOCKER_HOST", &recorder.address())
        .with("PACKHORSE_PACK", &parts::pack())
        .with("PACKHORSE_BUILD_NETWORK", "host")
        .with("PACKHORSE_TRUST_BUILDER", "1")
        .with("APPPACK_DEBUG", "1")
        .with("ARTIFACT_BUCKET", &bucket.name);
    steps.write("Procfile", PROCFILE);
    steps.write("app.json", &manifest());
    Parameter(format!("/apppack/apps/{}/config/PLANTED", steps.app)).put_secret(&planted.value);
    for verb in ["prebuild", "build", "postbuild"] {
        let ran = Ran::from(recorder.record(&steps.command(verb)));
        assert_eq!(ran.code, 0, "{ran}");
        assert!(!planted.is_in(&ran.stdout) && !planted.is_in(&ran.stderr), "{verb} says it");
    }
    assert!(steps.read("test.log").unwrap().contains("the-tests-run"));
    let files = planted.files_with_it(&[steps.folder().to_owned()]);
    assert!(files.is_empty(), "left in {files:#?}");
    let blobs = planted.blobs_with_it(&steps.app, "packhorse/run");
    assert!(blobs.is_empty(), "the registry has it in {blobs:#?}");
    let (count, objects) = planted.objects_with_it(&bucket.name);
    assert!(count > 0 && objects.is_empty(), "of {count} objects it is in {objects:#?}");
}

fn a_release_on_one_machine_leaves_it_in_the_store_alone(planted: &Planted, recorder: &mut Recorder) {
    let bench = tempfile::tempdir().unwrap();
    let [app, temporary, home] = ["shop", "tmp", "home"].map(|name| bench.path().join(name));
    for folder in [&app, &temporary, &home] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(app.join("Procfile"), PROCFILE).unwrap();
    fs::write(app.join("app.json"), manifest().replace(&parts::builder(), "debian-12")).unwrap();
    fs::write(app.join(".env"), format!("PLANTED={}\n", planted.value)).unwrap();
    let variables = BTreeMap::from([
        ("PATH", std::env::var("PATH").unwrap()),
        ("HOME", home.display().to_string()),
        ("TMPDIR", temporary.display().to_string()),
        ("DOCKER_HOST", recorder.address()),
        ("PACKHORSE_PACK", parts::pack()),
    ]);
    // The second run finds what the first has left, its own state included.
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
        command.args(["up", "--once", "--network", "host", "--env-file"]).arg(app.join(".env")).arg(&app);
        command.envs(&variables).current_dir(&home);
        let ran = Ran::from(recorder.record(&command));
        assert_eq!(ran.code, 0, "{ran}");
        assert!(ran.stdout.contains("the-tests-run") || ran.stderr.contains("the-tests-run"), "{ran}");
        assert!(!planted.is_in(&ran.stdout) && !planted.is_in(&ran.stderr), "`up` says it");
    }

    // The local store keeps config variables, for its owner alone; nothing else of it may hold them.
    let state = app.join(".packhorse");
    for path in [&state, &state.join("state.db")] {
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} can be read by others: {mode:o}", path.display());
    }
    forget_parameters(&state.join("state.db"));
    fs::remove_file(app.join(".env")).unwrap();
    let files = planted.files_with_it(&[bench.path().to_owned()]);
    assert!(files.is_empty(), "left in {files:#?}");
}

/// Takes the config variables out of a local store, so that what else it holds can be looked at.
fn forget_parameters(database: &Path) {
    let connection = rusqlite::Connection::open(database).unwrap();
    assert!(connection.execute("DELETE FROM parameters", []).unwrap() > 0);
    connection.execute_batch("PRAGMA journal_mode = DELETE; VACUUM;").unwrap();
}

fn only_those_that_need_it_had_it(planted: &Planted, executions: &[Execution]) {
    let ends_with = |end: &'static str| move |execution: &&Execution| execution.path.ends_with(end);
    let says = |words: &'static str| {
        move |execution: &&Execution| execution.arguments.iter().any(|argument| argument.contains(words))
    };
    let has_it = |execution: &&Execution| execution.environment.iter().any(|pair| planted.is_in(pair));
    // What is not recorded cannot be found.
    for program in ["/packhorse", "/pack", "/dockerd", "/runc", "/cnb/lifecycle/creator"] {
        assert!(executions.iter().any(|execution| ends_with(program)(&execution)), "no record of {program}");
    }
    for execution in executions {
        assert!(!execution.arguments.iter().any(|argument| planted.is_in(argument)), "in arguments: {execution:#?}");
    }

    let holders: Vec<&Execution> = executions.iter().filter(has_it).collect();
    for execution in &holders {
        assert!(execution.container.is_some(), "outside of a container: {execution:#?}");
        let lifecycle = execution.path.starts_with("/cnb/lifecycle/") && !execution.path.ends_with("/launcher");
        assert!(!lifecycle, "the lifecycle needs no value: {execution:#?}");
    }
    let tests: BTreeSet<_> = executions.iter().filter(says("the-tests-run")).map(|run| &run.container).collect();
    assert!(tests.iter().any(|container| container.is_some()), "the tests ran in no container");
    for execution in executions.iter().filter(|execution| execution.container.is_some()) {
        let tested = tests.contains(&execution.container) && has_it(&execution);
        assert!(!tested, "tests get no config variables: {execution:#?}");
    }
    // Those that need it have it, or this test would look in the wrong place.
    for (what, found) in [
        (
            "buildpacks",
            holders.iter().any(|run| run.path.starts_with("/cnb/buildpacks/") && run.path.ends_with("/build")),
        ),
        ("the release command", holders.iter().any(|run| says("the-release-runs")(run))),
        ("the web process", holders.iter().any(|run| says("http.server")(run))),
    ] {
        let paths: BTreeSet<&str> = holders.iter().map(|run| run.path.as_str()).collect();
        assert!(found, "{what} never had it; these had: {paths:#?}");
    }
}
