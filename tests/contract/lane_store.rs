//! What every lane store promises.

use std::sync::Arc;

use async_trait::async_trait;
use packhorse::adapters::local::LocalState;
use packhorse::adapters::memory::MemoryLaneStore;
use packhorse::domain::lane::{Lane, LaneKey};
use packhorse::ports::failure::Failure;
use packhorse::ports::lane_store::{LaneStore, Version, Versioned};
use tempfile::TempDir;

use crate::support::lanes::{lane_at_rest, lane_with, some_app, some_review_app};
use crate::support::suite::suite;

/// A lane store under test.
#[async_trait]
pub(crate) trait Bench: Send + Sync {
    fn store(&self) -> Arc<dyn LaneStore>;

    /// Marks a stored lane as written in another layout.
    async fn set_format(&self, key: &LaneKey, format: u32);
}

/// Nothing is there before the first commit, and everything after it.
async fn what_was_committed_is_loaded(bench: &impl Bench) {
    let store = bench.store();
    for key in [some_app(), some_review_app()] {
        assert_eq!(store.load(&key).await.unwrap(), None);
        let lane = lane_with(&key, 42);
        let version = store.commit(Version(0), &lane).await.unwrap();
        assert_eq!(version, Version(1));
        assert_eq!(store.load(&key).await.unwrap(), Some(Versioned { lane, version }));
    }
}

/// A pipeline and its review apps have lanes of their own.
async fn a_pipeline_and_its_review_app_are_two_lanes(bench: &impl Bench) {
    let store = bench.store();
    let review_app = some_review_app();
    let pipeline = LaneKey::app(review_app.app.clone());
    store.commit(Version(0), &lane_with(&review_app, 7)).await.unwrap();
    assert_eq!(store.load(&pipeline).await.unwrap(), None);
    store.commit(Version(0), &lane_with(&pipeline, 8)).await.unwrap();
    assert_eq!(store.load(&review_app).await.unwrap().unwrap().lane, lane_with(&review_app, 7));
}

/// A commit returns the version that the next one presents.
async fn versions_count_the_commits(bench: &impl Bench) {
    let store = bench.store();
    let key = some_app();
    let mut version = Version(0);
    for number in 1..=12 {
        version = store.commit(version, &lane_with(&key, number)).await.unwrap();
        assert_eq!(version, Version(number));
        let loaded = store.load(&key).await.unwrap().unwrap();
        assert_eq!(loaded, Versioned { lane: lane_with(&key, number), version });
    }
}

/// A commit against an old version changes nothing, and neither does one that comes from the future.
async fn a_stale_commit_changes_nothing(bench: &impl Bench) {
    let store = bench.store();
    let key = some_app();
    let first = store.commit(Version(0), &lane_with(&key, 1)).await.unwrap();
    let second = store.commit(first, &lane_with(&key, 2)).await.unwrap();
    for seen in [Version(0), first, Version(second.0 + 1), Version(99)] {
        let refused = store.commit(seen, &lane_with(&key, 3)).await;
        assert!(matches!(refused, Err(Failure::Conflict { .. })), "{seen:?}: {refused:?}");
    }
    let loaded = store.load(&key).await.unwrap().unwrap();
    assert_eq!(loaded, Versioned { lane: lane_with(&key, 2), version: second });
    let nowhere = store.commit(Version(5), &lane_with(&some_app(), 1)).await;
    assert!(matches!(nowhere, Err(Failure::Conflict { .. })), "{nowhere:?}");
}

/// Whoever asks for all lanes gets those in which nothing is in flight too.
async fn a_lane_at_rest_is_still_named_among_all(bench: &impl Bench) {
    let store = bench.store();
    let (at_rest, active) = (some_app(), some_review_app());
    store.commit(Version(0), &lane_at_rest(&at_rest, 1)).await.unwrap();
    store.commit(Version(0), &lane_with(&active, 1)).await.unwrap();
    let all = store.all().await.unwrap();
    assert!(all.contains(&at_rest) && all.contains(&active), "{all:?}");
}

