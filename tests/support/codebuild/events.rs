//! The events of a build as EventBridge carries them ("Build notifications input format reference").

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{ACCOUNT, Build, PhaseResult, REGION, uuid};

pub(super) fn all(build: &Build) -> Vec<Value> {
    let mut events = vec![submitted(build)];
    let ended = build.phases.iter().enumerate().filter(|(_, phase)| phase.status.is_some());
    events.extend(ended.map(|(index, phase)| phase_changed(build, index, phase)));
    events.push(ended_event(build));
    events
}

fn submitted(build: &Build) -> Value {
    let mut detail = state_detail(build, "IN_PROGRESS", "SUBMITTED", "[]");
    detail.insert("additional-information".to_owned(), Value::Object(information(build, None)));
    envelope(build, "CodeBuild Build State Change", build.started, detail)
}

fn ended_event(build: &Build) -> Value {
    let mut detail = state_detail(build, build.status, "COMPLETED", "[: ]");
    let mut information = information(build, Some(build.phases.len()));
    information.insert("build-complete".to_owned(), json!(true));
    detail.insert("additional-information".to_owned(), Value::Object(information));
    envelope(build, "CodeBuild Build State Change", build.phases[build.phases.len() - 1].end, detail)
}

fn phase_changed(build: &Build, index: usize, phase: &PhaseResult) -> Value {
    let mut detail = Map::new();
    let context = if phase.context.is_empty() { "[]".to_owned() } else { format!("[{}]", phase.context) };
    detail.insert("completed-phase".to_owned(), json!(phase.name));
    detail.insert("completed-phase-status".to_owned(), json!(phase.status));
    detail.insert("completed-phase-context".to_owned(), json!(context));
    detail.insert("completed-phase-duration-seconds".to_owned(), json!(seconds(phase)));
    detail.insert("completed-phase-start".to_owned(), json!(time(phase.start)));
    detail.insert("completed-phase-end".to_owned(), json!(time(phase.end)));
    detail.insert("project-name".to_owned(), json!(build.project.name));
    detail.insert("build-id".to_owned(), json!(build.arn));
    detail.insert("version".to_owned(), json!("1"));
    // The phase that has just begun stands behind the one that ended.
    let known = (index + 2).min(build.phases.len());
    let mut information = information(build, Some(known));
    if let Some(begun) = information.get_mut("phases").and_then(Value::as_array_mut).and_then(|list| list.last_mut())
        && known == index + 2
    {
        *begun = json!({ "phase-type": begun["phase-type"], "start-time": begun["start-time"] });
    }
    detail.insert("additional-information".to_owned(), Value::Object(information));
    envelope(build, "CodeBuild Build Phase Change", phase.start, detail)
}

fn state_detail(build: &Build, status: &str, phase: &str, context: &str) -> Map<String, Value> {
    let mut detail = Map::new();
    detail.insert("build-status".to_owned(), json!(status));
    detail.insert("project-name".to_owned(), json!(build.project.name));
    detail.insert("build-id".to_owned(), json!(build.arn));
    detail.insert("current-phase".to_owned(), json!(phase));
    detail.insert("current-phase-context".to_owned(), json!(context));
    detail.insert("version".to_owned(), json!("1"));
    detail
}

