//! The place where release tasks and services run: Docker on one machine, ECS in an account.

use async_trait::async_trait;

use super::failure::Failure;
pub use crate::domain::ecs::Loss;
use crate::domain::formation::Formation;
use crate::domain::lane::{LaneKey, ServicesState, TaskKey};
use crate::domain::names::{BuildNumber, ProcessType};

/// What a place knows of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskStatus {
    /// Nothing by that name was ever asked for here.
    NeverRequested,
    /// It was asked for and has not begun.
    Starting,
    /// It runs.
    Running {
        /// Its name here (an ARN on ECS).
        arn: String,
        /// Where its log can be followed.
        logs: String,
    },
    /// It ended with this code.
    Exited {
        /// The exit code.
        code: i64,
        /// What the code does not say by itself, such as that memory ran out.
        reason: Option<String>,
        /// Its log, as far as the place still has it.
        log: Option<Vec<u8>>,
    },
    /// It ended without an exit code.
    Gone {
        /// What kind of end it was.
        end: Loss,
        /// The reason given.
        reason: String,
    },
    /// The place cannot tell any more.
    Unknown,
}

/// A command to be run once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRequest {
    /// The lane it belongs to.
    pub lane: LaneKey,
    /// Its name: asking again for the same one starts nothing.
    pub key: TaskKey,
    /// The command line, run by the image's own launcher or shell.
    pub command: String,
    /// The release that it belongs to: its image, variables and sizes.
    pub formation: Formation,
}

/// Runs tasks and services.
#[async_trait]
pub trait Place: Send + Sync {
    /// The name by which a service is known here before it exists (an ARN on ECS).
    async fn service_arn(&self, lane: &LaneKey, process: &ProcessType) -> Result<String, Failure>;

    /// Asks for a task; one that was asked for before is left as it is. [`Failure::Unavailable`] where there is no room for
    /// it now.
    async fn start_task(&self, request: &TaskRequest) -> Result<(), Failure>;

    /// Returns what is known of a task.
    async fn task(&self, lane: &LaneKey, key: &TaskKey) -> Result<TaskStatus, Failure>;

    /// Stops a task; one that is gone counts as stopped.
    async fn stop_task(&self, lane: &LaneKey, key: &TaskKey) -> Result<(), Failure>;

    /// Brings services, their scaling and what runs by the clock to the formation: creates, replaces and removes.
    /// Repeating it changes nothing; what differs is changed and nothing else. The deploy of a build is not waited for.
    ///
    /// An order may arrive late, from an orchestrator that was held up: one whose `sequence` is below that of an order
    /// that was carried out here is left undone and counts as done.
    async fn update_services(&self, lane: &LaneKey, formation: &Formation) -> Result<(), Failure>;

    /// Returns where the deploy of a build stands, or nothing while it is under way.
    async fn services(&self, lane: &LaneKey, build: BuildNumber) -> Result<Option<ServicesState>, Failure>;

    /// Removes the lane's tasks and services.
    ///
    /// It has a place in the sequence of orders to the services: one from before it, which arrives late, brings nothing back, and
    /// a removal that is itself older than what was carried out since is left undone.
    async fn remove(&self, lane: &LaneKey, sequence: u64) -> Result<(), Failure>;
}
