//! Finds what an older build ran, and asks its lane to run it again.

use std::sync::Arc;

use super::Orchestrator;
use super::handle::Handled;
use crate::domain::lane::{Build, Ending, Event, Lane, LaneKey, Phase, PhaseState, Release, ReleasePlan, Sizes};
use crate::domain::names::{BuildArn, BuildNumber, EpochSeconds};
use crate::ports::failure::Failure;

impl Orchestrator {
    /// Lets an app run the image of an older build again, as a new release. Returns once this is asked for; it waits for the
    /// lane's turn.
    ///
    /// # Errors
    /// Refuses a build that was never deployed here, and one whose artifacts do not say any more what it ran.
    pub async fn roll_back(&self, key: &LaneKey, to: BuildNumber) -> Result<Handled, Failure> {
        let Some(current) = self.lanes.lanes.load(key).await? else { return Ok(Handled::NoLane) };
        let release = Box::new(self.release_of(&current.lane, to).await?);
        self.handle(key, &[Event::RollbackRequested { release }]).await
    }

    /// What a build ran that was deployed once.
    async fn release_of(&self, lane: &Lane, to: BuildNumber) -> Result<Release, Failure> {
        let now = self.lanes.clock.now();
        if let Some(release) = remembered(lane, to, now) {
            return Ok(release);
        }
        let doing = || format!("roll back {} to build {to}", lane.key);
        let record = self.lanes.records.build(&lane.key, to).await?;
        let record = record.ok_or_else(|| Failure::NotFound { what: format!("build {to} of {}", lane.key) })?;
        let succeeded = record.phases.get(&Phase::Deploy).is_some_and(|phase| phase.state == PhaseState::Succeeded);
        if !succeeded {
            return Err(Failure::refused(doing(), "it was never deployed"));
        }
        let arn =
            record.phases.get(&Phase::Build).and_then(|phase| phase.arns.first()).and_then(|arn| arn.parse().ok());
        let arn = arn.ok_or_else(|| Failure::refused(doing(), "its record does not name its CodeBuild build"))?;
        // All builds of a lane leave their results in the same place.
        let mut newest = lane.builds.values().rev().map(|build| &build.outputs);
        let outputs = newest.find(|outputs| !outputs.bucket.is_empty()).cloned().unwrap_or_default();
        let plan = self.read_plan(&lane.key, to, &outputs).await?;
        let plan = plan.map_err(|cause| Failure::refused(doing(), cause))?;
        Ok(release(to, arn, record.commit, plan, now))
    }
}

/// What a build ran that was deployed, as far as the lane remembers it.
pub fn remembered(lane: &Lane, to: BuildNumber, now: EpochSeconds) -> Option<Release> {
    let deployed = |build: &&Arc<Build>| build.ending == Some(Ending::Deployed);
    if let Some(build) = lane.builds.get(&to).filter(deployed)
        && let Some(plan) = &build.plan
    {
        return Some(release(to, build.arn.clone(), build.commit.clone(), plan.clone(), now));
    }
    let live = lane.live.as_ref().filter(|live| live.build == to)?;
    Some(release(to, live.arn.clone(), live.commit.clone(), live.plan.clone(), now))
}

fn release(build: BuildNumber, arn: BuildArn, commit: String, plan: ReleasePlan, now: EpochSeconds) -> Release {
    Release { build, arn, commit, started: now, plan, at: now, sizes: Sizes::new() }
}
