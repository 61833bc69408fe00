//! The service that runs builds: CodeBuild.

use async_trait::async_trait;

use super::failure::Failure;
use crate::domain::lane::{BuildResult, LaneKey, Outputs};
use crate::domain::names::{AppName, BuildArn, BuildNumber, EpochSeconds};

/// A build as its service knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildFacts {
    /// Its ARN.
    pub arn: BuildArn,
    /// Its number.
    pub number: BuildNumber,
    /// When it began.
    pub started: EpochSeconds,
    /// The commit, empty while unknown.
    pub commit: String,
    /// Where its log can be followed, or empty.
    pub logs: String,
    /// Where it leaves its results.
    pub outputs: Outputs,
    /// Whether its BUILD phase succeeded.
    pub image_built: bool,
    /// Whether its `POST_BUILD` phase succeeded after a BUILD that did.
    pub tests_passed: bool,
    /// How it ended, once it has.
    pub result: Option<BuildResult>,
}

/// Asks and stops builds.
#[async_trait]
pub trait BuildService: Send + Sync {
    /// Returns what is known of these builds; unknown ones are left out.
    async fn builds(&self, arns: &[BuildArn]) -> Result<Vec<BuildFacts>, Failure>;

    /// Returns the newest builds of a project, each with the lane that it belongs to, newest first; about a page of them. Builds
    /// that belong to no lane are left out, and so is a project that is not there.
    async fn newest(&self, project: &AppName) -> Result<Vec<(LaneKey, BuildFacts)>, Failure>;

    /// Stops a build; one that has ended already counts as done.
    async fn stop(&self, arn: &BuildArn) -> Result<(), Failure>;
}
