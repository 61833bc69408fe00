//! Takes over an app that another orchestrator ran: makes a lane from what that one left in the account.

use std::collections::BTreeMap;

use super::lane::{BuildRecord, DeployStatus, Lane, LaneKey, Phase, PhaseState, Release, ReleasePlan, Service, Sizes};
use super::names::{BuildArn, BuildNumber, EpochSeconds, ProcessType};

/// A service that was found running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundService {
    /// Its ARN.
    pub arn: String,
    /// The image that it runs.
    pub image: String,
}

/// What another orchestrator left.
#[derive(Debug, Clone, Default)]
pub struct Left {
    /// The newest builds, the newest first.
    pub builds: Vec<BuildRecord>,
    /// The most recent deploy.
    pub status: Option<DeployStatus>,
    /// The services that run, by process type.
    pub services: BTreeMap<ProcessType, FoundService>,
}

/// Makes the lane of an app from what another orchestrator left.
///
/// What runs is taken from the services, since only they are the truth; its build from the record of the most recent deploy that
/// did not fail. Builds that have ended are remembered as over, so that late events about them change nothing; those that are
/// under way are left to be found.
pub fn lane(key: LaneKey, left: &Left) -> Lane {
    let mut lane = Lane::new(key);
    lane.live = live(left);
    lane.releases = u64::from(lane.live.is_some());
    lane.postdeployed = lane.live.is_some();
    lane.forgotten = left.builds.iter().filter(|build| has_ended(build)).map(|build| build.build_number).max();
    lane
}

fn live(left: &Left) -> Option<Release> {
    let deployed = |build: &&BuildRecord| {
        build.phases.get(&Phase::Deploy).is_some_and(|deploy| deploy.state == PhaseState::Succeeded)
    };
    let image = left.services.values().next()?.image.clone();
    let status = left.status.as_ref()?;
    let build = left.builds.iter().find(deployed);
    // After a failed deploy, the status tells of that one; what runs is older.
    let (number, arn, commit, at): (BuildNumber, BuildArn, String, EpochSeconds) = match build {
        Some(build) if status.failed || build.build_number != status.build_number => {
            let deploy = build.phases.get(&Phase::Deploy)?;
            (build.build_number, arn_of(build)?, build.commit.clone(), deploy.end.unwrap_or(deploy.start))
        }
        _ => (status.build_number, status.build_arn.clone(), status.commit.clone(), status.last_update),
    };
    let started = build.and_then(|build| build.phases.get(&Phase::Build)).map_or(at, |phase| phase.start);
    let command = |process: &ProcessType| {
        let known = status.processes.iter().find(|known| known.name == process.as_str());
        known.map(|known| known.command.clone()).unwrap_or_default()
    };
    let services = left
        .services
        .iter()
        .map(|(process, found)| (process.clone(), Service { command: command(process), arn: found.arn.clone() }));
    let plan =
        ReleasePlan { sequence: 1, image, launcher: true, services: services.collect(), ..ReleasePlan::default() };
    Some(Release { build: number, arn, commit, started, plan, at, sizes: Sizes::new() })
}

fn arn_of(build: &BuildRecord) -> Option<BuildArn> {
    build.phases.get(&Phase::Build)?.arns.first()?.parse().ok()
}

fn has_ended(build: &BuildRecord) -> bool {
    let is = |state| build.phases.values().any(|phase| phase.state == state);
    is(PhaseState::Failed)
        || build.phases.get(&Phase::Deploy).is_some_and(|deploy| deploy.state == PhaseState::Succeeded)
}

/// The statement by which the role of an app trusts the orchestrator.
pub fn trust(trusted: &str, external_id: &str) -> serde_json::Value {
    serde_json::json!({
        "Effect": "Allow",
        "Principal": { "AWS": trusted },
        "Action": "sts:AssumeRole",
        "Condition": { "StringEquals": { "sts:ExternalId": external_id } },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lane::PhaseRecord;

    fn build(number: u64, deploy: Option<PhaseState>) -> BuildRecord {
        let phase = |state| PhaseRecord {
            state,
            start: EpochSeconds(100 * number),
            end: Some(EpochSeconds(100 * number + 50)).filter(|_| state != PhaseState::Started),
            arns: vec![format!("arn:aws:codebuild:us-east-1:111122223333:build/shop:{number}")],
            logs: String::new(),
        };
        let mut phases = BTreeMap::from([(Phase::Build, phase(PhaseState::Succeeded))]);
        phases.extend(deploy.map(|state| (Phase::Deploy, phase(state))));
        BuildRecord {
            app: "shop".to_owned(),
            build_number: BuildNumber(number),
            pr_number: String::new(),
            commit: format!("commit-{number}"),
            phases,
            ending: None,
        }
    }

    fn status(number: u64, failed: bool) -> DeployStatus {
        DeployStatus {
            phase: Phase::Deploy,
            processes: Vec::new(),
            build_arn: format!("arn:aws:codebuild:us-east-1:111122223333:build/shop:{number}").parse().unwrap(),
            build_number: BuildNumber(number),
            commit: format!("commit-{number}"),
            last_update: EpochSeconds(100 * number + 50),
            failed,
        }
    }

    fn services() -> BTreeMap<ProcessType, FoundService> {
        let found = FoundService { arn: "arn:web".to_owned(), image: "repo@sha256:1".to_owned() };
        BTreeMap::from([("web".parse().unwrap(), found)])
    }

    fn key() -> LaneKey {
        LaneKey::app("shop".parse().unwrap())
    }

    #[test]
    fn what_runs_is_live_and_what_has_ended_is_over() {
        let builds = vec![build(9, None), build(8, Some(PhaseState::Succeeded)), build(7, Some(PhaseState::Succeeded))];
        let lane = lane(key(), &Left { builds, status: Some(status(8, false)), services: services() });
        let live = lane.live.unwrap();
        assert_eq!((live.build, live.commit.as_str(), live.started), (BuildNumber(8), "commit-8", EpochSeconds(800)));
        assert_eq!(live.plan.services[&"web".parse().unwrap()].arn, "arn:web");
        assert_eq!((lane.forgotten, lane.releases, lane.postdeployed), (Some(BuildNumber(8)), 1, true));
        assert!(lane.builds.is_empty() && lane.owed.is_empty());
    }

    #[test]
    fn after_a_failed_deploy_the_one_before_it_runs() {
        let builds = vec![build(8, Some(PhaseState::Failed)), build(7, Some(PhaseState::Succeeded))];
        let lane = lane(key(), &Left { builds, status: Some(status(8, true)), services: services() });
        assert_eq!(lane.live.unwrap().build, BuildNumber(7));
        assert_eq!(lane.forgotten, Some(BuildNumber(8)));
    }

    #[test]
    fn an_app_that_was_never_deployed_has_an_empty_lane() {
        assert_eq!(lane(key(), &Left::default()), Lane::new(key()));
    }
}
