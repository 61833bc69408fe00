//! What a place is to run for a release: the whole wanted state, of which it changes only what differs.
//!
//! Values of config variables are no part of it: a place refers to them by name. Their versions are, so that a changed
//! variable makes another formation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::lane::ReleasePlan;
use super::names::BuildNumber;

/// The wanted state of a lane's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formation {
    /// The build that the release came from.
    pub build: BuildNumber,
    /// The commit of that build, or empty.
    pub commit: String,
    /// The release.
    pub plan: ReleasePlan,
    /// The config variables, by name; a review app's own ones have replaced those of its pipeline.
    pub config: Vec<ConfigName>,
    /// How many processes of which size.
    pub scaling: Scaling,
    /// What runs by the clock, in the user's order.
    pub scheduled_tasks: Vec<ScheduledTask>,
}

impl Formation {
    /// Tells whether the app sets its region itself: then the place adds neither of the two variables for it
    /// (`data-contract` 3.1).
    pub fn sets_region(&self) -> bool {
        self.config.iter().any(|variable| REGION_VARIABLES.contains(&variable.name.as_str()))
    }
}

/// The variables that tell an app its region, unless it sets one of them itself.
pub const REGION_VARIABLES: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];

/// A config variable without its value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConfigName {
    /// The variable.
    pub name: String,
    /// The parameter that holds its value, by full name or ARN.
    pub parameter: String,
    /// Says which value it has, without saying what it is: another one after each change, also after removing and
    /// making it again.
    pub version: String,
}

impl ConfigName {
    /// Merges lists of ascending precedence into one, sorted by name.
    pub fn merged(lists: impl IntoIterator<Item = Vec<Self>>) -> Vec<Self> {
        let by_name: BTreeMap<String, Self> =
            lists.into_iter().flatten().map(|variable| (variable.name.clone(), variable)).collect();
        by_name.into_values().collect()
    }
}

/// What one process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Size {
    /// ECS CPU units: 1024 are one processor.
    pub cpu: u32,
    /// MiB.
    pub memory: u32,
}

impl Default for Size {
    /// The size of a process that nobody gave one (`data-contract` 1.5, 3.3).
    fn default() -> Self {
        Self { cpu: 512, memory: 1024 }
    }
}

/// How many processes of a type run, and what each of them gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessScale {
    /// What each gets.
    pub size: Size,
    /// The fewest.
    pub min: u32,
    /// The most; more than the fewest lets the place choose by load.
    pub max: u32,
}

/// How many processes of which size, by process type; also sizes of types that only tasks have, such as `release`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scaling {
    usual: Size,
    types: BTreeMap<String, ProcessScale>,
}

/// Why a parameter's text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// It is not the JSON of the contract.
    #[error("it is not valid: {0}")]
    Malformed(String),
    /// A process type has bounds that cannot be met.
    #[error("`{process}` is to run at least {min} and at most {max} processes")]
    Bounds {
        /// The process type.
        process: String,
        /// The fewest.
        min: u32,
        /// The most.
        max: u32,
    },
}

/// A process type in the JSON of scaling (`data-contract` 3.3).
#[derive(Debug, Deserialize)]
struct ScaleText {
    cpu: u32,
    memory: u32,
    min_processes: u32,
    max_processes: u32,
}

impl Scaling {
    /// One process of each type, with this size.
    pub fn new(usual: Size) -> Self {
        Self { usual, types: BTreeMap::new() }
    }

    /// Takes over what a parameter says, over what is known so far.
    ///
    /// # Errors
    /// Fails when the text is not the JSON of the contract; nothing is taken over then.
    pub fn with(mut self, text: &str) -> Result<Self, ParameterError> {
        let types: BTreeMap<String, ScaleText> = parsed(text)?;
        for (process, ScaleText { cpu, memory, min_processes: min, max_processes: max }) in types {
            if min > max {
                return Err(ParameterError::Bounds { process, min, max });
            }
            self.types.insert(process, ProcessScale { size: Size { cpu, memory }, min, max });
        }
        Ok(self)
    }

    /// Returns the scale of a process type.
    pub fn of(&self, process: &str) -> ProcessScale {
        self.types.get(process).copied().unwrap_or(ProcessScale { size: self.usual, min: 1, max: 1 })
    }
}

/// A command that runs by the clock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ScheduledTask {
    /// Six fields of AWS cron, in UTC.
    pub schedule: String,
    /// The command line.
    pub command: String,
}

impl ScheduledTask {
    /// Reads the list of a parameter (`data-contract` 3.4).
    ///
    /// # Errors
    /// Fails when the text is not the JSON of the contract.
    pub fn list(text: &str) -> Result<Vec<Self>, ParameterError> {
        parsed(text)
    }
}

fn parsed<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, ParameterError> {
    serde_json::from_str(text).map_err(|error| ParameterError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_without_an_entry_runs_once_with_the_usual_size() {
        let scaling = Scaling::new(Size { cpu: 256, memory: 512 });
        let once = ProcessScale { size: Size { cpu: 256, memory: 512 }, min: 1, max: 1 };
        assert_eq!(scaling.of("web"), once);
    }

    #[test]
    fn what_is_said_last_counts() {
        let pipeline = r#"{"web":{"cpu":512,"memory":1024,"min_processes":2,"max_processes":4},
                           "release":{"cpu":1024,"memory":2048,"min_processes":1,"max_processes":1}}"#;
        let own = r#"{"web":{"cpu":256,"memory":512,"min_processes":1,"max_processes":1,"more":true}}"#;
        let scaling = Scaling::default().with(pipeline).unwrap().with(own).unwrap();
        assert_eq!(scaling.of("web"), ProcessScale { size: Size { cpu: 256, memory: 512 }, min: 1, max: 1 });
        assert_eq!(scaling.of("release").size, Size { cpu: 1024, memory: 2048 });
    }

    #[test]
    fn what_cannot_be_read_is_never_guessed() {
        for text in ["", "[]", "{\"web\":{\"cpu\":\"512\"}}", "{\"web\":{}}", "{\"web\":{\"cpu\":-1}}"] {
            assert!(Scaling::default().with(text).is_err(), "{text}");
        }
        let inverted = r#"{"web":{"cpu":1,"memory":1,"min_processes":3,"max_processes":2}}"#;
        let error = Scaling::default().with(inverted).unwrap_err();
        assert_eq!(error.to_string(), "`web` is to run at least 3 and at most 2 processes");
    }

    #[test]
    fn scheduled_tasks_keep_their_order() {
        let text = r#"[{"schedule":"0 0 * * ? *","command":"b"},{"schedule":"0 0 * * ? *","command":"a"}]"#;
        let commands: Vec<_> = ScheduledTask::list(text).unwrap().into_iter().map(|task| task.command).collect();
        assert_eq!(commands, ["b", "a"]);
        assert!(ScheduledTask::list("{}").is_err());
    }
}
