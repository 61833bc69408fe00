//! Handles what happened: brings it into its lane and performs what the lane then owes.

use std::collections::BTreeSet;

use tracing::warn;

use super::Orchestrator;
use super::advance::{Advanced, advance, advance_all, project};
use crate::domain::activity::{lines, message};
use crate::domain::lane::{ActionResult, Event, Lane, LaneKey};
use crate::ports::failure::{Failure, chain};
use crate::ports::lane_store::{Version, Versioned};

/// What handling came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handled {
    /// The event is in the lane, and nothing is owed any more.
    Done,
    /// Nothing followed from the event, for this reason; what was owed is done.
    Ignored(&'static str),
    /// There is no lane: somebody else looks after this app.
    NoLane,
    /// Something that is owed could not be done now; a sweep does it later.
    Owing,
}

impl Orchestrator {
    /// Handles events of one lane in order: all are committed at once, and then what the lane owes is done.
    ///
    /// Safe to repeat, at any time and by several at once: facts are committed before anything is performed, and every
    /// action may be performed again. A crash at any point leaves the rest to the next call or to the sweep.
    ///
    /// # Errors
    /// Fails only when the lane could not be read or written.
    pub async fn handle(&self, key: &LaneKey, events: &[Event]) -> Result<Handled, Failure> {
        match advance_all(&self.lanes, key, events).await? {
            Advanced::Changed(lane) => {
                Ok(if self.settle(key, Some(*lane)).await? { Handled::Done } else { Handled::Owing })
            }
            Advanced::Ignored(reason) => {
                Ok(if self.settle(key, None).await? { Handled::Ignored(reason) } else { Handled::Owing })
            }
            Advanced::NoLane => Ok(Handled::NoLane),
        }
    }

    /// Performs all that the lane owes, and writes and tells what follows from it; tells whether nothing is left.
    ///
    /// What cannot be done now does not keep the rest waiting.
    pub(super) async fn settle(&self, key: &LaneKey, committed: Option<Versioned>) -> Result<bool, Failure> {
        // The items of a lane that was just committed are written; those of one that was found may not be.
        let mut written = committed.is_some();
        let mut current = match committed {
            Some(current) => current,
            None => match self.lanes.lanes.load(key).await? {
                Some(current) => current,
                None => return Ok(true),
            },
        };
        let mut waiting = BTreeSet::new();
        let mut looked_at: Option<Version> = None;
        loop {
            // An order that has waited too long is not carried out any more.
            let late = current.lane.asks_too_late(self.lanes.clock.now());
            let event = if late && looked_at != Some(current.version) {
                looked_at = Some(current.version);
                Event::Tick
            } else {
                let next = current.lane.owed.iter().find(|(id, _)| !waiting.contains(*id));
                let Some((id, action)) = next else { break };
                let result = match self.perform(&current.lane, action).await {
                    Ok(result) => result,
                    Err(failure) if failure.is_passing() => {
                        warn!(lane = %key, cause = chain(&failure), "An action must wait");
                        waiting.insert(*id);
                        continue;
                    }
                    Err(failure) => ActionResult::Refused { cause: chain(&failure) },
                };
                Event::Performed { action: *id, result }
            };
            current = match advance(&self.lanes, key, &event).await? {
                Advanced::Changed(next) => {
                    written = true;
                    *next
                }
                // Somebody else performed it, or gave it up, at the same time, and may be stopped before writing what clients see.
                Advanced::Ignored(_) => {
                    written = false;
                    match self.lanes.lanes.load(key).await? {
                        Some(next) => next,
                        None => return Ok(true),
                    }
                }
                Advanced::NoLane => return Ok(true),
            };
        }
        let told = self.publish(&current, written).await?;
        Ok(told && waiting.is_empty())
    }

    /// Writes what clients see and tells people what happened, then notes in the lane that this is done; tells whether it is.
    async fn publish(&self, current: &Versioned, written: bool) -> Result<bool, Failure> {
        let Versioned { lane, version } = current;
        if lane.unprojected.is_empty() && lane.unprojected_deploy.is_none() && lane.untold.is_empty() {
            return Ok(true);
        }
        if !written {
            project(&self.lanes, lane, *version).await?;
        }
        let told = self.tell_people(lane).await;
        let event = Event::Projected {
            builds: lane.unprojected.clone(),
            deploy: lane.unprojected_deploy,
            told: told.unwrap_or(0),
        };
        advance(&self.lanes, &lane.key, &event).await?;
        Ok(told.is_some())
    }

    /// Tells people what has not been told; returns the step up to which it was, or nothing when that must wait.
    async fn tell_people(&self, lane: &Lane) -> Option<u64> {
        let Some(last) = lane.untold.last() else { return Some(0) };
        let lines = lines(lane);
        match self.activity.append(&lane.key, &lines).await {
            Ok(()) => {}
            Err(failure) if failure.is_passing() => {
                warn!(lane = %lane.key, cause = chain(&failure), "The activity log must wait");
                return None;
            }
            Err(failure) => warn!(lane = %lane.key, cause = chain(&failure), "The activity log was not written"),
        }
        for text in lines.iter().filter_map(|line| message(&lane.key, line)) {
            if let Err(failure) = self.notifier.send(&lane.key, &text).await {
                warn!(lane = %lane.key, cause = chain(&failure), "A message was not sent");
            }
        }
        Some(last.step)
    }
}
