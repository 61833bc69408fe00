//! Messages to a webhook, such as one of Slack's.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::domain::lane::LaneKey;
use crate::ports::failure::Failure;
use crate::ports::notifier::Notifier;

/// Posts messages as JSON. The address is a secret: whoever knows it may post.
pub struct Webhook {
    client: reqwest::Client,
    address: SecretString,
}

/// How long a message may take; nothing waits for it for long.
const LIMIT: Duration = Duration::from_secs(5);
const DOING: &str = "send a message to the webhook";

impl Webhook {
    /// Posts to this address.
    ///
    /// # Errors
    /// Refuses when no HTTP client can be made.
    pub fn new(address: SecretString) -> Result<Self, Failure> {
        // The first provider that is installed stays.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().timeout(LIMIT).redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|error| Failure::refused("make an HTTP client", error.without_url()))?;
        Ok(Self { client, address })
    }
}

#[async_trait]
impl Notifier for Webhook {
    async fn send(&self, _: &LaneKey, message: &Value) -> Result<(), Failure> {
        let sent = self.client.post(self.address.expose_secret()).json(message).send().await;
        let answer = sent.map_err(|error| Failure::unavailable(DOING, error.without_url()))?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(Failure::refused(DOING, format!("it answered {}", answer.status())))
    }
}
