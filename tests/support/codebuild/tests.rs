//! The stand-in itself, with tiny buildspecs.

use std::collections::{BTreeMap, BTreeSet};

use packhorse::domain::aws_event::{self, News};
use packhorse::domain::lane::{BuildResult, Event};
use serde_json::Value;

use super::{Build, GitLayout, Kill, KillWhat, KillWhen, Project, Source, StartBuild, Variable};

fn project(buildspec: &str) -> Project {
    let path = std::env::var("PATH").unwrap();
    Project {
        name: "shop".to_owned(),
        buildspec: buildspec.to_owned(),
        variables: vec![Variable::plain("APPNAME", "shop")],
        bucket: "shop-artifacts".to_owned(),
        image: BTreeMap::from([("PATH".to_owned(), path)]),
        container: None,
    }
}

fn app() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("Procfile"), "web: true\n").unwrap();
    folder
}

fn run(buildspec: &str) -> Build {
    run_with(buildspec, |_| {})
}

fn run_with(buildspec: &str, change: impl FnOnce(&mut StartBuild)) -> Build {
    let (app, bucket) = (app(), tempfile::tempdir().unwrap());
    let mut start = StartBuild::of(7, Source::of(app.path()));
    change(&mut start);
    project(buildspec).run_with_artifacts_in(&start, bucket.path())
}

/// The output of commands, without CodeBuild's own lines.
fn output(build: &Build) -> Vec<&str> {
    build.log.iter().map(String::as_str).filter(|line| !line.starts_with("[Container]")).collect()
}

