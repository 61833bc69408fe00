//! What is remembered of a lane's place, since neither ECS nor Docker can be asked for it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::domain::formation::{ScheduledTask, Size};
use crate::domain::lane::TaskKey;
use crate::domain::names::{BuildNumber, EpochSeconds, ProcessType};

/// How many tasks are remembered; those of a build are few.
const TASKS: usize = 30;

/// What is remembered of a lane's place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceRecord {
    /// The order that was carried out last.
    pub order: Option<Order>,
    /// The highest sequence of an order that was begun.
    pub highest: u64,
    /// The sequence of the newest order that was seen steady.
    pub steady: u64,
    /// The build of the order with the highest sequence, and why it failed, once it was seen to.
    pub failed: Option<(BuildNumber, String)>,
    /// Every process type that may have a service: it is added before its service is made, and goes after that.
    pub services: BTreeSet<ProcessType>,
    /// Task definitions that nothing needs any more once the newest order is steady.
    pub retired: BTreeSet<String>,
    /// Tasks by their names, with their ARNs.
    pub tasks: BTreeMap<String, TaskRecord>,
    /// What runs by the clock, at a place that keeps the time itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<Jobs>,
}

/// What runs by the clock of a place that has no schedules: the jobs of the release that was seen steady last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs {
    /// The release's build.
    pub build: BuildNumber,
    /// Its image.
    pub image: String,
    /// What each run gets.
    pub size: Size,
    /// When which command runs.
    pub tasks: Vec<ScheduledTask>,
    /// Whatever was due up to this moment was started.
    pub until: EpochSeconds,
}

/// An order to bring the services to a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The release's build.
    pub build: BuildNumber,
    /// Its place in the lane's sequence of releases.
    pub sequence: u64,
    /// When it was carried out.
    pub asked: EpochSeconds,
    /// Its services; one that was not brought to it yet is not there.
    pub services: BTreeMap<ProcessType, Ordered>,
    /// Whether its image's launcher sets up the environment of commands.
    pub launcher: bool,
    /// The task definition of what runs by the clock, or its image.
    pub scheduler: Option<String>,
    /// What each run of it gets, where `scheduler` does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler_size: Option<Size>,
    /// What runs by the clock.
    pub scheduled_tasks: Vec<ScheduledTask>,
}

/// What one service was brought to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The ARN of the task definition, or a digest of all that its processes are made from.
    pub definition: String,
    /// How many processes, where the place itself counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// The one before, to which it goes back when another service of the release fails.
    pub before: Option<String>,
}

/// A task that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRecord {
    /// Its ARN.
    pub arn: String,
    /// When it was asked for.
    pub asked: EpochSeconds,
}

impl PlaceRecord {
    /// Layout of a stored record.
    pub const FORMAT: u32 = 1;

    /// Tells whether an order comes too late: a newer one was carried out. After one that failed, the one that was steady
    /// before may be repeated, and the failed one may not.
    pub fn is_late(&self, sequence: u64) -> bool {
        match self.failed {
            Some(_) => sequence <= self.highest && sequence != self.steady,
            None => sequence < self.highest,
        }
    }

    /// Begins an order: notes its sequence, and the process types that will have services. Tells whether anything changed.
    pub fn begin(
        &mut self,
        build: BuildNumber,
        sequence: u64,
        services: &BTreeSet<ProcessType>,
        now: EpochSeconds,
    ) -> bool {
        let before = self.clone();
        if sequence > self.highest {
            self.highest = sequence;
            self.failed = None;
        }
        self.services.extend(services.iter().cloned());
        if self.order.as_ref().is_none_or(|order| order.sequence != sequence) {
            self.order = Some(Order {
                build,
                sequence,
                asked: now,
                services: BTreeMap::new(),
                launcher: true,
                scheduler: None,
                scheduler_size: None,
                scheduled_tasks: Vec::new(),
            });
        }
        before != *self
    }

    /// Notes that the order is carried out and runs.
    pub fn end_well(&mut self) {
        let Some(order) = &self.order else { return };
        self.steady = self.steady.max(order.sequence);
        self.services = order.services.keys().cloned().collect();
    }

