//! The order in which the runner does things, with scripted parts around it. Real parts: `tests/acceptance`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::{ExposeSecret as _, SecretString};

use super::*;
use crate::adapters::memory::{CollectedPhaseEvents, MemoryLaneStore, MemoryParameters, MemoryRecords, SettableClock};
use crate::domain::lane::{Ending, Lane, LaneKey, Phase, PhaseState, ReviewAppState};
use crate::domain::layer_figures::LayerFigures;
use crate::domain::names::{AppName, BuildNumber, EpochSeconds, PullRequest};
use crate::image::credentials::CredentialError;
use crate::image::{Credential, Digest, ImageConfig, ImageReference, Registry, Tag};
use crate::ports::failure::Failure;
use crate::ports::image_builder::{BuildOutput, BuiltImage, ImageBuild, ImageBuildError};
use crate::ports::image_store::{RemoveOutcome, TagOutcome};
use crate::ports::lane_store::{LaneStore, Version, Versioned};
use crate::ports::records::Records;
use crate::ports::test_bed::{AddonRequest, TestBedError, TestRun};
use crate::ui::{Level, printer::Captured};

const COMMIT: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432";
const PROCESSES: &str = "[[processes]]\ntype = \"web\"\ncommand = [\"gunicorn shop\"]\nbuildpack-id = \"x\"\n";

/// What the parts are told to do, and what they were asked to do, in order.
#[derive(Default)]
struct Script {
    journal: Mutex<Vec<String>>,
    build_fails: bool,
    test_code: i64,
    stopped_while_testing: bool,
    lane: LaneAnswer,
    parameters_are_down: bool,
    /// What another build writes between this one's look at the status and its write.
    written_meanwhile: Option<&'static str>,
    immutable: BTreeSet<String>,
    interrupt: CancellationToken,
}

#[derive(Default, Clone, Copy, PartialEq)]
enum LaneAnswer {
    #[default]
    Works,
    Denied,
    Down,
}

impl Script {
    fn note(&self, line: impl Into<String>) {
        self.journal.lock().unwrap().push(line.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.journal.lock().unwrap())
    }
}

struct Part(Arc<Script>);

fn digest() -> Digest {
    Digest::of(b"image")
}

#[async_trait]
impl ImageBuilder for Part {
    fn name(&self) -> &'static str {
        "scripted"
    }

    async fn build(&self, build: &ImageBuild, output: &dyn BuildOutput) -> Result<BuiltImage, ImageBuildError> {
        let login = build.docker_config.as_ref().map(|folder| folder.join("config.json").is_file());
        self.0.note(format!(
            "build {} previous {} cache {:?} login {login:?} exclude {}",
            build.image,
            build.previous_image.as_deref().unwrap_or("-"),
            build.cache,
            build.exclude.join(" ")
        ));
        output.line("===> BUILDING");
        if let Some(secret) = build.env.get("SECRET_KEY") {
            output.line(&format!("the key is {}", secret.expose_secret()));
        }
        if self.0.build_fails {
            return Err(ImageBuildError::Failed { step: "build".to_owned(), code: 51 });
        }
        output.published(&digest().to_string());
        // An engine writes its cache now; the image is fetched meanwhile.
        tokio::task::yield_now().await;
        self.0.note("the image is made");
        Ok(BuiltImage {
            image: build.image.clone(),
            digest: digest().to_string(),
            layers: LayerFigures::default(),
            layout: None,
        })
    }
}

#[async_trait]
impl ImageStore for Part {
    async fn resolve(&self, image: &ImageReference) -> Result<Digest, Failure> {
        Err(Failure::NotFound { what: image.to_string() })
    }

    async fn config(&self, _: &ImageReference) -> Result<ImageConfig, Failure> {
        Ok(ImageConfig::default())
    }

    async fn tag(&self, source: &ImageReference, tags: &[Tag]) -> Result<Vec<TagOutcome>, Failure> {
        let names: Vec<&str> = tags.iter().map(Tag::as_str).collect();
        self.0.note(format!("tag {source} {}", names.join(" ")));
        let immutable = |name: &&str| self.0.immutable.contains(*name);
        Ok(names.iter().map(|n| if immutable(n) { TagOutcome::Immutable } else { TagOutcome::Created }).collect())
    }

    async fn remove_tag(&self, image: &ImageReference) -> Result<RemoveOutcome, Failure> {
        self.0.note(format!("remove tag {image}"));
        Ok(RemoveOutcome::Removed)
    }

