//! What every store of client-visible items promises.

use packhorse::adapters::local::LocalState;
use packhorse::adapters::memory::MemoryRecords;
use packhorse::domain::lane::{DeployStatus, Ending, LaneKey, Phase};
use packhorse::domain::names::BuildNumber;
use packhorse::ports::lane_store::Version;
use packhorse::ports::records::Records;
use tempfile::TempDir;

use crate::support::lanes::{begun, build_arn, deploy, deployed, some_app, some_review_app};
use crate::support::suite::suite;

/// A store under test.
pub(crate) trait Bench: Send + Sync {
    fn store(&self) -> &dyn Records;
}

/// An item is read back as it was written, whatever it lacks.
async fn an_item_is_read_back_whole(bench: &impl Bench) {
    let store = bench.store();
    for key in [some_app(), some_review_app()] {
        assert_eq!(store.build(&key, BuildNumber(42)).await.unwrap(), None);
        for (at, record) in [(1, begun(&key, 42)), (2, deployed(&key, 42))] {
            store.put_build(&key, Version(at), &record).await.unwrap();
            assert_eq!(store.build(&key, BuildNumber(42)).await.unwrap(), Some(record));
        }
        assert_eq!(store.deploy_status(&key).await.unwrap(), None);
        let nothing_runs = DeployStatus { processes: Vec::new(), failed: true, ..deploy(&key, 42) };
        for (at, status) in [(1, nothing_runs), (2, deploy(&key, 42))] {
            store.put_deploy_status(&key, Version(at), &status).await.unwrap();
            assert_eq!(store.deploy_status(&key).await.unwrap(), Some(status));
        }
    }
}

/// Every way to end is kept.
async fn endings_are_read_back(bench: &impl Bench) {
    let store = bench.store();
    let key = some_app();
    let endings = [
        Ending::Deployed,
        Ending::Failed { phase: Phase::Release, cause: "exit code 3: “no table”".to_owned() },
        Ending::Superseded { by: BuildNumber(8) },
        Ending::Skipped { reason: String::new() },
    ];
    for (at, ending) in (1..).zip(endings) {
        let mut record = begun(&key, 7);
        record.ending = Some(ending);
        store.put_build(&key, Version(at), &record).await.unwrap();
        assert_eq!(store.build(&key, BuildNumber(7)).await.unwrap(), Some(record));
    }
}

/// An item made from an older version never replaces one made from a newer version.
async fn a_stale_item_is_dropped_silently(bench: &impl Bench) {
    let store = bench.store();
    let key = some_app();
    // As text, 10 would come before 9.
    store.put_build(&key, Version(10), &deployed(&key, 1)).await.unwrap();
    store.put_deploy_status(&key, Version(10), &deploy(&key, 2)).await.unwrap();
    for old in [1, 2, 9] {
        store.put_build(&key, Version(old), &begun(&key, 1)).await.unwrap();
        store.remove_build(&key, Version(old), BuildNumber(1)).await.unwrap();
        store.put_deploy_status(&key, Version(old), &deploy(&key, 1)).await.unwrap();
    }
    assert_eq!(store.build(&key, BuildNumber(1)).await.unwrap(), Some(deployed(&key, 1)));
    assert_eq!(store.deploy_status(&key).await.unwrap(), Some(deploy(&key, 2)));
}

/// The same version may be written again: a repeated projection is no conflict.
async fn the_same_version_may_be_written_again(bench: &impl Bench) {
    let store = bench.store();
    let key = some_app();
    for _ in 0..2 {
        store.put_build(&key, Version(3), &begun(&key, 1)).await.unwrap();
        store.put_deploy_status(&key, Version(3), &deploy(&key, 1)).await.unwrap();
    }
    store.put_build(&key, Version(3), &deployed(&key, 1)).await.unwrap();
    assert_eq!(store.build(&key, BuildNumber(1)).await.unwrap(), Some(deployed(&key, 1)));
}

/// A removed item is gone; removing it again is no error.
async fn a_removed_build_is_gone(bench: &impl Bench) {
    let store = bench.store();
    let key = some_review_app();
    for number in [1, 2] {
        store.put_build(&key, Version(1), &begun(&key, number)).await.unwrap();
    }
    for _ in 0..2 {
        store.remove_build(&key, Version(2), BuildNumber(1)).await.unwrap();
    }
    assert_eq!(store.build(&key, BuildNumber(1)).await.unwrap(), None);
    assert_eq!(store.builds(&key, 10).await.unwrap(), [begun(&key, 2)]);
}

