//! What the place remembers of a lane, in the local database.

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, params};

use super::LocalState;
use super::database::{number, stored_number};
use crate::domain::lane::LaneKey;
use crate::domain::place_record::PlaceRecord;
use crate::ports::failure::Failure;
use crate::ports::lane_store::Version;
use crate::ports::place_records::PlaceRecords;

#[async_trait]
impl PlaceRecords for LocalState {
    async fn load(&self, lane: &LaneKey) -> Result<(PlaceRecord, Version), Failure> {
        let (doing, name) = (format!("read the place of {lane}"), lane.to_string());
        let found = self.run(doing.clone(), move |connection| {
            let query = "SELECT version, format, state FROM places WHERE lane = ?1";
            let row = connection.query_row(query, [name], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, String>(2)?))
            });
            row.optional()
        });
        let Some((version, format, state)) = found.await? else {
            return Ok((PlaceRecord::default(), Version(0)));
        };
        if format > PlaceRecord::FORMAT {
            let newest = PlaceRecord::FORMAT;
            let cause = format!("its format {format} is newer than {newest}, which this packhorse reads");
            return Err(Failure::refused(doing, cause));
        }
        let record = serde_json::from_str(&state).map_err(|error| Failure::refused(doing, error))?;
        Ok((record, Version(stored_number(version))))
    }

    async fn commit(&self, lane: &LaneKey, seen: Version, next: &PlaceRecord) -> Result<Version, Failure> {
        let what = format!("the place of {lane}");
        let state = serde_json::to_string(next).map_err(|error| Failure::refused(format!("write {what}"), error))?;
        let (name, version) = (lane.to_string(), Version(seen.0 + 1));
        let (old, new) = (number(seen.0)?, number(version.0)?);
        let written = self.run(format!("write {what}"), move |connection| {
            let statement = if old == 0 {
                "INSERT INTO places (lane, version, format, state) SELECT ?1, ?2, ?3, ?4 WHERE ?5 = 0
                 ON CONFLICT DO NOTHING"
            } else {
                "UPDATE places SET version = ?2, format = ?3, state = ?4 WHERE lane = ?1 AND version = ?5"
            };
            connection.execute(statement, params![name, new, PlaceRecord::FORMAT, state, old])
        });
        if written.await? == 1 { Ok(version) } else { Err(Failure::Conflict { what }) }
    }
}