    async fn build_metadata(&self, _: &ImageReference) -> Result<Option<String>, Failure> {
        Ok(Some(PROCESSES.to_owned()))
    }
}

#[async_trait]
impl TestBed for Part {
    async fn start(&self, _: &str, addons: &[AddonRequest]) -> Result<BTreeMap<String, String>, TestBedError> {
        let names: Vec<&str> = addons.iter().map(|addon| addon.kind.as_str()).collect();
        self.0.note(format!("start {}", names.join(" ")));
        Ok([("REDIS_URL".to_owned(), "redis://redis:6379".to_owned())].into())
    }

    async fn fetch(&self, image: &str) -> Result<(), Failure> {
        self.0.note(format!("fetch {image}"));
        Err(Failure::refused("fetch the image", "the disk is full"))
    }

    async fn run(&self, run: &TestRun, output: &dyn BuildOutput) -> Result<i64, TestBedError> {
        let env: Vec<String> =
            run.env.iter().map(|(name, value)| format!("{name}={}", value.expose_secret())).collect();
        self.0.note(format!("test {} `{}` {}", run.image, run.command, env.join(" ")));
        output.line("1 test");
        if self.0.stopped_while_testing {
            self.0.interrupt.cancel();
            return Err(TestBedError::Interrupted);
        }
        Ok(self.0.test_code)
    }

    async fn remove(&self, _: &str) -> Result<(), Failure> {
        self.0.note("remove add-ons");
        Ok(())
    }
}

#[async_trait]
impl ReviewApps for Part {
    async fn remove(&self, pipeline: &AppName, pr: PullRequest) -> Result<bool, Failure> {
        self.0.note(format!("remove review app {pipeline} {pr}"));
        Ok(true)
    }

    async fn removal(&self, _: &AppName, _: PullRequest) -> Result<Option<ReviewAppState>, Failure> {
        panic!("the runner waits for no removal")
    }
}

#[async_trait]
impl SourceHistory for Part {
    async fn head(&self, _: &std::path::Path) -> Result<String, Failure> {
        Ok(COMMIT.to_owned())
    }

    async fn describe_head(&self, _: &std::path::Path) -> Result<String, Failure> {
        Err(Failure::refused("describe the commit", "no git"))
    }

    async fn file_at_head(&self, _: &std::path::Path, path: &str) -> Result<String, Failure> {
        Err(Failure::NotFound { what: path.to_owned() })
    }
}

#[async_trait]
impl CredentialSource for Part {
    async fn credential(&self, registry: &Registry) -> Result<Option<Credential>, CredentialError> {
        let password = Credential::Password { username: "AWS".to_owned(), password: "token".into() };
        Ok((registry.host() == "registry.example").then_some(password))
    }
}

#[async_trait]
impl ArtifactStore for Part {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), Failure> {
        let document: serde_json::Value = serde_json::from_slice(&content).unwrap();
        let phases = document["phases"].as_object().unwrap();
        let phases: Vec<String> =
            phases.iter().map(|(name, p)| format!("{name} {}", p["outcome"].as_str().unwrap())).collect();
        self.0.note(format!("store {key}: {}", phases.join(", ")));
        Ok(())
    }

    async fn get(&self, _: &str) -> Result<Option<Bytes>, Failure> {
        Ok(None)
    }

    fn url(&self, key: &str) -> String {
        key.to_owned()
    }
}

struct Lanes(MemoryLaneStore, Arc<Script>);

#[async_trait]
impl LaneStore for Lanes {
    async fn load(&self, key: &LaneKey) -> Result<Option<Versioned>, Failure> {
        match self.1.lane {
            LaneAnswer::Works => self.0.load(key).await,
            LaneAnswer::Denied => {
                Err(Failure::Denied { doing: format!("read the lane of {key}"), source: "no".into() })
            }
            LaneAnswer::Down => Err(Failure::unavailable(format!("read the lane of {key}"), "503")),
        }
    }

    async fn commit(&self, seen: Version, next: &Lane) -> Result<Version, Failure> {
        let version = self.0.commit(seen, next).await?;
        let build = next.builds.values().last();
        let phase = build.and_then(|build| build.current_phase()).map(Phase::as_str);
        let ending = build.and_then(|build| build.ending.as_ref()).map(|ending| match ending {
            Ending::Failed { phase, .. } => format!("failed in {phase}"),
            other => format!("{other:?}"),
        });
        self.1.note(format!("lane: {}", ending.or(phase.map(str::to_owned)).unwrap_or_default()));
        Ok(version)
    }