/// Of many commits at one version, exactly one is written, and the store holds that one.
async fn one_of_sixteen_concurrent_commits_wins(bench: &impl Bench) {
    let key = some_app();
    for seen in 0..3 {
        let writers: Vec<_> = (0..16)
            .map(|writer| {
                let (store, lane) = (bench.store(), lane_with(&key, 100 * (seen + 1) + writer));
                tokio::spawn(async move { store.commit(Version(seen), &lane).await.map(|version| (version, lane)) })
            })
            .collect();
        let mut winners = Vec::new();
        for writer in writers {
            match writer.await.unwrap() {
                Ok(won) => winners.push(won),
                Err(Failure::Conflict { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
        }
        assert_eq!(winners.len(), 1);
        let (version, lane) = winners.remove(0);
        assert_eq!(version, Version(seen + 1));
        assert_eq!(bench.store().load(&key).await.unwrap().unwrap(), Versioned { lane, version });
    }
}

/// The same lane committed by two writers is still committed once.
async fn equal_lanes_do_not_hide_a_conflict(bench: &impl Bench) {
    let store = bench.store();
    let key = some_app();
    store.commit(Version(0), &lane_with(&key, 1)).await.unwrap();
    let again = store.commit(Version(0), &lane_with(&key, 1)).await;
    assert!(matches!(again, Err(Failure::Conflict { .. })), "{again:?}");
}

/// A lane in a layout from the future is refused, not guessed at.
async fn a_newer_format_is_refused(bench: &impl Bench) {
    let store = bench.store();
    let key = some_app();
    store.commit(Version(0), &lane_with(&key, 1)).await.unwrap();
    bench.set_format(&key, Lane::FORMAT + 1).await;
    let refused = store.load(&key).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused { .. }), "{refused:?}");
    assert!(std::error::Error::source(&refused).unwrap().to_string().contains("newer"), "{refused:?}");
}

/// Only lanes in which something is in flight are named, and no longer than that.
async fn active_lanes_are_named_until_they_rest(bench: &impl Bench) {
    let store = bench.store();
    let (busy, resting, review_app) = (some_app(), some_app(), some_review_app());
    let version = store.commit(Version(0), &lane_with(&busy, 1)).await.unwrap();
    store.commit(Version(0), &lane_at_rest(&resting, 1)).await.unwrap();
    store.commit(Version(0), &lane_with(&review_app, 1)).await.unwrap();
    let active = store.active().await.unwrap();
    assert!(active.contains(&busy) && active.contains(&review_app), "{active:?}");
    assert!(!active.contains(&resting), "{active:?}");
    store.commit(version, &lane_at_rest(&busy, 1)).await.unwrap();
    assert!(!store.active().await.unwrap().contains(&busy));
}

struct Memory(Arc<MemoryLaneStore>);

#[async_trait]
impl Bench for Memory {
    fn store(&self) -> Arc<dyn LaneStore> {
        self.0.clone()
    }

    async fn set_format(&self, key: &LaneKey, format: u32) {
        self.0.set_format(key, format);
    }
}

fn open_memory() -> Memory {
    Memory(Arc::new(MemoryLaneStore::new()))
}

struct Local {
    folder: TempDir,
}

#[async_trait]
impl Bench for Local {
    /// Each store has a connection of its own, as another process would.
    fn store(&self) -> Arc<dyn LaneStore> {
        Arc::new(LocalState::open(self.folder.path()).unwrap())
    }

    async fn set_format(&self, key: &LaneKey, format: u32) {
        let connection = rusqlite::Connection::open(self.folder.path().join("state.db")).unwrap();
        let changed = connection
            .execute("UPDATE lanes SET format = ?2 WHERE lane = ?1", rusqlite::params![key.to_string(), format])
            .unwrap();
        assert_eq!(changed, 1);
    }
}

fn open_local() -> Local {
    Local { folder: tempfile::tempdir().unwrap() }
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [
            what_was_committed_is_loaded,
            a_pipeline_and_its_review_app_are_two_lanes,
            versions_count_the_commits,
            a_stale_commit_changes_nothing,
            one_of_sixteen_concurrent_commits_wins,
            equal_lanes_do_not_hide_a_conflict,
            a_newer_format_is_refused,
            active_lanes_are_named_until_they_rest,
            a_lane_at_rest_is_still_named_among_all,
        ]);
    };
}

promises!(memory, super::open_memory());
promises!(sqlite, super::open_local());

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::DynamoLaneStore;
    use serde_json::json;

    use super::*;
    use crate::support::aws::clients;
    use crate::support::dynamodb::Table;

    pub(super) struct Dynamo {
        store: Arc<DynamoLaneStore>,
        pub(super) table: Table,
    }

    #[async_trait]
    impl Bench for Dynamo {
        fn store(&self) -> Arc<dyn LaneStore> {
            self.store.clone()
        }

        async fn set_format(&self, key: &LaneKey, format: u32) {
            let mut item = self.table.raw(&format!("APP#{key}"), "LANE").unwrap();
            item["format"] = json!({"N": format.to_string()});
            self.table.put_raw(&item);
        }
    }

    async fn open(table: Table) -> Dynamo {
        let client = clients(&table.endpoint).await.dynamodb();
        Dynamo { store: Arc::new(DynamoLaneStore::new(client, table.name.as_str())), table }
    }

    pub(super) async fn open_indexed() -> Dynamo {
        open(Table::indexed()).await
    }

    /// As in an account that AppPack's own stack has set up.
    pub(super) async fn open_without_index() -> Dynamo {
        open(Table::without_index()).await
    }

    #[tokio::test]
    #[ignore = "needs DynamoDB Local"]
    async fn a_lane_is_active_on_the_wire_only_while_something_is_in_flight() {
        let bench = open_indexed().await;
        let key = some_review_app();
        let partition = format!("APP#{}:123", key.app);
        let version = bench.store.commit(Version(0), &lane_with(&key, 1)).await.unwrap();
        let item = bench.table.raw(&partition, "LANE").unwrap();
        assert_eq!(item["version"], json!({"N": "1"}));
        assert_eq!(item["format"], json!({"N": Lane::FORMAT.to_string()}));
        assert!(item["state"]["S"].as_str().unwrap().starts_with('{'));
        assert!(item["active"]["S"].is_string());
        bench.store.commit(version, &lane_at_rest(&key, 1)).await.unwrap();
        let item = bench.table.raw(&partition, "LANE").unwrap();
        assert_eq!((item["version"].clone(), item.get("active")), (json!({"N": "2"}), None));
    }

    #[tokio::test]
    #[ignore = "needs DynamoDB Local"]
    async fn a_table_that_is_not_there_is_named() {
        let table = Table::indexed();
        let store = DynamoLaneStore::new(clients(&table.endpoint).await.dynamodb(), "no-such-table");
        assert!(matches!(store.load(&some_app()).await, Err(Failure::NotFound { .. })));
        assert!(matches!(store.active().await, Err(Failure::NotFound { .. })));
    }
}

#[cfg(feature = "aws")]
promises!(dynamodb, super::aws::open_indexed().await, "needs DynamoDB Local");
#[cfg(feature = "aws")]
promises!(dynamodb_without_index, super::aws::open_without_index().await, "needs DynamoDB Local");
