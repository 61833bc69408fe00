//! Detection: which buildpacks an app needs.

mod expand;
mod run;

use super::api::InvalidApi;
use super::environment::Variables;
use super::log::Level;
use super::metadata::Member;
use super::order::Order;
use super::plan::Plan;
use super::site::Site;
use super::store::{Store, StoreError};

/// The buildpacks that build, and what they require of each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Detected {
    /// The buildpacks, in the order in which they build.
    pub group: Vec<Member>,
    /// The build plan.
    pub plan: Plan,
}

/// Why nothing can be built.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// Every group has a required buildpack that does not want this app, or whose needs nobody meets.
    #[error("no buildpacks participating")]
    NothingDetected,
    /// As above, and at least one buildpack failed to say.
    #[error("buildpack(s) failed with err")]
    BuildpackFailed,
    /// A buildpack is missing or broken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A buildpack needs another lifecycle.
    #[error("set API for buildpack '{element}': buildpack API version '{api}' is incompatible with the lifecycle")]
    Incompatible {
        /// The buildpack.
        element: String,
        /// The version it asks for.
        api: String,
        /// Why the version is none at all.
        #[source]
        source: Option<InvalidApi>,
    },
    /// A composite buildpack contains itself.
    #[error("buildpack `{0}` contains itself")]
    Cyclic(String),
    /// There are more groups than can be tried in reasonable time.
    #[error("the order has too many groups: gave up after {} of them", expand::MOST_GROUPS)]
    TooManyGroups,
    /// A group's build plans have more alternatives than can be tried.
    #[error(transparent)]
    TooManyAlternatives(super::plan::Unresolved),
}

/// Finds the first group of the order that wants the app and fits together.
///
/// What buildpacks print is shown when they fail, or with all else when no group was found.
pub async fn detect(
    site: &Site<'_>,
    store: &Store<'_>,
    order: &Order,
    variables: &Variables,
) -> Result<Detected, DetectError> {
    for element in order.iter().flat_map(|group| &group.group) {
        expand::check_api(&store.find(element)?.buildpack)?;
    }
    let mut runs = run::Runs::new(*site, variables);
    let result = expand::Expansion::new(site, store, &mut runs).detect(order).await;
    for (level, text) in runs.into_lines() {
        let level = if result.is_err() { level.max(Level::Info) } else { level };
        site.log.line(level, &text);
    }
    result
}

#[cfg(test)]
mod tests;
