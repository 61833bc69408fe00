//! Reads EventBridge events into what they mean for a lane.
//!
//! AWS may add properties and words at any time, so unknown ones pass. Sources: "Build notifications input format
//! reference" (CodeBuild User Guide).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use serde_json::Value;

use super::lane::{BuildResult, Event, LaneKey, Outputs, Phase, PhaseChange};
use super::names::{BuildArn, BuildNumber, EpochSeconds, PullRequest};
use crate::env_vars;

/// An event, addressed to its lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// The lane it is about.
    pub lane: LaneKey,
    /// What it says, in the order in which it happened.
    pub events: Vec<Event>,
}

/// Why an event says nothing to a lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is not an EventBridge event.
    #[error("this is not an EventBridge event: {0}")]
    NotAnEvent(String),
    /// It is of a kind that packhorse does not use.
    #[error("events of `{source_name}` with detail-type `{detail_type}` are not used")]
    Unused {
        /// The `source`.
        source_name: String,
        /// The `detail-type`.
        detail_type: String,
    },
    /// A value that is needed is missing or wrong.
    #[error("the event's `{path}` is {problem}")]
    Field {
        /// Where.
        path: &'static str,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Envelope {
    source: String,
    detail_type: String,
    detail: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct BuildDetail {
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

/// Reads one event, from an EventBridge envelope.
///
/// # Errors
/// Says what is wrong with one that cannot be used; it is never a reason to stop.
pub fn read(text: &str) -> Result<Addressed, EventError> {
    let envelope: Envelope = serde_json::from_str(text).map_err(|error| EventError::NotAnEvent(error.to_string()))?;
    match (envelope.source.as_str(), envelope.detail_type.as_str()) {
        ("aws.codebuild", "CodeBuild Build State Change" | "CodeBuild Build Phase Change") => {
            codebuild(&serde_json::from_value(envelope.detail).map_err(|error| field("detail", error))?)
        }
        (PhaseChange::SOURCE, PhaseChange::DETAIL_TYPE) => {
            let change: PhaseChange =
                serde_json::from_value(envelope.detail).map_err(|error| field("detail", error))?;
            Ok(Addressed { lane: change.lane(), events: vec![Event::Tick] })
        }
        _ => Err(EventError::Unused { source_name: envelope.source, detail_type: envelope.detail_type }),
    }
}

fn codebuild(detail: &BuildDetail) -> Result<Addressed, EventError> {
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
    Ok(Addressed { lane: lane(detail)?, events })
}

fn phase_ended(number: BuildNumber, phase: &str, detail: &BuildDetail) -> Option<Event> {
    let succeeded = detail.completed_phase_status.as_deref() == Some("SUCCEEDED");
    let cause = || {
        let context =
            detail.completed_phase_context.as_deref().and_then(|text| plain_context(text.trim_matches(['[', ']'])));
        context.unwrap_or_else(|| format!("CodeBuild's {phase} phase failed"))
    };
    match (our_phase(phase)?, succeeded) {
        (Phase::Build, true) => (phase == "BUILD").then_some(Event::ImageBuilt { number }),
        (Phase::Build | Phase::Test, false) => {
            let phase = our_phase(phase)?;
            Some(Event::BuildFailed { number, phase, cause: cause() })
        }
        // POST_BUILD runs and may succeed after a BUILD that failed.
        (Phase::Test, true) => {
            let built = |phase: &BuildPhase| phase.name == "BUILD" && phase.status.as_deref() == Some("SUCCEEDED");
            let tested = detail.additional_information.phases.iter().any(built);
            tested.then_some(Event::TestsPassed { number, by_runner: false })
        }
        _ => None,
    }
}

fn build_ended(number: BuildNumber, status: &str, information: &BuildInformation) -> Option<Event> {
    let result = match status {
        "IN_PROGRESS" => return None,
        "SUCCEEDED" => BuildResult::Succeeded,
        _ => failure(status, &information.phases),
    };
    Some(Event::BuildEnded { number, result })
}

/// Finds out why a build failed: the terminal event itself does not say, its first failed phase does.
pub(crate) fn failure(status: &str, phases: &[BuildPhase]) -> BuildResult {
    let failed = phases.iter().find(|phase| phase.status.as_deref().is_some_and(|status| status != "SUCCEEDED"));
    let context = failed.and_then(|phase| phase.context.iter().flatten().find_map(|text| plain_context(text)));
    let name = failed.map_or("a", |phase| phase.name.as_str());
    let cause = match status {
        "STOPPED" => "the build was stopped".to_owned(),
        "TIMED_OUT" => "the build took longer than its CodeBuild project allows".to_owned(),
        _ => context.unwrap_or_else(|| format!("CodeBuild's {name} phase failed")),
    };
    BuildResult::Failed { phase: failed.and_then(|phase| our_phase(&phase.name)), cause }
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
    given.or_else(folder).ok_or_else(|| field("detail.additional-information.build-number", "missing"))
}

fn lane(detail: &BuildDetail) -> Result<LaneKey, EventError> {
    let information = &detail.additional_information;
    let variable = |name: &str| variable(information, name);
    let name = variable(env_vars::APPNAME).filter(|name| !name.is_empty()).unwrap_or(&detail.project_name);
    let app = name.parse().map_err(|error| field("detail.project-name", error))?;
    if variable(env_vars::PIPELINE) != Some("1") {
        return Ok(LaneKey::app(app));
    }
    let version = information.source_version.as_deref().unwrap_or_default();
    let pull_request = PullRequest::from_source_version(version)
        .map_err(|error| field("detail.additional-information.source-version", error))?;
    Ok(LaneKey { app, pull_request: Some(pull_request) })
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

fn field(path: &'static str, problem: impl std::fmt::Display) -> EventError {
    EventError::Field { path, problem: problem.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str) -> Addressed {
        let path = format!("{}/tests/fixtures/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
        read(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn the_first_event_of_a_build_has_no_number_of_its_own() {
        let first = sample("codebuild-state-in-progress");
        assert_eq!(first.lane.to_string(), "demo-python");
        let [Event::BuildStarted { number, started, logs, outputs, .. }] = &first.events[..] else {
            panic!("{first:?}")
        };
        assert_eq!(outputs.bucket, "apppack-demo-python-artifacts-111122223333");
        assert!(outputs.repository.ends_with("/demo-python"), "{outputs:?}");
        assert_eq!(*number, BuildNumber(42));
        assert_eq!(*started, EpochSeconds(1_773_482_405));
        assert_eq!(logs, "cloudwatch:///aws/codebuild/demo-python#3f6c1d2e-8b74-4c51-9a0d-6e2f7b9c4d10");
    }

    #[test]
    fn a_failed_build_names_its_first_failed_phase_and_the_reason() {
        let failed = sample("codebuild-state-failed");
        let Some(Event::BuildEnded { result: BuildResult::Failed { phase, cause }, .. }) = failed.events.last() else {
            panic!("{failed:?}")
        };
        assert_eq!(*phase, Some(Phase::Build));
        assert!(cause.contains("exit status"), "{cause}");
    }

    #[test]
    fn a_pull_request_belongs_to_its_review_apps_lane() {
        assert_eq!(sample("codebuild-state-succeeded-pull-request").lane.pull_request, Some("12".parse().unwrap()));
    }

    #[test]
    fn our_own_event_is_only_a_hint() {
        assert_eq!(sample("packhorse-phase-change").events, [Event::Tick]);
    }

    #[test]
    fn newer_date_formatters_are_understood() {
        assert_eq!(read_time("Mar 4, 2026 1:00:05\u{202f}PM"), read_time("Mar 4, 2026 1:00:05 PM"));
        assert!(read_time("Mar 4, 2026 1:00:05 PM").is_some());
        assert_eq!(read_time("yesterday"), None);
    }

    #[test]
    fn an_event_of_another_kind_is_named() {
        let text = r#"{"source":"aws.ecr","detail-type":"ECR Image Action","detail":{}}"#;
        assert_eq!(
            read(text).unwrap_err().to_string(),
            "events of `aws.ecr` with detail-type `ECR Image Action` are not used"
        );
        assert!(matches!(read("{}"), Err(EventError::NotAnEvent(_))));
    }
}
