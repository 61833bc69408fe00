//! Tells the app's lane what happened to the build.

use super::error::RunnerError;
use super::session::Session;
use super::state::LaneUse;
use crate::domain::lane::{Event, LaneKey, Outputs, Phase};
use crate::domain::names::{BuildNumber, EpochSeconds};
use crate::env_vars;
use crate::orchestrator::advance::{Advanced, advance};
use crate::ports::failure::Failure;

impl Session<'_> {
    /// Tells that the build began. The first of all facts: those that follow are about a build that the lane knows.
    pub(super) async fn report_started(&mut self) -> Result<(), RunnerError> {
        let Some(number) = self.follower() else { return Ok(()) };
        let Some(arn) = self.environment.arn.clone() else {
            self.go_without("the build has no ARN");
            return self.save();
        };
        let event = Event::BuildStarted {
            number,
            arn,
            commit: self.state.commit.clone(),
            started: self.began(),
            logs: self.environment.logs.clone(),
            outputs: Outputs {
                bucket: self.cx.settings.variables.get(env_vars::ARTIFACT_BUCKET).cloned().unwrap_or_default(),
                repository: self.environment.repository.clone().unwrap_or_default(),
            },
            by_runner: true,
        };
        self.report(&event).await.map(|_| ())
    }

    /// Tells that the image was made.
    pub(super) async fn report_image(&mut self) -> Result<(), RunnerError> {
        let Some(number) = self.follower() else { return Ok(()) };
        self.report(&Event::ImageBuilt { number }).await.map(|_| ())
    }

    /// Tells that the tests passed and the image has its names.
    pub(super) async fn report_tests_passed(&mut self) -> Result<(), RunnerError> {
        let Some(number) = self.follower() else { return Ok(()) };
        self.report(&Event::TestsPassed { number, by_runner: true }).await.map(|_| ())
    }

    /// Tells that there is nothing to build.
    pub(super) async fn report_skipped(&mut self, reason: &str) -> Result<(), RunnerError> {
        let Some(number) = self.follower() else { return Ok(()) };
        self.report(&Event::BuildSkipped { number, reason: reason.to_owned() }).await.map(|_| ())
    }

    /// Tells that the build failed, and before that that it began, should nobody have said so.
    pub(super) async fn report_failed(&mut self, phase: Phase, cause: &str) -> Result<(), RunnerError> {
        let began = self.report_started().await;
        // A file that cannot be written may be the very reason of the failure; the lane is told all the same.
        if !matches!(began, Ok(()) | Err(RunnerError::File { .. })) {
            return began;
        }
        let Some(number) = self.follower() else { return began };
        let told = self.report(&Event::BuildFailed { number, phase, cause: cause.to_owned() }).await;
        began.and(told.map(|_| ()))
    }

    /// Tells that the pull request is closed; returns whether a lane knows now, whose orchestrator removes the review app.
    pub(super) async fn report_closed(&mut self) -> Result<bool, RunnerError> {
        if self.follower().is_none() {
            return Ok(false);
        }
        // Builds are held against the start of the one that tells, as against each other's.
        let at = self.began();
        self.report(&Event::PullRequestClosed { at }).await
    }

    /// When the build began; now, where nobody says.
    fn began(&self) -> EpochSeconds {
        self.environment.started_seconds().map_or_else(|| self.now(), EpochSeconds)
    }

    /// Returns the build's number where a lane may follow it.
    fn follower(&self) -> Option<BuildNumber> {
        if self.state.lane == LaneUse::Absent { None } else { self.environment.label.number() }
    }

    /// Commits one fact; returns whether there is a lane.
    ///
    /// Without a lane, or without the right to it, the build says so once and goes on as if lanes did not exist. Once the
    /// lane counts on this runner that is no way out any more: then a fact that cannot be told fails the build.
    async fn report(&mut self, event: &Event) -> Result<bool, RunnerError> {
        let key = self.environment.lane_key();
        match advance(&self.cx.lanes, &key, event).await {
            Ok(Advanced::Changed(_) | Advanced::Ignored(_)) => {
                self.state.lane = LaneUse::Told;
                self.save()?;
                Ok(true)
            }
            Ok(Advanced::NoLane) | Err(Failure::NotFound { .. }) if self.state.lane == LaneUse::Unknown => {
                self.go_without(&format!("there is no lane of `{key}`"));
                self.save()?;
                Ok(false)
            }
            Ok(Advanced::NoLane) => Err(Failure::NotFound { what: format!("the lane of {key}") }.into()),
            Err(failure) if failure.is_denied() && self.state.lane == LaneUse::Unknown => {
                if self.lane_counts_on_us(&key, event).await {
                    return Err(failure.into());
                }
                self.go_without(&format!("{failure}"));
                self.save()?;
                Ok(false)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Tells whether the fact was committed although its items could not be written.
    async fn lane_counts_on_us(&self, key: &LaneKey, event: &Event) -> bool {
        let lane = self.cx.lanes.lanes.load(key).await.ok().flatten();
        let build = event.build().and_then(|number| lane?.lane.builds.get(&number).cloned());
        build.is_some_and(|build| build.runner_reports)
    }

    fn go_without(&mut self, reason: &str) {
        self.state.lane = LaneUse::Absent;
        self.tell_once(&format!("{reason}: this build is not recorded by packhorse, and goes on without"));
    }
}
