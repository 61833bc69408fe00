//! What a lane remembers.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::{Action, ActionId};
use crate::domain::names::{AppName, BuildArn, BuildNumber, EpochSeconds, ProcessType, PullRequest};

/// Names a lane: an app, or a pipeline's review app.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LaneKey {
    /// The app, or the pipeline that the review app belongs to.
    pub app: AppName,
    /// The pull request of a review app.
    pub pull_request: Option<PullRequest>,
}

impl LaneKey {
    /// Names the lane of a standard app.
    pub fn app(app: AppName) -> Self {
        Self { app, pull_request: None }
    }

    /// The name that services and tasks begin with: `shop`, or `storefront-pr123`.
    pub fn resource_prefix(&self) -> String {
        match self.pull_request {
            None => self.app.to_string(),
            Some(pr) => format!("{}-pr{pr}", self.app),
        }
    }
}

impl fmt::Display for LaneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pull_request {
            None => self.app.fmt(f),
            Some(pr) => write!(f, "{}:{pr}", self.app),
        }
    }
}

/// The six phases of a build, in the order in which they happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The image is made and pushed under its candidate name.
    Build,
    /// The tests run against that image; their success gives it its names.
    Test,
    /// The build's artifacts are read and its turn is awaited.
    Finalize,
    /// The release command runs.
    Release,
    /// A review app's initialize command runs, on its first deploy only.
    Postdeploy,
    /// The services are replaced.
    Deploy,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 6] = [Self::Build, Self::Test, Self::Finalize, Self::Release, Self::Postdeploy, Self::Deploy];

    /// The attribute name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Test => "test",
            Self::Finalize => "finalize",
            Self::Release => "release",
            Self::Postdeploy => "postdeploy",
            Self::Deploy => "deploy",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where a phase that has begun stands; a phase that never ran has no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PhaseState {
    /// It runs.
    Started,
    /// It ended well.
    Succeeded,
    /// It ended badly, was stopped, or its build was superseded.
    Failed,
}

impl PhaseState {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// One phase of one build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseRecord {
    /// Where it stands.
    pub state: PhaseState,
    /// When it began.
    pub start: EpochSeconds,
    /// When it ended; set together with a final state.
    pub end: Option<EpochSeconds>,
    /// What ran it: the build, the task, or the services.
    pub arns: Vec<String>,
    /// Where its log is (`cloudwatch://`, `s3://`), or empty.
    pub logs: String,
}

/// What a build asks to be run, read from its artifacts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasePlan {
    /// Its place in the lane's sequence of releases, 0 until it has its turn. A place leaves an update undone whose
    /// number is below that of the update it carries out or has carried out.
    pub sequence: u64,
    /// The image by digest, `repository@sha256:…`.
    pub image: String,
    /// The release command, if the app has one.
    pub release_command: Option<String>,
    /// The command of a review app's first deploy, if it has one.
    pub postdeploy_command: Option<String>,
    /// The services by process type.
    pub services: BTreeMap<ProcessType, Service>,
}

/// A process type that runs continuously.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// The command line, as shown to people.
    pub command: String,
    /// The name of the service that runs it; predictable before it exists.
    pub arn: String,
}

/// How a build ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Ending {
    /// Its services run.
    Deployed,
    /// A phase failed.
    Failed {
        /// The phase that failed.
        phase: Phase,
        /// What happened, for people.
        cause: String,
    },
    /// A newer build took its place.
    Superseded {
        /// The newer build.
        by: BuildNumber,
    },
    /// It was never meant to build, such as a pull request without a review app.
    Skipped {
        /// Why.
        reason: String,
    },
}

/// Which command a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// The release command.
    Release,
    /// A review app's initialize command.
    Postdeploy,
}

impl TaskKind {
    /// The phase that waits for the task.
    pub fn phase(self) -> Phase {
        match self {
            Self::Release => Phase::Release,
            Self::Postdeploy => Phase::Postdeploy,
        }
    }
}

/// Names one attempt at a task; the same key never runs twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The build it belongs to.
    pub build: BuildNumber,
    /// What it runs.
    pub kind: TaskKind,
    /// The attempt, from 1; another begins only after the one before was seen stopped without an exit code.
    pub attempt: u32,
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.kind.phase(), self.build, self.attempt)
    }
}

