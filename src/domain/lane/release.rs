//! What a build leaves behind, what it asks to be run, and what was run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::formation::ProcessScale;
use crate::domain::names::{BuildArn, BuildNumber, EpochSeconds, ProcessType};

/// Sizes by process type, as a place was given them; kept for clients only. What is wanted stands in the settings.
pub type Sizes = BTreeMap<ProcessType, ProcessScale>;

/// Where a build leaves its results, as far as that is known; empty texts stand for what is not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outputs {
    /// The bucket of its artifacts. Each app and each pipeline has its own.
    pub bucket: String,
    /// The repository of its image.
    pub repository: String,
}

impl Outputs {
    /// Takes over what was not known yet.
    pub(super) fn learn(&mut self, other: &Self) {
        let Self { bucket, repository } = other;
        for (known, told) in [(&mut self.bucket, bucket), (&mut self.repository, repository)] {
            if known.is_empty() {
                known.clone_from(told);
            }
        }
    }
}

/// What a build asks to be run, read from its artifacts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasePlan {
    /// Its place in the lane's sequence of releases, 0 until it has its turn. A place leaves an update undone whose
    /// number is below that of the update it carries out or has carried out. Every order takes a new number, also one that only
    /// brings changed settings; it is no part of what runs.
    pub sequence: u64,
    /// The image by digest, `repository@sha256:…`.
    pub image: String,
    /// Whether buildpacks made the image, so that its launcher sets up the environment of its processes.
    #[serde(default = "by_buildpacks")]
    pub launcher: bool,
    /// The release command, if the app has one.
    pub release_command: Option<String>,
    /// The command of a review app's first deploy, if it has one.
    pub postdeploy_command: Option<String>,
    /// The command before a review app is removed, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pre_destroy_command: Option<String>,
    /// The services by process type.
    pub services: BTreeMap<ProcessType, Service>,
}

/// What a plan of a packhorse that built nothing else left unsaid.
fn by_buildpacks() -> bool {
    true
}

/// A process type that runs continuously.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The command line, as shown to people.
    pub command: String,
    /// The name of the service that runs it; predictable before it exists.
    pub arn: String,
}

/// A release that was deployed, or tried to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The build it came from.
    pub build: BuildNumber,
    /// The ARN of that build.
    pub arn: BuildArn,
    /// The commit of that build.
    pub commit: String,
    /// Its order: when that build began, or when a rollback was asked for.
    pub started: EpochSeconds,
    /// What it runs.
    pub plan: ReleasePlan,
    /// When its deploy ended.
    pub at: EpochSeconds,
    /// The sizes that it was last given.
    #[serde(default, skip_serializing_if = "Sizes::is_empty")]
    pub sizes: Sizes,
}

impl Release {
    /// Orders releases among each other and among builds.
    pub fn order(&self) -> (EpochSeconds, BuildNumber) {
        (self.started, self.build)
    }
}
