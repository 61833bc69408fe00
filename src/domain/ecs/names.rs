//! How things of a lane are called on ECS (`data-contract` 5.1).

use sha2::{Digest as _, Sha256};

use super::Unfit;
use crate::domain::lane::{LaneKey, TaskKey};
use crate::domain::names::ProcessType;

/// The name of every container; clients take the first one, and look for the log of this one.
pub const CONTAINER: &str = "app";

/// The longest name of a schedule (API reference of `CreateSchedule`).
const LONGEST_SCHEDULE: usize = 64;

/// The name of a service, which is also the family of its task definitions.
///
/// # Errors
/// Refuses a process type with a character that ECS does not take.
pub fn service_name(lane: &LaneKey, process: &ProcessType) -> Result<String, Unfit> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if process.as_str().chars().all(plain) {
        Ok(family(lane, process.as_str()))
    } else {
        Err(Unfit::Name(process.to_string()))
    }
}

/// The family of task definitions for a purpose, such as `release`.
pub fn family(lane: &LaneKey, purpose: &str) -> String {
    format!("{}-{purpose}", lane.resource_prefix())
}

/// The ARN that a service of this name has, in the form with the cluster's name. Nothing for what is no cluster's ARN.
pub fn service_arn(cluster: &str, service: &str) -> Option<String> {
    let (account, name) = cluster.split_once(":cluster/")?;
    Some(format!("{account}:service/{name}/{service}"))
}

/// The prefix of log streams: the process type, for review apps after the pull request, since these share a group.
pub fn log_prefix(lane: &LaneKey, purpose: &str) -> String {
    match lane.pull_request {
        None => purpose.to_owned(),
        Some(pr) => format!("pr{pr}-{purpose}"),
    }
}

/// The log stream of a task, as the `awslogs` driver names it.
pub fn log_stream(prefix: &str, task_arn: &str) -> String {
    let id = task_arn.rsplit('/').next().unwrap_or_default();
    format!("{prefix}/{CONTAINER}/{id}")
}

/// The token under which a second request for the same task starts nothing: 64 characters at most (`aws-events` 4.2).
pub fn client_token(lane: &LaneKey, key: &TaskKey) -> String {
    hex::encode(Sha256::digest(key.started_by(lane)))
}

/// The name of a schedule: the app and a short hash of the job, the same for the same job. `copy` tells equal jobs apart.
///
/// `startedBy` of its tasks is cut at 36 characters, so what tells jobs apart must be short.
pub fn schedule_name(lane: &LaneKey, schedule: &str, command: &str, copy: usize) -> String {
    let mut hash = Sha256::new();
    for part in [lane.app.as_str(), schedule, command] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hash.update(copy.to_le_bytes());
    let hash: String = hex::encode(hash.finalize()).chars().take(SCHEDULE_HASH).collect();
    let app: String = lane.app.as_str().chars().take(LONGEST_SCHEDULE - 1 - SCHEDULE_HASH).collect();
    format!("{app}-{hash}")
}

/// Letters of a schedule's hash.
const SCHEDULE_HASH: usize = 8;

/// Tells whether a schedule's name is one of this lane's: that of app `shop-x` begins like one of `shop`.
pub(super) fn is_schedule_of(lane: &LaneKey, name: &str) -> bool {
    let app: String = lane.app.as_str().chars().take(LONGEST_SCHEDULE - 1 - SCHEDULE_HASH).collect();
    let hash = name.strip_prefix(&app).and_then(|rest| rest.strip_prefix('-'));
    hash.is_some_and(|hash| hash.len() == SCHEDULE_HASH && hash.chars().all(|c| c.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lane::TaskKind;
    use crate::domain::names::BuildNumber;

    fn app(name: &str) -> LaneKey {
        LaneKey::app(name.parse().unwrap())
    }

    fn review_app() -> LaneKey {
        LaneKey { app: "storefront".parse().unwrap(), pull_request: Some("123".parse().unwrap()) }
    }

    #[test]
    fn names_are_those_of_the_contract() {
        let web = "web".parse().unwrap();
        assert_eq!(service_name(&app("shop"), &web).unwrap(), "shop-web");
        assert_eq!(service_name(&review_app(), &web).unwrap(), "storefront-pr123-web");
        assert_eq!(
            (family(&app("shop"), "shell"), family(&review_app(), "shell")),
            ("shop-shell".into(), "storefront-pr123-shell".into())
        );
        assert_eq!(
            (log_prefix(&app("shop"), "web"), log_prefix(&review_app(), "web")),
            ("web".into(), "pr123-web".into())
        );
        let cluster = "arn:aws:ecs:us-east-1:111122223333:cluster/prod";
        assert_eq!(
            service_arn(cluster, "shop-web").unwrap(),
            "arn:aws:ecs:us-east-1:111122223333:service/prod/shop-web"
        );
        assert_eq!(log_stream("web", "arn:aws:ecs:us-east-1:111122223333:task/prod/aaaa1111"), "web/app/aaaa1111");
        assert!(service_name(&app("shop"), &"worker.eu".parse().unwrap()).is_err());
    }

    #[test]
    fn every_attempt_at_a_task_has_a_token_of_its_own() {
        let key = TaskKey { build: BuildNumber(42), kind: TaskKind::Release, attempt: 2 };
        assert_eq!(client_token(&app("shop"), &key).len(), 64);
        assert_ne!(client_token(&app("shop"), &key), client_token(&app("shop"), &TaskKey { attempt: 3, ..key }));
    }

    #[test]
    fn a_schedule_belongs_to_one_app() {
        let name = schedule_name(&app("shop"), "0 0 * * ? *", "job", 0);
        assert_eq!(name, schedule_name(&app("shop"), "0 0 * * ? *", "job", 0));
        assert_ne!(name, schedule_name(&app("shop"), "0 0 * * ? *", "job", 1));
        assert!(is_schedule_of(&app("shop"), &name));
        assert!(!is_schedule_of(&app("shop"), &schedule_name(&app("shop-x"), "0 0 * * ? *", "job", 0)));
        let long = app(&"a".repeat(63));
        let name = schedule_name(&long, "0 0 * * ? *", "job", 0);
        assert!(name.len() <= 64 && is_schedule_of(&long, &name));
    }
}
