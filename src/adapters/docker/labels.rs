//! The labels by which packhorse finds what it made, also after a crash.

use crate::ports::container_engine::Labels;

/// The build of a container or network: the build's id for tests, its number for releases.
pub const BUILD: &str = "packhorse.build";
/// What a container or network is for.
pub const ROLE: &str = "packhorse.role";
/// The lane that a release belongs to.
pub const LANE: &str = "packhorse.lane";
/// The process type of a service.
pub const PROCESS: &str = "packhorse.process";
/// Which of a type's processes a container is, from 1.
pub const REPLICA: &str = "packhorse.replica";
/// A digest of all that a service's container is made from.
pub const REVISION: &str = "packhorse.revision";

/// The role of tests and their add-ons.
pub const ROLE_TEST: &str = "test";
/// The role of release and postdeploy tasks.
pub const ROLE_TASK: &str = "task";
/// The role of running services.
pub const ROLE_SERVICE: &str = "service";
/// The role of what runs by the clock.
pub const ROLE_JOB: &str = "job";
/// The role of an app's network.
pub const ROLE_NETWORK: &str = "network";

/// Collects labels.
pub(super) fn labels<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Labels {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
