//! What runs by the clock while `up` does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tracing::warn;

use super::logs::show;
use crate::adapters::docker::place::{ContainerPlace, SCHEDULER};
use crate::domain::lane::LaneKey;
use crate::ports::failure::chain;
use crate::ui::Printer;

/// How often to look at the clock.
const BETWEEN: Duration = Duration::from_secs(1);

/// Starts the jobs of the live release when they are due, prints what they say and removes them after their end, until the
/// returned future is dropped. Those that an earlier `up` has started are looked after too.
pub(super) async fn run(place: Arc<ContainerPlace>, lane: LaneKey, printer: Printer) {
    let mut followed = BTreeSet::new();
    let mut readers = JoinSet::new();
    loop {
        match place.start_due_jobs(&lane).await {
            Ok(refused) => refused.iter().for_each(|text| show(&printer, SCHEDULER, text)),
            Err(failure) => warn!(cause = chain(&failure), "What is due must wait"),
        }
        for container in place.jobs(&lane).await.unwrap_or_default() {
            if followed.insert(container.clone()) {
                let (place, printer) = (Arc::clone(&place), printer.clone());
                readers.spawn(async move {
                    let seen = follow(&place, &container, &printer).await;
                    (container, seen)
                });
            }
        }
        while let Some(ended) = readers.try_join_next() {
            // An engine that did not answer is asked again.
            if let Ok((container, false)) = ended {
                followed.remove(&container);
            }
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Prints what one run says up to its end; tells whether that was seen.
async fn follow(place: &ContainerPlace, container: &str, printer: &Printer) -> bool {
    let say = |text: &str| show(printer, SCHEDULER, text);
    let _ = place.follow(container, &say).await;
    match place.end_of_job(container).await {
        Ok(0) => true,
        Ok(code) => {
            say(&format!("(exited with code {code})"));
            true
        }
        Err(_) => false,
    }
}
