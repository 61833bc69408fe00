//! Where a deploy stands, from what ECS says of its services.

use std::collections::BTreeMap;

use super::service::{Deployment, Rollout, ServiceFacts};
use crate::domain::names::{EpochSeconds, ProcessType};
use crate::domain::place_record::Order;

/// Seconds in which an answer may still be from before the order: reads are eventually consistent (`aws-events` 4.2).
const CONSISTENT_AFTER: u64 = 60;

/// Where the deploy of an order stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Some of its services are on their way.
    UnderWay,
    /// All of them run it.
    Steady,
    /// One of them does not.
    Failed {
        /// Which.
        process: ProcessType,
        /// What ECS says about it.
        cause: String,
    },
}

/// Judges the services of an order; one that ECS does not know is absent from `facts`.
///
/// A deployment is found by the task definition that the order made, never by its place in the list: after a rollback the
/// primary deployment, and an event that says that it is complete, are about the release before.
pub fn judge(order: &Order, facts: &BTreeMap<ProcessType, ServiceFacts>, now: EpochSeconds) -> Verdict {
    let settled = now.since(order.asked) >= CONSISTENT_AFTER;
    let mut steady = true;
    for (process, ordered) in &order.services {
        let failed = |cause: String| Verdict::Failed { process: process.clone(), cause };
        let Some(service) = facts.get(process).filter(|service| service.active) else {
            if settled {
                return failed("its service is gone".to_owned());
            }
            steady = false;
            continue;
        };
        match service.deployments.iter().find(|deployment| deployment.definition == ordered.definition) {
            Some(deployment) => match state(deployment) {
                Rollout::Failed => {
                    return failed(cause(service, Some(deployment), ordered.before.is_none()));
                }
                Rollout::Completed if deployment.primary => {}
                Rollout::Completed | Rollout::InProgress => steady = false,
            },
            // Undone, and forgotten since.
            None if settled => return failed(cause(service, None, false)),
            None => steady = false,
        }
    }
    if steady && !order.services.is_empty() { Verdict::Steady } else { Verdict::UnderWay }
}

fn state(deployment: &Deployment) -> Rollout {
    match deployment.rollout {
        Some(rollout) => rollout,
        // Where ECS does not say, the numbers do.
        None if deployment.primary && deployment.running == deployment.desired => Rollout::Completed,
        None => Rollout::InProgress,
    }
}

/// Says in ECS's words why a deployment failed.
fn cause(service: &ServiceFacts, deployment: Option<&Deployment>, first: bool) -> String {
    let told = deployment.map(|deployment| deployment.reason.as_str()).filter(|reason| !reason.is_empty());
    let event = || service.events.iter().map(String::as_str).find(|event| event.contains("deployment failed"));
    let told = told.or_else(event).unwrap_or("ECS rolled it back").trim_end_matches('.');
    if first { format!("{told}; there is no earlier release to go back to") } else { told.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::service::tests::{facts, spec};
    use super::*;
    use crate::domain::names::BuildNumber;
    use crate::domain::place_record::Ordered;

    fn order(before: Option<&str>) -> Order {
        let ordered =
            Ordered { definition: "arn:shop-web:2".to_owned(), count: None, before: before.map(str::to_owned) };
        Order {
            build: BuildNumber(42),
            sequence: 7,
            asked: EpochSeconds(1_000),
            services: BTreeMap::from([("web".parse().unwrap(), ordered)]),
            launcher: true,
            scheduler: None,
            scheduler_size: None,
            scheduled_tasks: Vec::new(),
        }
    }

    fn deployment(revision: u32, primary: bool, rollout: Option<Rollout>) -> Deployment {
        Deployment {
            id: format!("ecs-svc/{revision}"),
            primary,
            definition: format!("arn:shop-web:{revision}"),
            rollout,
            reason: String::new(),
            desired: 2,
            running: 2,
            updated: EpochSeconds(1_000),
        }
    }

    fn verdict(deployments: Vec<Deployment>, before: Option<&str>, now: u64) -> Verdict {
        let facts = ServiceFacts { deployments, ..facts(&spec()) };
        judge(&order(before), &BTreeMap::from([("web".parse().unwrap(), facts)]), EpochSeconds(now))
    }

    fn failed(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Failed { cause, .. } => cause,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_deploy_is_steady_once_its_own_deployment_is_complete() {
        let own = |rollout| deployment(2, true, rollout);
        let old = deployment(1, false, Some(Rollout::Completed));
        assert_eq!(verdict(vec![own(Some(Rollout::InProgress)), old.clone()], None, 9_000), Verdict::UnderWay);
        assert_eq!(verdict(vec![own(Some(Rollout::Completed))], None, 1_001), Verdict::Steady);
        assert_eq!(verdict(vec![own(None)], None, 1_001), Verdict::Steady, "the numbers count where nothing is said");
        let few = Deployment { running: 1, ..own(None) };
        assert_eq!(verdict(vec![few], None, 1_001), Verdict::UnderWay);
    }

    #[test]
    fn after_a_rollback_the_complete_deployment_is_that_of_the_release_before() {
        let own =
            Deployment { reason: "tasks failed to start.".to_owned(), ..deployment(2, false, Some(Rollout::Failed)) };
        let old = deployment(1, true, Some(Rollout::Completed));
        assert_eq!(failed(&verdict(vec![old.clone(), own], Some("arn:shop-web:1"), 1_001)), "tasks failed to start");
        assert_eq!(
            verdict(vec![old.clone()], Some("arn:shop-web:1"), 1_059),
            Verdict::UnderWay,
            "it may be an answer from before"
        );
        assert_eq!(failed(&verdict(vec![old], Some("arn:shop-web:1"), 1_060)), "ECS rolled it back");
    }

    #[test]
    fn a_first_deployment_has_nothing_to_go_back_to() {
        let own =
            Deployment { reason: "tasks failed to start.".to_owned(), ..deployment(2, true, Some(Rollout::Failed)) };
        let said = "tasks failed to start; there is no earlier release to go back to";
        assert_eq!(failed(&verdict(vec![own], None, 1_001)), said);
    }

    #[test]
    fn a_service_that_is_gone_fails_the_deploy() {
        assert_eq!(judge(&order(None), &BTreeMap::new(), EpochSeconds(1_010)), Verdict::UnderWay);
        assert_eq!(failed(&judge(&order(None), &BTreeMap::new(), EpochSeconds(1_100))), "its service is gone");
    }
}
