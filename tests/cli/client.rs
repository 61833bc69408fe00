//! Commands on one app, over the local state that `up` leaves.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use packhorse::adapters::local::LocalState;
use packhorse::domain::lane::{Ending, LaneKey, Phase, PhaseState, Release, ReleasePlan, Sizes};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::ports::lane_store::{LaneStore as _, Version};
use packhorse::ports::parameters::ParameterStore as _;
use packhorse::ports::records::Records as _;
use serde_json::{Value, json};

use super::{Bench, Ran};
use crate::support::lanes::{build_arn, deploy, deployed, lane_at_rest};

/// An app on this machine that `up` has built twice: build 1 failed, build 2 runs.
struct App {
    bench: Bench,
}

impl App {
    async fn new() -> Self {
        let bench = Bench::new();
        let app = Self { bench };
        let folder = app.folder().join(".packhorse");
        std::fs::create_dir_all(&folder).unwrap();
        let state = LocalState::open(&folder).unwrap();
        let key = LaneKey::app("shop".parse().unwrap());
        let mut lane = lane_at_rest(&key, 2);
        let plan = ReleasePlan { image: "shop@sha256:1".to_owned(), ..ReleasePlan::default() };
        let release = |number: u64| Release {
            build: BuildNumber(number),
            arn: build_arn(&key, number),
            commit: String::new(),
            started: EpochSeconds(number),
            plan: plan.clone(),
            at: EpochSeconds(number),
            sizes: Sizes::new(),
        };
        lane.live = Some(release(3));
        let build = lane.build_mut(BuildNumber(2)).unwrap();
        (build.ending, build.plan) = (Some(Ending::Deployed), Some(plan.clone()));
        let version = state.commit(Version(0), &lane).await.unwrap();
        let mut failed = deployed(&key, 1);
        failed.phases.retain(|phase, _| *phase <= Phase::Test);
        failed.phases.get_mut(&Phase::Test).unwrap().state = PhaseState::Failed;
        failed.ending = Some(Ending::Failed { phase: Phase::Test, cause: "the tests failed: exit code 3".to_owned() });
        for record in [failed, deployed(&key, 2), deployed(&key, 3)] {
            state.put_build(&key, version, &record).await.unwrap();
        }
        state.put_deploy_status(&key, version, &deploy(&key, 3)).await.unwrap();
        app
    }

    fn folder(&self) -> PathBuf {
        self.bench.path("shop")
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::from(self.bench.command(arguments).current_dir(self.folder()).output().unwrap())
    }

