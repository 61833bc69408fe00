//! The end of a review app: its last command runs, then its services are removed, then its stack, and the lane waits for the
//! end of that.

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::decide::{Irrelevant, Step};
use super::event::{ReviewAppState, TaskExit};
use super::phase::Phase;
use super::release::Release;
use super::task::{TaskKey, TaskKind, TaskState};
use crate::domain::names::EpochSeconds;

/// A review app on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removal {
    /// When it was ordered.
    pub since: EpochSeconds,
    /// How far it is.
    pub step: RemovalStep,
    /// The last command, if there is one and something ran that it could be the last of.
    pub last_command: Option<LastCommand>,
    /// How often the removal of the stack was ordered.
    pub attempts: u32,
}

/// How far a removal is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum RemovalStep {
    /// A task that was told to stop may still run.
    Waiting,
    /// The last command runs.
    PreDestroy {
        /// Its task.
        task: TaskState,
        /// When it was asked for.
        since: EpochSeconds,
    },
    /// Services and stack are removed.
    Removing,
}

/// A review app's last command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCommand {
    /// The release that ran.
    pub release: Release,
    /// The command line.
    pub command: String,
    /// The bucket for its log, or empty.
    pub bucket: String,
}

impl Removal {
    /// The task of the last command, while it is waited for.
    pub(super) fn task(&self) -> Option<&TaskState> {
        match &self.step {
            RemovalStep::PreDestroy { task, .. } => Some(task),
            RemovalStep::Waiting | RemovalStep::Removing => None,
        }
    }
}

/// Orders to remove a stack that keeps failing to go.
const ATTEMPTS: u32 = 5;
/// Seconds after which the removal is given up: stacks with databases take up to an hour.
pub(super) const REMOVAL_LIMIT: u64 = 3 * 60 * 60;

impl Step {
    /// Begins the removal, unless one is under way.
    pub(super) fn begin_removal(&mut self) {
        let live = self.lane.live.take();
        if self.lane.removal.is_some() {
            return;
        }
        let last_command = live.and_then(|live| {
            let command = live.plan.pre_destroy_command.clone()?;
            let bucket =
                self.lane.builds.get(&live.build).map(|build| build.outputs.bucket.clone()).unwrap_or_default();
            Some(LastCommand { release: live, command, bucket })
        });
        self.lane.removal = Some(Removal { since: self.now, step: RemovalStep::Waiting, last_command, attempts: 0 });
    }

    /// Goes on with a removal that waits for a task to be gone.
    pub(super) fn advance_removal(&mut self) {
        let Some(Removal { step: RemovalStep::Waiting, last_command, .. }) = &self.lane.removal else { return };
        if self.lane.draining.is_some() {
            return;
        }
        match last_command {
            Some(last) => {
                let key = TaskKey { build: last.release.build, kind: TaskKind::PreDestroy, attempt: 1 };
                self.ask_for_last_command(key);
            }
            None => self.remove_review_app(),
        }
    }

    fn ask_for_last_command(&mut self, key: TaskKey) {
        let now = self.now;
        let Some(removal) = self.lane.removal.as_mut() else { return };
        let Some(last) = removal.last_command.clone() else { return };
        let since = match removal.step {
            RemovalStep::PreDestroy { since, .. } => since,
            RemovalStep::Waiting | RemovalStep::Removing => now,
        };
        removal.step = RemovalStep::PreDestroy { task: TaskState::new(key.clone(), now), since };
        self.owe(Action::RunTask { task: key, image: last.release.plan.image, command: last.command });
    }

    pub(super) fn remove_review_app(&mut self) {
        let Some(removal) = self.lane.removal.as_mut() else { return };
        removal.step = RemovalStep::Removing;
        removal.attempts += 1;
        self.drop_owed(|action| matches!(action, Action::RunTask { .. }));
        let sequence = self.next_sequence();
        self.owe(Action::RemoveReviewApp { sequence });
    }

    /// The task of the last command, while it is waited for.
    pub(super) fn last_command(&mut self, key: &TaskKey) -> Option<&mut TaskState> {
        match &mut self.lane.removal.as_mut()?.step {
            RemovalStep::PreDestroy { task, .. } if task.key == *key => Some(task),
            RemovalStep::PreDestroy { .. } | RemovalStep::Waiting | RemovalStep::Removing => None,
        }
    }

    /// Whatever the last command came to, the review app goes: only one that did not run is tried again.
    pub(super) fn last_command_ended(&mut self, key: &TaskKey, exit: &TaskExit, logs: &str) {
        let ran = matches!(exit, TaskExit::Code { .. } | TaskExit::Stopped { .. });
        if ran && logs.is_empty() {
            self.owe(Action::KeepLog { task: key.clone() });
        }
        if matches!(exit, TaskExit::NoCode { .. }) && key.attempt < TaskKey::ATTEMPTS {
            self.drop_owed(|action| matches!(action, Action::RunTask { .. }));
            self.ask_for_last_command(key.again());
        } else {
            self.remove_review_app();
        }
    }

    pub(super) fn review_app_seen(&mut self, state: &ReviewAppState) -> Result<(), Irrelevant> {
        if self.owes(|action| matches!(action, Action::RemoveReviewApp { .. })) {
            return Err("the removal was not ordered yet");
        }
        let Some(removal) = self.lane.removal.as_ref() else { return Err("nothing is being removed") };
        if removal.step != RemovalStep::Removing {
            return Err("the removal was not ordered yet");
        }
        match state {
            ReviewAppState::Failed { .. } if removal.attempts < ATTEMPTS => self.remove_review_app(),
            ReviewAppState::Gone | ReviewAppState::Failed { .. } => self.lane.removal = None,
        }
        Ok(())
    }

    /// Goes on with a removal that takes too long; tells whether it did.
    pub(super) fn tick_removal(&mut self) -> bool {
        let Some(due) = self.lane.removal_due().filter(|due| *due <= self.now) else { return false };
        let Some(removal) = self.lane.removal.as_ref() else { return false };
        match removal.step.clone() {
            RemovalStep::PreDestroy { task, .. } if due < removal.since.plus(REMOVAL_LIMIT) => {
                self.owe(Action::StopTask { task: task.key });
                self.remove_review_app();
            }
            RemovalStep::PreDestroy { .. } | RemovalStep::Waiting | RemovalStep::Removing => {
                self.drop_owed(|action| matches!(action, Action::RemoveReviewApp { .. } | Action::RunTask { .. }));
                self.lane.removal = None;
            }
        }
        true
    }
}

impl super::Lane {
    /// When a removal has taken too long.
    pub(super) fn removal_due(&self) -> Option<EpochSeconds> {
        let removal = self.removal.as_ref()?;
        let whole = removal.since.plus(REMOVAL_LIMIT);
        Some(match removal.step {
            RemovalStep::PreDestroy { since, ref task } => {
                let limit = since.plus(self.policy.limit(Phase::Postdeploy));
                whole.min(limit).min(task.ask_by().unwrap_or(limit))
            }
            RemovalStep::Waiting | RemovalStep::Removing => whole,
        })
    }
}
