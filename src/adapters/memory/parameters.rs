//! Parameters in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Mutex;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use super::lock;
use crate::adapters::parameter_name;
use crate::ports::failure::Failure;
use crate::ports::parameters::ParameterStore;

/// Keeps values by name; its `Debug` shows names only.
#[derive(Debug, Default)]
pub struct MemoryParameters(Mutex<BTreeMap<String, SecretString>>);

impl MemoryParameters {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl ParameterStore for MemoryParameters {
    async fn get(&self, name: &str) -> Result<Option<String>, Failure> {
        Ok(lock(&self.0).get(name).map(|value| value.expose_secret().to_owned()))
    }

    async fn put(&self, name: &str, value: &str) -> Result<(), Failure> {
        parameter_name::check(name)?;
        parameter_name::check_value(name, value)?;
        lock(&self.0).insert(name.to_owned(), value.into());
        Ok(())
    }

    async fn create(&self, name: &str, value: &str) -> Result<bool, Failure> {
        parameter_name::check(name)?;
        parameter_name::check_value(name, value)?;
        match lock(&self.0).entry(name.to_owned()) {
            Entry::Vacant(entry) => {
                entry.insert(value.into());
                Ok(true)
            }
            Entry::Occupied(_) => Ok(false),
        }
    }

    async fn below(&self, path: &str) -> Result<BTreeMap<String, SecretString>, Failure> {
        parameter_name::check_path(path)?;
        let values = lock(&self.0);
        Ok(values
            .iter()
            .filter_map(|(name, value)| Some((parameter_name::direct_child(path, name)?.to_owned(), value.clone())))
            .collect())
    }
}
