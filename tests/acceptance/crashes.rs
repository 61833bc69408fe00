//! `kill -9` at each write to the outside, and then the same again: there is one right end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use packhorse::domain::names::BuildNumber;
use serde_json::{Value, json};

use super::on_ecs::OnEcs;
use crate::support::aws::schedules_of;
use crate::support::codebuild::Build;
use crate::support::crash::{Crash, Point, Ran};
use crate::support::docker::docker;
use crate::support::ecs::TaskScript;
use crate::support::orchestrated::{Account, PROGRAM, renumbered, states};
use crate::support::parts;

/// More writes than any command here makes.
const MANY: usize = 80;

/// The account with something that kills before everything that is written to.
struct Bench {
    account: Account,
    crash: Crash,
    environment: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(account: Account) -> Self {
        let (crash, folder) = (Crash::default(), tempfile::tempdir().unwrap());
        let moto = account.moto.url();
        let environment = account.runtime.block_on(async {
            [
                ("AWS_ENDPOINT_URL", format!("http://{}", crash.before(&moto).await)),
                ("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", crash.before(&parts::dynamodb()).await)),
                ("DOCKER_REPO", format!("{}/{}", crash.before(&parts::registry()).await, account.app)),
                ("CRASHING_DOCKER", crash.before_socket(&parts::docker(), &folder.path().join("docker.sock"))),
            ]
        });
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).into();
        Self { account, crash, environment, folder }
    }

    /// The program in the account, behind what kills; `docker` too, unless `pack` is to use it.
    fn program(&self, arguments: &[&str], docker: bool) -> Command {
        let mut program = Command::new(PROGRAM);
        program.args(arguments).env_clear().envs(self.account.environment()).envs(self.environment.clone());
        if docker {
            program.env("DOCKER_HOST", &self.environment[3].1);
        }
        program
    }

    fn repository(&self) -> &str {
        &self.environment[2].1
    }
}

/// Fails unless a run that was not killed went well.
fn assert_went_well(ran: &Ran, what: &str) {
    let said = String::from_utf8_lossy(&ran.output.stderr);
    assert!(ran.output.status.success(), "{what}: {said}\n{:#?}", ran.writes);
}