/// `additional-information`, with the first `phases` phases; none of them, nor number and log, in the first event.
fn information(build: &Build, phases: Option<usize>) -> Map<String, Value> {
    let console = "https://console.aws.amazon.com/cloudwatch/home";
    let group = format!("/aws/codebuild/{}", build.project.name);
    let stream = build.id.split(':').nth(1).unwrap_or_default();
    let variables: Vec<Value> = build
        .variables
        .iter()
        .map(|variable| match &variable.parameter {
            Some(parameter) => json!({ "name": variable.name, "type": "PARAMETER_STORE", "value": parameter }),
            None => json!({ "name": variable.name, "type": "PLAINTEXT", "value": variable.value }),
        })
        .collect();
    let information = json!({
        "cache": { "type": "LOCAL" },
        "timeout-in-minutes": 60.0,
        "build-complete": false,
        "initiator": "GitHub-Hookshot/5f1a2c7",
        "build-start-time": time(build.started),
        "source": {
            "report-build-status": true,
            "buildspec": build.project.buildspec,
            "location": format!("https://github.com/example-org/{}.git", build.project.name),
            "git-clone-depth": 1.0,
            "type": "GITHUB",
        },
        "artifact": { "location": format!("arn:aws:s3:::{}/{}", build.project.bucket, build.number) },
        "environment": {
            "image": "packhorse/codebuild:1",
            "privileged-mode": true,
            "image-pull-credentials-type": "SERVICE_ROLE",
            "compute-type": "BUILD_GENERAL1_SMALL",
            "type": "LINUX_CONTAINER",
            "environment-variables": variables,
        },
        "logs": { "deep-link": format!("{console}?region={REGION}#logEvent:group=null;stream=null") },
        "queued-timeout-in-minutes": 480.0,
    });
    let Value::Object(mut information) = information else { unreachable!("it is an object") };
    if let Some(version) = &build.source_version {
        information.insert("source-version".to_owned(), json!(version));
    }
    if let Some(known) = phases {
        #[expect(clippy::cast_precision_loss, reason = "build numbers are small")]
        information.insert("build-number".to_owned(), json!(build.number as f64));
        let logs = json!({
            "group-name": group,
            "stream-name": stream,
            "deep-link": format!("{console}?region={REGION}#logEvent:group={group};stream={stream}"),
        });
        information.insert("logs".to_owned(), logs);
        let phases = build.phases.iter().take(known).map(phase_entry).collect();
        information.insert("phases".to_owned(), Value::Array(phases));
    }
    information
}

fn phase_entry(phase: &PhaseResult) -> Value {
    let Some(status) = phase.status else {
        return json!({ "start-time": time(phase.start), "phase-type": phase.name });
    };
    let context: Vec<&str> = Some(phase.context.as_str()).filter(|text| !text.is_empty()).into_iter().collect();
    json!({
        "phase-context": context,
        "start-time": time(phase.start),
        "end-time": time(phase.end),
        "duration-in-seconds": seconds(phase),
        "phase-type": phase.name,
        "phase-status": status,
    })
}

fn envelope(build: &Build, detail_type: &str, at: Timestamp, detail: Map<String, Value>) -> Value {
    json!({
        "version": "0",
        "id": uuid(),
        "detail-type": detail_type,
        "source": "aws.codebuild",
        "account": ACCOUNT,
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "region": REGION,
        "resources": [build.arn],
        "detail": Value::Object(detail),
    })
}

/// A build as `BatchGetBuilds` tells of it.
pub(super) fn described(build: &Build) -> Value {
    let at = |time: Timestamp| json!(time.as_second());
    let phases: Vec<Value> = build
        .phases
        .iter()
        .map(|phase| {
            let (code, message) = phase.context.split_once(": ").unwrap_or_default();
            json!({
                "phaseType": phase.name,
                "phaseStatus": phase.status,
                "startTime": at(phase.start),
                "endTime": at(phase.end),
                "contexts": [{ "statusCode": code, "message": message }],
            })
        })
        .collect();
    json!({
        "id": build.id,
        "arn": build.arn,
        "buildNumber": build.number,
        "projectName": build.project.name,
        "buildStatus": build.status,
        "buildComplete": true,
        "currentPhase": "COMPLETED",
        "startTime": at(build.started),
        "sourceVersion": build.source_version,
        "resolvedSourceVersion": build.commit,
        "phases": phases,
        "logs": {
            "groupName": format!("/aws/codebuild/{}", build.project.name),
            "streamName": build.id.split(':').nth(1),
        },
    })
}

/// CodeBuild's own format: `Mar 14, 2026 12:30:40 PM`.
fn time(at: Timestamp) -> String {
    at.strftime("%b %-d, %Y %-I:%M:%S %p").to_string()
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a build")]
fn seconds(phase: &PhaseResult) -> f64 {
    (phase.end.as_second() - phase.start.as_second()) as f64
}
