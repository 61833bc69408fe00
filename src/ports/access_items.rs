//! What each user may use, kept per user: made from the lists of people, for clients to show.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;

use super::failure::Failure;

/// Something that a list of people gives access to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// An app or a pipeline.
    App(String),
    /// An account as its administrator.
    Account(String),
}

/// What one user may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserAccess {
    /// Apps and pipelines.
    pub apps: BTreeSet<String>,
    /// Accounts that the user administrates.
    pub accounts: BTreeSet<String>,
}

impl UserAccess {
    /// Tells whether it holds this.
    pub fn has(&self, access: &Access) -> bool {
        match access {
            Access::App(app) => self.apps.contains(app),
            Access::Account(account) => self.accounts.contains(account),
        }
    }
}

/// Keeps one item per user. It is for showing only: nothing is ever authorized by it.
///
/// Giving and taking touch nothing else in the item, so several writers at once never undo each other's work, and repeating
/// either changes nothing.
#[async_trait]
pub trait AccessItems: Send + Sync {
    /// Gives a user access.
    async fn grant(&self, email: &str, access: &Access) -> Result<(), Failure>;

    /// Takes it away; a user who never had it is left alone.
    async fn revoke(&self, email: &str, access: &Access) -> Result<(), Failure>;

    /// Returns all users who have any access, by e-mail. This may read much, so it is asked for rarely.
    async fn users(&self) -> Result<BTreeMap<String, UserAccess>, Failure>;
}
