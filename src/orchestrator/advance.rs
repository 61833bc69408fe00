//! One step of a lane: load, decide, commit, project, tell.

use std::sync::Arc;

use tracing::{debug, info, warn};

use crate::domain::lane::{Decision, Event, Lane, LaneKey, build_record, changes, decide, deploy_status};
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
    for _ in 0..ATTEMPTS {
        let Some(Versioned { lane, version }) = ports.lanes.load(key).await? else {
            return Ok(Advanced::NoLane);
        };
        let next = match decide(&lane, event, ports.clock.now()) {
            Decision::Changed(next) => *next,
            Decision::Ignored(reason) => {
                debug!(lane = %key, reason, "Ignored an event");
                return Ok(Advanced::Ignored(reason));
            }
        };
        let version = match ports.lanes.commit(version, &next).await {
            Ok(version) => version,
            Err(Failure::Conflict { .. }) => continue,
            Err(failure) => return Err(failure),
        };
        project(ports, &next, version, next.unprojected.keys().copied()).await?;
        tell(ports, &lane, &next, version).await;
        return Ok(Advanced::Changed(Box::new(Versioned { lane: next, version })));
    }
    Err(Failure::Conflict { what: format!("the lane of {key}") })
}

/// Writes the client-visible items of these builds, and of the most recent deploy.
pub async fn project(
    ports: &LanePorts,
    lane: &Lane,
    version: Version,
    builds: impl IntoIterator<Item = BuildNumber>,
) -> Result<(), Failure> {
    let mut any = false;
    // The deploy's status goes first, so that it is there when a build is seen to be deployed.
    for number in builds {
        if !any && let Some(status) = deploy_status(lane) {
            ports.records.put_deploy_status(&lane.key, version, &status).await?;
        }
        any = true;
        match build_record(lane, number) {
            Some(record) => ports.records.put_build(&lane.key, version, &record).await?,
            None => ports.records.remove_build(&lane.key, version, number).await?,
        }
    }
    Ok(())
}

async fn tell(ports: &LanePorts, before: &Lane, after: &Lane, version: Version) {
    let changes = changes(before, after, version.0);
    for change in &changes {
        info!(
            app.name = %change.app, build.number = change.build.0, phase = change.phase.as_str(),
            state = change.state.as_str(), "Build {} of {}: {} {}", change.build, after.key, change.phase, change.state.as_str()
        );
    }
    if changes.is_empty() {
        return;
    }
    if let Err(failure) = ports.events.emit(&changes).await {
        warn!(cause = chain(&failure), "Phase events were not sent; the sweep will notice instead");
    }
}
