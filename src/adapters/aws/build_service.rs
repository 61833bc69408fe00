//! Builds of CodeBuild.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_codebuild::Client;
use aws_sdk_codebuild::operation::list_builds_for_project::ListBuildsForProjectError;
use aws_sdk_codebuild::operation::stop_build::StopBuildError;
use aws_sdk_codebuild::types::{
    Build, BuildPhaseType, EnvironmentVariableType, ProjectEnvironment, SortOrderType, StatusType,
};
use tracing::warn;

use super::clients::Clients;
use super::failure::sort;
use crate::domain::aws_event::{BuildPhase, bucket, failure, lane_of_build, log_location};
use crate::domain::lane::{BuildResult, LaneKey, Outputs};
use crate::domain::names::{AppName, BuildArn, BuildNumber, EpochSeconds};
use crate::env_vars;
use crate::ports::build_service::{BuildFacts, BuildService};
use crate::ports::failure::Failure;

/// Asks and stops the builds of this account and region.
#[derive(Debug, Clone)]
pub struct CodeBuild {
    client: Client,
}

/// The most builds of one request (API reference of `BatchGetBuilds`).
const BUILDS: usize = 100;
/// Builds of a project that are looked at when one may have gone unheard.
const NEWEST: usize = 20;

impl CodeBuild {
    /// Uses these clients.
    pub fn new(clients: &Clients) -> Self {
        Self { client: clients.codebuild() }
    }

    /// Starts a build of a project, of this branch, tag, commit or `pr/7` where it is not the project's own; returns its
    /// number.
    ///
    /// # Errors
    /// [`Failure::NotFound`] where there is no such project.
    pub async fn start(&self, project: &str, version: Option<String>) -> Result<BuildNumber, Failure> {
        let doing = format!("start a build of the project {project}");
        let answer = self.client.start_build().project_name(project).set_source_version(version).send().await;
        let build = answer.map_err(|error| sort(&doing, error))?.build_value;
        let number = build.and_then(|build| build.build_number).and_then(|number| u64::try_from(number).ok());
        number.map(BuildNumber).ok_or_else(|| Failure::refused(doing, "the answer has no build number"))
    }
}

#[async_trait]
impl BuildService for CodeBuild {
    async fn builds(&self, arns: &[BuildArn]) -> Result<Vec<BuildFacts>, Failure> {
        let mut found = HashMap::new();
        for chunk in arns.chunks(BUILDS) {
            let ids = chunk.iter().map(|arn| arn.build_id().to_owned()).collect();
            let answer = self.client.batch_get_builds().set_ids(Some(ids)).send().await;
            let answer = answer.map_err(|error| sort("look at builds", error))?;
            for build in answer.builds.unwrap_or_default() {
                if let Some(facts) = facts(&build) {
                    found.insert(facts.arn.clone(), facts);
                } else {
                    warn!(build.arn = build.arn(), "CodeBuild describes a build without its number or start");
                }
            }
        }
        // In the order asked for, whatever the order of the answer.
        Ok(arns.iter().filter_map(|arn| found.remove(arn)).collect())
    }

    async fn newest(&self, project: &AppName) -> Result<Vec<(LaneKey, BuildFacts)>, Failure> {
        let listed = self.client.list_builds_for_project().project_name(project.as_str());
        let listed = match listed.sort_order(SortOrderType::Descending).send().await {
            Ok(listed) => listed,
            Err(error)
                if error.as_service_error().is_some_and(ListBuildsForProjectError::is_resource_not_found_exception) =>
            {
                return Ok(Vec::new());
            }
            Err(error) => return Err(sort(format!("list the builds of {project}"), error)),
        };
        let mut ids = listed.ids.unwrap_or_default();
        ids.truncate(NEWEST);
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let answer = self.client.batch_get_builds().set_ids(Some(ids)).send().await;
        let builds = answer.map_err(|error| sort("look at builds", error))?.builds.unwrap_or_default();
        let mut newest: Vec<_> = builds.iter().filter_map(|build| Some((lane(build)?, facts(build)?))).collect();
        newest.sort_by_key(|(_, facts)| std::cmp::Reverse(facts.number));
        Ok(newest)
    }

    async fn stop(&self, arn: &BuildArn) -> Result<(), Failure> {
        match self.client.stop_build().id(arn.build_id()).send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(StopBuildError::is_resource_not_found_exception) => {
                Ok(())
            }
            Err(error) => {
                // A build that ended in between is refused with a code that also stands for other mistakes.
                let refusal = sort(format!("stop the build {}", arn.build_id()), error);
                let ended = matches!(refusal, Failure::Refused { .. })
                    && self.builds(std::slice::from_ref(arn)).await?.iter().any(|build| build.result.is_some());
                if ended { Ok(()) } else { Err(refusal) }
            }
        }
    }
}

