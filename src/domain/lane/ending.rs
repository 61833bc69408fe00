//! Deadlines, and the end of a pull request.

use super::action::Action;
use super::decide::{Irrelevant, Step};
use super::event::time_limit;
use super::phase::Phase;
use crate::domain::names::{BuildNumber, EpochSeconds};

/// Seconds after which a task that was told to stop no longer holds the lane's turn.
const DRAIN_LIMIT: u64 = 10 * 60;

impl Step {
    pub(super) fn pull_request_closed(&mut self, at: EpochSeconds) -> Result<(), Irrelevant> {
        if self.lane.key.pull_request.is_none() {
            return Err("an app has no pull request to close");
        }
        if self.lane.closed.is_some() {
            return Err("the pull request was closed before");
        }
        if self.lane.builds.values().any(|build| build.started > at) {
            return Err("the pull request was opened again since");
        }
        let now = self.now;
        self.lane.closed = Some(at);
        self.lane.live = None;
        self.lane.failed_deploy = None;
        self.lane.draining = None;
        // Nothing may begin any more; what runs ends with the review app.
        self.drop_owed(|action| {
            matches!(action, Action::RunTask { .. } | Action::UpdateServices { .. } | Action::StopTask { .. })
        });
        let mut stops = Vec::new();
        for build in self.lane.builds.values_mut().filter(|build| build.in_flight()) {
            build.fail("the pull request was closed", now);
            if !build.settled {
                stops.push(Action::StopBuild { build: build.number, arn: build.arn.clone() });
            }
        }
        for stop in stops {
            self.owe(stop);
        }
        self.owe(Action::RemoveReviewApp);
        Ok(())
    }

    pub(super) fn tick(&mut self) -> Result<(), Irrelevant> {
        let now = self.now;
        let mut due = false;
        if self.lane.draining.as_ref().is_some_and(|(_, since)| now.since(*since) > DRAIN_LIMIT) {
            self.lane.draining = None;
            due = true;
        }
        for number in self.lane.builds.keys().copied().collect::<Vec<_>>() {
            due |= self.tick_build(number);
        }
        if due { Ok(()) } else { Err("nothing is due") }
    }

    /// Ends a build that ran out of time; tells whether it did.
    pub(super) fn tick_build(&mut self, number: BuildNumber) -> bool {
        let now = self.now;
        let Some(build) = self.lane.builds.get_mut(&number) else { return false };
        let Some(phase) = build.current_phase().filter(|_| build.in_flight()) else {
            // Its end in CodeBuild was never heard of: give up on its logs.
            let ended = build.phases.values().filter_map(|record| record.end).max().unwrap_or(build.started);
            let forsaken = !build.settled && now.since(ended) > time_limit(Phase::Build);
            build.settled |= forsaken;
            return forsaken;
        };
        let began = build.phases.get(&phase).map_or(build.started, |record| record.start);
        // A build that waits for its turn is bounded by the one that has it.
        if build.waits_for_turn() || now.since(began) <= time_limit(phase) {
            return false;
        }
        let minutes = time_limit(phase) / 60;
        build.fail(&format!("the {phase} phase did not end within {minutes} minutes"), now);
        match phase {
            Phase::Build | Phase::Test => {
                let arn = build.arn.clone();
                self.owe(Action::StopBuild { build: number, arn });
            }
            Phase::Release | Phase::Postdeploy => self.drain(number),
            Phase::Deploy => {
                self.lane.failed_deploy = Some(number);
                self.drop_owed(|action| matches!(action, Action::UpdateServices { build, .. } if *build == number));
            }
            Phase::Finalize => {
                build.settled = true;
                self.drop_owed(|action| matches!(action, Action::ReadArtifacts { build } if *build == number));
            }
        }
        true
    }

    /// Stops the task of a build that ran out of time; it holds the turn until it is seen gone.
    pub(super) fn drain(&mut self, number: BuildNumber) {
        let task = self.lane.builds.get(&number).and_then(|build| build.task.clone());
        let Some(task) = task else { return };
        // One that was never asked for cannot run once the order is withdrawn, unless the order was just being
        // carried out: so it is stopped all the same.
        self.drop_owed(|action| matches!(action, Action::RunTask { task: owed, .. } if *owed == task.key));
        self.lane.draining = Some((task.key.clone(), self.now));
        self.owe(Action::StopTask { task: task.key });
    }
}
