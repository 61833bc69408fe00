//! Lanes, builds and their items, as samples.

use std::collections::BTreeMap;

use packhorse::domain::lane::{
    Build, BuildRecord, DeployStatus, Ending, Lane, LaneKey, Outputs, Phase, PhaseRecord, PhaseState, ProcessRecord,
    Sizes,
};
use packhorse::domain::names::{BuildArn, BuildNumber, EpochSeconds};

/// A standard app with a name that no other test has.
pub(crate) fn some_app() -> LaneKey {
    LaneKey::app(random_name("shop").parse().unwrap())
}

/// A review app of a pipeline with a name that no other test has.
pub(crate) fn some_review_app() -> LaneKey {
    LaneKey { app: random_name("storefront").parse().unwrap(), pull_request: Some("123".parse().unwrap()) }
}

/// A word followed by letters and digits that no other test has.
pub(crate) fn random_name(word: &str) -> String {
    format!("{word}-{:012x}", fastrand::u64(..) >> 16)
}

pub(crate) fn build_arn(key: &LaneKey, number: u64) -> BuildArn {
    format!("arn:aws:codebuild:us-east-1:111122223333:build/{}:6b0e7c1a-{number}", key.app).parse().unwrap()
}

/// A lane in which this build has begun.
pub(crate) fn lane_with(key: &LaneKey, number: u64) -> Lane {
    let build = Build {
        number: BuildNumber(number),
        arn: build_arn(key, number),
        commit: "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432".to_owned(),
        started: EpochSeconds(1_767_225_600),
        runner_reports: true,
        outputs: Outputs::default(),
        phases: BTreeMap::from([(Phase::Build, started_build(key, number))]),
        plan: None,
        task: None,
        sizes: Sizes::new(),
        ending: None,
        settled: false,
    };
    let mut lane = Lane::new(key.clone());
    lane.builds.insert(build.number, build.into());
    lane
}

/// The same lane after its build has ended and nothing is left to do.
pub(crate) fn lane_at_rest(key: &LaneKey, number: u64) -> Lane {
    let mut lane = lane_with(key, number);
    if let Some(build) = lane.build_mut(BuildNumber(number)) {
        build.ending = Some(Ending::Failed { phase: Phase::Build, cause: "exit code 1".to_owned() });
        build.settled = true;
    }
    lane
}

fn started_build(key: &LaneKey, number: u64) -> PhaseRecord {
    PhaseRecord {
        state: PhaseState::Started,
        start: EpochSeconds(1_767_225_600),
        end: None,
        arns: vec![build_arn(key, number).to_string()],
        logs: format!("cloudwatch:///aws/codebuild/{}#6b0e7c1a-{number}", key.app),
    }
}

/// The item of a build that has just begun; its commit is not known yet.
pub(crate) fn begun(key: &LaneKey, number: u64) -> BuildRecord {
    BuildRecord {
        app: key.app.to_string(),
        build_number: BuildNumber(number),
        pr_number: key.pull_request.map(|pr| pr.to_string()).unwrap_or_default(),
        commit: String::new(),
        phases: BTreeMap::from([(Phase::Build, started_build(key, number))]),
        ending: None,
    }
}

/// The item of a build that has gone through every phase of a standard app.
pub(crate) fn deployed(key: &LaneKey, number: u64) -> BuildRecord {
    let done = |at: u64, arn: &str, logs: &str| PhaseRecord {
        state: PhaseState::Succeeded,
        start: EpochSeconds(1_767_225_600 + at),
        end: Some(EpochSeconds(1_767_225_610 + at)),
        arns: if arn.is_empty() { Vec::new() } else { vec![arn.to_owned()] },
        logs: if logs.is_empty() { String::new() } else { format!("s3://shop-artifacts/{number}/{logs}") },
    };
    let build = build_arn(key, number).to_string();
    let task = "arn:aws:ecs:us-east-1:111122223333:task/prod/aaaa1111";
    let service = "arn:aws:ecs:us-east-1:111122223333:service/prod/shop-web";
    BuildRecord {
        commit: "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432".to_owned(),
        phases: BTreeMap::from([
            (Phase::Build, done(0, &build, "build.log")),
            (Phase::Test, done(10, &build, "test.log")),
            (Phase::Finalize, done(20, "", "")),
            (Phase::Release, done(30, task, "release.log")),
            (Phase::Deploy, done(40, service, "")),
        ]),
        ending: Some(Ending::Deployed),
        ..begun(key, number)
    }
}

/// The item of a deploy with two processes.
pub(crate) fn deploy(key: &LaneKey, number: u64) -> DeployStatus {
    let process = |name: &str, command: &str| ProcessRecord {
        name: name.to_owned(),
        command: command.to_owned(),
        cpu: "512".to_owned(),
        memory: "1024".to_owned(),
        min_processes: 2,
        max_processes: 4,
        state: "running".to_owned(),
    };
    DeployStatus {
        phase: Phase::Deploy,
        processes: vec![process("web", "gunicorn shop.wsgi"), process("worker", "celery worker")],
        build_arn: build_arn(key, number),
        build_number: BuildNumber(number),
        commit: "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432".to_owned(),
        last_update: EpochSeconds(1_767_225_900),
        failed: false,
    }
}
