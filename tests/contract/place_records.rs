//! What every memory of a place promises.

use packhorse::adapters::memory::MemoryPlaceRecords;
use packhorse::domain::lane::{TaskKey, TaskKind};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::domain::place_record::PlaceRecord;
use packhorse::ports::failure::Failure;
use packhorse::ports::lane_store::Version;
use packhorse::ports::place_records::PlaceRecords;

use crate::support::aws::clients;
use crate::support::dynamodb::Table;
use crate::support::lanes::{some_app, some_review_app};
use crate::support::suite::suite;

/// Records under test.
pub(crate) trait Bench: Send + Sync {
    fn records(&self) -> &dyn PlaceRecords;
}

fn some_record(arn: &str) -> PlaceRecord {
    let mut record = PlaceRecord { highest: 7, steady: 6, ..PlaceRecord::default() };
    record.failed = Some((BuildNumber(42), "it crashed".to_owned()));
    record.services.insert("web".parse().unwrap());
    let key = TaskKey { build: BuildNumber(42), kind: TaskKind::Release, attempt: 1 };
    record.remember_task(&key, arn, EpochSeconds(1_000));
    record
}

/// What was committed is read, lane by lane.
async fn a_record_is_read_as_it_was_committed(bench: &impl Bench) {
    let (app, review_app) = (some_app(), some_review_app());
    assert_eq!(bench.records().load(&app).await.unwrap(), (PlaceRecord::default(), Version(0)));
    assert_eq!(bench.records().commit(&app, Version(0), &some_record("a")).await.unwrap(), Version(1));
    assert_eq!(bench.records().commit(&review_app, Version(0), &some_record("b")).await.unwrap(), Version(1));
    assert_eq!(bench.records().load(&app).await.unwrap(), (some_record("a"), Version(1)));
    assert_eq!(bench.records().load(&review_app).await.unwrap(), (some_record("b"), Version(1)));
}

/// A commit against an old version changes nothing.
async fn a_stale_commit_is_refused(bench: &impl Bench) {
    let app = some_app();
    bench.records().commit(&app, Version(0), &some_record("a")).await.unwrap();
    bench.records().commit(&app, Version(1), &some_record("b")).await.unwrap();
    for stale in [Version(0), Version(1), Version(5)] {
        let refused = bench.records().commit(&app, stale, &some_record("c")).await;
        assert!(matches!(refused, Err(Failure::Conflict { .. })), "{stale:?}: {refused:?}");
    }
    assert_eq!(bench.records().load(&app).await.unwrap(), (some_record("b"), Version(2)));
}

impl Bench for MemoryPlaceRecords {
    fn records(&self) -> &dyn PlaceRecords {
        self
    }
}

struct Dynamo {
    records: packhorse::adapters::aws::DynamoPlaceRecords,
    _table: Table,
}

impl Bench for Dynamo {
    fn records(&self) -> &dyn PlaceRecords {
        &self.records
    }
}

async fn open() -> Dynamo {
    let table = Table::without_index();
    let client = clients(&table.endpoint).await.dynamodb();
    Dynamo { records: packhorse::adapters::aws::DynamoPlaceRecords::new(client, &table.name), _table: table }
}

suite!(
    memory,
    packhorse::adapters::memory::MemoryPlaceRecords::default(),
    [a_record_is_read_as_it_was_committed, a_stale_commit_is_refused]
);
struct Sqlite {
    records: packhorse::adapters::local::LocalState,
    _folder: tempfile::TempDir,
}

impl Bench for Sqlite {
    fn records(&self) -> &dyn PlaceRecords {
        &self.records
    }
}

fn open_sqlite() -> Sqlite {
    let folder = tempfile::tempdir().unwrap();
    Sqlite { records: packhorse::adapters::local::LocalState::open(folder.path()).unwrap(), _folder: folder }
}

suite!(sqlite, super::open_sqlite(), [a_record_is_read_as_it_was_committed, a_stale_commit_is_refused]);
suite!(
    dynamodb,
    super::open().await,
    "needs DynamoDB Local",
    [a_record_is_read_as_it_was_committed, a_stale_commit_is_refused]
);