    async fn all(&self) -> Result<Vec<LaneKey>, Failure> {
        self.0.all().await
    }

    async fn active(&self) -> Result<Vec<LaneKey>, Failure> {
        self.0.active().await
    }
}

struct Parameters(Arc<MemoryParameters>, Arc<Script>);

#[async_trait]
impl ParameterStore for Parameters {
    async fn get(&self, name: &str) -> Result<Option<String>, Failure> {
        if self.1.parameters_are_down {
            return Err(Failure::unavailable(format!("read `{name}`"), "throttled"));
        }
        self.0.get(name).await
    }

    async fn put(&self, name: &str, value: &str) -> Result<(), Failure> {
        self.1.note(format!("write {name} {value}"));
        self.0.put(name, value).await
    }

    async fn create(&self, name: &str, value: &str) -> Result<bool, Failure> {
        if let Some(meanwhile) = self.1.written_meanwhile {
            self.0.put(name, meanwhile).await?;
        }
        let created = self.0.create(name, value).await?;
        self.1.note(format!("create {name} {value}: {created}"));
        Ok(created)
    }

    async fn remove(&self, name: &str) -> Result<bool, Failure> {
        self.0.remove(name).await
    }

    async fn below(&self, path: &str) -> Result<BTreeMap<String, SecretString>, Failure> {
        self.0.below(path).await
    }
}

struct Bench {
    cx: RunnerContext,
    script: Arc<Script>,
    captured: Captured,
    records: Arc<MemoryRecords>,
    parameters: Arc<MemoryParameters>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(script: Script, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("source");
        fs::create_dir(&source).unwrap();
        fs::write(source.join("Procfile"), "web: gunicorn shop\n").unwrap();
        fs::write(source.join("apppack.toml"), "[test]\ncommand = \"python -m pytest\"\n").unwrap();
        fs::write(source.join("app.json"), r#"{"environments": {"test": {"addons": ["heroku-redis:in-dyno"]}}}"#)
            .unwrap();
        let all = [
            ("APPNAME", "shop"),
            ("DOCKER_REPO", "registry.example/shop"),
            ("CODEBUILD_BUILD_ID", "shop:6b0e"),
            ("CODEBUILD_BUILD_NUMBER", "42"),
            ("CODEBUILD_BUILD_ARN", "arn:aws:codebuild:us-east-1:111122223333:build/shop:6b0e"),
            ("CODEBUILD_START_TIME", "1767225600123"),
            ("CODEBUILD_RESOLVED_SOURCE_VERSION", COMMIT),
            ("CODEBUILD_SOURCE_VERSION", "main"),
        ];
        let all = all.iter().chain(variables).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut settings =
            RunnerSettings::in_codebuild(all, source, folder.path().join("private"), Catalogue::shipped().unwrap());
        settings.builder = Some("packhorse/builder:debian-12".to_owned());
        settings.run_image = Some("packhorse/run:debian-12".to_owned());
        let script = Arc::new(script);
        let (printer, captured) = Printer::to_memory(Level::Normal, false);
        let records = Arc::new(MemoryRecords::new());
        let parameters = Arc::new(MemoryParameters::new());
        let part = || Arc::new(Part(script.clone()));
        let cx = RunnerContext {
            lanes: LanePorts {
                lanes: Arc::new(Lanes(MemoryLaneStore::new(), script.clone())),
                records: records.clone(),
                events: Arc::new(CollectedPhaseEvents::new()),
                clock: Arc::new(SettableClock::new(EpochSeconds(1_767_225_700))),
            },
            parameters: Arc::new(Parameters(parameters.clone(), script.clone())),
            artifacts: part(),
            review_apps: part(),
            builder: part(),
            images: part(),
            test_bed: part(),
            credentials: part(),
            history: part(),
            printer,
            interrupt: script.interrupt.clone(),
            settings,
        };
        Self { cx, script, captured, records, parameters, folder }
    }

    async fn with_lane(self) -> Self {
        let lanes = &self.cx.lanes.lanes;
        lanes.commit(Version(0), &Lane::new(self.lane())).await.unwrap();
        self.script.take();
        self
    }

    fn lane(&self) -> LaneKey {
        crate::domain::build_environment::CodeBuildEnvironment::read(&self.cx.settings.variables).unwrap().lane_key()
    }

    async fn run(&self) -> [bool; 3] {
        [prebuild(&self.cx).await, build(&self.cx).await, postbuild(&self.cx).await].map(|end| end == StepEnd::Done)
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.cx.settings.source.join(name)).unwrap()
    }

