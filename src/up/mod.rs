//! The pipeline on one machine: the runner's three steps and the orchestrator, with local adapters.
//!
//! No phase logic lives here; `up` only stands in for what surrounds the pipeline in an account: the webhook that
//! starts a build, the upload of its artifacts, the schedule of the sweep, and the load balancer.

pub mod announce;
pub mod handover;
mod jobs;
pub mod local_builds;
pub mod logs;
pub mod pipeline;
pub mod proxy;
pub mod run;
mod unchanged;
