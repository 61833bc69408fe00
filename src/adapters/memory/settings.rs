//! Settings in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;

use super::lock;
use crate::domain::app_settings::Settings;
use crate::domain::lane::LaneKey;
use crate::ports::app_settings::AppSettings;
use crate::ports::failure::Failure;

/// Keeps the settings of lanes; one that has none of its own has the usual ones.
#[derive(Debug, Default)]
pub struct MemorySettings {
    usual: Settings,
    own: Mutex<BTreeMap<LaneKey, Settings>>,
}

impl MemorySettings {
    /// Gives these to every lane without settings of its own.
    pub fn new(usual: Settings) -> Self {
        Self { usual, own: Mutex::default() }
    }

    /// Gives a lane settings of its own.
    pub fn set(&self, lane: LaneKey, settings: Settings) {
        lock(&self.own).insert(lane, settings);
    }
}

#[async_trait]
impl AppSettings for MemorySettings {
    async fn settings(&self, lane: &LaneKey) -> Result<Settings, Failure> {
        Ok(lock(&self.own).get(lane).unwrap_or(&self.usual).clone())
    }
}
