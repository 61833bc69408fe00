//! A build from its first event to its services on ECS, by the program: real build, DynamoDB Local, moto, and the stand-in for
//! ECS with every story that moto cannot play.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::aws::schedules_of;
use crate::support::codebuild::Build;
use crate::support::ecs::{DeployScript, FakeEcs, TaskScript};
use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::orchestrated::{Account, renumbered, states};
use crate::support::parts;
use crate::support::policy::{Policy, Right, rights};
use crate::support::sts::{FakeSts, SESSION};

const ROLE: &str = "arn:aws:iam::111122223333:role/apppack-app-shop";
const FILES: [&str; 5] = ["apppack.toml", "build.json", "build.log", "commit.txt", "test.log"];

/// An account whose stacks have made an app for ECS, and a build of it.
pub(super) struct OnEcs {
    pub(super) account: Account,
    pub(super) ecs: FakeEcs,
    sts: FakeSts,
    table: FaultProxy,
    pub(super) built: Build,
}

impl OnEcs {
    pub(super) fn new() -> Self {
        Self::of(Account::new().with_small_app("test 1 = 1", "echo migrated"))
    }

    /// Builds the app of this account.
    pub(super) fn of(mut account: Account) -> Self {
        let (ecs, sts, table) = account.runtime.block_on(async {
            let ecs = FakeEcs::start().await;
            ecs.log_to(&parts::moto());
            let sts = FakeSts::start(&account.access_key, ROLE, "shop-4711").await;
            (ecs, sts, FaultProxy::before(&parts::dynamodb()).await)
        });
        account.write_settings();
        for (name, url) in [
            ("AWS_ENDPOINT_URL_ECS", ecs.url()),
            ("AWS_ENDPOINT_URL_APPLICATION_AUTO_SCALING", ecs.url()),
            ("AWS_ENDPOINT_URL_STS", sts.url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", table.url()),
        ] {
            account.more.insert(name.to_owned(), url);
        }
        let account = account.adopted(None);
        let built = account.build(1);
        assert_eq!(built.status, "SUCCEEDED", "{}", built.log.join("\n"));
        Self { account, ecs, sts, table, built }
    }

    /// Forgets what was called: whoever calls next has a role of its own.
    fn forget(&self) {
        self.account.moto.forget();
        self.table.forget();
        self.ecs.forget_calls();
    }

    pub(super) fn family(&self, word: &str) -> String {
        format!("{}-{word}", self.account.app)
    }

    /// Hands an event to the program, whose place is ECS unless it is told otherwise.
    pub(super) fn handle(&self, event: &Value, more: &[&str]) -> Output {
        let file = self.account.event(event).display().to_string();
        self.account.run(&[&["orchestrator", "handle", &file], more].concat())
    }

    /// Lets the same build end once more, under another number.
    fn again(&self, number: u64) -> Output {
        self.handle(&self.end_of(number), &["--follow"])
    }

    /// Leaves what a build like the first one leaves, and returns its last event.
    pub(super) fn end_of(&self, number: u64) -> Value {
        for file in FILES {
            self.account.copy_artifact(&format!("1/{file}"), &format!("{number}/{file}"));
        }
        self.account.builds.remember_as(&self.built, number);
        renumbered(self.built.events().last().unwrap(), number)
    }

    pub(super) fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn a_build_goes_from_its_first_event_to_its_services_on_ecs_and_each_failure_is_told() {
    let bench = OnEcs::new();
    let account = &bench.account;
    // What was called so far was called by the build's runner.
    within_the_policies(&bench, "runner", "dynamodb:PutItem", "dynamodb:PutItem");
    bench.forget();
    let (release, web) = (bench.family("release"), bench.family("web"));
    let migrated = || TaskScript::Exits(0, "migrated");

    // The first deployment fails: there is nothing to go back to.
    bench.ecs.tasks_go(&release, [migrated()]);
    bench.ecs.deploys_go(&web, [DeployScript::Fails]);
    for event in bench.built.events() {
        assert!(bench.handle(&event, &[]).status.success());
    }
    let first = bench.handle(bench.built.events().last().unwrap(), &["--follow"]);
    assert!(OnEcs::said(&first).contains("there is no earlier release to go back to"), "{}", OnEcs::said(&first));
    let seen = account.app_build(1).unwrap();
    assert_eq!(states(&seen), ["succeeded", "succeeded", "succeeded", "succeeded", "", "failed"]);
    assert!(account.deploy_status("DEPLOYSTATUS").unwrap().failed);

    // The next one works, field by field as the contract says.
    bench.ecs.tasks_go(&release, [migrated()]);
    let works = bench.again(2);
    assert!(works.status.success(), "{}", OnEcs::said(&works));
    let seen = account.app_build(2).unwrap();
    assert_eq!(states(&seen), ["succeeded", "succeeded", "succeeded", "succeeded", "", "succeeded"]);
    let item = account.item(&format!("APP#{}", account.app), "BUILD#0000000002").unwrap();
    assert_eq!(item["release"]["M"]["logs"]["S"], format!("s3://{}/2/release.log", account.bucket.name));
    assert!(
        item["release"]["M"]["arns"]["L"][0]["S"]
            .as_str()
            .unwrap()
            .starts_with("arn:aws:ecs:us-east-1:111122223333:task/prod/")
    );
    assert_eq!(
        item["deploy"]["M"]["arns"]["L"],
        json!([{"S": format!("arn:aws:ecs:us-east-1:111122223333:service/prod/{web}")}])
    );
    assert_eq!(account.artifact("2/release.log").unwrap(), "migrated\n");
    let status = account.deploy_status("DEPLOYSTATUS").unwrap();
    assert!(!status.failed && status.build_number == 2);
    let service = bench.ecs.service(&web).unwrap();
    let (definition, tags) = bench.ecs.definition(&web).unwrap();
    assert_eq!(service["taskDefinition"], definition["taskDefinitionArn"]);
    assert_eq!(tags["apppack:buildNumber"], "2");
    let image = definition["containerDefinitions"][0]["image"].as_str().unwrap();
    assert_eq!(image, format!("{}@{}", account.repository(), account.digest("build-1").unwrap()));

    // The same event again does nothing again.
    bench.ecs.forget_calls();
    assert!(bench.again(2).status.success());
    assert!(bench.ecs.changes().is_empty(), "{:?}", bench.ecs.changes());

    // Each failure ends its build, is told in words, and leaves the release before.
    let lost = || TaskScript::FailsToStart("CannotPullContainerError: not found");
    for (number, tasks, deploys, phases, words) in [
        (3, vec![TaskScript::Exits(1, "no table")], vec![], "failed", "exited with code 1"),
        (4, vec![TaskScript::OutOfMemory], vec![], "failed", "137"),
        (5, vec![lost(), lost(), lost()], vec![], "failed", "CannotPullContainerError"),
        (6, vec![migrated()], vec![DeployScript::Fails], "succeeded", "tasks failed to start"),
    ] {
        bench.ecs.tasks_go(&release, tasks);
        bench.ecs.deploys_go(&web, deploys);
        let ended = bench.again(number);
        assert!(OnEcs::said(&ended).contains(words), "{number}: {}", OnEcs::said(&ended));
        assert_eq!(ended.status.code(), Some(1), "{number}");
        assert_eq!(states(&account.app_build(number).unwrap())[3], phases, "{number}");
        assert_eq!(bench.ecs.service(&web).unwrap()["taskDefinition"], service["taskDefinition"], "{number}");
        assert!(!account.stored_lane(None).is_active(), "{number}");
    }
    assert_eq!(account.artifact("3/release.log").unwrap(), "no table\n");

    // What passes is tried again: a host that is taken away, and a lack of room.
    for (number, tasks) in [(7, vec![TaskScript::Interrupted, migrated()]), (8, vec![TaskScript::NoRoom, migrated()])] {
        bench.ecs.tasks_go(&release, tasks);
        let ended = bench.again(number);
        assert!(ended.status.success(), "{number}: {}", OnEcs::said(&ended));
        assert_eq!(bench.ecs.definition(&web).unwrap().1["apppack:buildNumber"], number.to_string());
    }

    // A role that may not send phase events costs its readers time, and nothing else.
    account.moto.fail(When::target("PutEvents"), usize::MAX, Fault::AccessDenied);
    bench.ecs.tasks_go(&release, [migrated()]);
    let unheard = bench.again(9);
    assert!(unheard.status.success(), "{}", OnEcs::said(&unheard));
    assert!(!account.moto.seen(&When::target("PutEvents")).is_empty());
    account.moto.behave();

    lost_changes_are_found(&bench);
    least_privilege(&bench);
    // One that people can still stop.
    account.builds.remember_as(&bench.built, 10);
    let begun = bench.handle(&renumbered(&bench.built.events()[0], 10), &[]);
    assert!(begun.status.success(), "{}", OnEcs::said(&begun));
    bench.forget();
    commands_of_a_user(&bench);
}

/// A change of which no event told is found by a search.
fn lost_changes_are_found(bench: &OnEcs) {
    let (account, web) = (&bench.account, bench.family("web"));
    for (name, value) in [
        ("scaling", json!({"web": {"cpu": 512, "memory": 1024, "min_processes": 3, "max_processes": 3}})),
        ("scheduled-tasks", json!([{"schedule": "0 3 * * ? *", "command": "clean up"}])),
    ] {
        account.set_parameter(&format!("/apppack/apps/{}/{name}", account.app), &value.to_string());
    }
    let searched = account.run(&["orchestrator", "sweep", "--search", "--follow"]);
    assert!(searched.status.success(), "{}", OnEcs::said(&searched));
    assert_eq!(bench.ecs.service(&web).unwrap()["desiredCount"], 3, "{}", OnEcs::said(&searched));
    assert_eq!(schedules_of(&account.app).len(), 1);
}

/// The orchestrator, and the role of the app in which it acts.
fn least_privilege(bench: &OnEcs) {
    within_the_policies(bench, "management", "ecs:RunTask", "dynamodb:GetItem");
    // Only the orchestrator itself can list the lanes of all apps; an app's role can ask for its builds alone.
    let [base, role] = called(bench);
    let has = |rights: &BTreeSet<Right>, action: &str| rights.iter().any(|right| right.action == action);
    assert!(has(&base, "dynamodb:Scan") && !has(&role, "dynamodb:Scan"));
    for action in ["codebuild:ListBuildsForProject", "scheduler:CreateSchedule", "iam:PassRole", "ecs:TagResource"] {
        assert!(has(&role, action) && !has(&base, action), "{action}: {role:#?}");
    }
    // Values of config variables are never asked for.
    for right in base.iter().chain(&role) {
        assert!(right.action != "kms:Decrypt" && right.action != "ssm:GetParametersByPath", "{right:?}");
        assert!(!right.resource.contains("/config"), "{right:?}");
    }
    for read in bench.account.moto.seen(&When::target("AmazonSSM.GetParameter")) {
        let input: Value = serde_json::from_slice(&read.body).unwrap();
        assert!(input["WithDecryption"] != true, "{input}");
    }
}

/// What people do with an app takes no more than their own role gives.
fn commands_of_a_user(bench: &OnEcs) {
    for arguments in [
        &["build", "list"][..],
        &["build", "status"],
        &["build", "logs", "9"],
        &["build", "cancel", "10"],
        &["build", "start"],
        &["releases"],
        &["config", "set", "LEVEL=info"],
        &["config", "list"],
        &["config", "get", "LEVEL"],
        &["config", "unset", "LEVEL"],
        &["ps"],
        &["ps", "restart"],
        &["ps", "scale", "web", "2"],
        &["scheduled-tasks", "create", "--schedule", "0 4 * * ? *", "job"],
        &["scheduled-tasks", "delete", "1"],
        &["logs"],
    ] {
        let ran = bench.account.run(&[arguments, &["--app", &bench.account.app]].concat());
        assert!(ran.status.success(), "{arguments:?}: {}", OnEcs::said(&ran));
    }
    within_the_policies(bench, "user", "dynamodb:Query", "dynamodb:Query");
    let [called, _] = called(bench);
    for action in ["codebuild:StopBuild", "ecs:UpdateService"] {
        assert!(called.iter().any(|right| right.action == action), "{action}: {called:#?}");
    }
}

/// The rights that were used: with one's own credentials, and in the role of the app.
fn called(bench: &OnEcs) -> [BTreeSet<Right>; 2] {
    let mut called = [BTreeSet::new(), BTreeSet::new()];
    let mut note = |session: &str, rights: Vec<Right>| called[usize::from(session == SESSION)].extend(rights);
    for call in bench.ecs.calls() {
        note(&call.session, rights(&call.action, "/", call.input.to_string().as_bytes()));
    }
    for proxy in [&bench.account.moto, &bench.table] {
        for seen in proxy.seen(&When::default()) {
            note(&seen.session, rights(&seen.action(), &seen.path, &seen.body));
        }
    }
    for asked in bench.account.builds.asked() {
        let operation = asked.target.as_deref().and_then(|target| target.split('.').nth(1)).unwrap();
        note(asked.session.as_deref().unwrap_or_default(), rights(&format!("codebuild:{operation}"), "/", &asked.body));
    }
    called
}

/// Fails where more was called than the policy of a role gives: action, resource and condition. The role of an app is acted in by the
/// orchestrator, whose own calls are held against its own policy; all others call with their own credentials.
fn within_the_policies(bench: &OnEcs, name: &'static str, used: &str, used_by_base: &str) {
    let [mut base, role] = called(bench);
    if name == "management" {
        base.extend(bench.sts.assumed().iter().map(|(role, _)| Right::to_assume(role, "shop-4711")));
    }
    let (app, bucket) = (bench.account.app.as_str(), bench.account.bucket.name.as_str());
    let roles = if name == "management" { ["orchestrator", name].map(Some) } else { [Some(name), None] };
    for (name, called, used) in [(roles[0], &base, used_by_base), (roles[1], &role, used)] {
        let Some(name) = name else { continue };
        let policy = Policy::of(name, app, bucket);
        let beyond = policy.lacks(called);
        assert!(beyond.is_empty(), "beyond the policy `{name}`: {beyond:#?}");
        assert!(called.iter().any(|right| right.action == used), "{name}: {called:#?}");
    }
}