/// Fails unless a build went through all phases once and is live, as its records, its lane and its log say.
fn assert_released(account: &Account, number: u64, at: &str) {
    let seen = account.app_build(number).unwrap();
    assert_eq!(states(&seen), ["succeeded", "succeeded", "succeeded", "succeeded", "", "succeeded"], "{at}");
    assert_eq!(account.artifact(&format!("{number}/release.log")).unwrap(), "migrated\n", "{at}");
    assert_eq!(account.deploy_status("DEPLOYSTATUS").unwrap().build_number, i64::try_from(number).unwrap(), "{at}");
    let lane = account.stored_lane(None);
    assert!(!lane.is_active() && lane.live.is_some_and(|live| live.build == BuildNumber(number)), "{at}");
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn an_orchestrator_killed_at_any_write_leaves_what_the_next_one_finishes() {
    let account = Account::new().with_small_app("test 1 = 1", "echo migrated");
    let built: Build = account.build(1);
    assert_eq!(built.status, "SUCCEEDED", "{}", built.log.join("\n"));
    let bench = Bench::new(account.adopted(None));
    let account = &bench.account;
    let end = built.events().pop().unwrap();
    let files = ["apppack.toml", "build.json", "build.log", "commit.txt", "test.log"];

    for (number, point) in (2..).zip(Point::all()) {
        for file in files {
            account.copy_artifact(&format!("1/{file}"), &format!("{number}/{file}"));
        }
        account.builds.remember_as(&built, number);
        let event = account.event(&renumbered(&end, number)).display().to_string();
        let handle = ["orchestrator", "handle", &event, "--place", "docker", "--follow"];
        let sweep = ["orchestrator", "sweep", "--place", "docker", "--follow"];
        let first = bench.crash.run(bench.program(&handle, true), Some(point));
        let at = format!("killed at {point:?} of {:#?}", first.writes);
        if first.killed {
            // Either is enough to move on, but for an event that nobody has taken in.
            let known = account.stored_lane(None).builds.contains_key(&BuildNumber(number));
            let again = if known && number % 2 == 0 { &sweep[..] } else { &handle[..] };
            assert_went_well(&bench.crash.run(bench.program(again, true), None), &at);
        } else {
            assert_went_well(&first, "not killed");
        }

        assert_released(account, number, &at);
        let tasks = account.all("task");
        let own: Vec<&String> = tasks.iter().filter(|name| name.contains(&format!("-release-{number}-"))).collect();
        assert_eq!(own.len(), 1, "{at}: {tasks:?}");
        let services = account.all("service");
        assert!(services.len() == 1 && services[0].contains(&format!("-web-{number}-")), "{at}: {services:?}");
        if !first.killed {
            assert!(point.write > 10, "{at}");
            return;
        }
        assert!(point.write < MANY, "{at}");
    }
}

/// Everything that the orchestrator on ECS writes: task definitions, a task, services, scaling, a schedule.
#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn an_orchestrator_on_ecs_killed_at_any_write_leaves_what_the_next_one_finishes() {
    let bench = OnEcs::new();
    let (account, crash) = (&bench.account, Crash::default());
    let environment = account.runtime.block_on(async {
        let ecs = format!("http://{}", crash.before(&bench.ecs.url()).await);
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", crash.before(&account.moto.url()).await)),
            ("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{}", crash.before(&parts::dynamodb()).await)),
            ("AWS_ENDPOINT_URL_ECS", ecs.clone()),
            ("AWS_ENDPOINT_URL_APPLICATION_AUTO_SCALING", ecs),
        ]
    });
    let program = |arguments: &[&str]| {
        let mut program = Command::new(PROGRAM);
        program.args(arguments).env_clear().envs(account.environment()).envs(environment.clone());
        program
    };
    let (release, web) = (bench.family("release"), bench.family("web"));
    account.set_parameter(
        &format!("/apppack/apps/{}/scheduled-tasks", account.app),
        &json!([{"schedule": "0 3 * * ? *", "command": "clean up"}]).to_string(),
    );
    for (number, point) in (2..).zip(Point::all()) {
        // Sometimes fixed and sometimes by load, so that both ways of scaling are come by.
        let most = 1 + number % 2;
        account.set_parameter(
            &format!("/apppack/apps/{}/scaling", account.app),
            &json!({"web": {"cpu": 512, "memory": 1024, "min_processes": 1, "max_processes": most}}).to_string(),
        );
        bench.ecs.tasks_go(&release, [TaskScript::Exits(0, "migrated")]);
        let started = bench.ecs.started(&release);
        let event = account.event(&bench.end_of(number)).display().to_string();
        let handle = ["orchestrator", "handle", &event, "--follow"];
        let first = crash.run(program(&handle), Some(point));
        let at = format!("build {number} killed at {point:?} of {:#?}", first.writes);
        if first.killed {
            // Either is enough to move on, but for an event that nobody has taken in.
            let known = account.stored_lane(None).builds.contains_key(&BuildNumber(number));
            let sweep = ["orchestrator", "sweep", "--follow"];
            let again = if known && number % 3 == 0 { &sweep[..] } else { &handle[..] };
            assert_went_well(&crash.run(program(again), None), &at);
        } else {
            assert_went_well(&first, "not killed");
        }

        assert_released(account, number, &at);
        assert_eq!(bench.ecs.started(&release), started + 1, "{at}");
        let (definition, tags) = bench.ecs.definition(&web).unwrap();
        assert_eq!(tags["apppack:buildNumber"], number.to_string(), "{at}");
        assert_eq!(bench.ecs.service(&web).unwrap()["taskDefinition"], definition["taskDefinitionArn"], "{at}");
        assert_eq!(bench.ecs.scaling(&web).is_some(), most > 1, "{at}");
        assert_eq!(schedules_of(&account.app).len(), 1, "{at}");
        if !first.killed {
            assert!(point.write > 15, "{at}");
            return;
        }
        assert!(point.write < MANY, "{at}");
    }
}

