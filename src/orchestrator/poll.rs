//! The orchestrator as a worker at a queue, with timers of its own for deadlines and sweeps.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::intake::{Intake, Taken};
use crate::domain::aws_event::Record;
use crate::ports::event_queue::{EventQueue, Message};
use crate::ports::failure::chain;

/// How a worker goes about it.
#[derive(Debug, Clone)]
pub struct Pace {
    /// How long a message that was taken stays hidden; it is kept hidden while it is worked on.
    pub hidden: Duration,
    /// How long to wait for messages at a time.
    pub wait: Duration,
    /// How often to look for deadlines that have come.
    pub deadlines: Duration,
    /// How often to ask for the truth about everything in flight.
    pub sweep: Duration,
    /// How long to wait after the queue did not answer.
    pub pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            hidden: Duration::from_mins(1),
            wait: Duration::from_secs(20),
            deadlines: Duration::from_secs(5),
            sweep: Duration::from_mins(1),
            pause: Duration::from_secs(5),
        }
    }
}

/// Takes messages until told to stop, then ends what was begun.
///
/// A message is deleted only once it is handled, so a worker that is killed leaves it to the next one. What cannot be done is
/// told in the log and tried again; nothing but `stop` ends the work.
pub async fn run(intake: &Intake, queue: Arc<dyn EventQueue>, pace: &Pace, stop: &CancellationToken) {
    tokio::join!(take_messages(intake, queue.as_ref(), pace, stop), keep_time(intake, pace, stop));
}

async fn take_messages(intake: &Intake, queue: &dyn EventQueue, pace: &Pace, stop: &CancellationToken) {
    loop {
        let received = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            received = queue.receive(pace.wait, pace.hidden) => received,
        };
        match received {
            Ok(messages) if messages.is_empty() => {}
            Ok(messages) => handle(intake, queue, pace, &messages).await,
            Err(failure) => {
                warn!(cause = chain(&failure), "The queue must wait");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep(pace.pause) => {}
                }
            }
        }
    }
}

async fn handle(intake: &Intake, queue: &dyn EventQueue, pace: &Pace, messages: &[Message]) {
    let record = |message: &Message| Record { message_id: Some(message.id.clone()), body: message.body.clone() };
    let records: Vec<Record> = messages.iter().map(record).collect();
    let work = intake.take(&records, None);
    let taken = tokio::select! {
        taken = work => taken,
        () = keep_hidden(queue, pace, messages) => return,
    };
    let done = |(message, taken): (&Message, Taken)| (!matches!(taken, Taken::Again(_))).then(|| message.clone());
    let done: Vec<Message> = messages.iter().zip(taken).filter_map(done).collect();
    if !done.is_empty()
        && let Err(failure) = queue.delete(&done).await
    {
        // They come again, and change nothing.
        warn!(cause = chain(&failure), "Messages that are handled could not be deleted");
    }
}

/// Keeps messages hidden for as long as this is waited for.
async fn keep_hidden(queue: &dyn EventQueue, pace: &Pace, messages: &[Message]) {
    let half = pace.hidden / 2;
    let mut ticks = interval_at(Instant::now() + half, half);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(failure) = queue.hide(messages, pace.hidden).await {
            warn!(cause = chain(&failure), "Messages could not be kept hidden; another worker may take them too");
        }
    }
}

async fn keep_time(intake: &Intake, pace: &Pace, stop: &CancellationToken) {
    let (mut deadlines, mut sweeps) = (interval(pace.deadlines), interval(pace.sweep));
    deadlines.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = sweeps.tick() => intake.sweep().await.map(drop),
            _ = deadlines.tick() => intake.look_at_deadlines().await,
        };
        if let Err(failure) = outcome {
            warn!(cause = chain(&failure), "Looking at all lanes must wait");
        }
    }
}
