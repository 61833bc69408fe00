//! Artifacts in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;

use super::lock;
use crate::adapters::artifact_key;
use crate::ports::artifacts::ArtifactStore;
use crate::ports::failure::Failure;

/// Keeps artifacts under `memory://` URLs.
#[derive(Debug, Default)]
pub struct MemoryArtifacts(Mutex<BTreeMap<String, Bytes>>);

impl MemoryArtifacts {
    /// Makes an empty store.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl ArtifactStore for MemoryArtifacts {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), Failure> {
        artifact_key::check(key)?;
        lock(&self.0).insert(key.to_owned(), content);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        artifact_key::check(key)?;
        Ok(lock(&self.0).get(key).cloned())
    }

    fn url(&self, key: &str) -> String {
        format!("memory://artifacts/{key}")
    }
}
