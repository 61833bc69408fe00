//! Config, scaling and scheduled tasks: the lane keeps none of their values, only that the services have yet to follow them.
//!
//! The order to follow is given some seconds after the first word of a change, so that a burst leads to one restart. It takes a
//! new number in the sequence of releases: an order that is held up, with older values, is then left undone by the place.

use super::action::Action;
use super::decide::{Irrelevant, Step};

/// Seconds in which further changes join the first one.
const TOGETHER: u64 = 10;

impl Step {
    pub(super) fn settings_changed(&mut self) -> Result<(), Irrelevant> {
        if self.lane.closed.is_some() {
            return Err("the pull request was closed");
        }
        if self.lane.live.is_none() && self.lane.holder().is_none() {
            return Err("nothing runs that could follow the settings");
        }
        if self.lane.converge_at.is_some() {
            return Err("the services are about to follow the settings");
        }
        self.lane.converge_at = Some(self.now.plus(TOGETHER));
        Ok(())
    }

    /// Orders the services to follow the settings once it is time and nothing else changes them.
    pub(super) fn follow_settings(&mut self) {
        let Some(at) = self.lane.converge_at else { return };
        if self.lane.holder().is_some() {
            return;
        }
        if self.lane.live.is_none() {
            self.lane.converge_at = None;
            return;
        }
        // An order that was given is being carried out, maybe with values from before the change.
        let ordered = self.owes(|action| matches!(action, Action::UpdateServices { .. }));
        if at > self.now || ordered {
            return;
        }
        let (now, sequence) = (self.now, self.next_sequence());
        let Some(live) = self.lane.live.as_mut() else { return };
        live.plan.sequence = sequence;
        let (build, plan) = (live.build, live.plan.clone());
        self.lane.converge_at = None;
        self.lane.converging = Some(now);
        self.owe(Action::UpdateServices { build, plan });
    }

    /// Gives up watching services that do not come to rest with the new settings.
    pub(super) fn stop_following(&mut self) {
        self.lane.converging = None;
        if let Some(live) = &self.lane.live {
            let sequence = live.plan.sequence;
            self.drop_update(sequence);
        }
    }

    /// Takes the next number of the sequence in which releases and their changes are ordered.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.lane.releases += 1;
        self.lane.releases
    }

    pub(super) fn drop_update(&mut self, sequence: u64) {
        self.drop_owed(|action| matches!(action, Action::UpdateServices { plan, .. } if plan.sequence == sequence));
    }
}
