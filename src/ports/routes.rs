//! Where requests to an app go.

use std::net::SocketAddr;

use async_trait::async_trait;

use crate::domain::lane::LaneKey;

/// Sends an app's requests to its web processes.
#[async_trait]
pub trait Routes: Send + Sync {
    /// Sends every request that begins from now on to these addresses in turn, and returns once those under way to other ones
    /// have ended, or after a time limit. Without an address, nobody answers. Repeating it changes nothing.
    async fn point_to(&self, lane: &LaneKey, web: &[SocketAddr]);
}
