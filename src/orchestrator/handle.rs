//! Handles one event: brings it into its lane and performs what the lane then owes.

use tracing::warn;

use super::Orchestrator;
use super::advance::{Advanced, advance, project};
use crate::domain::lane::{ActionResult, Event, LaneKey};
use crate::ports::failure::{Failure, chain};
use crate::ports::lane_store::Versioned;

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
    /// Handles events of one lane in order.
    ///
    /// Safe to repeat, at any time and by several at once: facts are committed before anything is performed, and every
    /// action may be performed again. A crash at any point leaves the rest to the next call or to the sweep.
    ///
    /// # Errors
    /// Fails only when the lane could not be read or written.
    pub async fn handle(&self, key: &LaneKey, events: &[Event]) -> Result<Handled, Failure> {
        let mut last = None;
        let mut ignored = None;
        for event in events {
            match advance(&self.lanes, key, event).await? {
                Advanced::Changed(lane) => last = Some(*lane),
                Advanced::Ignored(reason) => ignored = Some(reason),
                Advanced::NoLane => return Ok(Handled::NoLane),
            }
        }
        let changed = last.is_some();
        match (self.settle(key, last).await?, ignored) {
            (true, Some(reason)) if !changed => Ok(Handled::Ignored(reason)),
            (true, _) => Ok(Handled::Done),
            (false, _) => Ok(Handled::Owing),
        }
    }

    /// Performs all that the lane owes, and writes what clients should see of it; tells whether nothing is left.
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
        while let Some((id, action)) = current.lane.owed.first_key_value() {
            let result = match self.perform(&current.lane, action).await {
                Ok(result) => result,
                Err(failure) if failure.is_passing() => {
                    warn!(lane = %key, cause = chain(&failure), "An action must wait");
                    return Ok(false);
                }
                Err(failure) => ActionResult::Refused { cause: chain(&failure) },
            };
            let event = Event::Performed { action: *id, result };
            current = match advance(&self.lanes, key, &event).await? {
                Advanced::Changed(next) => {
                    written = true;
                    *next
                }
                // Somebody else performed it at the same time, and may be stopped before writing what clients see.
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
        if !current.lane.unprojected.is_empty() {
            let builds = current.lane.unprojected.clone();
            if !written {
                project(&self.lanes, &current.lane, current.version, builds.keys().copied()).await?;
            }
            advance(&self.lanes, key, &Event::Projected { builds }).await?;
        }
        Ok(true)
    }
}
