//! The logs of tasks (`aws-events` 4.7).

use super::super::failure::sort;
use super::EcsPlace;
use crate::ports::failure::Failure;

/// The most that is kept of a log, in bytes; what follows is left where it is.
const LONGEST: usize = 10 * 1024 * 1024;

impl EcsPlace {
    /// Reads a log stream from its beginning; nothing where there is no such stream, as for a task that never ran.
    pub(super) async fn log(&self, group: &str, stream: &str) -> Result<Option<Vec<u8>>, Failure> {
        let mut log = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let ask = self.logs.get_log_events().log_group_name(group).log_stream_name(stream).start_from_head(true);
            let page = match ask.set_next_token(token.clone()).send().await {
                Ok(page) => page,
                Err(error)
                    if error.as_service_error().is_some_and(
                        aws_sdk_cloudwatchlogs::operation::get_log_events::GetLogEventsError::is_resource_not_found_exception,
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(sort(format!("read the log {group}#{stream}"), error)),
            };
            for event in page.events() {
                log.extend_from_slice(event.message().unwrap_or_default().as_bytes());
                log.push(b'\n');
            }
            // An empty page with another token is no end; the same token is.
            let next = page.next_forward_token().map(str::to_owned);
            if next.is_none() || next == token || log.len() > LONGEST {
                return Ok(Some(log));
            }
            token = next;
        }
    }
}
