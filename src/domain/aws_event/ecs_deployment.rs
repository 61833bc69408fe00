//! `ECS Deployment State Change`: a service's deployment began, ended or failed.
//!
//! The event names neither the build nor, after a rollback, which deployment it means. So it is only a reason to look.
//! Source: "Amazon ECS service deployment state change events" (ECS Developer Guide).

use super::{EventError, News, field};
use crate::domain::lane::LaneKey;
use crate::domain::names::{AppName, ProcessType, PullRequest};

/// A service whose deployment changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceNews {
    /// The service's ARN.
    pub arn: String,
    /// The lanes that may have a service of that name: `a-b-c` is process `c` of `a-b` or process `b-c` of `a`. Which one it is
    /// stands in the lane.
    pub lanes: Vec<LaneKey>,
}

pub(super) fn read(resources: &[String]) -> Result<News, EventError> {
    let arn = resources.iter().find(|arn| arn.contains(":service/")).ok_or_else(|| field("resources", "no service"))?;
    let name = arn.rsplit('/').next().unwrap_or_default();
    Ok(News::Service(ServiceNews { arn: arn.clone(), lanes: lanes(name) }))
}

/// The lanes whose service this may be, review apps first.
fn lanes(service: &str) -> Vec<LaneKey> {
    let mut found = Vec::new();
    for (at, _) in service.match_indices('-') {
        let (prefix, process) = (&service[..at], &service[at + 1..]);
        let Ok(app) = prefix.parse::<AppName>() else { continue };
        if process.parse::<ProcessType>().is_err() {
            continue;
        }
        if let Some((pipeline, pr)) = prefix.rsplit_once("-pr")
            && let (Ok(app), Ok(pr)) = (pipeline.parse(), pr.parse::<PullRequest>())
        {
            found.insert(0, LaneKey { app, pull_request: Some(pr) });
        }
        found.push(LaneKey::app(app));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::lanes;

    #[test]
    fn every_lane_that_may_have_a_service_of_a_name_is_named() {
        let names = |service| lanes(service).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names("shop-web"), ["shop"]);
        assert_eq!(names("demo-python-web"), ["demo", "demo-python"]);
        assert_eq!(names("shop-pr12-web"), ["shop:12", "shop", "shop-pr12"]);
        assert_eq!(names("web"), Vec::<String>::new());
        assert_eq!(names("shop-"), Vec::<String>::new());
    }
}
