//! Client-visible items in the local database.

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::LocalState;
use super::database::number;
use crate::domain::lane::{BuildRecord, DeployStatus, LaneKey};
use crate::domain::names::BuildNumber;
use crate::ports::failure::Failure;
use crate::ports::lane_store::Version;
use crate::ports::records::Records;

#[async_trait]
impl Records for LocalState {
    async fn put_build(&self, key: &LaneKey, at: Version, record: &BuildRecord) -> Result<(), Failure> {
        let doing = format!("write build {} of {key}", record.build_number);
        let text = encode(&doing, record)?;
        let (name, build, version) = (key.to_string(), number(record.build_number.0)?, number(at.0)?);
        self.run(doing, move |connection| {
            connection.execute(
                "INSERT INTO builds (lane, number, lane_version, record) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET lane_version = excluded.lane_version, record = excluded.record
                 WHERE lane_version <= excluded.lane_version",
                params![name, build, version, text],
            )
        })
        .await?;
        Ok(())
    }

    async fn remove_build(&self, key: &LaneKey, at: Version, number_: BuildNumber) -> Result<(), Failure> {
        let (name, build, version) = (key.to_string(), number(number_.0)?, number(at.0)?);
        self.run(format!("remove build {number_} of {key}"), move |connection| {
            connection.execute(
                "DELETE FROM builds WHERE lane = ?1 AND number = ?2 AND lane_version <= ?3",
                params![name, build, version],
            )
        })
        .await?;
        Ok(())
    }

    async fn put_deploy_status(&self, key: &LaneKey, at: Version, status: &DeployStatus) -> Result<(), Failure> {
        let doing = format!("write the deploy status of {key}");
        let text = encode(&doing, status)?;
        let (name, version) = (key.to_string(), number(at.0)?);
        self.run(doing, move |connection| {
            connection.execute(
                "INSERT INTO deploys (lane, lane_version, status) VALUES (?1, ?2, ?3)
                 ON CONFLICT DO UPDATE SET lane_version = excluded.lane_version, status = excluded.status
                 WHERE lane_version <= excluded.lane_version",
                params![name, version, text],
            )
        })
        .await?;
        Ok(())
    }

    async fn build(&self, key: &LaneKey, number_: BuildNumber) -> Result<Option<BuildRecord>, Failure> {
        let doing = format!("read build {number_} of {key}");
        let (name, build) = (key.to_string(), number(number_.0)?);
        let found: Option<String> = self
            .run(doing.clone(), move |connection| {
                let query = "SELECT record FROM builds WHERE lane = ?1 AND number = ?2";
                connection.query_row(query, params![name, build], |row| row.get(0)).optional()
            })
            .await?;
        found.map(|text| decode(&doing, &text)).transpose()
    }

    async fn builds(&self, key: &LaneKey, limit: usize) -> Result<Vec<BuildRecord>, Failure> {
        let doing = format!("list the builds of {key}");
        let (name, limit) = (key.to_string(), i64::try_from(limit).unwrap_or(i64::MAX));
        let found: Vec<String> = self
            .run(doing.clone(), move |connection| {
                let query = "SELECT record FROM builds WHERE lane = ?1 ORDER BY number DESC LIMIT ?2";
                let mut statement = connection.prepare(query)?;
                statement.query_map(params![name, limit], |row| row.get(0))?.collect()
            })
            .await?;
        found.iter().map(|text| decode(&doing, text)).collect()
    }

    async fn deploy_status(&self, key: &LaneKey) -> Result<Option<DeployStatus>, Failure> {
        let doing = format!("read the deploy status of {key}");
        let name = key.to_string();
        let found: Option<String> = self
            .run(doing.clone(), move |connection| {
                connection.query_row("SELECT status FROM deploys WHERE lane = ?1", [name], |row| row.get(0)).optional()
            })
            .await?;
        found.map(|text| decode(&doing, &text)).transpose()
    }
}

fn encode<T: Serialize>(doing: &str, item: &T) -> Result<String, Failure> {
    serde_json::to_string(item).map_err(|error| Failure::refused(doing, error))
}

fn decode<T: DeserializeOwned>(doing: &str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::refused(doing, error))
}