/// Converts what CodeBuild says of a build.
fn facts(build: &Build) -> Option<BuildFacts> {
    let arn: BuildArn = build.arn()?.parse().ok()?;
    let number = BuildNumber(u64::try_from(build.build_number?).ok().filter(|number| *number > 0)?);
    let started = u64::try_from(build.start_time?.secs()).ok()?;
    let succeeded = |kind: &BuildPhaseType| {
        let phase = build.phases().iter().find(|phase| phase.phase_type.as_ref() == Some(kind));
        phase.is_some_and(|phase| phase.phase_status == Some(StatusType::Succeeded))
    };
    let image_built = succeeded(&BuildPhaseType::Build);
    let logs = build.logs();
    let (group, stream) = (logs.and_then(|logs| logs.group_name()), logs.and_then(|logs| logs.stream_name()));
    Some(BuildFacts {
        number,
        started: EpochSeconds(started),
        commit: build.resolved_source_version().unwrap_or_default().to_owned(),
        logs: log_location(group, stream, build.project_name().unwrap_or_default(), &arn),
        outputs: outputs(build),
        image_built,
        tests_passed: image_built && succeeded(&BuildPhaseType::PostBuild),
        result: result(build),
        arn,
    })
}

/// Where a build leaves its results, as its project says.
fn outputs(build: &Build) -> Outputs {
    let repository = variable(build, env_vars::DOCKER_REPO).map(str::to_owned);
    let bucket = build.artifacts().and_then(|artifacts| artifacts.location()).and_then(bucket);
    Outputs { bucket: bucket.unwrap_or_default(), repository: repository.unwrap_or_default() }
}

/// The lane of a build, if its project is an app's.
fn lane(build: &Build) -> Option<LaneKey> {
    let variable = |name| variable(build, name);
    let (app, pipeline) = (variable(env_vars::APPNAME), variable(env_vars::PIPELINE));
    lane_of_build(build.project_name()?, app, pipeline, build.source_version()).ok()
}

/// A variable of the project whose value stands in the build itself.
fn variable<'b>(build: &'b Build, name: &str) -> Option<&'b str> {
    let plain = |kind: Option<&EnvironmentVariableType>| kind.is_none_or(|k| *k == EnvironmentVariableType::Plaintext);
    let variables = build.environment().map(ProjectEnvironment::environment_variables).unwrap_or_default();
    let found = variables.iter().find(|variable| variable.name == name && plain(variable.r#type.as_ref()));
    found.map(|variable| variable.value.as_str())
}

fn result(build: &Build) -> Option<BuildResult> {
    match build.build_status.as_ref()? {
        StatusType::InProgress => None,
        StatusType::Succeeded => Some(BuildResult::Succeeded),
        status => {
            let phases: Vec<BuildPhase> = build
                .phases()
                .iter()
                .map(|phase| BuildPhase {
                    name: phase.phase_type.as_ref().map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
                    status: phase.phase_status.as_ref().map(|status| status.as_str().to_owned()),
                    context: phase.contexts().iter().map(|context| context.message.clone()).collect(),
                })
                .collect();
            Some(failure(status.as_str(), &phases))
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_codebuild::primitives::DateTime;
    use aws_sdk_codebuild::types::{BuildPhase as CodeBuildPhase, PhaseContext};

    use super::*;
    use crate::domain::lane::Phase;

    fn phase(kind: BuildPhaseType, status: Option<StatusType>, context: &str) -> CodeBuildPhase {
        CodeBuildPhase::builder()
            .phase_type(kind)
            .set_phase_status(status)
            .contexts(PhaseContext::builder().status_code("").message(context).build())
            .build()
    }

    fn build(status: StatusType, phases: Vec<CodeBuildPhase>) -> Build {
        Build::builder()
            .arn("arn:aws:codebuild:us-east-1:111122223333:build/shop:6b0e7c1a")
            .build_number(42)
            .start_time(DateTime::from_secs(1_767_225_600))
            .project_name("shop")
            .build_status(status)
            .set_phases(Some(phases))
            .build()
    }

    #[test]
    fn a_failure_is_explained_by_its_first_failed_phase() {
        let told = facts(&build(
            StatusType::Failed,
            vec![
                phase(BuildPhaseType::PreBuild, Some(StatusType::Succeeded), ""),
                phase(BuildPhaseType::Build, Some(StatusType::Failed), "exit status 1 while executing `pack`"),
                phase(BuildPhaseType::PostBuild, Some(StatusType::Succeeded), ""),
                phase(BuildPhaseType::Finalizing, Some(StatusType::Failed), "later"),
            ],
        ))
        .unwrap();
        let cause = "exit status 1 while executing `pack`".to_owned();
        assert_eq!(told.result, Some(BuildResult::Failed { phase: Some(Phase::Build), cause }));
        assert!(!told.image_built && !told.tests_passed, "tests that ran without an image prove nothing");
        assert_eq!(told.logs, "cloudwatch:///aws/codebuild/shop#6b0e7c1a");
    }

    #[test]
    fn a_running_build_has_no_result() {
        let told = facts(&build(
            StatusType::InProgress,
            vec![
                phase(BuildPhaseType::Build, Some(StatusType::Succeeded), ": "),
                phase(BuildPhaseType::PostBuild, None, ""),
            ],
        ))
        .unwrap();
        assert_eq!((told.image_built, told.tests_passed, told.result), (true, false, None));
    }

    #[test]
    fn a_build_without_its_number_is_left_out() {
        let mut nameless = build(StatusType::InProgress, Vec::new());
        nameless.build_number = None;
        assert_eq!(facts(&nameless), None);
    }
}