/// A list begins with the highest number, and numbers sort as numbers.
async fn builds_are_listed_newest_first(bench: &impl Bench) {
    let store = bench.store();
    let key = some_app();
    assert_eq!(store.builds(&key, 5).await.unwrap(), []);
    let numbers: Vec<u64> = (1..=24).chain([1_000_000_000]).collect();
    for number in &numbers {
        store.put_build(&key, Version(*number), &begun(&key, *number)).await.unwrap();
    }
    store.put_deploy_status(&key, Version(99), &deploy(&key, 24)).await.unwrap();
    let listed = |limit| async move {
        let records = store.builds(&key, limit).await.unwrap();
        records.into_iter().map(|record| record.build_number.0).collect::<Vec<_>>()
    };
    let newest_first: Vec<u64> = numbers.iter().rev().copied().collect();
    let everything = listed.clone()(100).await;
    assert_eq!(everything, newest_first);
    assert_eq!(listed.clone()(3).await, newest_first[..3]);
    assert_eq!(listed(0).await, Vec::<u64>::new());
}

/// A list that the service must cut into pages is still whole.
async fn a_long_list_is_whole(bench: &impl Bench) {
    let store = bench.store();
    let key = some_app();
    // Items of 100 KB: DynamoDB cuts its answers at 1 MB.
    for number in 1..=25 {
        let mut record = begun(&key, number);
        record.ending = Some(Ending::Skipped { reason: "x".repeat(100_000) });
        store.put_build(&key, Version(1), &record).await.unwrap();
    }
    let numbers: Vec<u64> = store.builds(&key, 25).await.unwrap().iter().map(|r| r.build_number.0).collect();
    assert_eq!(numbers, (1..=25).rev().collect::<Vec<_>>());
}

/// A pipeline's review apps see neither each other's items nor the pipeline's.
async fn review_apps_are_apart(bench: &impl Bench) {
    let store = bench.store();
    let first = some_review_app();
    let second = LaneKey { pull_request: Some("12".parse().unwrap()), ..first.clone() };
    let pipeline = LaneKey { pull_request: None, ..first.clone() };
    for (at, key) in (1..).zip([&first, &second, &pipeline]) {
        store.put_build(key, Version(at), &begun(key, at)).await.unwrap();
        store.put_deploy_status(key, Version(at), &deploy(key, at)).await.unwrap();
    }
    for (number, key) in (1..).zip([&first, &second, &pipeline]) {
        assert_eq!(store.builds(key, 10).await.unwrap(), [begun(key, number)]);
        assert_eq!(store.deploy_status(key).await.unwrap().unwrap().build_arn, build_arn(key, number));
    }
}

struct Memory(MemoryRecords);

impl Bench for Memory {
    fn store(&self) -> &dyn Records {
        &self.0
    }
}

fn open_memory() -> Memory {
    Memory(MemoryRecords::new())
}

struct Local {
    state: LocalState,
    _folder: TempDir,
}

impl Bench for Local {
    fn store(&self) -> &dyn Records {
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
            an_item_is_read_back_whole,
            endings_are_read_back,
            a_stale_item_is_dropped_silently,
            the_same_version_may_be_written_again,
            a_removed_build_is_gone,
            builds_are_listed_newest_first,
            a_long_list_is_whole,
            review_apps_are_apart,
        ]);
    };
}

