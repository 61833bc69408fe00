//! Deadlines, and the end of a pull request.

use std::sync::Arc;

use super::action::Action;
use super::decide::{Irrelevant, Step};
use super::phase::Phase;
use super::removal::Removal;
use super::state::{Build, Lane};
use super::task::{TaskKey, TaskState};
use crate::domain::names::{BuildNumber, EpochSeconds};

/// Seconds after which a task that was told to stop no longer holds the lane's turn: longer than an orchestrator that was held up
/// with the order to start it can live (15 minutes on Lambda), and than a task needs to stop.
const DRAIN_LIMIT: u64 = 20 * 60;
/// Seconds after which the copy of a log is given up.
const LOG_LIMIT: u64 = 60 * 60;

impl Lane {
    /// When the lane must be looked at next though nothing is heard: the earliest of its deadlines. Nothing while it waits for
    /// nothing.
    pub fn next_due(&self) -> Option<EpochSeconds> {
        let builds = self.builds.values().filter_map(|build| self.build_due(build));
        let logs = self.owed.values().filter_map(|action| self.log_due(action));
        let settings = self.converge_at.filter(|_| self.holder().is_none());
        let others = [self.draining_due(), self.rollback_due(), self.converging_due(), settings, self.removal_due()];
        builds.chain(logs).chain(others.into_iter().flatten()).min()
    }

    /// Tells whether a task is ordered that must not be asked for any more: a tick ends what waits for it.
    pub fn asks_too_late(&self, now: EpochSeconds) -> bool {
        let tasks = self.builds.values().filter(|build| build.in_flight()).filter_map(|build| build.task.as_ref());
        let mut tasks = tasks.chain(self.removal.as_ref().and_then(Removal::task));
        tasks.any(|task| task.ask_by().is_some_and(|by| by <= now))
    }

    /// When a build has run out of time: in its phase, or for its end in `CodeBuild` to be heard of.
    fn build_due(&self, build: &Build) -> Option<EpochSeconds> {
        match build.current_phase().filter(|_| build.in_flight()) {
            // A build that waits for its turn is bounded by the one that has it.
            Some(_) if build.waits_for_turn() => None,
            Some(phase) => {
                let began = build.phases.get(&phase).map_or(build.started, |record| record.start);
                let due = began.plus(self.policy.limit(phase));
                Some(due.min(build.task.as_ref().and_then(TaskState::ask_by).unwrap_or(due)))
            }
            None if build.settled => None,
            None => {
                let ended = build.phases.values().filter_map(|record| record.end).max().unwrap_or(build.started);
                Some(ended.plus(self.policy.limit(Phase::Build)))
            }
        }
    }

    fn draining_due(&self) -> Option<EpochSeconds> {
        self.draining.as_ref().map(|(_, since)| since.plus(DRAIN_LIMIT))
    }

    fn rollback_due(&self) -> Option<EpochSeconds> {
        Some(self.rollback.as_ref()?.deploying?.plus(self.policy.limit(Phase::Deploy)))
    }

    fn converging_due(&self) -> Option<EpochSeconds> {
        Some(self.converging?.plus(self.policy.limit(Phase::Deploy)))
    }

    fn log_due(&self, action: &Action) -> Option<EpochSeconds> {
        let Action::KeepLog { task } = action else { return None };
        let phase = self.builds.get(&task.build).zip(task.kind.phase());
        let ended = phase.and_then(|(build, phase)| build.phases.get(&phase)?.end);
        Some(ended.map_or(EpochSeconds(0), |ended| ended.plus(LOG_LIMIT)))
    }
}

impl Step {
    pub(super) fn pull_request_closed(&mut self, at: EpochSeconds) -> Result<(), Irrelevant> {
        if self.lane.key.pull_request.is_none() {
            return Err("an app has no pull request to close");
        }
        if self.lane.last_closed() >= Some(at) {
            return Err("the pull request was closed before");
        }
        if self.lane.builds.values().any(|build| build.started > at) {
            return Err("the pull request was opened again since");
        }
        let now = self.now;
        self.lane.closed = Some(at);
        self.lane.failed_deploy = None;
        self.lane.converge_at = None;
        self.lane.converging = None;
        self.lane.rollback = None;
        let mut stops = Vec::new();
        let mut runs = None;
        for build in self.lane.builds.values_mut().filter(|build| build.in_flight()).map(Arc::make_mut) {
            if matches!(build.current_phase(), Some(Phase::Release | Phase::Postdeploy)) {
                runs = Some(build.number);
            }
            build.fail("the pull request was closed", now);
            if !build.settled {
                stops.push(Action::StopBuild { build: build.number, arn: build.arn.clone() });
            }
        }
        if let Some(number) = runs {
            self.drain(number);
        }
        // Nothing may begin any more.
        self.drop_owed(|action| matches!(action, Action::UpdateServices { .. }));
        for stop in stops {
            self.owe(stop);
        }
        self.begin_removal();
        Ok(())
    }

