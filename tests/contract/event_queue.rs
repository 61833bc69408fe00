//! What every queue of events promises.

use std::time::Duration;

use async_trait::async_trait;
use packhorse::adapters::memory::MemoryQueue;
use packhorse::ports::event_queue::{BATCH, EventQueue, Message};

use crate::support::suite::suite;

/// A queue under test.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    fn queue(&self) -> &dyn EventQueue;
    fn send(&self, body: &str);
}

const LONG: Duration = Duration::from_mins(10);

async fn take(bench: &impl Bench, wait: Duration, hidden: Duration) -> Vec<Message> {
    bench.queue().receive(wait, hidden).await.unwrap()
}

/// What was sent comes as it was; what was taken is seen by nobody else.
async fn a_message_is_taken_by_one(bench: &impl Bench) {
    bench.send("{\"a\": \"ä\"}");
    let taken = take(bench, Duration::from_secs(5), LONG).await;
    assert_eq!(taken.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["{\"a\": \"ä\"}"]);
    assert_eq!(take(bench, Duration::ZERO, LONG).await, []);
}

/// A message that nobody deletes comes again under its own name, and can then be deleted.
async fn what_is_not_deleted_comes_again(bench: &impl Bench) {
    bench.send("once");
    let first = take(bench, Duration::from_secs(5), LONG).await;
    bench.queue().hide(&first, Duration::ZERO).await.unwrap();
    let second = take(bench, Duration::from_secs(5), LONG).await;
    assert_eq!(first[0].id, second[0].id);
    bench.queue().delete(&second).await.unwrap();
    assert_eq!(take(bench, Duration::ZERO, Duration::ZERO).await, []);
}

/// Deleting again, and hiding what is gone, is no error.
async fn what_is_gone_is_gone(bench: &impl Bench) {
    bench.send("gone");
    let taken = take(bench, Duration::from_secs(5), LONG).await;
    bench.queue().delete(&taken).await.unwrap();
    bench.queue().delete(&taken).await.unwrap();
    bench.queue().hide(&taken, LONG).await.unwrap();
    bench.queue().delete(&[]).await.unwrap();
}

/// More messages than one request carries are taken and deleted in parts.
async fn many_messages_are_taken_in_parts(bench: &impl Bench) {
    for number in 0..25 {
        bench.send(&number.to_string());
    }
    let mut all = Vec::new();
    while all.len() < 25 {
        let taken = take(bench, Duration::from_secs(5), LONG).await;
        assert!((1..=BATCH).contains(&taken.len()), "{}", taken.len());
        all.extend(taken);
    }
    bench.queue().delete(&all).await.unwrap();
    bench.queue().hide(&all, Duration::ZERO).await.unwrap();
    assert_eq!(take(bench, Duration::ZERO, LONG).await, []);
    let mut bodies: Vec<u32> = all.iter().map(|message| message.body.parse().unwrap()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, (0..25).collect::<Vec<_>>());
}

/// Who waits is woken by what is sent meanwhile.
async fn who_waits_gets_what_is_sent_meanwhile(bench: &impl Bench) {
    let (taken, ()) = tokio::join!(take(bench, Duration::from_secs(10), LONG), async {
        tokio::task::yield_now().await;
        bench.send("late");
    });
    assert_eq!(taken.len(), 1);
}

#[async_trait]
impl Bench for MemoryQueue {
    fn queue(&self) -> &dyn EventQueue {
        self
    }

    fn send(&self, body: &str) {
        MemoryQueue::send(self, body);
    }
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [
            a_message_is_taken_by_one,
            what_is_not_deleted_comes_again,
            what_is_gone_is_gone,
            many_messages_are_taken_in_parts,
            who_waits_gets_what_is_sent_meanwhile,
        ]);
    };
}

promises!(memory, packhorse::adapters::memory::MemoryQueue::new());

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::SqsQueue;
    use packhorse::ports::dead_letters::{DeadLetter, DeadLetters as _};

    use super::*;
    use crate::support::aws::clients;
    use crate::support::parts;
    use crate::support::queue::Queue;

    pub(super) struct Sqs {
        made: Queue,
        queue: SqsQueue,
    }

    pub(super) async fn open() -> Sqs {
        let made = Queue::make();
        let queue = SqsQueue::new(clients(&parts::moto()).await.sqs(Duration::from_secs(20)), &made.url);
        Sqs { made, queue }
    }

    #[async_trait]
    impl Bench for Sqs {
        fn queue(&self) -> &dyn EventQueue {
            &self.queue
        }

        fn send(&self, body: &str) {
            self.made.send(body);
        }
    }

    #[tokio::test]
    #[ignore = "needs moto"]
    async fn a_dead_letter_is_kept_with_its_reason_whatever_is_in_it() {
        let bench = open().await;
        for body in ["{\"source\": 1}", "", "a\0b"] {
            let letter =
                DeadLetter { body: body.to_owned(), reason: "ä".repeat(3000), message_id: Some("1".to_owned()) };
            bench.queue.keep(&letter).await.unwrap();
        }
        let mut bodies: Vec<String> = Vec::new();
        for (body, reason) in bench.made.take_all() {
            assert_eq!(reason, "ä".repeat(500));
            bodies.push(body);
        }
        bodies.sort();
        assert_eq!(bodies, ["\"\"", "\"a\\u0000b\"", "{\"source\": 1}"]);
    }
}

#[cfg(feature = "aws")]
promises!(sqs, super::aws::open().await, "needs moto");
