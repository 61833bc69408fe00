//! What every sender of phase events promises.

use async_trait::async_trait;
use packhorse::adapters::memory::CollectedPhaseEvents;
use packhorse::domain::lane::{Phase, PhaseChange, PhaseState};
use packhorse::domain::names::BuildNumber;
use packhorse::ports::phase_events::PhaseEvents;

use crate::support::lanes::{build_arn, some_app, some_review_app};
use crate::support::suite::suite;

/// A sender under test.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    fn sender(&self) -> &dyn PhaseEvents;

    /// Returns what arrived since the last time.
    async fn arrived(&self) -> Vec<PhaseChange>;
}

/// Makes so many changes of a standard app and of a review app.
pub(crate) fn some_changes(count: u64) -> Vec<PhaseChange> {
    let (app, review_app) = (some_app(), some_review_app());
    (1..=count)
        .map(|number| {
            let key = if number % 2 == 0 { &app } else { &review_app };
            PhaseChange {
                format: 1,
                app: key.app.clone(),
                pull_request: key.pull_request,
                build: BuildNumber(number),
                build_arn: build_arn(key, number),
                phase: Phase::Test,
                state: PhaseState::Succeeded,
                lane_version: number,
            }
        })
        .collect()
}

/// Everything arrives once and in order, also more than one request can carry.
async fn changes_arrive_in_order(bench: &impl Bench) {
    for count in [1, 3, 25] {
        let changes = some_changes(count);
        bench.sender().emit(&changes).await.unwrap();
        assert_eq!(bench.arrived().await, changes);
    }
}

/// Nothing to send is no error.
async fn nothing_is_sent_for_nothing(bench: &impl Bench) {
    bench.sender().emit(&[]).await.unwrap();
    assert_eq!(bench.arrived().await, []);
}

#[async_trait]
impl Bench for CollectedPhaseEvents {
    fn sender(&self) -> &dyn PhaseEvents {
        self
    }

    async fn arrived(&self) -> Vec<PhaseChange> {
        self.take()
    }
}

fn open_memory() -> CollectedPhaseEvents {
    CollectedPhaseEvents::new()
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [changes_arrive_in_order, nothing_is_sent_for_nothing]);
    };
}

promises!(memory, super::open_memory());
