//! One build on this machine, from its folder to a running release.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::handover::Outcome;
use super::local_builds::{LocalBuilds, local_arn};
use crate::domain::lane::{Build, BuildResult, Ending, Event, Lane, LaneKey};
use crate::domain::names::{BuildArn, BuildNumber};
use crate::env_vars;
use crate::orchestrator::Orchestrator;
use crate::ports::failure::Failure;
use crate::runner::{self, RunnerContext, StepEnd};

/// The files that a buildspec lists as artifacts, besides the config file.
const ARTIFACTS: [&str; 3] = ["build.log", "test.log", "commit.txt"];
/// How often to ask how tasks and services are doing.
const BETWEEN: Duration = Duration::from_millis(200);

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
        let result = self.run_steps(number, &arn).await?;
        self.builds.end(&arn, result.clone());
        self.orchestrator.handle(&self.lane, &[Event::BuildEnded { number, result }]).await?;
        let lane = self.orchestrator.follow(&self.lane, BETWEEN, |_| {}).await?;
        Ok(self.outcome(number, lane.as_ref().and_then(|lane| lane.builds.get(&number))))
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
    async fn run_steps(&self, number: BuildNumber, arn: &BuildArn) -> Result<BuildResult, Failure> {
        let mut cx = self.runner.clone();
        cx.settings.outputs = self.builds_folder.join(number.to_string());
        std::fs::create_dir_all(&cx.settings.outputs)
            .map_err(|error| Failure::refused(format!("make {}", cx.settings.outputs.display()), error))?;
        cx.settings.variables.extend(self.variables(number, arn));

        let mut result = BuildResult::Succeeded;
        let ends = [runner::prebuild(&cx).await, runner::build(&cx).await, runner::postbuild(&cx).await];
        for end in ends {
            if let (StepEnd::Failed { cause }, BuildResult::Succeeded) = (end, &result) {
                result = BuildResult::Failed { phase: None, cause };
            }
        }
        let config = cx.settings.namespace.config_file();
        for name in ARTIFACTS.into_iter().chain([config.as_str()]) {
            match std::fs::read(cx.settings.outputs.join(name)) {
                Ok(content) => {
                    self.orchestrator.artifacts.put(&format!("{number}/{name}"), Bytes::from(content)).await?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Failure::refused(format!("read the artifact `{name}`"), error)),
            }
        }
        Ok(result)
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
            url: None,
            phase: Some(phase),
            cause: Some(cause),
        };
        match build.and_then(|build| build.ending.clone()) {
            Some(Ending::Deployed) => {
                Outcome { build: number.0, url: Some(self.url.clone()), phase: None, cause: None }
            }
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
