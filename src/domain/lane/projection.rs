//! What clients see of a lane: the items of the wire contract, made whole from its state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::phase::{Phase, PhaseRecord, PhaseState};
use super::release::Release;
use super::state::{Ending, Lane};
use crate::domain::formation::{ProcessScale, Size};
use crate::domain::names::{BuildArn, BuildNumber, EpochSeconds};

/// A build as clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRecord {
    /// The app or pipeline.
    pub app: String,
    /// The build's number.
    pub build_number: BuildNumber,
    /// The bare pull-request number, or empty.
    pub pr_number: String,
    /// The commit, or empty.
    pub commit: String,
    /// The phases that have begun.
    pub phases: BTreeMap<Phase, PhaseRecord>,
    /// How it ended, for people; no existing client reads it.
    pub ending: Option<Ending>,
}

/// The most recent deploy as clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployStatus {
    /// The phase that it reached.
    pub phase: Phase,
    /// The processes of the release that runs.
    pub processes: Vec<ProcessRecord>,
    /// The build that was deployed.
    pub build_arn: BuildArn,
    /// Its number.
    pub build_number: BuildNumber,
    /// Its commit.
    pub commit: String,
    /// When the deploy ended.
    pub last_update: EpochSeconds,
    /// Whether it failed; the processes are then those that still run.
    pub failed: bool,
}

/// One process of a deploy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// The process type.
    pub name: String,
    /// Its command line.
    pub command: String,
    /// ECS CPU units, as text.
    pub cpu: String,
    /// MiB, as text.
    pub memory: String,
    /// The fewest processes that run.
    pub min_processes: u64,
    /// The most processes that run.
    pub max_processes: u64,
    /// `running`.
    pub state: String,
}

/// Makes the item of a build; nothing when clients must not see it because it was skipped.
pub fn build_record(lane: &Lane, number: BuildNumber) -> Option<BuildRecord> {
    let build = lane.builds.get(&number)?;
    if matches!(build.ending, Some(Ending::Skipped { .. })) {
        return None;
    }
    Some(BuildRecord {
        app: lane.key.app.to_string(),
        build_number: number,
        pr_number: lane.key.pull_request.map(|pr| pr.to_string()).unwrap_or_default(),
        commit: build.commit.clone(),
        phases: build.phases.clone(),
        ending: build.ending.clone(),
    })
}

/// Makes the item of the most recent deploy; nothing before the first.
pub fn deploy_status(lane: &Lane) -> Option<DeployStatus> {
    let sized = |live: &'_ Release| {
        let sizes = live.sizes.clone();
        let services = live.plan.services.clone().into_iter();
        let one = ProcessScale { size: Size::default(), min: 1, max: 1 };
        services.map(move |(process, service)| (sizes.get(&process).copied().unwrap_or(one), process, service))
    };
    let processes = lane.live.iter().flat_map(sized).map(|(scale, process, service)| ProcessRecord {
        name: process.to_string(),
        command: service.command,
        cpu: scale.size.cpu.to_string(),
        memory: scale.size.memory.to_string(),
        min_processes: scale.min.into(),
        max_processes: scale.max.into(),
        state: "running".to_owned(),
    });
    let failed = lane.failed_deploy.and_then(|number| lane.builds.get(&number));
    match (failed, &lane.live) {
        (Some(build), _) => Some(DeployStatus {
            phase: Phase::Deploy,
            processes: processes.collect(),
            build_arn: build.arn.clone(),
            build_number: build.number,
            commit: build.commit.clone(),
            last_update: build.phases.get(&Phase::Deploy).and_then(|record| record.end).unwrap_or(build.started),
            failed: true,
        }),
        (None, Some(live)) => Some(DeployStatus {
            phase: Phase::Deploy,
            processes: processes.collect(),
            build_arn: live.arn.clone(),
            build_number: live.build,
            commit: live.commit.clone(),
            last_update: live.at,
            failed: false,
        }),
        (None, None) => None,
    }
}

impl PhaseRecord {
    /// Makes the record of a phase that begins now.
    pub(super) fn started(start: EpochSeconds) -> Self {
        Self { state: PhaseState::Started, start, end: None, arns: Vec::new(), logs: String::new() }
    }
}
