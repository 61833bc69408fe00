//! Where requests to an app go.

use std::net::SocketAddr;

use async_trait::async_trait;

use crate::domain::lane::LaneKey;

/// Sends an app's requests to its web process.
#[async_trait]
pub trait Routes: Send + Sync {
    /// Sends every request that begins from now on to this address, and returns once those under way to another one
    /// have ended, or after a time limit. Repeating it changes nothing.
    async fn point_to(&self, lane: &LaneKey, web: SocketAddr);
}