/// A build whose three commands are run one by one, outside the stand-in.
struct Steps<'b> {
    bench: &'b Bench,
    number: u64,
    source: PathBuf,
}

impl Steps<'_> {
    const COMMIT: &'static str = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432";

    fn step(&self, verb: &str) -> Command {
        let app = &self.bench.account.app;
        let id = format!("{app}:6b0e7c1a-{}", self.number);
        let mut command = self.bench.program(&["codebuild", verb], verb != "build");
        command
            .env("APPNAME", app)
            .env("ARTIFACT_BUCKET", &self.bench.account.bucket.name)
            .env("CODEBUILD_BUILD_ARN", format!("arn:aws:codebuild:us-east-1:111122223333:build/{id}"))
            .env("CODEBUILD_BUILD_ID", id)
            .env("CODEBUILD_BUILD_NUMBER", self.number.to_string())
            .env("CODEBUILD_RESOLVED_SOURCE_VERSION", Self::COMMIT)
            .env("CODEBUILD_SOURCE_VERSION", "main")
            .env("CODEBUILD_SRC_DIR", &self.source)
            .env("CODEBUILD_START_TIME", format!("{}000", 1_767_225_600 + self.number))
            .current_dir(&self.source);
        command
    }

    /// Runs a command to the point, and once more if it was killed there.
    fn run(&self, verb: &str, point: Point) -> (bool, String) {
        let first = self.bench.crash.run(self.step(verb), Some(point));
        let at = format!("{verb} killed at {point:?} of {:#?}", first.writes);
        if first.killed {
            assert_went_well(&self.bench.crash.run(self.step(verb), None), &at);
        } else {
            assert_went_well(&first, verb);
        }
        (first.killed, at)
    }
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn a_runner_killed_at_any_write_makes_the_same_build_when_it_runs_again() {
    let bench = Bench::new(Account::new().with_small_app("test 1 = 1", "echo migrated").adopted(None));
    let account = &bench.account;
    for (number, point) in (1..).zip(Point::all()) {
        let source = bench.folder.path().join(format!("source-{number}"));
        copy(account.source.path(), &source);
        let steps = Steps { bench: &bench, number, source };
        let ran = ["prebuild", "build", "postbuild"].map(|verb| steps.run(verb, point));
        let at = ran.each_ref().map(|(_, at)| at.as_str()).join("\n");
        let killed = ran.iter().any(|(killed, _)| *killed);

        // Facts that were committed and not written where clients look are written by the sweep.
        let swept = account.run(&["orchestrator", "sweep", "--place", "docker"]);
        assert!(swept.status.success(), "{}", String::from_utf8_lossy(&swept.stderr));
        let seen = account.app_build(number).unwrap();
        assert_eq!(states(&seen), ["succeeded", "succeeded", "started", "", "", ""], "{at}");
        assert_eq!(seen.commit, Steps::COMMIT, "{at}");
        let metadata = account.artifact(&format!("{number}/build.json")).unwrap();
        let metadata: Value = serde_json::from_str(&metadata).unwrap();
        assert_eq!(metadata["image"]["reference"], bench.repository(), "{at}");
        let digest = metadata["image"]["digest"].as_str().unwrap();
        for tag in [Steps::COMMIT, &format!("build-{number}"), "latest"] {
            assert_eq!(account.digest(tag).as_deref(), Some(digest), "{tag}: {at}");
        }
        assert_eq!(metadata["phases"]["test"]["outcome"], "succeeded", "{at}");
        for file in ["build.log", "test.log", "commit.txt", "apppack.toml"] {
            assert!(fs::metadata(steps.source.join(file)).is_ok_and(|file| file.len() > 0), "{file}: {at}");
        }
        let name = format!("name={}-6b0e7c1a-{number}", account.app);
        let left = docker(&["ps", "-aq", "--filter", &name]) + &docker(&["network", "ls", "-q", "--filter", &name]);
        assert_eq!(left, "", "{at}");
        if !killed {
            assert!(point.write > 5, "{at}");
            return;
        }
        assert!(point.write < MANY, "{at}");
    }
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap().success());
}
