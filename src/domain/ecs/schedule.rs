//! What runs by the clock: one schedule per job (`aws-events` 4.6).

use std::collections::BTreeMap;

use super::Unfit;
use super::names::{is_schedule_of, schedule_name};
use super::task_definition::overrides;
use crate::domain::formation::ScheduledTask;
use crate::domain::lane::LaneKey;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScheduleSpec {
    /// Its name.
    pub name: String,
    /// When, such as `cron(0 0 * * ? *)`.
    pub expression: String,
    /// The overrides of its tasks, as JSON.
    pub input: String,
}

/// The schedules of a formation's jobs; equal jobs have one each.
///
/// # Errors
/// Refuses a command that is longer than ECS takes.
pub fn schedules(
    lane: &LaneKey,
    launcher: bool,
    tasks: &[ScheduledTask],
) -> Result<BTreeMap<String, ScheduleSpec>, Unfit> {
    let mut copies: BTreeMap<&ScheduledTask, usize> = BTreeMap::new();
    let mut specs = BTreeMap::new();
    for task in tasks {
        let copy = copies.entry(task).or_default();
        let name = schedule_name(lane, &task.schedule, &task.command, *copy);
        *copy += 1;
        let (_, input) = overrides(launcher, &task.command)?;
        let expression = format!("cron({})", task.schedule.trim());
        specs.insert(name.clone(), ScheduleSpec { name, expression, input });
    }
    Ok(specs)
}

impl ScheduleSpec {
    /// Tells whether a schedule's name is one of a lane's.
    pub fn is_of(lane: &LaneKey, name: &str) -> bool {
        is_schedule_of(lane, name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_has_a_schedule_of_its_own() {
        let lane = LaneKey::app("shop".parse().unwrap());
        let task = |command: &str| ScheduledTask { schedule: "0 0 * * ? *".to_owned(), command: command.to_owned() };
        let specs = schedules(&lane, true, &[task("a"), task("b"), task("a")]).unwrap();
        assert_eq!(specs.len(), 3);
        assert!(specs.keys().all(|name| name.starts_with("shop-") && ScheduleSpec::is_of(&lane, name)));
        let first = specs.values().next().unwrap();
        assert_eq!(first.expression, "cron(0 0 * * ? *)");
        assert!(first.input.starts_with(r#"{"containerOverrides":[{"#), "{}", first.input);
        assert_eq!(schedules(&lane, true, &[task("b"), task("a"), task("a")]).unwrap(), specs, "order does not count");
    }
}
