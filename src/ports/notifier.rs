//! Tells somebody at once.

use async_trait::async_trait;
use serde_json::Value;

use super::failure::Failure;
use crate::domain::lane::LaneKey;

/// Sends messages, such as to a webhook.
#[async_trait]
pub trait Notifier: Send + Sync {
    /// Sends a message in the shape that Slack's incoming webhooks take. It may arrive twice, after a
    /// crash or a lost answer; one that cannot be sent within some seconds is lost, since nothing may wait for it. No failure
    /// names the address.
    async fn send(&self, lane: &LaneKey, message: &Value) -> Result<(), Failure>;
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoNotifier;

#[async_trait]
impl Notifier for NoNotifier {
    async fn send(&self, _: &LaneKey, _: &Value) -> Result<(), Failure> {
        Ok(())
    }
}