    fn no_name_was_given(&self) -> bool {
        !self.script.take().iter().any(|line| line.starts_with("tag "))
    }
}

#[tokio::test]
async fn a_build_is_made_tested_and_named_in_this_order() {
    let bench = Bench::new(Script::default(), &[]).with_lane().await;
    assert_eq!(bench.run().await, [true; 3]);
    insta::assert_snapshot!(bench.script.take().join("\n"));
    insta::assert_snapshot!(bench.captured.stdout());
    assert!(bench.file("apppack.toml").contains("[services.web]\ncommand = \"gunicorn shop\""));
    assert_eq!(bench.file("commit.txt"), format!("commit {COMMIT}\n"));
    assert_eq!(bench.file("metadata.toml"), PROCESSES);
    assert_eq!(bench.file("test.log"), "+ python -m pytest\n1 test\n");
    let record = bench.records.build(&bench.lane(), BuildNumber(42)).await.unwrap().unwrap();
    assert_eq!(record.phases[&Phase::Test].state, PhaseState::Succeeded);
    assert_eq!(record.phases[&Phase::Build].logs, "cloudwatch:///aws/codebuild/shop#6b0e");
}

#[tokio::test]
async fn when_tests_fail_no_tag_moves() {
    let bench = Bench::new(Script { test_code: 3, ..Script::default() }, &[]).with_lane().await;
    assert_eq!(bench.run().await, [true, true, false]);
    assert!(bench.no_name_was_given());
    assert!(bench.file("test.log").contains("exit code 3"), "{}", bench.file("test.log"));
    let record = bench.records.build(&bench.lane(), BuildNumber(42)).await.unwrap().unwrap();
    assert_eq!(record.phases[&Phase::Test].state, PhaseState::Failed);
}

#[tokio::test]
async fn a_failed_image_build_says_why_before_the_end_marker_and_in_its_log() {
    let bench = Bench::new(Script { build_fails: true, ..Script::default() }, &[]).with_lane().await;
    assert_eq!(bench.run().await, [true, false, true]);
    let stdout = bench.captured.stdout();
    let why = stdout.find("exit code 51").unwrap();
    assert!(why < stdout.find("apppack-build-end").unwrap());
    assert!(stdout.ends_with("\n\n#*#*#*#*#*# apppack-build-end #*#*#*#*#*#\n"), "{stdout}");
    assert!(bench.file("build.log").contains("exit code 51"));
    assert!(!bench.file("build.log").contains("#*#*"));
    assert_eq!(bench.file("test.log"), "");
    let journal = bench.script.take();
    assert!(journal.contains(&"lane: failed in build".to_owned()), "{journal:?}");
    assert!(journal.contains(&"remove add-ons".to_owned()), "{journal:?}");
}

#[tokio::test]
async fn a_failed_prebuild_is_told_by_the_build() {
    let bench = Bench::new(Script::default(), &[]).with_lane().await;
    fs::write(bench.cx.settings.source.join("apppack.toml"), "[build]\nsystem = \"buildpak\"\n").unwrap();
    assert_eq!(bench.run().await, [true, false, true]);
    let log = bench.file("build.log");
    assert!(log.contains("apppack.toml:2:10") && log.contains("did you mean"), "{log}");
    let between = bench.captured.stdout();
    assert!(between.starts_with("#*#*#*#*#*# apppack-build-start #*#*#*#*#*#\n"), "{between}");
    assert!(between.contains("did you mean"), "{between}");
}

#[tokio::test]
async fn without_a_lane_or_the_right_to_it_all_is_the_same_and_said_once() {
    let with = Bench::new(Script::default(), &[]).with_lane().await;
    with.run().await;
    for lane in [LaneAnswer::Works, LaneAnswer::Denied] {
        let bench = Bench::new(Script { lane, ..Script::default() }, &[]);
        assert_eq!(bench.run().await, [true; 3]);
        assert_eq!(bench.captured.stdout(), with.captured.stdout());
        assert_eq!(bench.captured.stderr().matches("not recorded by packhorse").count(), 1);
    }
}