    pub(super) fn tick(&mut self) -> Result<(), Irrelevant> {
        let now = self.now;
        let passed = |due: Option<EpochSeconds>| due.is_some_and(|due| due <= now);
        let mut due = passed(self.lane.converge_at);
        if passed(self.lane.draining_due()) {
            self.stop_draining();
            due = true;
        }
        if passed(self.lane.rollback_due())
            && let Some(rollback) = self.lane.rollback.take()
        {
            self.rollback_failed(&rollback);
            self.return_to_live();
            due = true;
        }
        if passed(self.lane.converging_due()) {
            self.stop_following();
            due = true;
        }
        due |= self.tick_removal();
        for number in self.lane.builds.keys().copied().collect::<Vec<_>>() {
            due |= self.tick_build(number);
        }
        let owed = self.lane.owed.iter();
        let given_up: Vec<_> =
            owed.filter(|(_, action)| passed(self.lane.log_due(action))).map(|(id, _)| *id).collect();
        for id in given_up {
            self.lane.owed.remove(&id);
            due = true;
        }
        if due { Ok(()) } else { Err("nothing is due") }
    }

    /// Ends a build that ran out of time; tells whether it did.
    fn tick_build(&mut self, number: BuildNumber) -> bool {
        let now = self.now;
        let Some(build) = self.lane.builds.get(&number) else { return false };
        if self.lane.build_due(build).is_none_or(|due| due > now) {
            return false;
        }
        let phase = build.current_phase().filter(|_| build.in_flight());
        let minutes = phase.map(|phase| self.lane.policy.limit(phase) / 60).unwrap_or_default();
        let unasked = build.task.as_ref().and_then(TaskState::ask_by).is_some_and(|by| by <= now);
        let Some(build) = self.lane.build_mut(number) else { return false };
        let Some(phase) = phase else {
            // Its end in CodeBuild was never heard of: give up on its logs.
            build.settled = true;
            self.drop_owed(|action| matches!(action, Action::ReadArtifacts { build } if *build == number));
            return true;
        };
        let cause = if unasked {
            format!("outcome unknown: the {phase} task could not be asked for in time, and may have run all the same")
        } else {
            format!("the {phase} phase did not end within {minutes} minutes")
        };
        build.fail(&cause, now);
        match phase {
            Phase::Build | Phase::Test => {
                let arn = build.arn.clone();
                self.owe(Action::StopBuild { build: number, arn });
            }
            Phase::Release | Phase::Postdeploy => self.drain(number),
            Phase::Deploy => {
                self.lane.failed_deploy = Some(number);
                self.drop_owed(|action| matches!(action, Action::UpdateServices { build, .. } if *build == number));
                self.return_to_live();
            }
            Phase::Finalize => {
                build.settled = true;
                self.drop_owed(|action| matches!(action, Action::ReadArtifacts { build } if *build == number));
            }
        }
        true
    }

    /// Gives the turn free that a stopped task has, though nobody saw it gone. Not before it was told to stop: an orchestrator that comes
    /// to it late would start the next one beside it.
    fn stop_draining(&mut self) {
        let Some((task, _)) = self.lane.draining.take() else { return };
        let is_told = !self.lane.owed.values().any(|action| *action == Action::StopTask { task: task.clone() });
        self.lane.draining = (!is_told).then_some((task, self.now));
    }

    /// A task was told to stop: from now on it has the time that this takes.
    pub(super) fn stop_ordered(&mut self, key: &TaskKey) {
        let now = self.now;
        if let Some((_, since)) = self.lane.draining.as_mut().filter(|(draining, _)| draining == key) {
            *since = now;
        }
    }

    /// Services that did not come to rest may still do so: they are told once more what is to run.
    fn return_to_live(&mut self) {
        if self.lane.live.is_some() {
            self.lane.converge_at.get_or_insert(self.now);
        }
    }

    /// Stops the task of a build; it holds the turn until it is seen gone.
    fn drain(&mut self, number: BuildNumber) {
        let task = self.lane.builds.get(&number).and_then(|build| build.task.clone());
        let Some(task) = task else { return };
        // One that was never asked for cannot run once the order is withdrawn, unless the order was just being
        // carried out: so it is stopped all the same.
        self.drop_owed(|action| matches!(action, Action::RunTask { task: owed, .. } if *owed == task.key));
        self.lane.draining = Some((task.key.clone(), self.now));
        self.owe(Action::StopTask { task: task.key });
    }
}
