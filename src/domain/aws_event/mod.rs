//! Reads EventBridge events into what they mean for a lane.
//!
//! AWS may add properties and words at any time, so unknown ones pass. What cannot be read is an error with its reason, and
//! so is what packhorse does not use; [`EventError::is_garbage`] tells the two apart.
//!
//! Guards against copies and late events are not kept here: the lane's own state is the guard, since every fact that is
//! already in it changes nothing. Where an event says less than is needed, such as which deployment failed, it is only a
//! reason to ask ([`News::Service`], `Addressed::look`).

mod codebuild;
mod delivery;
mod ecs_deployment;
mod ecs_task;
mod own;
mod parameter;

use serde::Deserialize;
use serde_json::Value;

pub use codebuild::read_time;
#[cfg(feature = "aws")]
pub(crate) use codebuild::{BuildPhase, bucket, failure, lane_of_build, log_location};
pub use delivery::{Delivery, Record, deliveries};
pub use ecs_deployment::ServiceNews;
pub use parameter::AccessList;

use super::lane::{Event, LaneKey, PhaseChange};
use super::names::AppName;

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// One lane.
    Lane(Addressed),
    /// The settings that all review apps of a pipeline share.
    Pipeline(AppName),
    /// A service of a lane that the event does not name.
    Service(ServiceNews),
    /// Who may do what; no lane knows of that.
    Access(AccessList),
}

/// An event, addressed to its lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressed {
    /// The lane it is about.
    pub lane: LaneKey,
    /// What it says, in the order in which it happened.
    pub events: Vec<Event>,
    /// Whether there is more to know than it says, so that the place must be asked.
    pub look: bool,
}

impl Addressed {
    fn facts(lane: LaneKey, events: Vec<Event>) -> News {
        News::Lane(Self { lane, events, look: false })
    }

    fn look(lane: LaneKey) -> News {
        News::Lane(Self { lane, events: Vec::new(), look: true })
    }
}

/// Why an event says nothing to a lane.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is not an EventBridge event.
    #[error("this is not an EventBridge event: {0}")]
    NotAnEvent(String),
    /// It is of a kind that packhorse does not use.
    #[error("events of `{source_name}` with detail-type `{detail_type}` are not used")]
    Unused {
        /// The `source`.
        source_name: String,
        /// The `detail-type`.
        detail_type: String,
    },
    /// It is of a kind that is used, but about something that is no part of a pipeline.
    #[error("{what} {reason}")]
    Irrelevant {
        /// What it is about.
        what: String,
        /// Why that does not matter here.
        reason: &'static str,
    },
    /// A value that is needed is missing or wrong.
    #[error("the event's `{path}` is {problem}")]
    Field {
        /// Where.
        path: &'static str,
        /// What is wrong.
        problem: String,
    },
}

impl EventError {
    /// Tells whether somebody should look at it, as opposed to rules that let more through than is used.
    pub fn is_garbage(&self) -> bool {
        match self {
            Self::NotAnEvent(_) | Self::Field { .. } => true,
            Self::Unused { .. } | Self::Irrelevant { .. } => false,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Envelope {
    source: String,
    detail_type: String,
    #[serde(default)]
    resources: Vec<String>,
    detail: Value,
}

/// Reads one event, from an EventBridge envelope.
///
/// # Errors
/// Says what is wrong with one that cannot be used; it is never a reason to stop.
pub fn read(text: &str) -> Result<News, EventError> {
    let envelope: Envelope = serde_json::from_str(text).map_err(|error| EventError::NotAnEvent(error.to_string()))?;
    match (envelope.source.as_str(), envelope.detail_type.as_str()) {
        ("aws.codebuild", "CodeBuild Build State Change" | "CodeBuild Build Phase Change") => {
            codebuild::read(&detail(envelope)?)
        }
        ("aws.ecs", "ECS Task State Change") => ecs_task::read(&detail(envelope)?),
        ("aws.ecs", "ECS Deployment State Change") => ecs_deployment::read(&envelope.resources),
        ("aws.ssm", "Parameter Store Change") => parameter::read(&detail(envelope)?),
        (PhaseChange::SOURCE, PhaseChange::DETAIL_TYPE) => Ok(own::read(&detail(envelope)?)),
        _ => Err(EventError::Unused { source_name: envelope.source, detail_type: envelope.detail_type }),
    }
}

fn detail<T: serde::de::DeserializeOwned>(envelope: Envelope) -> Result<T, EventError> {
    serde_json::from_value(envelope.detail).map_err(|error| field("detail", error))
}

fn field(path: &'static str, problem: impl std::fmt::Display) -> EventError {
    EventError::Field { path, problem: problem.to_string() }
}

fn irrelevant(what: impl Into<String>, reason: &'static str) -> EventError {
    EventError::Irrelevant { what: what.into(), reason }
}

#[cfg(test)]
mod tests;
