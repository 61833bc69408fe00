//! What a lane remembers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::action::{Action, ActionId};
use super::phase::{Phase, PhaseRecord, PhaseState};
use super::policy::Policy;
use super::release::{Outputs, Release, ReleasePlan, Sizes};
use super::removal::Removal;
use super::rollback::Rollback;
use super::task::{TaskKey, TaskState};
use crate::domain::activity::Entry;
use crate::domain::names::{AppName, BuildArn, BuildNumber, EpochSeconds, PullRequest};

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
    /// The sizes that its deploy was given.
    #[serde(default, skip_serializing_if = "Sizes::is_empty")]
    pub sizes: Sizes,
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

/// One app's builds in flight, its live release, and what is still owed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// Which lane.
    pub key: LaneKey,
    /// Builds in flight, and the newest of those that ended. Lanes that follow one another share what did not change.
    pub builds: BTreeMap<BuildNumber, Arc<Build>>,
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
    /// When the pull request was closed; nothing once it was opened again.
    pub closed: Option<EpochSeconds>,
    /// When the pull request was closed that was opened again since: a build that began by then never counts any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_before: Option<EpochSeconds>,
    /// A task that was told to stop and may still run, and since when; it keeps the lane's turn until it is seen gone.
    pub draining: Option<(TaskKey, EpochSeconds)>,
    /// What the app's owner chose.
    #[serde(default, skip_serializing_if = "is_default")]
    pub policy: Policy,
    /// When the services are to follow settings that have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converge_at: Option<EpochSeconds>,
    /// Since when the services of the live release are being brought to changed settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converging: Option<EpochSeconds>,
    /// A rollback that is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// The review app's way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removal: Option<Removal>,
    /// What must still be done, in the order in which it was ordered.
    pub owed: BTreeMap<ActionId, Action>,
    /// The next action's id.
    pub next_action: ActionId,
    /// Steps taken so far.
    pub steps: u64,
    /// Builds whose client-visible items are not yet known to be written, with the step that changed them last.
    pub unprojected: BTreeMap<BuildNumber, u64>,
    /// The step that changed what clients see of the most recent deploy, while it is not known to be written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprojected_deploy: Option<u64>,
    /// What happened and is not known to be told to people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<Entry>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Lane {
    /// Layout of a stored lane; one that is newer than the program is refused, not guessed at. Older ones are read: what they
    /// lack is empty.
    ///
    /// 2 added policies, settings to follow, rollbacks, the steps of a removal, pull requests that were opened again and what is
    /// to be told.
    pub const FORMAT: u32 = 2;

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
            closed_before: None,
            draining: None,
            policy: Policy::default(),
            converge_at: None,
            converging: None,
            rollback: None,
            removal: None,
            owed: BTreeMap::new(),
            next_action: ActionId(1),
            steps: 0,
            unprojected: BTreeMap::new(),
            unprojected_deploy: None,
            untold: Vec::new(),
        }
    }

    /// Tells whether anything is in flight, so that a sweep must look at it.
    pub fn is_active(&self) -> bool {
        !self.owed.is_empty()
            || !self.unprojected.is_empty()
            || self.unprojected_deploy.is_some()
            || !self.untold.is_empty()
            || self.draining.is_some()
            || self.converge_at.is_some()
            || self.converging.is_some()
            || self.rollback.is_some()
            || self.removal.is_some()
            || self.builds.values().any(|build| build.in_flight() || !build.settled)
    }

    /// A build to be changed.
    pub fn build_mut(&mut self, number: BuildNumber) -> Option<&mut Build> {
        self.builds.get_mut(&number).map(Arc::make_mut)
    }

    /// When the pull request was closed last, whether or not it was opened again since.
    pub(super) fn last_closed(&self) -> Option<EpochSeconds> {
        self.closed.max(self.closed_before)
    }

    /// What has the lane's one turn to release and deploy: the order of a build, or of a rollback.
    pub(super) fn holder(&self) -> Option<(EpochSeconds, BuildNumber)> {
        let build = self.builds.values().find(|build| build.has_turn()).map(|build| build.order());
        let rollback = self.rollback.as_ref().filter(|rollback| rollback.deploying.is_some());
        build.or(rollback.map(|rollback| rollback.release.order()))
    }

    /// The plan of what is being deployed, or else of what runs; a service that is in neither is not this lane's.
    pub fn runs_service(&self, arn: &str) -> bool {
        let deploying = self.builds.values().filter(|build| build.in_flight()).filter_map(|build| build.plan.as_ref());
        let rollback = self.rollback.as_ref().map(|rollback| &rollback.release.plan);
        let live = self.live.as_ref().map(|live| &live.plan);
        let mut plans = deploying.chain(rollback).chain(live);
        plans.any(|plan| plan.services.values().any(|service| service.arn == arn))
    }
}
