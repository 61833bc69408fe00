//! Logs in S3 and in CloudWatch Logs.

use async_trait::async_trait;
use aws_sdk_cloudwatchlogs::operation::filter_log_events::FilterLogEventsError;
use aws_sdk_cloudwatchlogs::operation::get_log_events::GetLogEventsError;
use aws_sdk_s3::operation::get_object::GetObjectError;

use super::Clients;
use super::failure::sort;
use crate::ports::failure::Failure;
use crate::ports::log_reader::{LogLine, LogReader};

/// Reads both.
#[derive(Debug, Clone)]
pub struct AwsLogs {
    s3: aws_sdk_s3::Client,
    logs: aws_sdk_cloudwatchlogs::Client,
}

impl AwsLogs {
    /// Uses these clients.
    pub fn new(clients: &Clients) -> Self {
        Self { s3: clients.s3(), logs: clients.logs() }
    }

    async fn object(&self, location: &str, path: &str) -> Result<Option<Vec<String>>, Failure> {
        let doing = format!("read {location}");
        let Some((bucket, key)) = path.split_once('/') else {
            return Err(Failure::refused(doing, "it names no object"));
        };
        let answer = match self.s3.get_object().bucket(bucket).key(key).send().await {
            Ok(answer) => answer,
            Err(error) if error.as_service_error().is_some_and(GetObjectError::is_no_such_key) => return Ok(None),
            Err(error) => return Err(sort(doing, error)),
        };
        let bytes = answer.body.collect().await.map_err(|error| Failure::unavailable(doing, error))?.into_bytes();
        Ok(Some(String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()))
    }

    async fn stream(&self, location: &str, path: &str) -> Result<Option<Vec<String>>, Failure> {
        let doing = format!("read {location}");
        let Some((group, stream)) = path.split_once('#') else {
            return Err(Failure::refused(doing, "it names no stream"));
        };
        let (mut lines, mut token) = (Vec::new(), None::<String>);
        loop {
            let page = self
                .logs
                .get_log_events()
                .log_group_name(group)
                .log_stream_name(stream)
                .start_from_head(true)
                .set_next_token(token.clone());
            let page = match page.send().await {
                Ok(page) => page,
                // A stream comes into being with its first line.
                Err(error)
                    if error.as_service_error().is_some_and(GetLogEventsError::is_resource_not_found_exception) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(sort(doing, error)),
            };
            let text = |event: &aws_sdk_cloudwatchlogs::types::OutputLogEvent| {
                event.message().unwrap_or_default().trim_end_matches(['\n', '\r']).to_owned()
            };
            lines.extend(page.events().iter().map(text));
            // The end is where the same token comes again (API reference of `GetLogEvents`).
            let next = page.next_forward_token;
            if next.is_none() || next == token {
                return Ok(Some(lines));
            }
            token = next;
        }
    }
}

#[async_trait]
impl LogReader for AwsLogs {
    async fn read(&self, location: &str) -> Result<Option<Vec<String>>, Failure> {
        if let Some(path) = location.strip_prefix("s3://") {
            return self.object(location, path).await;
        }
        match location.strip_prefix("cloudwatch://") {
            Some(path) => self.stream(location, path).await,
            None => Err(Failure::refused(format!("read {location}"), "it is no place of a log")),
        }
    }

    async fn said(&self, group: &str, prefix: &str, since: u64) -> Result<Vec<LogLine>, Failure> {
        let mut filter = self.logs.filter_log_events().log_group_name(group);
        filter = filter.start_time(i64::try_from(since).unwrap_or(i64::MAX));
        if !prefix.is_empty() {
            filter = filter.log_stream_name_prefix(prefix);
        }
        let mut pages = filter.into_paginator().send();
        let mut lines = Vec::new();
        while let Some(page) = pages.next().await {
            let page = match page {
                Ok(page) => page,
                Err(error)
                    if error.as_service_error().is_some_and(FilterLogEventsError::is_resource_not_found_exception) =>
                {
                    return Err(Failure::NotFound { what: format!("the log group {group}") });
                }
                Err(error) => return Err(sort(format!("read the log group {group}"), error)),
            };
            for event in page.events.unwrap_or_default() {
                if !event.log_stream_name().unwrap_or_default().starts_with(prefix) {
                    continue;
                }
                lines.push(LogLine {
                    id: event.event_id.unwrap_or_default(),
                    at: event.timestamp.and_then(|at| u64::try_from(at).ok()),
                    stream: event.log_stream_name.unwrap_or_default(),
                    text: event.message.unwrap_or_default().trim_end_matches(['\n', '\r']).to_owned(),
                });
            }
        }
        lines.sort_by_key(|line| line.at);
        Ok(lines)
    }
}
