//! The artifact store of an app: logs, config and metadata of its builds.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::failure::Failure;

/// Keeps files under keys such as `42/build.log`.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Writes a file as a whole, replacing one that is there; a crash leaves the old file or the new one.
    async fn put(&self, key: &str, content: Bytes) -> Result<(), Failure>;

    /// Returns a file, or nothing when there is none.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure>;

    /// Returns where clients find a file, such as `s3://bucket/42/build.log`.
    fn url(&self, key: &str) -> String;
}

/// Finds the artifact store of an app: each app and each pipeline has one of its own.
pub trait ArtifactStores: Send + Sync {
    /// Returns the store in this bucket; an empty text stands for the one that is used unless told otherwise.
    fn of(&self, bucket: &str) -> Arc<dyn ArtifactStore>;
}

/// The same store for every app, as on one machine.
#[derive(Clone)]
pub struct OneStore(pub Arc<dyn ArtifactStore>);

impl ArtifactStores for OneStore {
    fn of(&self, _: &str) -> Arc<dyn ArtifactStore> {
        Arc::clone(&self.0)
    }
}