promises!(memory, super::open_memory());
promises!(sqlite, super::open_local());

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::DynamoRecords;
    use packhorse::domain::lane::PhaseState;
    use serde_json::json;

    use super::*;
    use crate::support::aws::clients;
    use crate::support::client_decoder::{check_build, check_deploy_status};
    use crate::support::dynamodb::Table;

    pub(super) struct Dynamo {
        store: DynamoRecords,
        table: Table,
    }

    impl Bench for Dynamo {
        fn store(&self) -> &dyn Records {
            &self.store
        }
    }

    pub(super) async fn open() -> Dynamo {
        let table = Table::indexed();
        let client = clients(&table.endpoint).await.dynamodb();
        Dynamo { store: DynamoRecords::new(client, table.name.as_str()), table }
    }

    #[tokio::test]
    #[ignore = "needs DynamoDB Local"]
    async fn existing_clients_read_what_lies_in_the_table() {
        let bench = open().await;
        for key in [some_app(), some_review_app()] {
            for (at, record) in [(1, begun(&key, 42)), (2, deployed(&key, 42))] {
                bench.store.put_build(&key, Version(at), &record).await.unwrap();
                let item = bench.table.raw(&format!("APP#{key}"), "BUILD#0000000042").unwrap();
                let read = check_build(&item).unwrap_or_else(|broken| panic!("{broken:#?}\n{item:#}"));
                assert_eq!((&read.app, read.build_number), (&record.app, 42));
                assert_eq!((&read.pr_number, &read.commit), (&record.pr_number, &record.commit));
                for (phase, name) in Phase::ALL.iter().zip(&read.phases) {
                    let Some(written) = record.phases.get(phase) else {
                        assert!(item.get(phase.as_str()).is_none(), "{phase} never began");
                        continue;
                    };
                    assert_eq!((&name.arns, &name.logs), (&written.arns, &written.logs));
                    assert_eq!(name.state, written.state.as_str());
                    assert_eq!(name.start, i64::try_from(written.start.0).unwrap());
                    assert_eq!(name.end, written.end.map_or(0, |end| i64::try_from(end.0).unwrap()));
                    let on_the_wire = item[phase.as_str()]["M"].as_object().unwrap();
                    assert!(on_the_wire.contains_key("arns") && on_the_wire.contains_key("logs"));
                    assert_eq!(on_the_wire.contains_key("end"), written.state != PhaseState::Started);
                }
            }
        }
    }

    #[tokio::test]
    #[ignore = "needs DynamoDB Local"]
    async fn existing_clients_read_the_most_recent_deploy() {
        let bench = open().await;
        for (key, sort) in [(some_app(), "DEPLOYSTATUS"), (some_review_app(), "DEPLOYSTATUS#123")] {
            bench.store.put_deploy_status(&key, Version(1), &deploy(&key, 42)).await.unwrap();
            // Also a review app's lies in the partition of its pipeline.
            let item = bench.table.raw(&format!("APP#{}", key.app), sort).unwrap();
            let read = check_deploy_status(&item).unwrap_or_else(|broken| panic!("{broken:#?}\n{item:#}"));
            assert_eq!((read.build_number, read.failed, read.phase.as_str()), (42, false, "deploy"));
            assert_eq!(read.build_id, build_arn(&key, 42).as_str());
            assert_eq!((read.last_update, read.commit.len()), (1_767_225_900, 40));
            let web = &read.processes[0];
            assert_eq!((web.name.as_str(), web.min_processes, web.max_processes), ("web", 2, 4));
            assert_eq!((web.cpu.as_str(), web.memory.as_str(), web.state.as_str()), ("512", "1024", "running"));
        }
    }

    #[tokio::test]
    #[ignore = "needs DynamoDB Local"]
    async fn an_item_of_another_writer_is_read_and_replaced() {
        let bench = open().await;
        let key = some_app();
        let arn = build_arn(&key, 7).to_string();
        bench.table.put_raw(&json!({
            "primary_id": {"S": format!("APP#{key}")}, "secondary_id": {"S": "BUILD#0000000007"},
            "app": {"S": key.to_string()}, "build_number": {"N": "7"}, "pr_number": {"NULL": true},
            "build": {"M": {"state": {"S": "started"}, "start": {"N": "1767225600"}, "end": {"N": "0"},
                "arns": {"SS": [arn]}, "logs": {"S": "cloudwatch://group#stream"}, "extra": {"BOOL": true}}},
            "deploy": {"M": {"state": {"S": ""}}}
        }));
        let read = bench.store.build(&key, BuildNumber(7)).await.unwrap().unwrap();
        assert_eq!(read.phases.len(), 1);
        assert_eq!(read.phases[&Phase::Build].arns, [arn]);
        bench.store.put_build(&key, Version(1), &deployed(&key, 7)).await.unwrap();
        assert_eq!(bench.store.build(&key, BuildNumber(7)).await.unwrap(), Some(deployed(&key, 7)));
    }

    #[tokio::test]
    #[ignore = "needs DynamoDB Local"]
    async fn an_item_that_cannot_be_read_names_the_attribute() {
        let bench = open().await;
        let key = some_app();
        bench.table.put_raw(&json!({
            "primary_id": {"S": format!("APP#{key}")}, "secondary_id": {"S": "BUILD#0000000007"},
            "build_number": {"N": "7"}, "build": {"M": {"state": {"S": "started"}, "start": {"S": "now"}}}
        }));
        let refused = bench.store.build(&key, BuildNumber(7)).await.unwrap_err();
        assert!(packhorse::ports::failure::chain(&refused).contains("`build.start` is not a number"), "{refused:?}");
    }
}

#[cfg(feature = "aws")]
promises!(dynamodb, super::aws::open().await, "needs DynamoDB Local");
