//! The lane: one app's (or one review app's) builds in flight, and the rules by which they advance.
//!
//! A lane is one record, changed only by a conditional write on its version. [`decide()`] is pure and total: it takes a
//! lane and something that happened, and answers with the next lane, which carries the actions still owed. A repeated,
//! late or irrelevant event is [`Decision::Ignored`] with its reason; it is never an error.

mod action;
mod build;
mod building;
mod changes;
mod decide;
mod ending;
mod event;
mod phase;
mod policy;
mod projection;
mod release;
mod releasing;
mod removal;
mod rollback;
mod settings;
mod state;
mod task;

pub use action::{Action, ActionId};
pub use changes::{PhaseChange, changes};
pub use decide::{Decision, decide};
pub use event::{ActionResult, ArtifactsRead, BuildResult, Event, ReviewAppState, ServicesState, TaskExit};
pub use phase::{Phase, PhaseRecord, PhaseState};
pub use policy::{Policy, Superseding};
pub use projection::{BuildRecord, DeployStatus, ProcessRecord, build_record, deploy_status};
pub use release::{Outputs, Release, ReleasePlan, Service, Sizes};
pub use removal::{LastCommand, Removal, RemovalStep};
pub use rollback::Rollback;
pub use state::{Build, Ending, Lane, LaneKey};
pub use task::{OUT_OF_MEMORY, TaskKey, TaskKind, TaskState};

#[cfg(test)]
mod properties;
