//! Phase events on an EventBridge bus.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::types::PutEventsRequestEntry;

use super::failure::sort;
use crate::domain::lane::PhaseChange;
use crate::ports::failure::Failure;
use crate::ports::phase_events::PhaseEvents;

/// Sends `Packhorse Phase Change` events with `PutEvents`.
#[derive(Debug, Clone)]
pub struct EventBridgePhaseEvents {
    client: Client,
    bus: Option<String>,
    first_pause: Duration,
}

/// The most entries of one request (API reference of `PutEvents`).
const ENTRIES: usize = 10;
/// How often refused entries are sent.
const ATTEMPTS: u32 = 4;
const DOING: &str = "send phase events";

impl EventBridgePhaseEvents {
    /// Sends to `bus`, or to the default bus.
    pub fn new(client: Client, bus: Option<String>) -> Self {
        Self { client, bus, first_pause: Duration::from_millis(200) }
    }

    /// Waits this long before refused entries are sent again, and twice as long each further time.
    #[must_use]
    pub fn with_first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    fn entry(&self, change: &PhaseChange) -> Result<PutEventsRequestEntry, Failure> {
        let detail = serde_json::to_string(change).map_err(|error| Failure::refused(DOING, error))?;
        Ok(PutEventsRequestEntry::builder()
            .source(PhaseChange::SOURCE)
            .detail_type(PhaseChange::DETAIL_TYPE)
            .detail(detail)
            .set_event_bus_name(self.bus.clone())
            .build())
    }

    async fn send(&self, mut entries: Vec<PutEventsRequestEntry>) -> Result<(), Failure> {
        let mut pause = self.first_pause;
        for attempt in 1.. {
            let answer = self.client.put_events().set_entries(Some(entries.clone())).send().await;
            let answer = answer.map_err(|error| sort(DOING, error))?;
            if answer.failed_entry_count == 0 {
                return Ok(());
            }
            // Success says nothing of single entries; those that went through must not be sent twice.
            let outcomes = answer.entries();
            let refused = outcomes.iter().position(|outcome| outcome.error_code.is_some());
            let Some(refusal) = refused.and_then(|index| outcomes.get(index)) else {
                return Err(Failure::unavailable(DOING, "entries were refused without saying which"));
            };
            let code = refusal.error_code().unwrap_or_default().to_owned();
            let cause = format!("{} ({code})", refusal.error_message().unwrap_or("no reason given"));
            if outcomes.iter().filter_map(|outcome| outcome.error_code()).any(|code| !is_passing(code)) {
                return Err(Failure::refused(DOING, cause));
            }
            if attempt >= ATTEMPTS {
                return Err(Failure::unavailable(DOING, cause));
            }
            let again = entries.into_iter().zip(outcomes).filter(|(_, outcome)| outcome.error_code.is_some());
            entries = again.map(|(entry, _)| entry).collect();
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        Ok(())
    }
}

fn is_passing(code: &str) -> bool {
    matches!(code, "InternalFailure" | "InternalException" | "ThrottlingException")
}

#[async_trait]
impl PhaseEvents for EventBridgePhaseEvents {
    async fn emit(&self, changes: &[PhaseChange]) -> Result<(), Failure> {
        for chunk in changes.chunks(ENTRIES) {
            let entries = chunk.iter().map(|change| self.entry(change)).collect::<Result<_, _>>()?;
            self.send(entries).await?;
        }
        Ok(())
    }
}
