//! What every parameter store promises.

use futures_util::future::join_all;
use packhorse::adapters::local::LocalState;
use packhorse::adapters::memory::MemoryParameters;
use packhorse::ports::failure::Failure;
use packhorse::ports::parameters::ParameterStore;
use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use crate::support::lanes::random_name;
use crate::support::suite::suite;

/// A store under test.
pub(crate) trait Bench: Send + Sync {
    fn store(&self) -> &dyn ParameterStore;
}

fn some_root() -> String {
    format!("/apppack/apps/{}", random_name("shop"))
}

/// Nothing is there before the first write, and the last value after it.
async fn the_last_value_is_returned(bench: &impl Bench) {
    let (store, name) = (bench.store(), format!("{}/scaling", some_root()));
    assert_eq!(store.get(&name).await.unwrap(), None);
    for value in [r#"{"web":{"cpu":512}}"#, "line 1\nline 2\n", " ✓ "] {
        store.put(&name, value).await.unwrap();
        assert_eq!(store.get(&name).await.unwrap().as_deref(), Some(value));
    }
}

/// What is created replaces nothing, whoever wrote it.
async fn only_what_is_missing_is_created(bench: &impl Bench) {
    let (store, name) = (bench.store(), format!("{}/status", some_root()));
    assert!(store.create(&name, "first").await.unwrap());
    assert!(!store.create(&name, "second").await.unwrap());
    assert_eq!(store.get(&name).await.unwrap().as_deref(), Some("first"));
    store.put(&name, "third").await.unwrap();
    assert!(!store.create(&name, "fourth").await.unwrap());
    assert_eq!(store.get(&name).await.unwrap().as_deref(), Some("third"));
}

/// Of several who create the same at once, one does.
async fn of_many_at_once_one_creates(bench: &impl Bench) {
    let (store, name) = (bench.store(), format!("{}/status", some_root()));
    let values: Vec<String> = (0..8).map(|number| format!("value {number}")).collect();
    let created = join_all(values.iter().map(|value| store.create(&name, value))).await;
    let winners: Vec<usize> = (0..8).filter(|number| *created[*number].as_ref().unwrap()).collect();
    assert_eq!(winners.len(), 1, "{created:?}");
    assert_eq!(store.get(&name).await.unwrap().as_ref(), Some(&values[winners[0]]));
}

/// What is removed is gone, and removing it again says so.
async fn what_is_removed_is_gone(bench: &impl Bench) {
    let (store, name) = (bench.store(), format!("{}/config/KEY", some_root()));
    assert!(!store.remove(&name).await.unwrap());
    store.put(&name, "value").await.unwrap();
    assert!(store.remove(&name).await.unwrap());
    assert!(!store.remove(&name).await.unwrap());
    assert_eq!(store.get(&name).await.unwrap(), None);
}

/// A value cannot be empty, since Parameter Store keeps none.
async fn an_empty_value_is_refused(bench: &impl Bench) {
    let (store, name) = (bench.store(), format!("{}/config/EMPTY", some_root()));
    assert!(matches!(store.put(&name, "").await, Err(Failure::Refused { .. })));
    assert!(matches!(store.create(&name, "").await, Err(Failure::Refused { .. })));
    assert_eq!(store.get(&name).await.unwrap(), None);
}

/// A path names its direct children by their last segment, and all of them.
async fn all_direct_children_are_returned(bench: &impl Bench) {
    let (store, root) = (bench.store(), some_root());
    let path = format!("{root}/config/");
    assert!(store.below(&path).await.unwrap().is_empty());
    for number in 0..25 {
        store.put(&format!("{path}KEY_{number:02}"), &format!("value {number}")).await.unwrap();
    }
    for elsewhere in ["config", "config2/KEY", "config/deeper/KEY", "configKEY"] {
        store.put(&format!("{root}/{elsewhere}"), "elsewhere").await.unwrap();
    }
    let found = store.below(&path).await.unwrap();
    let plain: Vec<(&str, &str)> = found.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    let expected: Vec<(String, String)> = (0..25).map(|n| (format!("KEY_{n:02}"), format!("value {n}"))).collect();
    assert_eq!(plain, expected.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>());
}

/// A path without its slash is a mistake of the caller.
async fn a_path_ends_with_a_slash(bench: &impl Bench) {
    assert!(matches!(bench.store().below("/apppack/apps/shop/config").await, Err(Failure::Refused { .. })));
}

/// Whatever is printed for debugging shows no value.
async fn debug_output_shows_no_value(bench: &impl Bench) {
    let (store, root) = (bench.store(), some_root());
    store.put(&format!("{root}/config/SECRET"), "hunter2-planted").await.unwrap();
    let found = store.below(&format!("{root}/config/")).await.unwrap();
    assert_eq!(found["SECRET"].expose_secret(), "hunter2-planted");
    assert!(!format!("{found:?}").contains("hunter2"));
}

impl Bench for MemoryParameters {
    fn store(&self) -> &dyn ParameterStore {
        self
    }
}

fn open_memory() -> MemoryParameters {
    MemoryParameters::new()
}

#[tokio::test]
async fn a_memory_store_shows_no_value_either() {
    let store = MemoryParameters::new();
    store.put("/apppack/apps/shop/config/SECRET", "hunter2-planted").await.unwrap();
    assert!(!format!("{store:?}").contains("hunter2"));
}

struct Local {
    state: LocalState,
    _folder: TempDir,
}

impl Bench for Local {
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
            the_last_value_is_returned,
            only_what_is_missing_is_created,
            of_many_at_once_one_creates,
            what_is_removed_is_gone,
            an_empty_value_is_refused,
            all_direct_children_are_returned,
            a_path_ends_with_a_slash,
            debug_output_shows_no_value,
        ]);
    };
}

promises!(memory, super::open_memory());
promises!(sqlite, super::open_local());

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::SsmParameters;
    use serde_json::json;

    use super::*;
    use crate::support::aws::clients;
    use crate::support::{http, parts};

    impl Bench for SsmParameters {
        fn store(&self) -> &dyn ParameterStore {
            self
        }
    }

    pub(super) async fn open() -> SsmParameters {
        SsmParameters::new(clients(&parts::moto()).await.ssm())
    }

    #[tokio::test]
    #[ignore = "needs moto"]
    async fn encrypted_values_are_decrypted_below_a_path_and_refused_as_plain_ones() {
        let (store, name) = (open().await, format!("{}/config/SECRET", some_root()));
        let input = json!({"Name": name, "Value": "hunter2", "Type": "SecureString"});
        http::call(&parts::moto(), "ssm", "AmazonSSM.PutParameter", &input).unwrap();
        let found = store.below(name.strip_suffix("SECRET").unwrap()).await.unwrap();
        assert_eq!(found["SECRET"].expose_secret(), "hunter2");
        let refused = store.get(&name).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused { .. }));
        assert!(!format!("{refused:?}").contains("hunter2"));
    }

    #[tokio::test]
    #[ignore = "needs moto"]
    async fn what_is_written_is_plain_text_for_other_readers() {
        let (store, name) = (open().await, format!("{}/scaling", some_root()));
        store.put(&name, "{}").await.unwrap();
        let input = json!({"Name": name});
        let answer = http::call(&parts::moto(), "ssm", "AmazonSSM.GetParameter", &input).unwrap();
        assert_eq!((&answer["Parameter"]["Type"], &answer["Parameter"]["Value"]), (&json!("String"), &json!("{}")));
    }
}

#[cfg(feature = "aws")]
promises!(ssm, super::aws::open().await, "needs moto");
