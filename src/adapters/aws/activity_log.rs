//! The activity logs of apps in CloudWatch Logs: one log group per app, one stream per lane, a JSON line per entry.

use async_trait::async_trait;
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::operation::create_log_stream::CreateLogStreamError;
use aws_sdk_cloudwatchlogs::operation::put_log_events::PutLogEventsError;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;

use super::Clients;
use super::failure::sort;
use crate::domain::activity::Line;
use crate::domain::lane::LaneKey;
use crate::domain::namespace::Namespace;
use crate::ports::activity_log::ActivityLog;
use crate::ports::failure::Failure;

/// Writes to the groups that the apps' stacks have made; it makes none.
#[derive(Debug, Clone)]
pub struct CloudWatchActivityLog {
    client: Client,
}

/// The most lines of one request; far below the limits in number and size (API reference of `PutLogEvents`).
const LINES: usize = 500;

impl CloudWatchActivityLog {
    /// Uses these clients.
    pub fn new(clients: &Clients) -> Self {
        Self { client: clients.logs() }
    }

    async fn put(&self, group: &str, stream: &str, events: &[InputLogEvent]) -> Result<(), Failure> {
        let doing = format!("write to the activity log {group}");
        let put = || {
            let put = self.client.put_log_events().log_group_name(group).log_stream_name(stream);
            put.set_log_events(Some(events.to_vec())).send()
        };
        match put().await {
            Ok(_) => return Ok(()),
            Err(error) if error.as_service_error().is_some_and(PutLogEventsError::is_resource_not_found_exception) => {}
            Err(error) => return Err(sort(doing, error)),
        }
        // A stream comes into being with its first line.
        match self.client.create_log_stream().log_group_name(group).log_stream_name(stream).send().await {
            Ok(_) => {}
            Err(error)
                if error.as_service_error().is_some_and(CreateLogStreamError::is_resource_already_exists_exception) => {
            }
            Err(error) => return Err(sort(doing, error)),
        }
        put().await.map_err(|error| sort(doing.clone(), error))?;
        Ok(())
    }
}

#[async_trait]
impl ActivityLog for CloudWatchActivityLog {
    async fn append(&self, lane: &LaneKey, lines: &[Line]) -> Result<(), Failure> {
        let doing = "write an activity log";
        let mut events = Vec::with_capacity(lines.len());
        for line in lines {
            let text = serde_json::to_string(line).map_err(|error| Failure::refused(doing, error))?;
            let at = i64::try_from(line.at.0.saturating_mul(1000)).unwrap_or(i64::MAX);
            let event = InputLogEvent::builder().message(text).timestamp(at).build();
            events.push(event.map_err(|error| Failure::refused(doing, error))?);
        }
        // The lines of one request must be in the order of their times.
        events.sort_by_key(InputLogEvent::timestamp);
        let group = Namespace::default().activity_log_group(&lane.app);
        for some in events.chunks(LINES) {
            self.put(&group, &lane.resource_prefix(), some).await?;
        }
        Ok(())
    }
}
