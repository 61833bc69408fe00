//! What everything that names config variables promises.

use std::collections::BTreeSet;

use packhorse::adapters::local::LocalState;
use packhorse::adapters::memory::MemoryParameters;
use packhorse::domain::formation::ConfigName;
use packhorse::domain::lane::LaneKey;
use packhorse::ports::app_config::AppConfig;
use packhorse::ports::parameters::ParameterStore;
use tempfile::TempDir;

use crate::support::lanes::{some_app, some_review_app};
use crate::support::suite::suite;

/// A store under test, which names variables and keeps them.
pub(crate) trait Bench: Send + Sync {
    fn config(&self) -> &dyn AppConfig;
    fn store(&self) -> &dyn ParameterStore;
}

async fn names(bench: &impl Bench, lane: &LaneKey) -> Vec<ConfigName> {
    bench.config().names(lane).await.unwrap()
}

async fn version(bench: &impl Bench, lane: &LaneKey, name: &str) -> Option<String> {
    names(bench, lane).await.into_iter().find(|known| known.name == name).map(|known| known.version)
}

/// All variables are named, sorted, and nothing else below the app.
async fn all_variables_are_named(bench: &impl Bench) {
    let lane = some_app();
    assert!(names(bench, &lane).await.is_empty());
    let root = format!("/apppack/apps/{}", lane.app);
    for number in (0..60).rev() {
        bench.store().put(&format!("{root}/config/KEY_{number:02}"), "value").await.unwrap();
    }
    for elsewhere in ["scaling", "config/deeper/KEY", "config2/KEY"] {
        bench.store().put(&format!("{root}/{elsewhere}"), "elsewhere").await.unwrap();
    }
    let found = names(bench, &lane).await;
    let expected: Vec<String> = (0..60).map(|number| format!("KEY_{number:02}")).collect();
    assert_eq!(found.iter().map(|variable| variable.name.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(found[7].parameter, format!("{root}/config/KEY_07"));
}

/// A review app's own variable replaces its pipeline's.
async fn a_review_apps_variable_replaces_its_pipelines(bench: &impl Bench) {
    let lane = some_review_app();
    let root = format!("/apppack/pipelines/{}", lane.app);
    for name in [
        "config/A",
        "config/B",
        "review-apps/pr/123/config/B",
        "review-apps/pr/123/config/C",
        "review-apps/pr/12/config/D",
    ] {
        bench.store().put(&format!("{root}/{name}"), name).await.unwrap();
    }
    let found: Vec<(String, String)> =
        names(bench, &lane).await.into_iter().map(|variable| (variable.name, variable.parameter)).collect();
    let expected = [("A", "config/A"), ("B", "review-apps/pr/123/config/B"), ("C", "review-apps/pr/123/config/C")];
    assert_eq!(found, expected.map(|(name, parameter)| (name.to_owned(), format!("{root}/{parameter}"))));
}

/// Each change of a value is another version, and without a change it stays.
async fn a_changed_value_is_another_version(bench: &impl Bench) {
    let lane = some_app();
    let parameter = format!("/apppack/apps/{}/config/KEY", lane.app);
    let mut seen = BTreeSet::new();
    for value in ["a", "b", "a"] {
        bench.store().put(&parameter, value).await.unwrap();
        let now = version(bench, &lane, "KEY").await.unwrap();
        assert_eq!(version(bench, &lane, "KEY").await.as_ref(), Some(&now), "looking changes nothing");
        assert!(seen.insert(now), "{value}: {seen:?}");
    }
}

/// A variable that is removed is named no more.
async fn a_removed_variable_is_named_no_more(bench: &impl Bench) {
    let lane = some_app();
    let parameter = format!("/apppack/apps/{}/config/KEY", lane.app);
    bench.store().put(&parameter, "a").await.unwrap();
    assert!(bench.store().remove(&parameter).await.unwrap());
    assert_eq!(version(bench, &lane, "KEY").await, None);
}

/// Nothing that is returned has a value in it.
async fn no_value_is_told(bench: &impl Bench) {
    let lane = some_app();
    bench.store().put(&format!("/apppack/apps/{}/config/SECRET", lane.app), "hunter2-planted").await.unwrap();
    assert!(!format!("{:?}", names(bench, &lane).await).contains("hunter2"));
}

impl Bench for MemoryParameters {
    fn config(&self) -> &dyn AppConfig {
        self
    }

    fn store(&self) -> &dyn ParameterStore {
        self
    }
}

struct Local {
    state: LocalState,
    _folder: TempDir,
}

impl Bench for Local {
    fn config(&self) -> &dyn AppConfig {
        &self.state
    }

    fn store(&self) -> &dyn ParameterStore {
        &self.state
    }
}

fn open_local() -> Local {
    let folder = tempfile::tempdir().unwrap();
    Local { state: LocalState::open(folder.path()).unwrap(), _folder: folder }
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [
            all_variables_are_named,
            a_review_apps_variable_replaces_its_pipelines,
            a_changed_value_is_another_version,
            a_removed_variable_is_named_no_more,
            no_value_is_told,
        ]);
    };
}

promises!(memory, packhorse::adapters::memory::MemoryParameters::new());
promises!(sqlite, super::open_local());

/// A value that is made again after its removal has another version; moto tells no time finer than a second and begins at
/// version 1 again, as Parameter Store does, so that only the time tells them apart there.
#[tokio::test]
async fn a_variable_made_again_is_another_version() {
    async fn check(bench: &impl Bench) {
        let lane = some_app();
        let parameter = format!("/apppack/apps/{}/config/KEY", lane.app);
        bench.store().put(&parameter, "a").await.unwrap();
        let first = version(bench, &lane, "KEY").await.unwrap();
        bench.store().remove(&parameter).await.unwrap();
        bench.store().put(&parameter, "b").await.unwrap();
        assert_ne!(version(bench, &lane, "KEY").await.unwrap(), first);
    }
    check(&MemoryParameters::new()).await;
    check(&open_local()).await;
}

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::SsmParameters;

    use super::*;
    use crate::support::aws::clients;
    use crate::support::parts;

    impl Bench for SsmParameters {
        fn config(&self) -> &dyn AppConfig {
            self
        }

        fn store(&self) -> &dyn ParameterStore {
            self
        }
    }

    pub(super) async fn open() -> SsmParameters {
        SsmParameters::new(clients(&parts::moto()).await.ssm())
    }
}

#[cfg(feature = "aws")]
promises!(ssm, super::aws::open().await, "needs moto");
