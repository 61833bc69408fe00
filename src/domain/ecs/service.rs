//! Services: what they should be, what they are, and what must change.

use std::collections::BTreeSet;

use super::launching::{Launch, Launching};
use crate::domain::formation::ProcessScale;
use crate::domain::names::EpochSeconds;

/// Seconds that a web process may fail its health checks after its start.
const GRACE: i32 = 60;

/// What a service should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSpec {
    /// Its name.
    pub name: String,
    /// The ARN of its task definition.
    pub definition: String,
    /// How many processes.
    pub bounds: Bounds,
    /// How they are launched.
    pub launching: Launching,
    /// Where its requests come from.
    pub target: Option<Target>,
}

/// How many processes a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounds {
    /// That many.
    Fixed(i32),
    /// Between these, by load.
    Between(i32, i32),
}

/// Where the requests of a service come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The target group's ARN.
    pub group: String,
    /// The port inside.
    pub port: i32,
}

impl ServiceSpec {
    /// Seconds in which health checks do not count; only where requests come from a load balancer.
    pub fn grace(&self) -> Option<i32> {
        self.target.is_some().then_some(GRACE)
    }
}

/// How many processes of a type run.
pub fn bounds(scale: ProcessScale) -> Bounds {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    if scale.min == scale.max {
        Bounds::Fixed(number(scale.min))
    } else {
        Bounds::Between(number(scale.min), number(scale.max))
    }
}

impl Bounds {
    /// How many processes a new service begins with.
    pub fn first(self) -> i32 {
        match self {
            Self::Fixed(number) | Self::Between(number, _) => number,
        }
    }

    /// The number that a service must be brought to, if the one that it has does not do. One that is chosen by load is left
    /// alone, or each deploy would undo the scaling.
    fn correction(self, desired: i32) -> Option<i32> {
        let wanted = match self {
            Self::Fixed(number) => number,
            Self::Between(min, max) => desired.clamp(min, max),
        };
        (wanted != desired).then_some(wanted)
    }
}

/// What a service is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceFacts {
    /// Whether it is there; one that is being removed, or was, is not.
    pub active: bool,
    /// Whether it is still being removed: its name is taken until then.
    pub draining: bool,
    /// The ARN of the task definition that it is to run.
    pub definition: String,
    /// How many processes it is to run.
    pub desired: i32,
    /// How they are launched.
    pub launching: Launching,
    /// Where its requests come from.
    pub targets: BTreeSet<Target>,
    /// Seconds in which health checks do not count.
    pub grace: i32,
    /// Whether a deployment that fails is undone.
    pub breaker: bool,
    /// Its deployments.
    pub deployments: Vec<Deployment>,
    /// What happened to it, newest first.
    pub events: Vec<String>,
}

/// A deployment of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its id, `ecs-svc/…`.
    pub id: String,
    /// Whether it is the one that the service is brought to.
    pub primary: bool,
    /// The ARN of its task definition.
    pub definition: String,
    /// Where it stands; absent where ECS does not say.
    pub rollout: Option<Rollout>,
    /// Why it stands there.
    pub reason: String,
    /// How many of its processes should run.
    pub desired: i32,
    /// How many run.
    pub running: i32,
    /// When it changed last.
    pub updated: EpochSeconds,
}

/// Where a deployment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollout {
    /// It is under way.
    InProgress,
    /// It is done.
    Completed,
    /// It failed.
    Failed,
}

/// What must change at a service; nothing else is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one per part of a request")]
pub struct ServiceChange {
    /// The task definition.
    pub definition: bool,
    /// How many processes.
    pub desired: Option<i32>,
    /// The network.
    pub network: bool,
    /// The capacity providers or the platform version.
    pub launch: bool,
    /// Where requests come from.
    pub target: bool,
    /// In which time health checks do not count.
    pub grace: bool,
    /// That a deployment that fails is undone.
    pub breaker: bool,
    /// Whether people may start a shell inside.
    pub execute_command: bool,
}

/// Compares what a service is with what it should be; nothing where they agree.
pub fn change(facts: &ServiceFacts, spec: &ServiceSpec) -> Option<ServiceChange> {
    let (is, wanted) = (&facts.launching, &spec.launching);
    let change = ServiceChange {
        definition: facts.definition != spec.definition,
        desired: spec.bounds.correction(facts.desired),
        network: wanted.network.is_some() && is.network != wanted.network,
        // A launch type stays for good; only capacity providers can be changed.
        launch: matches!(&wanted.launch, Launch::Providers(_)) && is.launch != wanted.launch
            || wanted.platform_version.is_some() && is.platform_version != wanted.platform_version,
        target: facts.targets != spec.target.iter().cloned().collect(),
        grace: spec.grace().is_some_and(|grace| grace != facts.grace),
        breaker: !facts.breaker,
        execute_command: is.execute_command != wanted.execute_command,
    };
    (change != ServiceChange::default()).then_some(change)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn spec() -> ServiceSpec {
        ServiceSpec {
            name: "shop-web".to_owned(),
            definition: "arn:shop-web:2".to_owned(),
            bounds: Bounds::Fixed(2),
            launching: Launching { launch: Launch::Type("FARGATE".to_owned()), fargate: true, ..Launching::default() },
            target: Some(Target { group: "arn:group".to_owned(), port: 8080 }),
        }
    }

    pub(crate) fn facts(spec: &ServiceSpec) -> ServiceFacts {
        ServiceFacts {
            active: true,
            draining: false,
            definition: spec.definition.clone(),
            desired: spec.bounds.first(),
            launching: spec.launching.clone(),
            targets: spec.target.iter().cloned().collect(),
            grace: spec.grace().unwrap_or(0),
            breaker: true,
            deployments: Vec::new(),
            events: Vec::new(),
        }
    }

    #[test]
    fn nothing_changes_where_nothing_differs() {
        assert_eq!(change(&facts(&spec()), &spec()), None);
    }

    #[test]
    fn only_what_differs_changes() {
        let wanted = ServiceSpec { definition: "arn:shop-web:3".to_owned(), ..spec() };
        assert_eq!(
            change(&facts(&spec()), &wanted),
            Some(ServiceChange { definition: true, ..ServiceChange::default() })
        );
        let other = ServiceFacts { breaker: false, desired: 5, ..facts(&spec()) };
        let expected = ServiceChange { breaker: true, desired: Some(2), ..ServiceChange::default() };
        assert_eq!(change(&other, &spec()), Some(expected));
    }

    #[test]
    fn a_number_chosen_by_load_is_left_alone_within_its_bounds() {
        let wanted = ServiceSpec { bounds: Bounds::Between(2, 4), ..spec() };
        for (desired, correction) in [(2, None), (3, None), (4, None), (1, Some(2)), (9, Some(4))] {
            let facts = ServiceFacts { desired, ..facts(&wanted) };
            assert_eq!(change(&facts, &wanted).and_then(|change| change.desired), correction, "{desired}");
        }
    }
}
