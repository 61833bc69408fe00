//! The worker at a queue, through the program.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::fault_proxy::When;
use crate::support::orchestrated::{Account, PROGRAM};
use crate::support::queue::Queue;

/// The worker; ends with its drop.
struct Worker(Child);

impl Worker {
    fn start(account: &Account, queue: &Queue, letters: &Queue) -> Self {
        let child = Command::new(PROGRAM)
            .args(["orchestrator", "poll", "--place", "docker", "--queue", &queue.url])
            .args(["--dead-letter-queue", &letters.url, "--hidden-for", "2"])
            .env_clear()
            .envs(account.environment())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn stop(mut self) -> Option<i32> {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until this holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < end, "{what} never came");
        std::thread::yield_now();
    }
}

fn began(account: &Account, number: u64) -> Value {
    let now = jiff::Timestamp::now().strftime("%b %e, %Y %I:%M:%S %p").to_string();
    let app = &account.app;
    json!({
        "source": "aws.codebuild", "detail-type": "CodeBuild Build State Change", "resources": [],
        "detail": {
            "build-status": "IN_PROGRESS", "project-name": app,
            "build-id": format!("arn:aws:codebuild:us-east-1:111122223333:build/{app}:{number:08}-0000"),
            "additional-information": {
                "build-number": number, "build-start-time": now, "source-version": "main", "artifact": {},
                "environment": { "environment-variables": [] }, "logs": {},
            },
        },
    })
}

#[test]
#[ignore = "needs Docker Engine 26, moto and DynamoDB Local"]
fn a_worker_handles_what_the_queue_holds_puts_poison_aside_and_stops_when_told() {
    let account = Account::new().adopted(None);
    let (queue, letters) = (Queue::make(), Queue::make());
    for number in 1..=12 {
        queue.send(&began(&account, number).to_string());
    }
    queue.send("poison");
    let worker = Worker::start(&account, &queue, &letters);
    until("an empty queue", || queue.left() == 0);
    for number in 1..=12 {
        assert!(account.app_build(number).is_some(), "build {number}");
    }
    let reason = "this is not an EventBridge event";
    let kept = letters.take_all();
    assert!(kept.len() == 1 && kept[0].0 == "poison" && kept[0].1.starts_with(reason), "{kept:?}");
    // What comes later is taken as well.
    queue.send(&began(&account, 13).to_string());
    until("the later build", || account.app_build(13).is_some());
    until("an empty queue", || queue.left() == 0);
    assert_eq!(worker.stop(), Some(0));
}

#[test]
#[ignore = "needs Docker Engine 26, moto and DynamoDB Local"]
fn a_worker_that_is_killed_leaves_its_messages_to_the_next() {
    let account = Account::new().adopted(None);
    let (queue, letters) = (Queue::make(), Queue::make());
    for number in 1..=10 {
        queue.send(&began(&account, number).to_string());
    }
    let worker = Worker::start(&account, &queue, &letters);
    until("a request for messages", || !account.moto.seen(&When::target("ReceiveMessage")).is_empty());
    drop(worker);
    let next = Worker::start(&account, &queue, &letters);
    until("an empty queue", || queue.left() == 0);
    for number in 1..=10 {
        assert!(account.app_build(number).is_some(), "build {number}");
    }
    assert_eq!(next.stop(), Some(0));
}
