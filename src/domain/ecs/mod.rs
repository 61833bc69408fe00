//! What a formation is on ECS: names, task definitions, services, schedules, and what its answers mean.
//!
//! Everything is said in plain values; `adapters/aws/ecs` converts them. Facts about the API: `aws-events` 4; names and tags:
//! `data-contract` 5.

mod launching;
mod names;
mod rollout;
mod schedule;
mod service;
mod task_definition;
mod task_end;

pub use launching::{Launch, Launching, Network, Provider};
pub use names::{CONTAINER, client_token, family, log_prefix, log_stream, schedule_name, service_arn, service_name};
pub use rollout::{Verdict, judge};
pub use schedule::{ScheduleSpec, schedules};
pub use service::{Bounds, Deployment, Rollout, ServiceChange, ServiceFacts, ServiceSpec, Target, bounds, change};
pub use task_definition::{Purpose, TaskDefinition, overrides, task_definition};
pub use task_end::{ContainerFacts, Loss, Seen, TaskFacts, seen};

/// Why a formation cannot be run on ECS; trying again does not help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// A process type cannot be part of a service's name.
    #[error("the process type `{0}` cannot name an ECS service: use letters, digits, `_` or `-`")]
    Name(String),
    /// Fargate has no such size.
    #[error("Fargate has no size of {cpu} CPU units with {memory} MiB for `{process}`: {allowed}")]
    Size {
        /// The process type.
        process: String,
        /// ECS CPU units.
        cpu: u32,
        /// MiB.
        memory: u32,
        /// What there is instead.
        allowed: String,
    },
    /// A command is longer than ECS takes.
    #[error("the command is longer than the {limit} characters that ECS takes: put it into a script of the app")]
    Command {
        /// The limit, JSON around it included.
        limit: usize,
    },
    /// An argument of the app's stacks is not what the API takes.
    #[error("`{entry}` of `CONFIG#ecs` {problem}")]
    Argument {
        /// Which.
        entry: String,
        /// What is wrong.
        problem: &'static str,
    },
}
