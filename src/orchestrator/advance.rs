//! One step of a lane: load, decide, commit, project, tell.

use std::sync::Arc;

use tracing::{debug, info, warn};

use crate::domain::lane::{
    Build, Decision, Ending, Event, Lane, LaneKey, Phase, PhaseChange, build_record, changes, decide, deploy_status,
};
use crate::domain::names::BuildNumber;
use crate::ports::clock::Clock;
use crate::ports::failure::{Failure, chain};
use crate::ports::lane_store::{LaneStore, Version, Versioned};
use crate::ports::phase_events::PhaseEvents;
use crate::ports::records::Records;

/// What a lane needs to take a step.
#[derive(Clone)]
pub struct LanePorts {
    /// Keeps lanes.
    pub lanes: Arc<dyn LaneStore>,
    /// Keeps what clients see of them.
    pub records: Arc<dyn Records>,
    /// Tells others.
    pub events: Arc<dyn PhaseEvents>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

/// What a step led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advanced {
    /// The lane was committed and its items are written.
    Changed(Box<Versioned>),
    /// Nothing follows from the event, for this reason.
    Ignored(&'static str),
    /// There is no lane: somebody else looks after this app.
    NoLane,
}

/// Commits that may fail because somebody else was faster before a step gives up.
const ATTEMPTS: u32 = 20;

/// Brings one event into a lane.
///
/// Once this returns [`Advanced::Changed`], the event's effect and the actions it orders survive any crash. A crash
/// before the commit leaves the lane as it was; one after it leaves items that are not written marked as such in the
/// lane, so that the next step or sweep writes them. The phase events are hints: a failure to send them is only logged.
pub async fn advance(ports: &LanePorts, key: &LaneKey, event: &Event) -> Result<Advanced, Failure> {
    advance_all(ports, key, std::slice::from_ref(event)).await
}

/// Brings events into a lane in their order, in one commit: either all of them are in it or none.
///
/// Otherwise like [`advance`]. [`Advanced::Ignored`] means that nothing follows from any of them.
pub async fn advance_all(ports: &LanePorts, key: &LaneKey, events: &[Event]) -> Result<Advanced, Failure> {
    for _ in 0..ATTEMPTS {
        let Some(Versioned { lane, version }) = ports.lanes.load(key).await? else {
            return Ok(Advanced::NoLane);
        };
        let mut now = lane;
        let mut reason = "there was no event";
        let mut told = Vec::new();
        let mut changed = false;
        for event in events {
            match decide(&now, event, ports.clock.now()) {
                Decision::Changed(next) => {
                    told.extend(changes(&now, &next, version.0 + 1));
                    now = *next;
                    changed = true;
                }
                Decision::Ignored(why) => {
                    debug!(lane = %key, reason = why, "Ignored an event");
                    reason = why;
                }
            }
        }
        if !changed {
            return Ok(Advanced::Ignored(reason));
        }
        let version = match ports.lanes.commit(version, &now).await {
            Ok(version) => version,
            Err(Failure::Conflict { .. }) => continue,
            Err(failure) => return Err(failure),
        };
        project(ports, &now, version).await?;
        tell(ports, key, &told).await;
        return Ok(Advanced::Changed(Box::new(Versioned { lane: now, version })));
    }
    Err(Failure::Conflict { what: format!("the lane of {key}") })
}

/// Writes the client-visible items that are not known to be written: of builds, and of the most recent deploy.
pub async fn project(ports: &LanePorts, lane: &Lane, version: Version) -> Result<(), Failure> {
    // The deploy's status goes first, so that it is there when a build is seen to be deployed. An older packhorse set no
    // mark for it.
    let deployed = lane.live.as_ref().map(|live| live.build).or(lane.failed_deploy);
    let unmarked = deployed.is_some_and(|number| lane.unprojected.contains_key(&number));
    if let Some(status) = deploy_status(lane).filter(|_| unmarked || lane.unprojected_deploy.is_some()) {
        ports.records.put_deploy_status(&lane.key, version, &status).await?;
    }
    for number in lane.unprojected.keys().copied() {
        match build_record(lane, number) {
            Some(record) => {
                ports.records.put_build(&lane.key, version, &record).await?;
                if lane.builds.get(&number).is_some_and(|build| may_be_skipped(build)) {
                    take_back_if_late(ports, lane, version, number).await?;
                }
            }
            None => ports.records.remove_build(&lane.key, version, number).await?,
        }
    }
    Ok(())
}

/// Tells whether a build may still turn out to have nothing to do, so that its item is removed.
fn may_be_skipped(build: &Build) -> bool {
    build.in_flight() && build.current_phase() <= Some(Phase::Finalize)
}

/// Removes an item that was written after its removal. What is removed leaves no version behind that would turn a late
/// write down, so whoever wrote looks whether it came late.
async fn take_back_if_late(
    ports: &LanePorts,
    lane: &Lane,
    version: Version,
    number: BuildNumber,
) -> Result<(), Failure> {
    let Some(newer) = ports.lanes.load(&lane.key).await? else { return Ok(()) };
    let ending = newer.lane.builds.get(&number).and_then(|build| build.ending.as_ref());
    if newer.version > version && matches!(ending, Some(Ending::Skipped { .. })) {
        ports.records.remove_build(&lane.key, newer.version, number).await?;
    }
    Ok(())
}

async fn tell(ports: &LanePorts, key: &LaneKey, changes: &[PhaseChange]) {
    for change in changes {
        info!(
            app.name = %change.app, build.number = change.build.0, phase = change.phase.as_str(),
            state = change.state.as_str(), "Build {} of {key}: {} {}", change.build, change.phase, change.state.as_str()
        );
    }
    if changes.is_empty() {
        return;
    }
    if let Err(failure) = ports.events.emit(changes).await {
        warn!(cause = chain(&failure), "Phase events were not sent; the sweep will notice instead");
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use tokio::sync::Notify;

    use super::*;
    use crate::adapters::memory::{CollectedPhaseEvents, MemoryLaneStore, MemoryRecords, SettableClock};
    use crate::domain::lane::{BuildRecord, DeployStatus, Outputs};
    use crate::domain::names::EpochSeconds;

    /// Records of a writer that is held up before its first write.
    struct Slow {
        records: Arc<MemoryRecords>,
        reached: Notify,
        go: Notify,
    }

    #[async_trait]
    impl Records for Slow {
        async fn put_build(&self, key: &LaneKey, at: Version, record: &BuildRecord) -> Result<(), Failure> {
            self.reached.notify_one();
            self.go.notified().await;
            self.records.put_build(key, at, record).await
        }

        async fn remove_build(&self, key: &LaneKey, at: Version, number: BuildNumber) -> Result<(), Failure> {
            self.records.remove_build(key, at, number).await
        }

        async fn put_deploy_status(&self, key: &LaneKey, at: Version, status: &DeployStatus) -> Result<(), Failure> {
            self.records.put_deploy_status(key, at, status).await
        }

        async fn build(&self, key: &LaneKey, number: BuildNumber) -> Result<Option<BuildRecord>, Failure> {
            self.records.build(key, number).await
        }

        async fn builds(&self, key: &LaneKey, limit: usize) -> Result<Vec<BuildRecord>, Failure> {
            self.records.builds(key, limit).await
        }

        async fn deploy_status(&self, key: &LaneKey) -> Result<Option<DeployStatus>, Failure> {
            self.records.deploy_status(key).await
        }
    }

    #[tokio::test]
    async fn an_item_that_was_removed_does_not_come_back_by_a_late_write() {
        let key = LaneKey::app("shop".parse().unwrap());
        let number = BuildNumber(1);
        let records = Arc::new(MemoryRecords::new());
        let ports = LanePorts {
            lanes: Arc::new(MemoryLaneStore::new()),
            records: records.clone(),
            events: Arc::new(CollectedPhaseEvents::default()),
            clock: Arc::new(SettableClock::new(EpochSeconds(1_000))),
        };
        ports.lanes.commit(Version(0), &Lane::new(key.clone())).await.unwrap();
        let slow = Arc::new(Slow { records: records.clone(), reached: Notify::new(), go: Notify::new() });
        let started = Event::BuildStarted {
            number,
            arn: "arn:aws:codebuild:us-east-1:111122223333:build/shop:6b0e7c1a".parse().unwrap(),
            commit: String::new(),
            started: EpochSeconds(1_000),
            logs: String::new(),
            outputs: Outputs::default(),
            by_runner: true,
        };
        let late = tokio::spawn({
            let (ports, key) = (LanePorts { records: slow.clone(), ..ports.clone() }, key.clone());
            async move { advance(&ports, &key, &started).await }
        });
        slow.reached.notified().await;
        let skipped = Event::BuildSkipped { number, reason: "no review app".to_owned() };
        assert!(matches!(advance(&ports, &key, &skipped).await.unwrap(), Advanced::Changed(_)));
        slow.go.notify_one();
        late.await.unwrap().unwrap();
        assert_eq!(records.build(&key, number).await.unwrap(), None);
    }
}