    fn run_with(&self, arguments: &[&str], stdin: &str) -> Ran {
        let mut command = self.bench.command(arguments);
        command.current_dir(self.folder()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        Ran::from(child.wait_with_output().unwrap())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(ran.code, 0, "{ran}");
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

#[tokio::test]
async fn config_variables_are_set_read_and_removed_and_values_shown_only_when_asked_for() {
    let app = App::new().await;
    let ran = app.run(&["config", "set", "LEVEL=info", "TOKEN=s3cret=="]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(!format!("{ran}").contains("s3cret"), "{ran}");
    let ran = app.run_with(&["config", "set", "KEY", "--stdin"], "line 1\nline 2\n");
    assert_eq!(ran.code, 0, "{ran}");
    app.bench.write("shop/values.env", "MORE=1\nLEVEL=debug\n");
    assert_eq!(app.run(&["config", "set", "--env-file", "values.env"]).code, 0);
    let ran = app.run(&["config", "list"]);
    assert_eq!(ran.stdout, "KEY\nLEVEL\nMORE\nTOKEN\n", "{ran}");
    assert_eq!(app.json(&["config", "list"]), json!({"KEY": null, "LEVEL": null, "MORE": null, "TOKEN": null}));
    let values = json!({"KEY": "line 1\nline 2", "LEVEL": "debug", "MORE": "1", "TOKEN": "s3cret=="});
    assert_eq!(app.json(&["config", "list", "--values"]), values);
    assert_eq!(app.run(&["config", "get", "TOKEN"]).stdout, "s3cret==\n");
    let ran = app.run(&["config", "unset", "LEVEL", "NOBODY"]);
    assert!(ran.code == 0 && ran.stderr.contains("no variable `NOBODY`"), "{ran}");
    let ran = app.run(&["config", "get", "LEVEL"]);
    assert!(ran.code == 1 && ran.stderr.contains("has no variable `LEVEL`"), "{ran}");
}

#[tokio::test]
async fn a_wrong_variable_sets_nothing_and_is_not_repeated() {
    let app = App::new().await;
    for (arguments, said) in [
        (&["config", "set", "GOOD=1", "s3cret"][..], "NAME=VALUE"),
        (&["config", "set", "GOOD=1", "2BAD=x"], "cannot name a variable"),
        (&["config", "set", "GOOD=1", "EMPTY="], "would be empty"),
        (&["config", "set", "A", "B", "--stdin"], "name one variable"),
    ] {
        let ran = app.run(arguments);
        assert!(ran.code == 2 && ran.stderr.contains(said) && !ran.stderr.contains("s3cret"), "{ran}");
    }
    assert_eq!(app.json(&["config", "list"]), json!({}));
}

#[tokio::test]
async fn processes_are_scaled_and_a_damaged_scale_is_never_overwritten() {
    let app = App::new().await;
    let ran = app.run(&["ps", "scale", "web", "1-4", "--memory", "2G"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "web: 1 to 4 with 0.5 virtual CPUs and 2048M each\n"), "{ran}");
    let scaled = json!({"web": {"cpu": 512, "memory": 2048, "min_processes": 3, "max_processes": 3}});
    assert_eq!(app.json(&["ps", "scale", "web=3"]), scaled);
    let ran = app.run(&["ps", "scale", "nobody", "2"]);
    assert!(ran.code == 0 && ran.stderr.contains("has no `nobody`"), "{ran}");
    for (arguments, said) in [
        (&["ps", "scale", "web"][..], "say what is to change"),
        (&["ps", "scale", "web", "4-1"], "4 is more than 1"),
        (&["ps", "scale", "web", "--memory", "1.5G"], "whole megabytes"),
    ] {
        let ran = app.run(arguments);
        assert!(ran.code == 2 && ran.stderr.contains(said), "{ran}");
    }
    let state = LocalState::open(&app.folder().join(".packhorse")).unwrap();
    state.put("/apppack/apps/shop/scaling", "damaged").await.unwrap();
    let ran = app.run(&["ps", "scale", "web", "2"]);
    assert!(ran.code == 4 && ran.stderr.contains("left as it is"), "{ran}");
    assert_eq!(state.get("/apppack/apps/shop/scaling").await.unwrap().as_deref(), Some("damaged"));
}

#[tokio::test]
async fn scheduled_tasks_are_kept_in_their_order() {
    let app = App::new().await;
    assert_eq!(app.json(&["scheduled-tasks", "list"]), json!([]));
    app.json(&["scheduled-tasks", "create", "--schedule", "0 3 * * ? *", "clean up"]);
    app.json(&["cron", "create", "-s", "0/5 * * * ? *", "poll"]);
    let ran = app.run(&["scheduled-tasks", "list"]);
    assert_eq!(ran.stdout, " 1  0 3 * * ? *           clean up\n 2  0/5 * * * ? *         poll\n", "{ran}");
    let left = json!([{"schedule": "0/5 * * * ? *", "command": "poll"}]);
    assert_eq!(app.json(&["scheduled-tasks", "delete", "1"]), left);
    let ran = app.run(&["scheduled-tasks", "delete", "2"]);
    assert!(ran.code == 1 && ran.stderr.contains("no scheduled task 2"), "{ran}");
    let ran = app.run(&["scheduled-tasks", "create", "--schedule", "every day", "x"]);
    assert!(ran.code == 2 && ran.stderr.contains("should have six"), "{ran}");
    let state = LocalState::open(&app.folder().join(".packhorse")).unwrap();
    state.put("/apppack/apps/shop/scheduled-tasks", "{}").await.unwrap();
    let ran = app.run(&["scheduled-tasks", "create", "--schedule", "0 3 * * ? *", "x"]);
    assert!(ran.code == 4 && ran.stderr.contains("left as they are"), "{ran}");
    assert_eq!(state.get("/apppack/apps/shop/scheduled-tasks").await.unwrap().as_deref(), Some("{}"));
}

#[tokio::test]
async fn releases_are_listed_and_an_older_one_is_asked_for() {
    let app = App::new().await;
    let releases = app.json(&["releases"]);
    let numbers: Vec<(u64, bool)> = releases
        .as_array()
        .unwrap()
        .iter()
        .map(|release| (release["build_number"].as_u64().unwrap(), release["running"].as_bool().unwrap()))
        .collect();
    assert_eq!(numbers, [(3, true), (2, false)]);
    let ran = app.run(&["rollback", "1"]);
    assert!(ran.code == 1 && ran.stderr.contains("does not remember what build 1 ran"), "{ran}");
    let ran = app.run(&["rollback"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "shop returns to build 2\n"), "{ran}");
    let state = LocalState::open(&app.folder().join(".packhorse")).unwrap();
    let lane = state.load(&LaneKey::app("shop".parse().unwrap())).await.unwrap().unwrap().lane;
    assert!(!lane.owed.is_empty() && lane.rollback.is_some(), "{lane:#?}");
}

#[tokio::test]
async fn why_names_the_cause_and_the_next_step() {
    let app = App::new().await;
    let ran = app.run(&["why", "1"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(
        ran.stdout.starts_with("Build 1 was not released because its tests failed (exit code 3).\nNext: read"),
        "{ran}"
    );
    assert_eq!(app.json(&["why"])["cause"], "deployed");
    assert_eq!(app.json(&["why", "2"])["cause"], "replaced");
    let ran = app.run(&["why", "9"]);
    assert!(ran.code == 1 && ran.stderr.contains("has no build 9"), "{ran}");
}

#[tokio::test]
async fn what_cannot_be_done_here_says_what_can() {
    let app = App::new().await;
    for (arguments, code, said) in [
        (&["build", "cancel", "1"][..], 1, "it has ended"),
        (&["build", "start"], 1, "no `packhorse up` runs in this folder"),
        (&["build", "start", "--ref", "main"], 2, "as it is"),
        (&["build", "logs", "7"], 1, "has no build 7"),
        (&["build", "logs", "3", "--phase", "postdeploy"], 1, "has no postdeploy phase"),
        (&["ps", "restart"], 4, "cannot connect"),
    ] {
        let ran = app.run(arguments);
        assert_eq!(ran.code, code, "{arguments:?} {ran}");
        assert!(ran.stderr.to_lowercase().contains(said) || code == 4, "{arguments:?} {ran}");
    }
    let ran = app.run(&["build", "watch", "3"]);
    assert!(ran.code == 0 && ran.stdout.contains("deploy     succeeded in 10 s"), "{ran}");
    let ran = app.run(&["build", "watch", "1"]);
    assert!(ran.code == 1 && ran.stderr.contains("packhorse why 1"), "{ran}");
}

#[test]
fn without_an_app_and_without_state_a_command_says_where_to_look() {
    for arguments in [&["config", "list"][..], &["ps"], &["why"], &["releases"], &["logs"], &["build", "watch"]] {
        let ran = Bench::new().run(arguments);
        assert!(ran.code == 2 && ran.stderr.contains("--app NAME"), "{arguments:?} {ran}");
    }
}
