//! What a lane can order.

use serde::{Deserialize, Serialize};

use super::release::ReleasePlan;
use super::task::TaskKey;
use crate::domain::names::{BuildArn, BuildNumber};

/// Numbers an owed action within its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ActionId(pub u64);

/// An order to the outside world. Performing one again is safe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Action {
    /// Read the build's artifacts: where its logs are and, when it succeeded, what to run.
    ReadArtifacts {
        /// The build.
        build: BuildNumber,
    },
    /// Run a command in a task of its own.
    RunTask {
        /// Its name, the idempotency key.
        task: TaskKey,
        /// The image by digest.
        image: String,
        /// The command line.
        command: String,
    },
    /// Stop a task that ran out of time.
    StopTask {
        /// Its name.
        task: TaskKey,
    },
    /// Bring the services to this plan and to what the settings say now: create, update, remove.
    UpdateServices {
        /// The build.
        build: BuildNumber,
        /// What to run.
        plan: ReleasePlan,
    },
    /// Stop a CodeBuild build that nobody needs any more.
    StopBuild {
        /// The build.
        build: BuildNumber,
        /// Its CodeBuild build.
        arn: BuildArn,
    },
    /// Copy a task's log to the artifacts.
    KeepLog {
        /// The task.
        task: TaskKey,
    },
    /// Remove the review app and all that runs in it.
    RemoveReviewApp {
        /// Its place in the lane's sequence of releases: an order to the services from before it brings nothing back.
        #[serde(default)]
        sequence: u64,
    },
}
