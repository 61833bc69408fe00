//! Artifacts in S3.

use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::operation::get_object::GetObjectError;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use tracing::debug;

use super::failure::sort;
use crate::adapters::artifact_key;
use crate::ports::artifacts::{ArtifactStore, ArtifactStores};
use crate::ports::failure::Failure;

/// Keeps artifacts as objects of one bucket.
#[derive(Debug, Clone)]
pub struct S3Artifacts {
    client: Client,
    bucket: String,
}

/// Finds the buckets of apps.
#[derive(Debug, Clone)]
pub struct S3Buckets {
    client: Client,
    usual: String,
}

impl S3Buckets {
    /// Uses the bucket `usual` where a build does not say which one is its own; it may be empty.
    pub fn new(client: Client, usual: impl Into<String>) -> Self {
        Self { client, usual: usual.into() }
    }
}

impl ArtifactStores for S3Buckets {
    fn of(&self, bucket: &str) -> Arc<dyn ArtifactStore> {
        let bucket = if bucket.is_empty() { &self.usual } else { bucket };
        Arc::new(S3Artifacts::new(self.client.clone(), bucket))
    }
}

/// How often an object is asked for when its body breaks off: the client repeats requests, not bodies.
const BODIES: u32 = 3;

impl S3Artifacts {
    /// Keeps artifacts in `bucket`.
    pub fn new(client: Client, bucket: impl Into<String>) -> Self {
        Self { client, bucket: bucket.into() }
    }
}

#[async_trait]
impl ArtifactStore for S3Artifacts {
    async fn put(&self, key: &str, content: Bytes) -> Result<(), Failure> {
        artifact_key::check(key)?;
        let put = self.client.put_object().bucket(&self.bucket).key(key).body(ByteStream::from(content));
        put.send().await.map_err(|error| sort(format!("write {}", self.url(key)), error))?;
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        artifact_key::check(key)?;
        let doing = format!("read {}", self.url(key));
        let mut attempt = 1;
        loop {
            let object = match self.client.get_object().bucket(&self.bucket).key(key).send().await {
                Ok(object) => object,
                Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return Ok(None),
                Err(error) => return Err(sort(doing, error)),
            };
            match object.body.collect().await {
                Ok(body) => return Ok(Some(body.into_bytes())),
                Err(error) if attempt < BODIES => debug!(%error, key, "An object broke off"),
                Err(error) => return Err(Failure::unavailable(doing, error)),
            }
            attempt += 1;
        }
    }

    fn url(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.bucket)
    }
}