#[tokio::test]
async fn a_lane_that_does_not_answer_fails_the_build() {
    let bench = Bench::new(Script { lane: LaneAnswer::Down, ..Script::default() }, &[]);
    assert_eq!(bench.run().await, [true, false, true]);
    assert!(bench.file("build.log").contains("no answer while trying to read the lane of shop"));
    assert!(bench.no_name_was_given());
}

const CLOSED: [(&str, &str); 3] =
    [("PIPELINE", "1"), ("CODEBUILD_SOURCE_VERSION", "pr/7"), ("CODEBUILD_WEBHOOK_EVENT", "PULL_REQUEST_CLOSED")];
const STATUS: &str = "/apppack/pipelines/shop/review-apps/pr/7";

#[tokio::test]
async fn a_closed_pull_request_is_remembered_and_its_review_app_removed() {
    let bench = Bench::new(Script::default(), &CLOSED);
    bench.parameters.put(STATUS, r#"{"status":"created","title":"Add x"}"#).await.unwrap();
    assert_eq!(bench.run().await, [true; 3]);
    let journal = bench.script.take();
    assert!(journal[0].starts_with(&format!("write {STATUS} ")), "{journal:?}");
    assert!(journal[0].contains(r#""status":"closed""#) && journal[0].contains("Add x"), "{journal:?}");
    assert_eq!(journal[1], "remove review app shop 7");
    assert!(!journal.iter().any(|line| line.starts_with("build ")), "{journal:?}");
    assert_eq!(bench.file("build.log") + &bench.file("test.log"), "");
}

#[tokio::test]
async fn where_there_is_a_lane_its_orchestrator_removes_the_review_app() {
    let bench = Bench::new(Script::default(), &CLOSED).with_lane().await;
    bench.parameters.put(STATUS, r#"{"status":"created"}"#).await.unwrap();
    assert_eq!(bench.run().await, [true; 3]);
    let lane = bench.cx.lanes.lanes.load(&bench.lane()).await.unwrap().unwrap().lane;
    assert!(lane.closed.is_some());
    assert!(!bench.script.take().iter().any(|line| line.starts_with("remove review app")));
}

#[tokio::test]
async fn a_status_that_cannot_be_read_is_an_error_and_never_missing() {
    let script = Script { parameters_are_down: true, ..Script::default() };
    let bench = Bench::new(script, &[("PIPELINE", "1"), ("CODEBUILD_SOURCE_VERSION", "pr/7")]);
    assert_eq!(bench.run().await, [true, false, true]);
    assert!(!bench.script.take().iter().any(|line| line.starts_with("write ")));
    assert!(bench.file("build.log").contains("no answer while trying to read"));
}

#[tokio::test]
async fn a_status_that_another_build_writes_meanwhile_is_not_undone() {
    let script = Script { written_meanwhile: Some(r#"{"status":"created"}"#), ..Script::default() };
    let bench = Bench::new(script, &[("PIPELINE", "1"), ("CODEBUILD_SOURCE_VERSION", "pr/7")]);
    assert_eq!(bench.run().await, [true; 3]);
    assert_eq!(bench.parameters.get(STATUS).await.unwrap().as_deref(), Some(r#"{"status":"created"}"#));
    assert!(bench.script.take().iter().any(|line| line.starts_with("build ")), "it has a review app now");
}

#[tokio::test]
async fn all_of_it_can_be_repeated() {
    let bench = Bench::new(Script::default(), &[]).with_lane().await;
    assert_eq!(bench.run().await, [true; 3]);
    let archived = bench.file("apppack.toml");
    assert_eq!(bench.run().await, [true; 3]);
    assert_eq!(bench.file("apppack.toml"), archived);
    let journal = bench.script.take().join("\n");
    assert!(journal.contains("shop:candidate-") && journal.contains("-2 previous"), "{journal}");
}

#[tokio::test]
async fn an_image_build_that_was_killed_fails_in_postbuild() {
    let bench = Bench::new(Script::default(), &[]).with_lane().await;
    prebuild(&bench.cx).await;
    assert!(matches!(postbuild(&bench.cx).await, StepEnd::Failed { .. }));
    assert!(bench.file("build.log").contains("cut off"));
    assert!(bench.script.take().contains(&"lane: failed in build".to_owned()));
}

#[tokio::test]
async fn commands_out_of_order_say_so() {
    let bench = Bench::new(Script::default(), &[]);
    assert!(matches!(build(&bench.cx).await, StepEnd::Failed { cause } if cause.contains("`prebuild` has not run")));
}

#[tokio::test]
async fn an_external_build_gets_its_names_at_its_end_and_leaves_nothing_running() {
    let external = [("CODEBUILD_BUILD_ID", "external-9"), ("CODEBUILD_BUILD_NUMBER", "external-7")];
    let bench = Bench::new(Script::default(), &external);
    prebuild(&bench.cx).await;
    assert_eq!(build(&bench.cx).await, StepEnd::Done);
    let journal = bench.script.take();
    assert!(journal.iter().any(|line| line.starts_with("tag ") && line.contains("build-external-7")), "{journal:?}");
    assert!(!journal.iter().any(|line| line.starts_with("start ")), "{journal:?}");
    assert_eq!(bench.captured.stderr().matches("not recorded").count(), 0);
}

#[tokio::test]
async fn a_build_that_is_stopped_leaves_nothing_running_and_fails() {
    let bench = Bench::new(Script { stopped_while_testing: true, ..Script::default() }, &[]).with_lane().await;
    assert_eq!(bench.run().await, [true, true, false]);
    let journal = bench.script.take();
    assert!(journal.contains(&"remove add-ons".to_owned()), "{journal:?}");
    assert!(journal.contains(&"lane: failed in test".to_owned()), "{journal:?}");
    assert!(bench.captured.stdout().ends_with("\n\n#*#*#*#*#*# apppack-test-end #*#*#*#*#*#\n"));
}

#[tokio::test]
async fn a_config_variable_that_a_build_prints_is_hidden() {
    let bench = Bench::new(Script::default(), &[]);
    bench.parameters.put("/apppack/apps/shop/config/SECRET_KEY", "planted-secret-1").await.unwrap();
    assert_eq!(bench.run().await, [true; 3]);
    assert!(bench.file("build.log").contains("the key is ***"));
    let everything = bench.captured.stdout() + &bench.captured.stderr() + &bench.file("build.log");
    assert!(!everything.contains("planted-secret-1"));
}

#[tokio::test]
async fn logins_are_gone_after_the_build() {
    let bench =
        Bench::new(Script::default(), &[("DOCKERHUB_USERNAME", "u"), ("DOCKERHUB_ACCESS_TOKEN", "hub-token-1")]);
    assert_eq!(bench.run().await, [true; 3]);
    assert!(bench.script.take().join("\n").contains("login Some(true)"));
    let found =
        std::process::Command::new("grep").arg("-rlE").arg("token|aHVi").arg(bench.folder.path()).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
}

#[tokio::test]
async fn a_commit_tag_that_may_not_move_is_a_warning_but_a_build_tag_has_to_fit() {
    let commit = Script { immutable: [COMMIT.to_owned()].into(), ..Script::default() };
    let bench = Bench::new(commit, &[]);
    assert_eq!(bench.run().await, [true; 3]);
    assert!(bench.captured.stdout().contains("does not let it move"));
    let build = Script { immutable: ["build-42".to_owned()].into(), ..Script::default() };
    let bench = Bench::new(build, &[]);
    assert_eq!(bench.run().await, [true, true, false]);
}

#[tokio::test]
async fn an_app_without_tests_says_so() {
    let bench = Bench::new(Script::default(), &[]);
    fs::write(bench.cx.settings.source.join("apppack.toml"), "").unwrap();
    assert_eq!(bench.run().await, [true; 3]);
    assert_eq!(bench.file("test.log"), "No tests are defined\n");
    assert!(!bench.script.take().iter().any(|line| line.starts_with("start ")));
}

#[tokio::test]
async fn where_the_outputs_lie_elsewhere_the_source_is_never_written() {
    let mut bench = Bench::new(Script::default(), &[]);
    bench.cx.settings.outputs = bench.folder.path().join("outputs");
    let before: BTreeSet<_> =
        fs::read_dir(&bench.cx.settings.source).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(bench.run().await, [true; 3]);
    let after: BTreeSet<_> = fs::read_dir(&bench.cx.settings.source).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(before, after);
    assert_eq!(bench.file("apppack.toml"), "[test]\ncommand = \"python -m pytest\"\n");
    assert!(bench.cx.settings.outputs.join("apppack.toml").is_file());
}
