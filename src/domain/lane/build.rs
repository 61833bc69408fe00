//! How one build moves from phase to phase.

use super::phase::{Phase, PhaseRecord, PhaseState};
use super::state::{Build, Ending};
use crate::domain::names::EpochSeconds;

impl Build {
    /// Tells whether all that is missing is the lane's turn.
    pub(super) fn waits_for_turn(&self) -> bool {
        self.in_flight() && self.current_phase() == Some(Phase::Finalize) && self.plan.is_some()
    }

    pub(super) fn enter(&mut self, phase: Phase, now: EpochSeconds) {
        let mut record = PhaseRecord::started(now);
        if phase <= Phase::Test {
            record.arns = vec![self.arn.to_string()];
        }
        self.phases.insert(phase, record);
    }

    pub(super) fn end_phase(&mut self, state: PhaseState, now: EpochSeconds) {
        if let Some(record) = self.current_phase().and_then(|phase| self.phases.get_mut(&phase)) {
            record.state = state;
            record.end = Some(now.max(record.start));
        }
    }

    /// Ends the phases before `phase` well and begins those up to it; never goes back.
    pub(super) fn reach(&mut self, phase: Phase, now: EpochSeconds) {
        while let Some(current) = self.current_phase().filter(|current| *current < phase) {
            let next = match current {
                Phase::Build => Phase::Test,
                _ => Phase::Finalize,
            };
            self.end_phase(PhaseState::Succeeded, now);
            self.enter(next, now);
        }
    }

    pub(super) fn fail(&mut self, cause: &str, now: EpochSeconds) {
        let Some(phase) = self.current_phase() else { return };
        self.end_phase(PhaseState::Failed, now);
        self.ending = Some(Ending::Failed { phase, cause: cause.to_owned() });
    }
}
