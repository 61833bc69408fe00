//! What can happen to a lane.

use std::collections::BTreeMap;

use super::action::ActionId;
use super::phase::Phase;
use super::policy::Policy;
use super::release::{Outputs, Release, ReleasePlan, Sizes};
use super::task::TaskKey;
use crate::domain::names::{BuildArn, BuildNumber, EpochSeconds};

/// Something that happened, as told by the runner, by AWS, or by the place where tasks and services run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A build began.
    BuildStarted {
        /// Its number.
        number: BuildNumber,
        /// Its CodeBuild build.
        arn: BuildArn,
        /// The commit, empty while unknown.
        commit: String,
        /// When it began.
        started: EpochSeconds,
        /// Where its log can be followed.
        logs: String,
        /// Where it leaves its results.
        outputs: Outputs,
        /// Whether the runner tells, which then reports the build's further facts.
        by_runner: bool,
    },
    /// The image was made.
    ImageBuilt {
        /// The build.
        number: BuildNumber,
    },
    /// The tests passed, or the app has none.
    TestsPassed {
        /// The build.
        number: BuildNumber,
        /// Whether the runner tells. CodeBuild's own word counts only where no runner reports.
        by_runner: bool,
    },
    /// The build has nothing to do.
    BuildSkipped {
        /// The build.
        number: BuildNumber,
        /// Why.
        reason: String,
    },
    /// The image build or the tests failed.
    BuildFailed {
        /// The build.
        number: BuildNumber,
        /// The phase that failed, Build or Test.
        phase: Phase,
        /// What happened, for people.
        cause: String,
    },
    /// CodeBuild is done with the build.
    BuildEnded {
        /// The build.
        number: BuildNumber,
        /// How it ended there.
        result: BuildResult,
    },
    /// A task was seen running.
    TaskRunning {
        /// The task.
        task: TaskKey,
        /// Its ARN.
        arn: String,
        /// Where its log can be followed.
        logs: String,
    },
    /// A task ended.
    TaskEnded {
        /// The task.
        task: TaskKey,
        /// How.
        exit: TaskExit,
        /// Where its log lies now, or empty where it was not copied yet.
        logs: String,
    },
    /// The services of a build were looked at.
    ServicesSeen {
        /// The build whose release they belong to.
        number: BuildNumber,
        /// The order that they were looked at for; an older one says nothing about the present one.
        sequence: u64,
        /// Where they stand.
        state: ServicesState,
    },
    /// An owed action was performed.
    Performed {
        /// Which.
        action: ActionId,
        /// What came of it.
        result: ActionResult,
    },
    /// Client-visible items were written.
    Projected {
        /// The builds whose items were written, each with the step that they show. One that changed since stays
        /// unwritten: whoever changed it may have been stopped before writing it.
        builds: BTreeMap<BuildNumber, u64>,
        /// The step that the deploy's item shows, if it was written.
        deploy: Option<u64>,
        /// The step up to which everything was told to people.
        told: u64,
    },
    /// Config, scaling or scheduled tasks have changed; how is for the place to find out.
    SettingsChanged,
    /// The image of an older build is to run again.
    RollbackRequested {
        /// What is to run; its `started` is the moment of the request.
        release: Box<Release>,
    },
    /// The app's owner chose other policies.
    PolicySet {
        /// The new ones.
        policy: Policy,
    },
    /// The removal of the review app was looked at.
    ReviewAppSeen {
        /// Where it stands.
        state: ReviewAppState,
    },
    /// The pull request was merged or closed.
    PullRequestClosed {
        /// When: builds that began later are of one that was opened again.
        at: EpochSeconds,
    },
    /// Time has passed, or somebody gave a hint: look at deadlines and at what is owed.
    Tick,
}

/// How CodeBuild ended a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BuildResult {
    /// All its phases succeeded.
    Succeeded,
    /// A phase failed, or the build was stopped, timed out or was not possible.
    Failed {
        /// The phase that it failed in, where that can be told.
        phase: Option<Phase>,
        /// What happened, for people.
        cause: String,
    },
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskExit {
    /// Its command ended with this code.
    Code {
        /// The exit code.
        code: i64,
        /// What is said about it, such as that memory ran out.
        reason: Option<String>,
    },
    /// It was seen stopped, and its command did not end by itself: it never started, or its host was taken away. It may be
    /// tried again.
    NoCode {
        /// The reason given.
        reason: String,
    },
    /// Somebody stopped it, whatever its exit code.
    Stopped {
        /// The reason given, or empty.
        reason: String,
    },
    /// Nobody can tell whether it ran.
    Unknown,
}

/// Where the services of a deploy stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServicesState {
    /// All of them run the new release and are healthy.
    Steady,
    /// The new release did not become healthy; the one before still runs, if there was one.
    Failed {
        /// What happened, for people.
        cause: String,
    },
}

/// Where the removal of a review app stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReviewAppState {
    /// Its stack is gone.
    Gone,
    /// Its stack did not go, or was never told to; ordering it again may help.
    Failed {
        /// What happened, for people.
        cause: String,
    },
}

/// What performing an action led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionResult {
    /// It is done, or was so already.
    Done,
    /// The artifacts as found.
    Artifacts(Box<ArtifactsRead>),
    /// The services were ordered, in these sizes.
    Ordered(Sizes),
    /// The log lies there now.
    LogKept(String),
    /// What was to be removed is not there.
    Gone,
    /// It cannot be done; trying again would not help.
    Refused {
        /// What happened, for people.
        cause: String,
    },
}

/// The artifacts of a build as found in the artifact store.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArtifactsRead {
    /// Where `build.log` lies, if it is there.
    pub build_log: Option<String>,
    /// Where `test.log` lies, if it is there.
    pub test_log: Option<String>,
    /// What to run, or why that cannot be told.
    pub plan: Option<Result<ReleasePlan, String>>,
    /// The commit, where it was not known and could be found out.
    pub commit: String,
    /// Whether both logs are empty, which is how a builder without a lane says that it skipped.
    pub skipped: bool,
}

impl Event {
    /// The build that the event is about, if it is about one.
    pub fn build(&self) -> Option<BuildNumber> {
        match self {
            Self::BuildStarted { number, .. }
            | Self::ImageBuilt { number }
            | Self::TestsPassed { number, .. }
            | Self::BuildSkipped { number, .. }
            | Self::BuildFailed { number, .. }
            | Self::BuildEnded { number, .. }
            | Self::ServicesSeen { number, .. } => Some(*number),
            Self::TaskRunning { task, .. } | Self::TaskEnded { task, .. } => Some(task.build),
            Self::Performed { .. }
            | Self::Projected { .. }
            | Self::PullRequestClosed { .. }
            | Self::SettingsChanged
            | Self::RollbackRequested { .. }
            | Self::PolicySet { .. }
            | Self::ReviewAppSeen { .. }
            | Self::Tick => None,
        }
    }
}
