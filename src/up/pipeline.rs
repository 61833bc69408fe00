//! One build on this machine, from its folder to a running release.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::handover::Outcome;
use super::local_builds::{LocalBuilds, local_arn};
use super::unchanged;
use crate::adapters::docker::place::ContainerPlace;
use crate::adapters::local::LocalState;
use crate::domain::lane::{Build, BuildResult, Ending, Event, Lane, LaneKey};
use crate::domain::names::{BuildArn, BuildNumber};
use crate::domain::tags;
use crate::env_vars;
use crate::orchestrator::Orchestrator;
use crate::ports::container_engine::ContainerEngine;
use crate::ports::failure::Failure;
use crate::runner::{self, RunnerContext, StepEnd};
use crate::ui::Printer;

/// The files that a buildspec lists as artifacts, besides the config file.
const ARTIFACTS: [&str; 3] = ["build.log", "test.log", "commit.txt"];
/// How often to ask how tasks and services are doing.
const BETWEEN: Duration = Duration::from_millis(200);

/// How the runner's steps ended.
enum StepsEnd {
    /// As a build in an account.
    Ended(BuildResult),
    /// After the image, since it runs already.
    Unchanged {
        /// The build that is live.
        live: BuildNumber,
    },
}

/// An app's pipeline on this machine.
pub struct Pipeline {
    /// The app's lane.
    pub lane: LaneKey,
    /// Where the files of builds lie, one folder each.
    pub builds_folder: PathBuf,
    /// The runner; variables and folder of its settings are those of the build at hand.
    pub runner: RunnerContext,
    /// The orchestrator.
    pub orchestrator: Arc<Orchestrator>,
    /// The builds that run here.
    pub builds: Arc<LocalBuilds>,
    /// What is kept of it, where other processes change settings.
    pub state: Arc<LocalState>,
    /// Where the app runs.
    pub place: Arc<ContainerPlace>,
    /// Where images stay.
    pub engine: Arc<dyn ContainerEngine>,
    /// Where the app answers once it is deployed.
    pub url: String,
}

impl Pipeline {
    /// Runs one build through all phases.
    ///
    /// # Errors
    /// Fails when the lane, or what it needs, does not answer; a build that fails is an outcome.
    pub async fn run(&self) -> Result<Outcome, Failure> {
        let number = self.next_number().await?;
        let arn: BuildArn = local_arn(self.lane.app.as_str(), number, &unique())
            .parse()
            .map_err(|error| Failure::refused("name the build", error))?;
        self.builds.begin(&arn);
        let end = self.run_steps(number, &arn).await?;
        let result = match end {
            StepsEnd::Ended(result) => result,
            StepsEnd::Unchanged { live } => {
                self.builds.end(&arn, BuildResult::Succeeded);
                let reason = format!("nothing changed since build {live}");
                self.orchestrator.handle(&self.lane, &[Event::BuildSkipped { number, reason }]).await?;
                return Ok(Outcome {
                    build: live.0,
                    url: Some(self.url.clone()),
                    unchanged: true,
                    ..Outcome::default()
                });
            }
        };
        self.builds.end(&arn, result.clone());
        if result != BuildResult::Succeeded {
            self.drop_candidate(arn.build_id()).await;
        }
        self.orchestrator.handle(&self.lane, &[Event::BuildEnded { number, result }]).await?;
        let lane = self.follow().await?;
        Ok(self.outcome(number, lane.as_ref().and_then(|lane| lane.builds.get(&number)).map(AsRef::as_ref)))
    }

    /// Waits until nothing of the lane is in flight, or until the user wants to stop.
    async fn follow(&self) -> Result<Option<Lane>, Failure> {
        tokio::select! {
            lane = self.orchestrator.follow(&self.lane, BETWEEN, |_| {}) => lane,
            () = self.runner.interrupt.cancelled() => {
                Ok(self.orchestrator.lanes.lanes.load(&self.lane).await?.map(|found| found.lane))
            }
        }
    }

