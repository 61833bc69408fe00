//! A build from its first event to its services on ECS, by the program: real build, DynamoDB Local, moto, and the stand-in for
//! ECS with every story that moto cannot play.

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::{Value, json};

use crate::support::codebuild::Build;
use crate::support::ecs::{DeployScript, FakeEcs, TaskScript};
use crate::support::fault_proxy::{FaultProxy, When};
use crate::support::orchestrated::{Account, renumbered, states};
use crate::support::parts;
use crate::support::sts::{FakeSts, SESSION};

const ROLE: &str = "arn:aws:iam::111122223333:role/apppack-app-shop";
/// Phase events are hints: a role that may not send them costs time and nothing else. The policies give this to the runner only.
const HINTS: &str = "events:PutEvents";
const FILES: [&str; 5] = ["apppack.toml", "build.json", "build.log", "commit.txt", "test.log"];

/// An account whose stacks have made an app for ECS.
struct OnEcs {
    account: Account,
    ecs: FakeEcs,
    sts: FakeSts,
    table: FaultProxy,
    built: Build,
}

impl OnEcs {
    fn new() -> Self {
        let mut account = Account::new().with_small_app("test 1 = 1", "echo migrated");
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
        // The runner of the build has a role of its own.
        account.moto.forget();
        table.forget();
        Self { account, ecs, sts, table, built }
    }

    fn family(&self, word: &str) -> String {
        format!("{}-{word}", self.account.app)
    }

    /// Hands an event to the program, whose place is ECS unless it is told otherwise.
    fn handle(&self, event: &Value, more: &[&str]) -> Output {
        let file = self.account.event(event).display().to_string();
        self.account.run(&[&["orchestrator", "handle", &file], more].concat())
    }

    /// Lets the same build end once more, under another number.
    fn again(&self, number: u64) -> Output {
        for file in FILES {
            self.account.copy_artifact(&format!("1/{file}"), &format!("{number}/{file}"));
        }
        self.account.builds.remember_as(&self.built, number);
        self.handle(&renumbered(self.built.events().last().unwrap(), number), &["--follow"])
    }

    fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

#[test]
#[ignore = "needs Docker Engine 26, pack, a registry, moto and DynamoDB Local"]
fn a_build_goes_from_its_first_event_to_its_services_on_ecs_and_each_failure_is_told() {
    let bench = OnEcs::new();
    let account = &bench.account;
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

    least_privilege(&bench);
}

/// What was called, by the role it was called in.
fn called(bench: &OnEcs) -> [BTreeSet<String>; 2] {
    let mut called = [BTreeSet::new(), BTreeSet::new()];
    let mut note = |token: &str, action: String| {
        called[usize::from(token == SESSION)].insert(action);
    };
    for call in bench.ecs.calls() {
        note(&call.session, call.action);
    }
    for proxy in [&bench.account.moto, &bench.table] {
        for seen in proxy.seen(&When::default()) {
            note(&seen.session, seen.action());
        }
    }
    called
}

/// The actions that a policy allows.
fn allowed(policy: &str) -> BTreeSet<String> {
    let path = format!("{}/tests/fixtures/policies/{policy}.json", env!("CARGO_MANIFEST_DIR"));
    let statements: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let allow = statements.iter().filter(|statement| statement["Effect"] == "Allow");
    let actions = allow.flat_map(|statement| match &statement["Action"] {
        Value::String(action) => vec![action.clone()],
        list => list.as_array().unwrap().iter().map(|action| action.as_str().unwrap().to_owned()).collect(),
    });
    actions.collect()
}

fn least_privilege(bench: &OnEcs) {
    assert!(!bench.sts.assumed().is_empty());
    let [base, role] = called(bench);
    for (name, called) in [("orchestrator", &base), ("management", &role)] {
        let policy = allowed(name);
        let beyond: Vec<&String> = called.difference(&policy).filter(|action| *action != HINTS).collect();
        assert!(beyond.is_empty(), "beyond the policy `{name}`: {beyond:?} of {called:?}");
    }
    assert!(role.contains("ecs:RunTask") && base.contains("dynamodb:GetItem"), "{base:?} {role:?}");
    // Values of config variables are never asked for.
    for action in ["ssm:GetParametersByPath", "ssm:GetParameters", "kms:Decrypt"] {
        assert!(!base.contains(action) && !role.contains(action), "{action}");
    }
    let reads = bench.account.moto.seen(&When::target("AmazonSSM.GetParameter")).into_iter();
    for read in reads {
        let input: Value = serde_json::from_slice(&read.body).unwrap();
        assert!(input["WithDecryption"] != true && !input["Name"].as_str().unwrap().contains("/config/"), "{input}");
    }
}
