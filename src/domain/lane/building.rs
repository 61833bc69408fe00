//! Build, Test and Finalize: facts of the runner, CodeBuild's word where no runner reports, and the lane's one turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::action::Action;
use super::decide::{Irrelevant, Step};
use super::event::{ArtifactsRead, BuildResult, Event};
use super::phase::{Phase, PhaseState};
use super::policy::Superseding;
use super::release::{Release, Sizes};
use super::state::{Build, Ending};
use crate::domain::names::{BuildNumber, EpochSeconds};

impl Step {
    pub(super) fn build_started(&mut self, event: &Event) -> Result<(), Irrelevant> {
        let Event::BuildStarted { number, arn, commit, started, logs, outputs, by_runner } = event else {
            return Err("not about a start");
        };
        if self.lane.forgotten >= Some(*number) {
            return Err("the build is over and forgotten");
        }
        if let Some(build) = self.lane.build_mut(*number) {
            if !build.in_flight() {
                return Err("the build is over");
            }
            build.runner_reports |= by_runner;
            build.outputs.learn(outputs);
            if build.commit.is_empty() {
                build.commit.clone_from(commit);
            }
            if let Some(record) = build.phases.get_mut(&Phase::Build)
                && record.logs.is_empty()
            {
                record.logs.clone_from(logs);
            }
            return Ok(());
        }
        if self.lane.last_closed() >= Some(*started) {
            return Err("the pull request was closed");
        }
        if let Some(closed) = self.lane.closed.take() {
            // It was opened again: a new review app, which is initialized anew.
            self.lane.closed_before = Some(closed);
            self.lane.postdeployed = false;
        }
        let mut build = Build {
            number: *number,
            arn: arn.clone(),
            commit: commit.clone(),
            started: *started,
            runner_reports: *by_runner,
            outputs: outputs.clone(),
            phases: BTreeMap::new(),
            plan: None,
            task: None,
            sizes: Sizes::new(),
            ending: None,
            settled: false,
        };
        build.enter(Phase::Build, *started);
        if let Some(record) = build.phases.get_mut(&Phase::Build) {
            record.logs.clone_from(logs);
        }
        self.lane.builds.insert(*number, Arc::new(build));
        Ok(())
    }

    pub(super) fn image_built(&mut self, number: BuildNumber) -> Result<(), Irrelevant> {
        let now = self.now;
        let build = self.in_flight(number)?;
        if build.current_phase() != Some(Phase::Build) {
            return Err("the image was built before");
        }
        build.reach(Phase::Test, now);
        Ok(())
    }

    pub(super) fn tests_passed(&mut self, number: BuildNumber, by_runner: bool) -> Result<(), Irrelevant> {
        let now = self.now;
        let build = self.in_flight(number)?;
        if build.current_phase() > Some(Phase::Test) {
            return Err("the tests passed before");
        }
        if build.runner_reports && !by_runner {
            return Err("only the runner's own word counts for this build");
        }
        build.reach(Phase::Finalize, now);
        Ok(())
    }

    pub(super) fn build_skipped(&mut self, number: BuildNumber, reason: &str) -> Result<(), Irrelevant> {
        let build = self.in_flight(number)?;
        if build.current_phase() > Some(Phase::Finalize) {
            return Err("the build is already on its way out");
        }
        build.ending = Some(Ending::Skipped { reason: reason.to_owned() });
        build.settled = true;
        Ok(())
    }

    pub(super) fn build_failed(&mut self, number: BuildNumber, phase: Phase, cause: &str) -> Result<(), Irrelevant> {
        let now = self.now;
        let build = self.in_flight(number)?;
        if build.current_phase() > Some(Phase::Test) {
            return Err("its image build and tests are over");
        }
        build.reach(phase.min(Phase::Test), now);
        build.fail(cause, now);
        Ok(())
    }

