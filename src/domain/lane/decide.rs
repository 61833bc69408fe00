//! Decides what a lane does next.

use std::collections::BTreeMap;

use super::action::{Action, ActionId};
use super::event::{ActionResult, ArtifactsRead, Event};
use super::projection::{build_record, deploy_status};
use super::state::{Build, Lane};
use super::task::TaskKey;
use crate::domain::activity::{self, Entry};
use crate::domain::names::{BuildNumber, EpochSeconds};

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The lane becomes this one; its owed actions are to be performed once it is stored.
    Changed(Box<Lane>),
    /// Nothing follows, for this reason.
    Ignored(&'static str),
}

/// Ended builds that a lane remembers, so that late events about them find them ended.
const REMEMBERED: usize = 10;

/// Decides what a lane does next.
///
/// Total over every lane and event. EventBridge may repeat, reorder or drop an event, so one that no longer matters is
/// [`Decision::Ignored`] with its reason and is never an error.
pub fn decide(lane: &Lane, event: &Event, now: EpochSeconds) -> Decision {
    let mut step = Step { lane: lane.clone(), now };
    if let Err(reason) = step.apply(event) {
        return Decision::Ignored(reason);
    }
    step.stop_superseded();
    step.advance_removal();
    step.give_turn();
    step.follow_settings();
    step.note_unprojected(lane);
    step.forget();
    if step.lane == *lane {
        return Decision::Ignored("nothing new");
    }
    step.lane.steps += 1;
    step.note_untold(lane, event);
    Decision::Changed(Box::new(step.lane))
}

/// Why an event changes nothing.
pub(super) type Irrelevant = &'static str;

/// A lane while it takes one step.
pub(super) struct Step {
    pub(super) lane: Lane,
    pub(super) now: EpochSeconds,
}

impl Step {
    fn apply(&mut self, event: &Event) -> Result<(), Irrelevant> {
        match event {
            Event::BuildStarted { .. } => self.build_started(event),
            Event::ImageBuilt { number } => self.image_built(*number),
            Event::TestsPassed { number, by_runner } => self.tests_passed(*number, *by_runner),
            Event::BuildSkipped { number, reason } => self.build_skipped(*number, reason),
            Event::BuildFailed { number, phase, cause } => self.build_failed(*number, *phase, cause),
            Event::BuildEnded { number, result } => self.build_ended(*number, result),
            Event::TaskRunning { task, arn, logs } => self.task_running(task, arn, logs),
            Event::TaskEnded { task, exit, logs } => self.task_ended(task, exit, logs),
            Event::ServicesSeen { number, sequence, state } => self.services_seen(*number, *sequence, state),
            Event::Performed { action, result } => self.performed(*action, result),
            Event::Projected { builds, deploy, told } => self.projected(builds, *deploy, *told),
            Event::SettingsChanged => self.settings_changed(),
            Event::RollbackRequested { .. } => self.rollback_requested(event),
            Event::PolicySet { policy } => {
                self.lane.policy = policy.clone();
                Ok(())
            }
            Event::ReviewAppSeen { state } => self.review_app_seen(state),
            Event::PullRequestClosed { at } => self.pull_request_closed(*at),
            Event::Tick => self.tick(),
        }
    }

    fn performed(&mut self, id: ActionId, result: &ActionResult) -> Result<(), Irrelevant> {
        let action = self.lane.owed.remove(&id).ok_or("the action is not owed any more")?;
        let refused = match result {
            ActionResult::Refused { cause } => Some(cause.as_str()),
            ActionResult::Done
            | ActionResult::Artifacts(_)
            | ActionResult::Ordered(_)
            | ActionResult::LogKept(_)
            | ActionResult::Gone => None,
        };
        match (action, result) {
            (Action::ReadArtifacts { build }, ActionResult::Artifacts(read)) => self.artifacts_read(build, read),
            (Action::ReadArtifacts { build }, _) => {
                let plan = Some(Err(refused.unwrap_or("the artifacts were not read").to_owned()));
                self.artifacts_read(build, &ArtifactsRead { plan, ..ArtifactsRead::default() });
            }
            (Action::RunTask { task, .. }, _) => self.task_ordered(&task, refused),
            (Action::UpdateServices { build, plan }, ActionResult::Ordered(sizes)) => {
                self.services_ordered(build, plan.sequence, sizes);
            }
            (Action::UpdateServices { build, plan }, _) => {
                if let Some(cause) = refused {
                    self.services_refused(build, plan.sequence, cause);
                }
            }
            (Action::KeepLog { task }, ActionResult::LogKept(url)) => self.log_kept(&task, url),
            (Action::RemoveReviewApp { .. }, ActionResult::Gone | ActionResult::Refused { .. }) => {
                self.lane.removal = None;
            }
            (Action::StopTask { task }, _) => self.stop_ordered(&task),
            (Action::StopBuild { .. } | Action::KeepLog { .. } | Action::RemoveReviewApp { .. }, _) => {}
        }
        Ok(())
    }

