//! Reads logs by the location that a build's item names.

use async_trait::async_trait;

use super::failure::Failure;

/// Reads logs.
#[async_trait]
pub trait LogReader: Send + Sync {
    /// Returns the lines of the log at a location (`s3://…`, `cloudwatch://GROUP#STREAM`, `file://…`) from the beginning, or
    /// nothing when it is not there, or not yet.
    async fn read(&self, location: &str) -> Result<Option<Vec<String>>, Failure>;

    /// Returns what an app's processes said since a moment (milliseconds since 1970), oldest first, with the stream that each
    /// line came by. Streams are those that begin with `prefix`.
    async fn said(&self, group: &str, prefix: &str, since: u64) -> Result<Vec<LogLine>, Failure>;
}

/// A line of an app's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Tells it from others that were said at the same moment.
    pub id: String,
    /// When, in milliseconds since 1970, where that is known.
    pub at: Option<u64>,
    /// The stream: it begins with the process type.
    pub stream: String,
    /// What was said.
    pub text: String,
}
