//! Where requests to an app go.

use std::net::SocketAddr;

use crate::domain::lane::LaneKey;

/// Sends an app's requests to its web process.
pub trait Routes: Send + Sync {
    /// Sends every request that begins from now on to this address; those under way end where they are.
    fn point_to(&self, lane: &LaneKey, web: SocketAddr);
}