#[test]
fn all_commands_share_one_shell() {
    let build = run("version: 0.2
phases:
  install: {commands: ['cd /', 'export COLOUR=green', 'flavour=sour']}
  build: {commands: ['pwd', 'echo $COLOUR $flavour', 'printf unended']}
  post_build: {commands: ['cat']}
");
    assert_eq!(output(&build), ["/", "green sour", "unended"]);
    assert_eq!(build.status, "SUCCEEDED");
}

#[test]
fn post_build_runs_after_a_failed_build_and_sees_it() {
    let build = run("version: 0.2
phases:
  pre_build: {commands: ['echo pre $CODEBUILD_BUILD_SUCCEEDING']}
  build: {commands: ['(exit 3)', 'echo never'], finally: ['echo finally']}
  post_build: {commands: ['echo post $CODEBUILD_BUILD_SUCCEEDING', 'touch build.log']}
artifacts: {files: [build.log, test.log], name: $CODEBUILD_BUILD_NUMBER}
");
    assert_eq!(output(&build), ["pre 1", "finally", "post 0"]);
    assert_eq!((build.phase("BUILD"), build.phase("POST_BUILD")), (Some("FAILED"), Some("SUCCEEDED")));
    assert_eq!(build.artifacts, ["7/build.log"]);
    assert_eq!(build.status, "FAILED");
}

#[test]
fn nothing_follows_a_failed_pre_build() {
    let build = run("version: 0.2
phases:
  pre_build: {commands: ['false'], finally: ['echo finally']}
  build: {commands: ['echo build']}
  post_build: {commands: ['echo post']}
artifacts: {files: [Procfile]}
");
    assert_eq!(output(&build), ["finally"]);
    assert_eq!((build.phase("BUILD"), build.phase("UPLOAD_ARTIFACTS")), (None, None));
    assert!(build.artifacts.is_empty());
}

#[test]
fn a_command_that_ends_the_shell_fails_and_the_next_phase_has_a_new_one() {
    let build = run("version: 0.2
phases:
  build: {commands: ['echo before', 'exit 4', 'echo never']}
  post_build: {commands: ['echo post $CODEBUILD_BUILD_SUCCEEDING']}
");
    assert_eq!(output(&build), ["before", "post 0"]);
    let context = &build.phases.iter().find(|phase| phase.name == "BUILD").unwrap().context;
    assert_eq!(context, "COMMAND_EXECUTION_ERROR: Error while executing command: exit 4. Reason: exit status 4");
}

#[test]
fn variables_of_the_build_win_over_the_projects_and_those_over_the_buildspecs() {
    let buildspec = "version: 0.2
env: {variables: {APPNAME: spec, REVIEW_APP_STATUS: spec, ONLY: spec}}
phases:
  build: {commands: ['echo $APPNAME $REVIEW_APP_STATUS $ONLY $CODEBUILD_WEBHOOK_EVENT $CODEBUILD_SOURCE_VERSION']}
";
    let build = run_with(buildspec, |start| {
        start.variables = vec![Variable::plain("REVIEW_APP_STATUS", "created")];
        start.webhook = BTreeMap::from([("EVENT".to_owned(), "PULL_REQUEST_UPDATED".to_owned())]);
        start.source_version = Some("pr/7".to_owned());
    });
    assert_eq!(output(&build), ["shop created spec PULL_REQUEST_UPDATED pr/7"]);
}

#[test]
fn the_source_is_a_detached_checkout_whose_git_may_be_a_file() {
    let buildspec = "version: 0.2
phases:
  build: {commands: ['git rev-parse HEAD', 'git rev-parse --abbrev-ref HEAD', 'test -f .git && echo file || echo no file']}
";
    for (layout, kind) in [(GitLayout::Folder, "no file"), (GitLayout::File, "file")] {
        let build = run_with(buildspec, |start| start.source.git = layout);
        assert_eq!(output(&build), [build.commit.as_str(), "HEAD", kind]);
    }
    let build = run_with(
        "version: 0.2\nphases: {build: {commands: ['ls -A', 'echo \"[$CODEBUILD_RESOLVED_SOURCE_VERSION]\"']}}",
        |start| {
            start.source.git = GitLayout::None;
        },
    );
    assert_eq!(output(&build), ["Procfile", "[]"]);
}

#[test]
fn killing_the_container_ends_the_build_and_everything_in_it() {
    let buildspec = "version: 0.2
phases:
  build: {commands: ['setsid sleep 1000 & echo $!', 'echo now; sleep 1000']}
  post_build: {commands: ['echo never']}
";
    let build = run_with(buildspec, |start| {
        start.kill = Some(Kill { when: KillWhen::Line("now".to_owned()), what: KillWhat::Container });
    });
    assert_eq!(build.status, "STOPPED");
    assert!(!build.log.iter().any(|line| line == "never"));
    let pid = output(&build)[0];
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");
}

#[test]
fn killing_a_program_is_seen_as_137_and_the_build_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let marker = folder.path().join("begun");
    let buildspec = format!(
        "version: 0.2\nphases:\n  build: {{commands: ['touch {}; sleep 1000']}}\n  post_build: {{commands: ['echo post']}}\n",
        marker.display()
    );
    let build = run_with(&buildspec, |start| {
        let sleep = KillWhat::Program("sleep".to_owned());
        start.kill = Some(Kill { when: KillWhen::File(marker), what: sleep });
    });
    assert_eq!(output(&build).last(), Some(&"post"));
    assert!(build.phases.iter().any(|phase| phase.context.ends_with("exit status 137")), "{:?}", build.phases);
}

#[test]
fn what_the_stand_in_does_not_know_fails_the_build() {
    for buildspec in ["version: 0.1", "version: 0.2\nreports: {}", "version: 0.2\nphases: {deploy: {}}"] {
        assert_eq!(run(buildspec).status, "FAILED", "{buildspec}");
    }
}

#[test]
fn its_events_have_the_shape_of_the_samples() {
    let build = run("version: 0.2\nphases: {build: {commands: ['exit 3']}}\nartifacts: {files: [Procfile], name: x}\n");
    let events = build.events();
    let of = |wanted: &dyn Fn(&Value) -> bool| events.iter().find(|event| wanted(event)).unwrap().clone();
    let table = [
        ("codebuild-state-in-progress", of(&|event| event["detail"]["build-status"] == "IN_PROGRESS")),
        ("codebuild-phase-build-failed", of(&|event| event["detail"]["completed-phase"] == "BUILD")),
        ("codebuild-state-failed", of(&|event| event["detail"]["build-status"] == "FAILED")),
    ];
    for (name, event) in table {
        let file = format!("{}/tests/fixtures/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let sample: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(shape(&event), shape(&sample), "{name}");
    }
}

#[test]
fn its_events_tell_packhorse_what_happened() {
    let failed = run("version: 0.2\nphases: {build: {commands: ['exit 3']}}\n").events();
    let read = |event: &Value| match aws_event::read(&event.to_string()).unwrap() {
        News::Lane(addressed) => addressed.events,
        other => panic!("{other:?}"),
    };
    let last = read(failed.last().unwrap());
    assert!(
        last.iter().any(|event| matches!(event, Event::BuildEnded { result: BuildResult::Failed { cause, .. }, .. } if cause.contains("exit status 3"))),
        "{last:?}"
    );
    let passed = run("version: 0.2\nphases: {build: {commands: ['true']}}\n").events();
    let all: Vec<Event> = passed.iter().flat_map(read).collect();
    for wanted in ["ImageBuilt", "TestsPassed", "BuildEnded"] {
        assert!(all.iter().any(|event| format!("{event:?}").starts_with(wanted)), "{wanted}: {all:?}");
    }
}

/// Every path of a document with the kind of its value; what list elements have is taken together.
fn shape(value: &Value) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    walk("", value, &mut paths);
    paths
}

fn walk(path: &str, value: &Value, paths: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| walk(&format!("{path}.{key}"), value, paths)),
        Value::Array(list) => list.iter().for_each(|value| walk(&format!("{path}[]"), value, paths)),
        Value::String(_) => drop(paths.insert(format!("{path}: text"))),
        Value::Number(number) => drop(paths.insert(format!("{path}: number, float {}", number.is_f64()))),
        Value::Bool(_) => drop(paths.insert(format!("{path}: bool"))),
        Value::Null => drop(paths.insert(format!("{path}: null"))),
    }
}
