//! Lanes in the local database.

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, params};

use super::LocalState;
use super::database::{number, stored_number};
use crate::adapters::lane_document;
use crate::domain::lane::{Lane, LaneKey};
use crate::ports::failure::Failure;
use crate::ports::lane_store::{LaneStore, Version, Versioned};

#[async_trait]
impl LaneStore for LocalState {
    async fn load(&self, key: &LaneKey) -> Result<Option<Versioned>, Failure> {
        let name = key.to_string();
        let found = self
            .run(format!("read {}", lane_document::name(key)), move |connection| {
                connection
                    .query_row("SELECT version, format, state FROM lanes WHERE lane = ?1", [name], |row| {
                        Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, String>(2)?))
                    })
                    .optional()
            })
            .await?;
        found
            .map(|(version, format, state)| {
                let lane = lane_document::decode(key, format, &state)?;
                Ok(Versioned { lane, version: Version(stored_number(version)) })
            })
            .transpose()
    }

    async fn commit(&self, seen: Version, next: &Lane) -> Result<Version, Failure> {
        let state = lane_document::encode(next)?;
        let (name, active) = (next.key.to_string(), next.is_active());
        let version = Version(seen.0 + 1);
        let (old, new) = (number(seen.0)?, number(version.0)?);
        let written = self
            .run(format!("write {}", lane_document::name(&next.key)), move |connection| {
                if old == 0 {
                    connection.execute(
                        "INSERT INTO lanes (lane, version, format, state, active) VALUES (?1, ?2, ?3, ?4, ?5)
                         ON CONFLICT DO NOTHING",
                        params![name, new, Lane::FORMAT, state, active],
                    )
                } else {
                    connection.execute(
                        "UPDATE lanes SET version = ?2, format = ?3, state = ?4, active = ?5
                         WHERE lane = ?1 AND version = ?6",
                        params![name, new, Lane::FORMAT, state, active, old],
                    )
                }
            })
            .await?;
        if written == 1 { Ok(version) } else { Err(Failure::Conflict { what: lane_document::name(&next.key) }) }
    }

    async fn all(&self) -> Result<Vec<LaneKey>, Failure> {
        let names: Vec<String> = self
            .run("list the lanes".to_owned(), |connection| {
                connection.prepare("SELECT lane FROM lanes ORDER BY lane")?.query_map([], |row| row.get(0))?.collect()
            })
            .await?;
        names.iter().map(|name| lane_document::key(name)).collect()
    }

    async fn active(&self) -> Result<Vec<LaneKey>, Failure> {
        let names: Vec<String> = self
            .run("list active lanes".to_owned(), |connection| {
                let mut statement = connection.prepare("SELECT lane FROM lanes WHERE active ORDER BY lane")?;
                statement.query_map([], |row| row.get(0))?.collect()
            })
            .await?;
        names.iter().map(|name| lane_document::key(name)).collect()
    }
}
