//! `CodeBuild Build State Change` and `CodeBuild Build Phase Change`.
//!
//! Source: "Build notifications input format reference" (CodeBuild User Guide).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::{Addressed, EventError, News, field, irrelevant};
use crate::domain::lane::{BuildResult, Event, LaneKey, Outputs, Phase};
use crate::domain::names::{BuildArn, BuildNumber, EpochSeconds, PullRequest};
use crate::env_vars;

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct BuildDetail {
    build_id: String,
    project_name: String,
    build_status: Option<String>,
    completed_phase: Option<String>,
    completed_phase_status: Option<String>,
    completed_phase_context: Option<String>,
    additional_information: BuildInformation,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct BuildInformation {
    build_number: Option<f64>,
    build_start_time: String,
    source_version: Option<String>,
    #[serde(default)]
    artifact: Artifact,
    #[serde(default)]
    environment: Environment,
    #[serde(default)]
    logs: Logs,
    #[serde(default)]
    phases: Vec<BuildPhase>,
}

#[derive(Default, Deserialize)]
struct Artifact {
    location: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Environment {
    #[serde(default)]
    environment_variables: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Logs {
    group_name: Option<String>,
    stream_name: Option<String>,
}

/// A phase of a CodeBuild build, as its events and its API describe it.
#[derive(Deserialize)]
pub(crate) struct BuildPhase {
    /// Its type, such as `PRE_BUILD`.
    #[serde(rename = "phase-type")]
    pub(crate) name: String,
    /// How it ended, once it has.
    #[serde(rename = "phase-status")]
    pub(crate) status: Option<String>,
    /// Why it ended so.
    #[serde(rename = "phase-context", default)]
    pub(crate) context: Vec<Option<String>>,
}

pub(super) fn read(detail: &BuildDetail) -> Result<News, EventError> {
    let information = &detail.additional_information;
    let arn: BuildArn = detail.build_id.parse().map_err(|error| field("detail.build-id", error))?;
    let number = build_number(information)?;
    let started = read_time(&information.build_start_time)
        .ok_or_else(|| field("detail.additional-information.build-start-time", "not a CodeBuild time"))?;
    let mut events = vec![Event::BuildStarted {
        number,
        logs: log_location(
            information.logs.group_name.as_deref(),
            information.logs.stream_name.as_deref(),
            &detail.project_name,
            &arn,
        ),
        arn,
        commit: String::new(),
        started,
        outputs: Outputs {
            bucket: information.artifact.location.as_deref().and_then(bucket).unwrap_or_default(),
            repository: variable(information, env_vars::DOCKER_REPO).unwrap_or_default().to_owned(),
        },
        by_runner: false,
    }];
    match (&detail.completed_phase, &detail.build_status) {
        (Some(phase), _) => events.extend(phase_ended(number, phase, detail)),
        (None, Some(status)) => events.extend(build_ended(number, status, information)),
        (None, None) => {}
    }
    Ok(Addressed::facts(lane(detail)?, events))
}

fn phase_ended(number: BuildNumber, phase: &str, detail: &BuildDetail) -> Option<Event> {
    let status = detail.completed_phase_status.as_deref()?;
    let cause = || {
        let context = detail.completed_phase_context.as_deref();
        let context = context.and_then(|text| plain_context(text.trim_matches(['[', ']'])));
        cause(status, context, phase)
    };
    match (our_phase(phase)?, status) {
        (Phase::Build, SUCCEEDED) => (phase == "BUILD").then_some(Event::ImageBuilt { number }),
        // POST_BUILD runs and may succeed after a BUILD that failed.
        (Phase::Test, SUCCEEDED) => {
            let built = |phase: &BuildPhase| phase.name == "BUILD" && phase.status.as_deref() == Some(SUCCEEDED);
            let tested = detail.additional_information.phases.iter().any(built);
            tested.then_some(Event::TestsPassed { number, by_runner: false })
        }
        (phase @ (Phase::Build | Phase::Test), "FAILED" | "FAULT" | "TIMED_OUT" | "STOPPED" | "CLIENT_ERROR") => {
            Some(Event::BuildFailed { number, phase, cause: cause() })
        }
        // A word that is new says nothing; the end of the build will.
        _ => None,
    }
}

fn build_ended(number: BuildNumber, status: &str, information: &BuildInformation) -> Option<Event> {
    let result = match status {
        SUCCEEDED => BuildResult::Succeeded,
        "FAILED" | "FAULT" | "TIMED_OUT" | "STOPPED" => failure(status, &information.phases),
        _ => return None,
    };
    Some(Event::BuildEnded { number, result })
}

/// Finds out why a build failed: the terminal event itself does not say, its first failed phase does.
pub(crate) fn failure(status: &str, phases: &[BuildPhase]) -> BuildResult {
    let failed = phases.iter().find(|phase| phase.status.as_deref().is_some_and(|status| status != SUCCEEDED));
    let context = failed.and_then(|phase| phase.context.iter().flatten().find_map(|text| plain_context(text)));
    let cause = cause(status, context, failed.map_or("a", |phase| phase.name.as_str()));
    BuildResult::Failed { phase: failed.and_then(|phase| our_phase(&phase.name)), cause }
}

const SUCCEEDED: &str = "SUCCEEDED";

/// Says in words why a build or one of its phases ended with this status.
fn cause(status: &str, context: Option<String>, phase: &str) -> String {
    match (status, context) {
        ("STOPPED", _) => "the build was stopped".to_owned(),
        ("TIMED_OUT", _) => "the build took longer than its CodeBuild project allows".to_owned(),
        ("FAULT", Some(context)) => format!("CodeBuild itself failed: {context}"),
        ("FAULT", None) => "CodeBuild itself failed; start the build again".to_owned(),
        (_, Some(context)) => context,
        (_, None) => format!("CodeBuild's {phase} phase failed"),
    }
}

/// The phase of ours that a CodeBuild phase belongs to.
fn our_phase(name: &str) -> Option<Phase> {
    match name {
        "SUBMITTED" | "QUEUED" | "PROVISIONING" | "DOWNLOAD_SOURCE" | "INSTALL" | "PRE_BUILD" | "BUILD" => {
            Some(Phase::Build)
        }
        "POST_BUILD" => Some(Phase::Test),
        "UPLOAD_ARTIFACTS" | "FINALIZING" => Some(Phase::Finalize),
        _ => None,
    }
}

/// A context without words, which CodeBuild writes as `: `, is none.
fn plain_context(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty() && text != ":").then(|| text.to_owned())
}

fn build_number(information: &BuildInformation) -> Result<BuildNumber, EventError> {
    // The first event of a build may lack its number; the artifacts' folder is named after it.
    let folder = || information.artifact.location.as_deref()?.rsplit('/').next()?.parse().ok();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a small whole number")]
    let given =
        information.build_number.filter(|number| (1.0..9e15).contains(number)).map(|n| BuildNumber(n.round() as u64));
    // Not every project of the region is an app's, and the number comes with later events.
    given.or_else(folder).ok_or_else(|| irrelevant("a build without a number", "cannot be told from others yet"))
}

fn lane(detail: &BuildDetail) -> Result<LaneKey, EventError> {
    let information = &detail.additional_information;
    let variable = |name: &str| variable(information, name);
    let version = information.source_version.as_deref();
    lane_of_build(&detail.project_name, variable(env_vars::APPNAME), variable(env_vars::PIPELINE), version)
}

/// Names the lane of a build: that of the app that its project says it builds, or of the pull request.
///
/// # Errors
/// The rules let builds of every project of a region through, and not every project is an app's.
pub(crate) fn lane_of_build(
    project: &str,
    app_name: Option<&str>,
    pipeline: Option<&str>,
    source_version: Option<&str>,
) -> Result<LaneKey, EventError> {
    let name = app_name.filter(|name| !name.is_empty()).unwrap_or(project);
    let app = name.parse().map_err(|_| irrelevant(format!("the project {name}"), "is no app's"))?;
    if pipeline != Some("1") {
        return Ok(LaneKey::app(app));
    }
    let pull_request = PullRequest::from_source_version(source_version.unwrap_or_default());
    let of = |_| irrelevant(format!("a build of the pipeline {app}"), "is not of a pull request");
    Ok(LaneKey { pull_request: Some(pull_request.map_err(of)?), app })
}

/// A variable of the project that stands in the event itself; the value of a parameter does not.
fn variable<'a>(information: &'a BuildInformation, name: &str) -> Option<&'a str> {
    let plain = |variable: &&Variable| variable.name == name && variable.kind.as_deref() == Some("PLAINTEXT");
    information.environment.environment_variables.iter().find(plain).and_then(|variable| variable.value.as_deref())
}

/// The bucket of artifacts that lie at `arn:aws:s3:::bucket/folder`.
pub(crate) fn bucket(location: &str) -> Option<String> {
    let bucket = location.rsplit(":::").next()?.split('/').next()?;
    (!bucket.is_empty()).then(|| bucket.to_owned())
}

/// Group and stream are missing before the build has a host; both can be told in advance.
pub(crate) fn log_location(group: Option<&str>, stream: Option<&str>, project: &str, arn: &BuildArn) -> String {
    let uuid = arn.build_id().rsplit(':').next().unwrap_or_default();
    let group = group.map_or_else(|| format!("/aws/codebuild/{project}"), str::to_owned);
    format!("cloudwatch://{group}#{}", stream.unwrap_or(uuid))
}

/// Reads `Mar 14, 2026 10:00:05 AM`, UTC. Newer date formatters put U+202F before AM and PM.
pub fn read_time(text: &str) -> Option<EpochSeconds> {
    let plain: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    let time = DateTime::strptime("%b %d, %Y %I:%M:%S %p", plain.trim()).ok()?;
    let second = time.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    u64::try_from(second).ok().map(EpochSeconds)
}