    pub(super) fn build_ended(&mut self, number: BuildNumber, result: &BuildResult) -> Result<(), Irrelevant> {
        let now = self.now;
        let build = self.lane.build_mut(number).ok_or("the build is not known here")?;
        if build.settled {
            return Err("the end of this build is known");
        }
        if build.in_flight() {
            let tested = build.current_phase() > Some(Phase::Test);
            match result {
                BuildResult::Succeeded if !tested && build.runner_reports => {
                    build.fail("CodeBuild succeeded, but the runner never reported that the tests passed", now);
                }
                BuildResult::Succeeded => build.reach(Phase::Finalize, now),
                BuildResult::Failed { phase, cause } => {
                    if let (Some(phase), false) = (phase, build.runner_reports) {
                        build.reach((*phase).min(Phase::Finalize), now);
                    }
                    build.fail(cause, now);
                }
            }
        }
        if build.plan.is_none()
            && !self.owes(|action| matches!(action, Action::ReadArtifacts { build } if *build == number))
        {
            self.owe(Action::ReadArtifacts { build: number });
        }
        Ok(())
    }

    pub(super) fn artifacts_read(&mut self, number: BuildNumber, read: &ArtifactsRead) {
        let now = self.now;
        let Some(build) = self.lane.build_mut(number) else { return };
        build.settled = true;
        if build.commit.is_empty() {
            build.commit.clone_from(&read.commit);
        }
        for (phase, url) in [(Phase::Build, &read.build_log), (Phase::Test, &read.test_log)] {
            if let (Some(record), Some(url)) = (build.phases.get_mut(&phase), url) {
                record.logs.clone_from(url);
            }
        }
        if build.current_phase() != Some(Phase::Finalize) || !build.in_flight() {
            return;
        }
        match &read.plan {
            _ if read.skipped && !build.runner_reports => {
                build.ending = Some(Ending::Skipped { reason: "the builder had nothing to do".to_owned() });
            }
            Some(Ok(plan)) => build.plan = Some(plan.clone()),
            Some(Err(cause)) => build.fail(cause, now),
            None => build.fail("the build left no artifacts that say what to run", now),
        }
    }

    /// Gives the lane's one turn to the newest build or rollback that waits for it, and ends those that came too late.
    pub(super) fn give_turn(&mut self) {
        let lane = &self.lane;
        let (holder, live) = (lane.holder(), lane.live.as_ref().map(Release::order));
        let waiting: Vec<(EpochSeconds, BuildNumber)> =
            lane.builds.values().filter(|build| build.waits_for_turn()).map(|build| build.order()).collect();
        let rollback = lane.rollback.as_ref().filter(|rollback| rollback.deploying.is_none());
        let rollback = rollback.map(|rollback| rollback.release.order());
        let free = holder.is_none() && lane.draining.is_none() && lane.closed.is_none() && lane.removal.is_none();
        let next = waiting.iter().copied().chain(rollback).max().filter(|next| free && Some(*next) > live);

        let newest = holder.max(live).max(next);
        for order in waiting {
            if let Some((_, by)) = newest.filter(|newest| order < *newest) {
                self.supersede(order.1, by);
            }
        }
        if rollback.is_some() && rollback < newest {
            self.lane.rollback = None;
        }
        if let Some(next) = next {
            if Some(next) == rollback {
                self.begin_rollback();
            } else {
                self.begin_release(next.1);
            }
        }
    }

    /// Stops builds that a newer one overtakes before they are ready, as the owner chose.
    pub(super) fn stop_superseded(&mut self) {
        let building = |build: &&Arc<Build>| build.in_flight() && build.current_phase() < Some(Phase::Finalize);
        let mut orders: Vec<_> = self.lane.builds.values().filter(building).map(|build| build.order()).collect();
        orders.sort_unstable();
        let kept = match self.lane.policy.superseding {
            Superseding::Finish => return,
            Superseding::Cancel => 0,
            Superseding::ReplacePending => 1,
        };
        let Some((_, by)) = orders.pop() else { return };
        for (_, number) in orders.into_iter().skip(kept) {
            self.supersede(number, by);
            let arn = self.lane.builds.get(&number).map(|build| build.arn.clone());
            if let Some(arn) = arn {
                self.owe(Action::StopBuild { build: number, arn });
            }
        }
    }

    pub(super) fn supersede(&mut self, number: BuildNumber, by: BuildNumber) {
        let now = self.now;
        if let Some(build) = self.lane.build_mut(number) {
            build.end_phase(PhaseState::Failed, now);
            build.ending = Some(Ending::Superseded { by });
        }
    }
}
