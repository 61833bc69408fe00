//! Parameters in the local database.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, params};
use secrecy::{ExposeSecret as _, SecretString};

use super::LocalState;
use crate::adapters::parameter_name;
use crate::domain::formation::ConfigName;
use crate::domain::lane::LaneKey;
use crate::domain::namespace::Namespace;
use crate::ports::app_config::AppConfig;
use crate::ports::failure::Failure;
use crate::ports::parameters::ParameterStore;

#[async_trait]
impl ParameterStore for LocalState {
    async fn get(&self, name: &str) -> Result<Option<String>, Failure> {
        let name = name.to_owned();
        self.run(format!("read the parameter {name}"), move |connection| {
            connection.query_row("SELECT value FROM parameters WHERE name = ?1", [name], |row| row.get(0)).optional()
        })
        .await
    }

    async fn put(&self, name: &str, value: &str) -> Result<(), Failure> {
        parameter_name::check(name)?;
        parameter_name::check_value(name, value)?;
        let (name, value) = (name.to_owned(), SecretString::from(value));
        self.run(format!("write the parameter {name}"), move |connection| {
            connection.execute(
                // A version is a word that no other write has.
                "INSERT INTO parameters (name, value, version) VALUES (?1, ?2, lower(hex(randomblob(8))))
                 ON CONFLICT DO UPDATE SET value = excluded.value, version = excluded.version
                 WHERE value <> excluded.value",
                params![name, value.expose_secret()],
            )
        })
        .await?;
        Ok(())
    }

    async fn create(&self, name: &str, value: &str) -> Result<bool, Failure> {
        parameter_name::check(name)?;
        parameter_name::check_value(name, value)?;
        let (name, value) = (name.to_owned(), SecretString::from(value));
        let written = self.run(format!("write the parameter {name}"), move |connection| {
            connection.execute(
                "INSERT INTO parameters (name, value, version) VALUES (?1, ?2, lower(hex(randomblob(8))))
                 ON CONFLICT DO NOTHING",
                params![name, value.expose_secret()],
            )
        });
        Ok(written.await? > 0)
    }

    async fn remove(&self, name: &str) -> Result<bool, Failure> {
        let name = name.to_owned();
        let removed = self.run(format!("remove the parameter {name}"), move |connection| {
            connection.execute("DELETE FROM parameters WHERE name = ?1", [name])
        });
        Ok(removed.await? > 0)
    }

    async fn below(&self, path: &str) -> Result<BTreeMap<String, SecretString>, Failure> {
        let rows = self.rows_below(path, "value").await?;
        Ok(rows.into_iter().map(|row| (row.last, SecretString::from(row.content))).collect())
    }
}

#[async_trait]
impl AppConfig for LocalState {
    async fn names(&self, lane: &LaneKey) -> Result<Vec<ConfigName>, Failure> {
        let mut lists = Vec::new();
        for path in Namespace::default().config_paths(lane) {
            let rows = self.rows_below(&path, "version").await?;
            let name = |Row { name, last, content }: Row| ConfigName { name: last, parameter: name, version: content };
            lists.push(rows.into_iter().map(name).collect());
        }
        Ok(ConfigName::merged(lists))
    }
}

impl LocalState {
    /// Returns a text that is another one after every change of a parameter, by whatever process, and says no value.
    ///
    /// # Errors
    /// Fails when the database cannot be read.
    pub async fn settings_version(&self) -> Result<String, Failure> {
        self.run("look for changed settings".to_owned(), |connection| {
            let mut statement = connection.prepare_cached("SELECT name, version FROM parameters ORDER BY name")?;
            let mut rows = statement.query([])?;
            let mut text = String::new();
            while let Some(row) = rows.next()? {
                let (name, version): (String, String) = (row.get(0)?, row.get(1)?);
                text.extend([name.as_str(), " ", version.as_str(), "\n"]);
            }
            Ok(text)
        })
        .await
    }
}

/// A parameter directly below some path.
struct Row {
    name: String,
    last: String,
    content: String,
}

impl LocalState {
    /// Returns the names of the parameters directly below a path with one of their columns.
    async fn rows_below(&self, path: &str, column: &'static str) -> Result<Vec<Row>, Failure> {
        parameter_name::check_path(path)?;
        let (path, doing) = (path.to_owned(), format!("read the parameters below {path}"));
        self.run(doing, move |connection| {
            // `0` follows `/`, so this range holds exactly the names that begin with the path.
            let after = format!("{}0", path.trim_end_matches('/'));
            let query = format!("SELECT name, {column} FROM parameters WHERE name > ?1 AND name < ?2");
            let mut statement = connection.prepare(&query)?;
            let mut rows = statement.query(params![path, after])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                let Some(last) = parameter_name::direct_child(&path, &name).map(str::to_owned) else { continue };
                found.push(Row { last, content: row.get(1)?, name });
            }
            Ok(found)
        })
        .await
    }
}
