//! What is remembered of lanes on ECS, in DynamoDB: the item `PLACE` beside `LANE`.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;

use super::failure::sort;
use super::items::{self, Reader, WrongItem};
use super::versioned_item;
use crate::domain::lane::LaneKey;
use crate::domain::namespace::partition;
use crate::domain::place_record::PlaceRecord;
use crate::ports::failure::Failure;
use crate::ports::lane_store::Version;
use crate::ports::place_records::PlaceRecords;

/// Keeps each lane's record as one item, changed only by conditional writes on its version.
#[derive(Debug, Clone)]
pub struct DynamoPlaceRecords {
    client: Client,
    table: String,
}

const SORT_KEY: &str = "PLACE";

impl DynamoPlaceRecords {
    /// Keeps records in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }
}

#[async_trait]
impl PlaceRecords for DynamoPlaceRecords {
    async fn load(&self, lane: &LaneKey) -> Result<(PlaceRecord, Version), Failure> {
        let doing = format!("read the place of {lane}");
        let get = self.client.get_item().table_name(&self.table);
        let get = get.set_key(Some(items::key(&partition(lane), SORT_KEY))).consistent_read(true);
        let Some(item) = get.send().await.map_err(|error| sort(&doing, error))?.item else {
            return Ok((PlaceRecord::default(), Version(0)));
        };
        let reader = Reader::new(&item);
        let read = || -> Result<_, WrongItem> {
            Ok((reader.number("version")?, reader.number("format")?, reader.text("state")?))
        };
        let (version, format, state) = read().map_err(|error| Failure::refused(&doing, error))?;
        if format > PlaceRecord::FORMAT.into() {
            let newest = PlaceRecord::FORMAT;
            let cause = format!("its format {format} is newer than {newest}, which this packhorse reads");
            return Err(Failure::refused(doing, cause));
        }
        let record = serde_json::from_str(state).map_err(|error| Failure::refused(&doing, error))?;
        Ok((record, Version(version)))
    }

    async fn commit(&self, lane: &LaneKey, seen: Version, next: &PlaceRecord) -> Result<Version, Failure> {
        let what = format!("the place of {lane}");
        let state = serde_json::to_string(next).map_err(|error| Failure::refused(format!("write {what}"), error))?;
        let commit_id = versioned_item::commit_id();
        let item = items::versioned(
            items::key(&partition(lane), SORT_KEY),
            Version(seen.0 + 1),
            PlaceRecord::FORMAT,
            state,
            &commit_id,
        );
        versioned_item::put(&self.client, &self.table, what, seen, item, &commit_id).await
    }
}