/// What is known of the task that the current phase waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Its name.
    pub key: TaskKey,
    /// Whether it was asked for; before that nothing of it can exist.
    pub requested: bool,
    /// Whether it was seen running.
    pub running: bool,
}

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

/// One build on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its number.
    pub number: BuildNumber,
    /// Its CodeBuild build.
    pub arn: BuildArn,
    /// The commit, empty while unknown.
    pub commit: String,
    /// When it began; builds are compared by this, then by number.
    pub started: EpochSeconds,
    /// Whether the runner reports this build's facts. Then only the runner can say that tests passed.
    pub runner_reports: bool,
    /// Where it leaves its results.
    #[serde(default)]
    pub outputs: Outputs,
    /// The phases that have begun.
    pub phases: BTreeMap<Phase, PhaseRecord>,
    /// What to run, once its artifacts were read.
    pub plan: Option<ReleasePlan>,
    /// The task that its current phase waits for.
    pub task: Option<TaskState>,
    /// How it ended.
    pub ending: Option<Ending>,
    /// Whether CodeBuild is done with it and its log locations are final.
    pub settled: bool,
}

impl Build {
    /// Returns the phase that runs now.
    pub fn current_phase(&self) -> Option<Phase> {
        self.phases.iter().rev().find(|(_, record)| record.state == PhaseState::Started).map(|(phase, _)| *phase)
    }

    /// Orders builds: a later start wins, then a higher number.
    pub fn order(&self) -> (EpochSeconds, BuildNumber) {
        (self.started, self.number)
    }

    /// Tells whether it is somewhere between its start and its end.
    pub fn in_flight(&self) -> bool {
        self.ending.is_none()
    }

    /// Tells whether it has the lane's one turn to release and deploy.
    pub fn has_turn(&self) -> bool {
        self.in_flight() && self.current_phase() > Some(Phase::Finalize)
    }
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
    /// The order of that build.
    pub started: EpochSeconds,
    /// What it runs.
    pub plan: ReleasePlan,
    /// When its deploy ended.
    pub at: EpochSeconds,
}

/// One app's builds in flight, its live release, and what is still owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Which lane.
    pub key: LaneKey,
    /// Builds in flight, and the newest of those that ended.
    pub builds: BTreeMap<BuildNumber, Build>,
    /// The highest number that was forgotten; events about it and those before it are late.
    pub forgotten: Option<BuildNumber>,
    /// The release that runs.
    pub live: Option<Release>,
    /// How many releases were begun.
    pub releases: u64,
    /// The build of the last deploy that failed, while nothing newer was deployed.
    pub failed_deploy: Option<BuildNumber>,
    /// Whether a review app's initialize command has run.
    pub postdeployed: bool,
    /// When the pull request was closed.
    pub closed: Option<EpochSeconds>,
    /// A task that was told to stop and may still run; it keeps the lane's turn until it is seen gone.
    pub draining: Option<(TaskKey, EpochSeconds)>,
    /// What must still be done, in order.
    pub owed: BTreeMap<ActionId, Action>,
    /// The next action's id.
    pub next_action: ActionId,
    /// Steps taken so far.
    pub steps: u64,
    /// Builds whose client-visible items are not yet known to be written, with the step that changed them last.
    pub unprojected: BTreeMap<BuildNumber, u64>,
}

impl Lane {
    /// Layout of a stored lane; one that is newer than the program is refused, not guessed at.
    pub const FORMAT: u32 = 1;

    /// Makes an empty lane.
    pub fn new(key: LaneKey) -> Self {
        Self {
            key,
            builds: BTreeMap::new(),
            forgotten: None,
            live: None,
            releases: 0,
            failed_deploy: None,
            postdeployed: false,
            closed: None,
            draining: None,
            owed: BTreeMap::new(),
            next_action: ActionId(1),
            steps: 0,
            unprojected: BTreeMap::new(),
        }
    }

    /// Tells whether anything is in flight, so that a sweep must look at it.
    pub fn is_active(&self) -> bool {
        !self.owed.is_empty()
            || !self.unprojected.is_empty()
            || self.draining.is_some()
            || self.builds.values().any(|build| build.in_flight() || !build.settled)
    }
}