    /// Looks for what other processes have changed since `seen`, hears of it as an orchestrator hears of changed parameters, and
    /// brings the lane on where something is in flight.
    ///
    /// # Errors
    /// Fails when the lane, or what it needs, does not answer; then the next call does it.
    pub async fn keep_up(&self, seen: &mut String) -> Result<(), Failure> {
        let settings = self.state.settings_version().await?;
        if settings != *seen {
            self.orchestrator.handle(&self.lane, &[Event::SettingsChanged]).await?;
            *seen = settings;
        }
        let lane = self.orchestrator.lanes.lanes.load(&self.lane).await?;
        if lane.is_some_and(|found| found.lane.is_active()) {
            self.orchestrator.sweep_lane(&self.lane).await?;
        }
        Ok(())
    }

    /// Takes over what an earlier `up` left that was killed: ends what it had begun, removes what only it needed, and
    /// lets the release that still runs serve on until another one takes its place.
    ///
    /// # Errors
    /// Fails when the lane, or what it needs, does not answer.
    pub async fn take_over(&self, printer: &Printer) -> Result<(), Failure> {
        self.ensure_lane().await?;
        let Some(found) = self.orchestrator.lanes.lanes.load(&self.lane).await? else { return Ok(()) };
        for build in found.lane.builds.values().filter(|build| !build.settled) {
            printer
                .note(format_args!("An earlier `packhorse up` was ended during build {}; cleaning up", build.number));
            let id = build.arn.build_id();
            self.runner.test_bed.remove(id).await?;
            self.drop_candidate(id).await;
        }
        // Nothing in it outlives its build; variables and logins are among it.
        match std::fs::remove_dir_all(&self.runner.settings.private) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                let doing = format!("empty {}", self.runner.settings.private.display());
                return Err(Failure::refused(doing, error));
            }
            _ => {}
        }
        let lane = if found.lane.is_active() { self.follow().await? } else { Some(found.lane) };
        let live = match lane.as_ref().and_then(|lane| Some((lane, lane.live.as_ref()?))) {
            Some((lane, live)) => Some(self.orchestrator.formation(lane, live.build, &live.plan).await?),
            None => None,
        };
        if self.place.adopt(&self.lane, live.as_ref()).await?
            && let Some(live) = live
        {
            printer.note(format_args!("Build {} still runs and serves until another one takes its place", live.build));
        }
        Ok(())
    }

    /// Takes the name away under which a build's image was tested, and with it an image that got no other name.
    async fn drop_candidate(&self, build_id: &str) {
        let name = format!("packhorse/{}:{}", self.lane.app.as_str().to_lowercase(), tags::candidate(build_id, 1));
        // One that stays costs space and nothing else.
        let _ = self.engine.untag_image(&name).await;
    }

    /// Makes the lane if this is the app's first build here.
    ///
    /// # Errors
    /// Fails when the store does.
    pub async fn ensure_lane(&self) -> Result<(), Failure> {
        let lanes = &self.orchestrator.lanes.lanes;
        if lanes.load(&self.lane).await?.is_some() {
            return Ok(());
        }
        match lanes.commit(crate::ports::lane_store::Version(0), &Lane::new(self.lane.clone())).await {
            Ok(_) | Err(Failure::Conflict { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    async fn next_number(&self) -> Result<BuildNumber, Failure> {
        let lane = self.orchestrator.lanes.lanes.load(&self.lane).await?;
        let known = lane.and_then(|found| found.lane.builds.keys().next_back().copied().max(found.lane.forgotten));
        let recorded = self.orchestrator.lanes.records.builds(&self.lane, 1).await?;
        let recorded = recorded.first().map(|build| build.build_number);
        Ok(BuildNumber(known.max(recorded).map_or(0, |number| number.0) + 1))
    }

    /// Does what CodeBuild does with the three steps: later ones run after a failed build, and the files are kept.
    ///
    /// Between them, what was built is compared with what runs: where that is the same, the rest is left out.
    async fn run_steps(&self, number: BuildNumber, arn: &BuildArn) -> Result<StepsEnd, Failure> {
        let mut cx = self.runner.clone();
        cx.settings.outputs = self.builds_folder.join(number.to_string());
        std::fs::create_dir_all(&cx.settings.outputs)
            .map_err(|error| Failure::refused(format!("make {}", cx.settings.outputs.display()), error))?;
        cx.settings.variables.extend(self.variables(number, arn));

        let mut result = BuildResult::Succeeded;
        let mut ends = vec![runner::prebuild(&cx).await, runner::build(&cx).await];
        if ends.iter().all(|end| *end == StepEnd::Done) {
            self.upload(&cx, number).await?;
            if let Some(live) = unchanged::live_build(self, number).await? {
                unchanged::skip_the_rest(&cx, arn).await?;
                self.drop_candidate(arn.build_id()).await;
                return Ok(StepsEnd::Unchanged { live });
            }
        }
        ends.push(runner::postbuild(&cx).await);
        for end in ends {
            if let (StepEnd::Failed { cause }, BuildResult::Succeeded) = (end, &result) {
                result = BuildResult::Failed { phase: None, cause };
            }
        }
        self.upload(&cx, number).await?;
        Ok(StepsEnd::Ended(result))
    }

    /// Uploads the build's artifacts, as far as they are there.
    async fn upload(&self, cx: &RunnerContext, number: BuildNumber) -> Result<(), Failure> {
        let config = cx.settings.namespace.config_file();
        for name in ARTIFACTS.into_iter().chain([config.as_str()]) {
            match std::fs::read(cx.settings.outputs.join(name)) {
                Ok(content) => {
                    self.runner.artifacts.put(&format!("{number}/{name}"), Bytes::from(content)).await?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::refused(format!("read the artifact `{name}`"), error)),
            }
        }
        Ok(())
    }

    /// What CodeBuild and the project would put into the environment.
    fn variables(&self, number: BuildNumber, arn: &BuildArn) -> BTreeMap<String, String> {
        let started = self.orchestrator.lanes.clock.now().0 * 1000;
        let app = self.lane.app.to_string();
        let mut variables = vec![
            (env_vars::DOCKER_REPO, format!("packhorse.local/{}", app.to_lowercase())),
            (env_vars::APPNAME, app),
            (env_vars::CODEBUILD_BUILD_ID, arn.build_id().to_owned()),
            (env_vars::CODEBUILD_BUILD_ARN, arn.to_string()),
            (env_vars::CODEBUILD_BUILD_NUMBER, number.to_string()),
            (env_vars::CODEBUILD_BUILD_SUCCEEDING, "1".to_owned()),
            (env_vars::CODEBUILD_START_TIME, started.to_string()),
        ];
        if let Some(pull_request) = self.lane.pull_request {
            variables.extend([
                (env_vars::PIPELINE, "1".to_owned()),
                (env_vars::REVIEW_APP_STATUS, "created".to_owned()),
                (env_vars::CODEBUILD_SOURCE_VERSION, pull_request.source_version()),
            ]);
        }
        variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn outcome(&self, number: BuildNumber, build: Option<&Build>) -> Outcome {
        let failed = |phase: String, cause: String| Outcome {
            build: number.0,
            phase: Some(phase),
            cause: Some(cause),
            ..Outcome::default()
        };
        match build.and_then(|build| build.ending.clone()) {
            Some(Ending::Deployed) => Outcome { build: number.0, url: Some(self.url.clone()), ..Outcome::default() },
            Some(Ending::Failed { phase, cause }) => failed(phase.to_string(), cause),
            Some(Ending::Superseded { by }) => failed("finalize".to_owned(), format!("build {by} took its place")),
            Some(Ending::Skipped { reason }) => {
                failed("build".to_owned(), format!("there was nothing to build: {reason}"))
            }
            None => failed("build".to_owned(), "its lane does not know it".to_owned()),
        }
    }
}

/// A text that no other build has.
fn unique() -> String {
    format!("{:016x}", fastrand::u64(..))
}
