//! The lane: one app's (or one review app's) builds in flight, and the rules by which they advance.
//!
//! A lane is one record, changed only by a conditional write on its version. [`decide()`] is pure and total: it takes a
//! lane and something that happened, and answers with the next lane, which carries the actions still owed. A repeated,
//! late or irrelevant event is [`Decision::Ignored`] with its reason; it is never an error.

mod build;
mod building;
mod changes;
mod decide;
mod ending;
mod event;
mod projection;
mod releasing;
mod state;

pub use changes::{PhaseChange, changes};
pub use decide::{Decision, decide};
pub use event::{Action, ActionId, ActionResult, ArtifactsRead, BuildResult, Event, ServicesState, TaskExit};
pub use projection::{BuildRecord, DeployStatus, ProcessRecord, build_record, deploy_status};
pub use state::{
    Build, Ending, Lane, LaneKey, Outputs, Phase, PhaseRecord, PhaseState, Release, ReleasePlan, Service, TaskKey,
    TaskKind, TaskState,
};

#[cfg(test)]
mod properties;
