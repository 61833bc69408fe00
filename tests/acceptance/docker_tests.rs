//! Tests of apps, on the real engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use packhorse::adapters::docker::{ContainerTestBed, Docker};
use packhorse::adapters::process::Stop;
use packhorse::domain::addons::test_name;
use packhorse::domain::manifest::AddonKind;
use packhorse::ports::container_engine::ContainerEngine;
use packhorse::ports::test_bed::{AddonRequest, TestBed, TestRun};

use crate::support::docker::{Broom, SHELL_IMAGE, docker, engine, random_name};
use crate::support::heard::Heard;

async fn bed() -> (Docker, ContainerTestBed) {
    let engine = engine().await;
    (engine.clone(), ContainerTestBed::new(Arc::new(engine), Stop::default()))
}

fn run(build_id: &str, command: &str) -> TestRun {
    TestRun {
        build_id: build_id.to_owned(),
        image: SHELL_IMAGE.to_owned(),
        command: command.to_owned(),
        launcher: false,
        env: BTreeMap::new(),
        limit: Duration::from_mins(1),
    }
}

fn addon(kind: AddonKind, image: Option<&str>) -> AddonRequest {
    AddonRequest { kind, image: image.map(str::to_owned) }
}

fn build_id() -> (String, Broom) {
    let build_id = format!("{}:6b0e7c1a", random_name("ph-test"));
    let broom = Broom(test_name(&build_id));
    (build_id, broom)
}

fn left_behind(build_id: &str) -> String {
    let label = format!("label=packhorse.build={build_id}");
    docker(&["ps", "-aq", "--filter", &label]) + &docker(&["network", "ls", "-q", "--filter", &label])
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn tests_reach_their_add_ons_which_are_ready_and_nothing_is_left() {
    let (build_id, _broom) = build_id();
    let (_, bed) = bed().await;
    let addons = [addon(AddonKind::Postgres, None), addon(AddonKind::Redis, None)];
    let env = bed.start(&build_id, &addons).await.unwrap();
    assert_eq!(env["DATABASE_URL"], "postgres://postgres:postgres@db:5432/postgres");
    assert_eq!(env["REDIS_URL"], "redis://redis:6379");
    let output = Heard::default();
    let mut tests = run(&build_id, "psql \"$DATABASE_URL\" -Atc 'select 40 + 2' && getent hosts redis >/dev/null");
    tests.image = "postgres:16".to_owned();
    tests.env = env.into_iter().map(|(key, value)| (key, value.into())).collect();
    assert_eq!(bed.run(&tests, &output).await.unwrap(), 0);
    assert_eq!(output.taken(), ["42"]);
    bed.remove(&build_id).await.unwrap();
    bed.remove(&build_id).await.unwrap();
    assert_eq!(left_behind(&build_id), "");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn what_an_add_on_would_keep_in_volumes_lies_in_memory() {
    let (build_id, _broom) = build_id();
    let (engine, bed) = bed().await;
    bed.start(&build_id, &[addon(AddonKind::Postgres, None)]).await.unwrap();
    let container = format!("{}-db", test_name(&build_id));
    let in_memory = "grep -q ' /var/lib/postgresql/data tmpfs ' /proc/mounts";
    assert_eq!(engine.exec(&container, &["sh", "-c", in_memory]).await.unwrap(), 0);
    bed.remove(&build_id).await.unwrap();
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn an_add_on_that_dies_is_noticed_at_once_with_its_last_words() {
    let (build_id, _broom) = build_id();
    let (_, bed) = bed().await;
    // A web server's image, say: it starts, and is no database.
    let name = format!("{}:dies", test_name(&build_id));
    docker(&["commit", "-c", "ENTRYPOINT [\"sh\",\"-c\",\"echo no room left; exit 3\"]", &created(&build_id), &name]);
    let refusal = bed.start(&build_id, &[addon(AddonKind::Redis, Some(&name))]).await.unwrap_err().to_string();
    assert!(refusal.contains("the add-on `redis` did not start"), "{refusal}");
    assert!(refusal.contains("exited with code 3; its last lines:\nno room left"), "{refusal}");
    assert_eq!(left_behind(&build_id), "");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn an_add_on_that_never_answers_ends_the_wait() {
    let (build_id, _broom) = build_id();
    let bed = ContainerTestBed::new(Arc::new(engine().await), Stop::default()).ready_within(Duration::from_secs(1));
    let name = format!("{}:mute", test_name(&build_id));
    docker(&["commit", "-c", "ENTRYPOINT [\"tail\",\"-f\",\"/dev/null\"]", &created(&build_id), &name]);
    let refusal = bed.start(&build_id, &[addon(AddonKind::Postgres, Some(&name))]).await.unwrap_err().to_string();
    assert!(refusal.contains("did not succeed within 1 s"), "{refusal}");
    assert_eq!(left_behind(&build_id), "");
}

/// Makes a container to take an image from.
fn created(build_id: &str) -> String {
    let name = format!("{}-source", test_name(build_id));
    docker(&["create", "--name", &name, SHELL_IMAGE, "true"]);
    name
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn leftovers_of_a_killed_attempt_are_removed_by_the_next() {
    let (build_id, _broom) = build_id();
    let (_, bed) = bed().await;
    let addons = [addon(AddonKind::Redis, None)];
    bed.start(&build_id, &addons).await.unwrap();
    // The first attempt is gone without a word; its containers run on.
    bed.start(&build_id, &addons).await.unwrap();
    assert_eq!(bed.run(&run(&build_id, "exit 7"), &Heard::default()).await.unwrap(), 7);
    assert_eq!(bed.run(&run(&build_id, "exit 0"), &Heard::default()).await.unwrap(), 0);
    bed.remove(&build_id).await.unwrap();
    assert_eq!(left_behind(&build_id), "");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26"]
async fn an_images_own_entrypoint_does_not_swallow_the_tests() {
    let (build_id, _broom) = build_id();
    let (_, bed) = bed().await;
    let name = format!("{}:own", test_name(&build_id));
    docker(&["commit", "-c", "ENTRYPOINT [\"/bin/true\"]", &created(&build_id), &name]);
    let output = Heard::default();
    let mut tests = run(&build_id, r#"echo "a  b"; echo '$HOME'; exit 4"#);
    tests.image = name;
    assert_eq!(bed.run(&tests, &output).await.unwrap(), 4);
    assert_eq!(output.taken(), ["a  b", "$HOME"]);
}
