//! Parameters in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use super::lock;
use crate::adapters::parameter_name;
use crate::domain::formation::ConfigName;
use crate::domain::lane::LaneKey;
use crate::domain::namespace::Namespace;
use crate::ports::app_config::AppConfig;
use crate::ports::failure::Failure;
use crate::ports::parameters::ParameterStore;

/// Keeps values by name; its `Debug` shows names only.
#[derive(Debug, Default)]
pub struct MemoryParameters(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    values: BTreeMap<String, (SecretString, u64)>,
    writes: u64,
}

impl State {
    fn write(&mut self, name: &str, value: &str) {
        let same = self.values.get(name).is_some_and(|(known, _)| known.expose_secret() == value);
        if !same {
            self.writes += 1;
            self.values.insert(name.to_owned(), (value.into(), self.writes));
        }
    }
}

impl MemoryParameters {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl ParameterStore for MemoryParameters {
    async fn get(&self, name: &str) -> Result<Option<String>, Failure> {
        Ok(lock(&self.0).values.get(name).map(|(value, _)| value.expose_secret().to_owned()))
    }

    async fn put(&self, name: &str, value: &str) -> Result<(), Failure> {
        parameter_name::check(name)?;
        parameter_name::check_value(name, value)?;
        lock(&self.0).write(name, value);
        Ok(())
    }

    async fn create(&self, name: &str, value: &str) -> Result<bool, Failure> {
        parameter_name::check(name)?;
        parameter_name::check_value(name, value)?;
        let mut state = lock(&self.0);
        let free = !state.values.contains_key(name);
        if free {
            state.write(name, value);
        }
        Ok(free)
    }

    async fn below(&self, path: &str) -> Result<BTreeMap<String, SecretString>, Failure> {
        parameter_name::check_path(path)?;
        let state = lock(&self.0);
        let value = |(name, (value, _)): (&String, &(SecretString, u64))| {
            Some((parameter_name::direct_child(path, name)?.to_owned(), value.clone()))
        };
        Ok(state.values.iter().filter_map(value).collect())
    }

    async fn remove(&self, name: &str) -> Result<bool, Failure> {
        Ok(lock(&self.0).values.remove(name).is_some())
    }
}

#[async_trait]
impl AppConfig for MemoryParameters {
    async fn names(&self, lane: &LaneKey) -> Result<Vec<ConfigName>, Failure> {
        let state = lock(&self.0);
        let below = |path: String| {
            let name = |(parameter, (_, write)): (&String, &(SecretString, u64))| {
                Some(ConfigName {
                    name: parameter_name::direct_child(&path, parameter)?.to_owned(),
                    parameter: parameter.clone(),
                    version: write.to_string(),
                })
            };
            state.values.iter().filter_map(name).collect()
        };
        Ok(ConfigName::merged(Namespace::default().config_paths(lane).into_iter().map(below)))
    }
}
