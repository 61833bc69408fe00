//! A rollback: a new release with the image of an older build.
//!
//! It is ordered among builds by the moment at which it was asked for, so a build that began before that never undoes it.
//! No release command runs: what it did to a database is not undone either.

use serde::{Deserialize, Serialize};

use super::action::Action;
use super::decide::{Irrelevant, Step};
use super::event::{Event, ServicesState};
use super::release::Release;
use crate::domain::names::EpochSeconds;

/// A rollback that was asked for and is not over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// What is to run again; its order is the moment of the request.
    pub release: Release,
    /// When it got the lane's turn.
    pub deploying: Option<EpochSeconds>,
}

impl Step {
    pub(super) fn rollback_requested(&mut self, event: &Event) -> Result<(), Irrelevant> {
        let Event::RollbackRequested { release } = event else { return Err("not about a rollback") };
        if self.lane.closed.is_some() || self.lane.removal.is_some() {
            return Err("the pull request was closed");
        }
        if let Some(closed) = self.lane.closed_before
            && self.lane.builds.get(&release.build).is_none_or(|build| build.started <= closed)
        {
            // The new review app has other databases, which nobody prepared for it.
            return Err("that build is from before the pull request was closed");
        }
        if self.lane.rollback.as_ref().is_some_and(|rollback| rollback.deploying.is_some()) {
            return Err("a rollback is under way");
        }
        if self.lane.holder().is_none() && self.lane.live.as_ref().is_some_and(|live| live.build == release.build) {
            return Err("that build runs already");
        }
        if self.lane.live.as_ref().is_some_and(|live| live.order() >= release.order()) {
            return Err("something newer was released since");
        }
        self.lane.rollback = Some(Rollback { release: (**release).clone(), deploying: None });
        Ok(())
    }

    pub(super) fn begin_rollback(&mut self) {
        let (now, sequence) = (self.now, self.next_sequence());
        let Some(rollback) = self.lane.rollback.as_mut() else { return };
        rollback.deploying = Some(now);
        rollback.release.plan.sequence = sequence;
        let (build, plan) = (rollback.release.build, rollback.release.plan.clone());
        self.lane.converging = None;
        self.owe(Action::UpdateServices { build, plan });
    }

    pub(super) fn rollback_seen(&mut self, state: &ServicesState) {
        let now = self.now;
        let Some(mut rollback) = self.lane.rollback.take() else { return };
        match state {
            ServicesState::Steady => {
                rollback.release.at = now;
                self.lane.live = Some(rollback.release);
                self.lane.failed_deploy = None;
            }
            ServicesState::Failed { .. } => self.rollback_failed(&rollback),
        }
    }

    /// Remembers that a deploy failed, as far as its build is still known.
    pub(super) fn rollback_failed(&mut self, rollback: &Rollback) {
        let build = rollback.release.build;
        self.drop_update(rollback.release.plan.sequence);
        if self.lane.builds.contains_key(&build) {
            self.lane.failed_deploy = Some(build);
        }
    }
}