    /// Notes that the order failed; what it was to replace is needed again, and what it made is not.
    pub fn end_badly(&mut self, cause: &str) {
        let Some(order) = &self.order else { return };
        self.failed = Some((order.build, cause.to_owned()));
        for Ordered { definition, before, .. } in order.services.values() {
            if let Some(before) = before {
                self.retired.remove(before);
                self.retired.insert(definition.clone());
            }
        }
    }

    /// The task definitions that may be taken away.
    pub fn unneeded(&self) -> Vec<String> {
        let order = self.order.iter();
        let used: BTreeSet<&String> = order
            .flat_map(|order| order.services.values().map(|service| &service.definition).chain(&order.scheduler))
            .collect();
        self.retired.iter().filter(|definition| !used.contains(definition)).cloned().collect()
    }

    /// Notes a task, and forgets the oldest ones.
    pub fn remember_task(&mut self, key: &TaskKey, arn: &str, now: EpochSeconds) {
        self.tasks.insert(key.to_string(), TaskRecord { arn: arn.to_owned(), asked: now });
        while self.tasks.len() > TASKS {
            let oldest = self.tasks.iter().min_by_key(|(_, task)| task.asked).map(|(name, _)| name.clone());
            oldest.and_then(|name| self.tasks.remove(&name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::lane::TaskKind;

    #[test]
    fn an_older_order_is_late_and_the_same_one_is_not() {
        let mut record = PlaceRecord::default();
        assert!(record.begin(BuildNumber(9), 5, &BTreeSet::new(), EpochSeconds(0)));
        assert!(!record.begin(BuildNumber(9), 5, &BTreeSet::new(), EpochSeconds(9)), "again is no change");
        assert!(record.is_late(4) && !record.is_late(5) && !record.is_late(6));
    }

    #[test]
    fn after_a_failed_order_only_the_release_before_it_and_newer_ones_are_in_time() {
        let mut record = PlaceRecord::default();
        record.begin(BuildNumber(8), 4, &BTreeSet::new(), EpochSeconds(0));
        record.end_well();
        record.begin(BuildNumber(9), 5, &BTreeSet::new(), EpochSeconds(0));
        record.end_badly("it crashed");
        assert!(record.is_late(3) && !record.is_late(4) && record.is_late(5) && !record.is_late(6));
        record.begin(BuildNumber(8), 4, &BTreeSet::new(), EpochSeconds(0));
        assert!(record.is_late(5), "the failed one does not come back");
        record.begin(BuildNumber(10), 6, &BTreeSet::new(), EpochSeconds(0));
        assert!(record.is_late(4) && record.is_late(5) && !record.is_late(6));
    }

    #[test]
    fn what_a_failed_order_replaced_is_kept_and_what_it_made_goes() {
        let mut record = PlaceRecord::default();
        let web: ProcessType = "web".parse().unwrap();
        record.begin(BuildNumber(9), 5, &BTreeSet::from([web.clone()]), EpochSeconds(0));
        record.retired.insert("web:1".to_owned());
        let ordered = Ordered { definition: "web:2".to_owned(), count: None, before: Some("web:1".to_owned()) };
        record.order.as_mut().unwrap().services.insert(web, ordered);
        let mut failed = record.clone();
        assert_eq!(record.unneeded(), ["web:1"]);
        failed.end_badly("it crashed");
        assert_eq!(failed.retired, BTreeSet::from(["web:2".to_owned()]));
    }

    #[test]
    fn the_oldest_tasks_are_forgotten() {
        let mut record = PlaceRecord::default();
        for build in 0..100 {
            let key = TaskKey { build: BuildNumber(build), kind: TaskKind::Release, attempt: 1 };
            record.remember_task(&key, "arn", EpochSeconds(build));
        }
        assert_eq!(record.tasks.len(), TASKS);
        assert!(record.tasks.contains_key("release-99-1") && !record.tasks.contains_key("release-69-1"));
    }
}
