//! Messages to a webhook, such as one of Slack's.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::domain::lane::LaneKey;
use crate::ports::failure::Failure;
use crate::ports::notifier::Notifier;

/// Posts messages as JSON. The address is a secret: whoever knows it may post.
///
/// A message that was not taken for a moment is tried again, some times within some seconds; one whose answer was lost may so
/// arrive twice.
pub struct Webhook {
    client: reqwest::Client,
    address: SecretString,
}

/// How long a message may take, with all attempts; nothing waits for it for long.
const LIMIT: Duration = Duration::from_secs(5);
/// How often a message is sent, the first time included.
const ATTEMPTS: u32 = 3;
/// How long to wait before the second attempt; before the third it is twice as long.
const PAUSE: Duration = Duration::from_millis(300);
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

impl Webhook {
    async fn post(&self, message: &Value) -> Result<(), Failure> {
        let sent = self.client.post(self.address.expose_secret()).json(message).send().await;
        let answer = match sent {
            Ok(answer) => answer,
            // An address that is none.
            Err(error) if error.is_builder() => return Err(Failure::refused(DOING, error.without_url())),
            Err(error) => return Err(Failure::unavailable(DOING, error.without_url())),
        };
        let status = answer.status();
        let told = format!("it answered {status}");
        if status.is_success() {
            Ok(())
        } else if status.is_server_error() || status == reqwest::StatusCode::TOO_MANY_REQUESTS {
            Err(Failure::unavailable(DOING, told))
        } else {
            Err(Failure::refused(DOING, told))
        }
    }
}

#[async_trait]
impl Notifier for Webhook {
    async fn send(&self, _: &LaneKey, message: &Value) -> Result<(), Failure> {
        let trying = async {
            let mut attempt = 1;
            loop {
                match self.post(message).await {
                    Err(failure) if failure.is_passing() && attempt < ATTEMPTS => {
                        tokio::time::sleep(PAUSE * attempt).await;
                        attempt += 1;
                    }
                    done => return done,
                }
            }
        };
        let sent = tokio::time::timeout(LIMIT, trying).await;
        sent.unwrap_or_else(|_| Err(Failure::unavailable(DOING, "it did not answer in time")))
    }
}