    fn projected(
        &mut self,
        builds: &BTreeMap<BuildNumber, u64>,
        deploy: Option<u64>,
        told: u64,
    ) -> Result<(), Irrelevant> {
        let count =
            |lane: &Lane| lane.unprojected.len() + lane.untold.len() + usize::from(lane.unprojected_deploy.is_some());
        let before = count(&self.lane);
        self.lane.unprojected.retain(|number, step| builds.get(number) != Some(step));
        if deploy.is_some() && self.lane.unprojected_deploy == deploy {
            self.lane.unprojected_deploy = None;
        }
        self.lane.untold.retain(|entry| entry.step > told);
        if count(&self.lane) == before { Err("the items were known to be written") } else { Ok(()) }
    }

    pub(super) fn in_flight(&mut self, number: BuildNumber) -> Result<&mut Build, Irrelevant> {
        let build = self.lane.build_mut(number).ok_or("the build is not known here")?;
        if build.in_flight() { Ok(build) } else { Err("the build is over") }
    }

    /// Returns the build that waits for exactly this attempt.
    pub(super) fn waiting_for(&mut self, key: &TaskKey) -> Result<&mut Build, Irrelevant> {
        let build = self.in_flight(key.build)?;
        let waits =
            build.current_phase() == key.kind.phase() && build.task.as_ref().is_some_and(|task| task.key == *key);
        if waits { Ok(build) } else { Err("nothing waits for this task") }
    }

    pub(super) fn owe(&mut self, action: Action) {
        let id = self.lane.next_action;
        self.lane.next_action = ActionId(id.0 + 1);
        self.lane.owed.insert(id, action);
    }

    pub(super) fn owes(&self, wanted: impl Fn(&Action) -> bool) -> bool {
        self.lane.owed.values().any(wanted)
    }

    pub(super) fn drop_owed(&mut self, unwanted: impl Fn(&Action) -> bool) {
        self.lane.owed.retain(|_, action| !unwanted(action));
    }

    fn note_unprojected(&mut self, before: &Lane) {
        let lane = &self.lane;
        let step = lane.steps + 1;
        // Comparing first saves making the items of what has not changed.
        let changed = lane.builds.iter().filter(|(number, build)| before.builds.get(number) != Some(build));
        let changed = changed.map(|(number, _)| *number);
        let shown: Vec<_> =
            changed.filter(|number| build_record(lane, *number) != build_record(before, *number)).collect();
        let deploy = (lane.live != before.live || lane.failed_deploy.is_some() || before.failed_deploy.is_some())
            && deploy_status(lane) != deploy_status(before);
        self.lane.unprojected.extend(shown.into_iter().map(|number| (number, step)));
        if deploy {
            self.lane.unprojected_deploy = Some(step);
        }
    }

    fn note_untold(&mut self, before: &Lane, event: &Event) {
        let (step, at) = (self.lane.steps, self.now);
        let told = activity::of_step(before, event, &self.lane);
        self.lane.untold.extend(told.into_iter().map(|what| Entry { step, at, what }));
    }

    /// Forgets the oldest builds, from the lowest number up to the first that still matters.
    fn forget(&mut self) {
        while self.lane.builds.len() > REMEMBERED {
            let Some((number, build)) = self.lane.builds.first_key_value() else { return };
            let number = *number;
            let matters = build.in_flight()
                || !build.settled
                || self.lane.unprojected.contains_key(&number)
                || self.owes(|action| matches!(action, Action::KeepLog { task } if task.build == number))
                || self.lane.failed_deploy == Some(number);
            if matters {
                return;
            }
            self.lane.builds.remove(&number);
            self.lane.forgotten = Some(number);
        }
    }
}
