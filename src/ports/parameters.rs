//! Named values of an app: config variables and the state of review apps.

use std::collections::BTreeMap;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

use super::failure::Failure;

/// Keeps values under paths such as `/apppack/apps/shop/config/KEY`.
#[async_trait]
pub trait ParameterStore: Send + Sync {
    /// Returns a plain value, or nothing when there is none. A value that cannot be read is an error, never "none".
    async fn get(&self, name: &str) -> Result<Option<String>, Failure>;

    /// Writes a plain value, replacing one that is there.
    async fn put(&self, name: &str, value: &str) -> Result<(), Failure>;

    /// Writes a value that only those who may decrypt it can read, replacing one that is there. A store that only its owner
    /// can read keeps it like any other.
    async fn put_secret(&self, name: &str, value: &SecretString) -> Result<(), Failure> {
        self.put(name, value.expose_secret()).await
    }

    /// Tells whether something else than people looks after a value, such as a stack, which may set it again. One that is not
    /// there is nobody's.
    async fn is_managed(&self, name: &str) -> Result<bool, Failure> {
        let _ = name;
        Ok(false)
    }

    /// Writes a plain value where there is none, in one step; returns whether it did. A value that is there stays.
    async fn create(&self, name: &str, value: &str) -> Result<bool, Failure>;

    /// Removes a value and returns whether there was one.
    async fn remove(&self, name: &str) -> Result<bool, Failure>;

    /// Returns the decrypted values directly below a path that ends with a slash, by their last segment.
    ///
    /// All pages are read; values in deeper levels are not returned.
    async fn below(&self, path: &str) -> Result<BTreeMap<String, SecretString>, Failure>;
}
