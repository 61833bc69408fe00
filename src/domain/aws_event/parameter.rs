//! `Parameter Store Change`: something changed, go and read.
//!
//! The event carries neither value nor version, and create and delete may arrive the other way round: what the value is now
//! decides, not the operation. Source: "Amazon EventBridge event examples for Systems Manager" (Systems Manager User Guide).

use serde::Deserialize;

use super::{Addressed, EventError, News, irrelevant};
use crate::domain::lane::{Event, LaneKey};
use crate::domain::names::{AppName, PullRequest};
use crate::domain::namespace::Namespace;

/// A list of people that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessList {
    /// Those who may use an app.
    Users(AppName),
    /// Those who administrate the account.
    Administrators,
}

#[derive(Deserialize)]
pub(super) struct ParameterDetail {
    name: String,
    #[serde(default)]
    operation: String,
    exception: Option<String>,
}

pub(super) fn read(parameter: &ParameterDetail) -> Result<News, EventError> {
    let name = parameter.name.as_str();
    let what = || format!("the parameter {name}");
    if parameter.exception.is_some() {
        return Err(irrelevant(what(), "was not changed: the operation failed"));
    }
    if parameter.operation == "LabelParameterVersion" {
        return Err(irrelevant(what(), "was only labelled"));
    }
    let other = || irrelevant(what(), "is none that services follow");
    let path = Namespace::default().below(name).ok_or_else(other)?;
    let steps: Vec<&str> = path.split('/').collect();
    let app = |name: &str| name.parse::<AppName>().map_err(|_| other());
    match steps[..] {
        ["apps", name, "config", _] | ["apps", name, "scaling" | "scheduled-tasks"] => {
            Ok(settings(LaneKey::app(app(name)?)))
        }
        ["pipelines", name, "config", _] | ["pipelines", name, "scaling"] => Ok(News::Pipeline(app(name)?)),
        ["pipelines", name, "review-apps", "pr", pr, "config", _]
        | ["pipelines", name, "review-apps", "pr", pr, "scaling"] => {
            let pull_request: PullRequest = pr.parse().map_err(|_| other())?;
            Ok(settings(LaneKey { app: app(name)?, pull_request: Some(pull_request) }))
        }
        ["access", "apps", name] => Ok(News::Access(AccessList::Users(app(name)?))),
        ["account", "administrators"] => Ok(News::Access(AccessList::Administrators)),
        _ => Err(other()),
    }
}

fn settings(lane: LaneKey) -> News {
    Addressed::facts(lane, vec![Event::SettingsChanged])
}
