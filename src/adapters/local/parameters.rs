//! Parameters in the local database.

use std::collections::BTreeMap;

use async_trait::async_trait;
use rusqlite::{OptionalExtension as _, params};
use secrecy::{ExposeSecret as _, SecretString};

use super::LocalState;
use crate::adapters::parameter_name;
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
                "INSERT INTO parameters (name, value) VALUES (?1, ?2)
                 ON CONFLICT DO UPDATE SET value = excluded.value",
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
                "INSERT INTO parameters (name, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![name, value.expose_secret()],
            )
        });
        Ok(written.await? > 0)
    }

    async fn below(&self, path: &str) -> Result<BTreeMap<String, SecretString>, Failure> {
        parameter_name::check_path(path)?;
        let (path, doing) = (path.to_owned(), format!("read the parameters below {path}"));
        self.run(doing, move |connection| {
            // `0` follows `/`, so this range holds exactly the names that begin with the path.
            let after = format!("{}0", path.trim_end_matches('/'));
            let mut statement =
                connection.prepare("SELECT name, value FROM parameters WHERE name > ?1 AND name < ?2")?;
            let mut rows = statement.query(params![path, after])?;
            let mut values = BTreeMap::new();
            while let Some(row) = rows.next()? {
                let name: String = row.get(0)?;
                if let Some(last) = parameter_name::direct_child(&path, &name) {
                    values.insert(last.to_owned(), SecretString::from(row.get::<_, String>(1)?));
                }
            }
            Ok(values)
        })
        .await
    }
}
