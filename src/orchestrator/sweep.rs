//! Finds lanes in which something is in flight and brings them up to the truth.

use std::time::Duration;

use tracing::warn;

use super::Orchestrator;
use super::handle::Handled;
use super::observe::build_events;
use crate::domain::lane::{Event, Lane, LaneKey};
use crate::domain::names::{AppName, EpochSeconds};
use crate::ports::failure::{Failure, chain};

/// Seconds within which a build that nobody told of is still expected to be deployed: a little more than one may take.
const STILL_EXPECTED: u64 = 12 * 60 * 60;

/// What a sweep came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Lanes that were looked at.
    pub lanes: usize,
    /// Lanes that could not be brought up to date now.
    pub waiting: usize,
}

impl Swept {
    /// Counts a lane with what looking at it came to. One that cannot be served does not keep the others waiting.
    pub(super) fn count(&mut self, lane: &LaneKey, looked: Result<Handled, Failure>) {
        self.lanes += 1;
        match looked {
            Ok(Handled::Owing) => self.waiting += 1,
            Ok(_) => {}
            Err(error) => {
                warn!(lane = %lane, cause = chain(&error), "A lane must wait for the next sweep");
                self.waiting += 1;
            }
        }
    }
}

impl Orchestrator {
    /// Brings every active lane up to the truth: performs what is owed, asks for what was lost, looks at deadlines.
    ///
    /// One lane that cannot be served does not keep the others waiting.
    ///
    /// # Errors
    /// Fails only when the active lanes cannot be listed.
    pub async fn sweep(&self) -> Result<Swept, Failure> {
        let mut swept = Swept::default();
        for key in self.lanes.lanes.active().await? {
            swept.count(&key, self.sweep_lane(&key).await);
        }
        Ok(swept)
    }

    /// Looks for what no event told of one project: changed settings of its lanes, and builds among its newest. Which lanes
    /// it has is for the caller to say, since an app's own role may not list them.
    ///
    /// Some calls per project, so it is done less often than [`Orchestrator::sweep`]: it matters only where all events of a
    /// build, or of a change, were lost. Builds that began long ago are left alone: nobody expects them to be deployed any more.
    /// Services whose settings have not changed are left alone by their place.
    ///
    /// # Errors
    /// Fails when the project, or a lane of it, could not be asked; the other lanes were.
    pub async fn search(&self, project: &AppName, lanes: &[LaneKey]) -> Result<(), Failure> {
        let mut told = Ok(());
        for lane in lanes {
            if let Err(failure) = self.handle(lane, &[Event::SettingsChanged]).await {
                told = Err(failure);
            }
        }
        self.search_builds(project).await.and(told)
    }

    /// Looks for builds of which neither runner nor event told, among the newest of one project.
    async fn search_builds(&self, project: &AppName) -> Result<(), Failure> {
        let expected = EpochSeconds(self.lanes.clock.now().0.saturating_sub(STILL_EXPECTED));
        for (key, facts) in self.builds.newest(project).await? {
            if facts.started < expected {
                continue;
            }
            let Some(current) = self.lanes.lanes.load(&key).await? else { continue };
            if !current.lane.builds.contains_key(&facts.number) {
                self.handle(&key, &build_events(facts)).await?;
            }
        }
        Ok(())
    }

    /// Brings one lane up to the truth.
    ///
    /// # Errors
    /// Fails when the lane, or what it waits for, could not be asked.
    pub async fn sweep_lane(&self, key: &LaneKey) -> Result<Handled, Failure> {
        if !self.settle(key, None).await? {
            return Ok(Handled::Owing);
        }
        let Some(current) = self.lanes.lanes.load(key).await? else { return Ok(Handled::NoLane) };
        let mut events = self.observe(&current.lane).await?;
        events.push(Event::Tick);
        self.handle(key, &events).await
    }

    /// Brings one lane up to the truth again and again until nothing is in flight, and returns it.
    ///
    /// For places that send no events, such as Docker on one machine. `seen` is shown the lane after each look.
    ///
    /// # Errors
    /// Fails when the lane could not be read or written; a place that does not answer is asked again.
    pub async fn follow(
        &self,
        key: &LaneKey,
        pause: Duration,
        mut seen: impl FnMut(&Lane),
    ) -> Result<Option<Lane>, Failure> {
        loop {
            match self.sweep_lane(key).await {
                Ok(_) => {}
                Err(failure) if failure.is_passing() => warn!(lane = %key, cause = chain(&failure), "Asking again"),
                Err(failure) => return Err(failure),
            }
            let Some(current) = self.lanes.lanes.load(key).await? else { return Ok(None) };
            seen(&current.lane);
            if !current.lane.is_active() {
                return Ok(Some(current.lane));
            }
            tokio::time::sleep(pause).await;
        }
    }
}
