//! What each user may use, in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::ports::access_items::{Access, AccessItems, UserAccess};
use crate::ports::failure::Failure;

/// Keeps one entry per user.
#[derive(Debug, Default)]
pub struct MemoryAccessItems(Mutex<BTreeMap<String, UserAccess>>);

#[async_trait]
impl AccessItems for MemoryAccessItems {
    async fn grant(&self, email: &str, access: &Access) -> Result<(), Failure> {
        let mut users = lock(&self.0);
        let user = users.entry(email.to_owned()).or_default();
        match access {
            Access::App(app) => user.apps.insert(app.clone()),
            Access::Account(account) => user.accounts.insert(account.clone()),
        };
        Ok(())
    }

    async fn revoke(&self, email: &str, access: &Access) -> Result<(), Failure> {
        if let Some(user) = lock(&self.0).get_mut(email) {
            match access {
                Access::App(app) => user.apps.remove(app),
                Access::Account(account) => user.accounts.remove(account),
            };
        }
        Ok(())
    }

    async fn users(&self) -> Result<BTreeMap<String, UserAccess>, Failure> {
        let any = |access: &UserAccess| !access.apps.is_empty() || !access.accounts.is_empty();
        Ok(lock(&self.0).iter().filter(|(_, access)| any(access)).map(|(k, v)| (k.clone(), v.clone())).collect())
    }
}
