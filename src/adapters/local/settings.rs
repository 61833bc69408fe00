//! On one machine no stack has made anything: every app has the same settings.

use async_trait::async_trait;

use super::LocalState;
use crate::domain::app_settings::Settings;
use crate::domain::lane::LaneKey;
use crate::ports::app_settings::AppSettings;
use crate::ports::failure::Failure;

#[async_trait]
impl AppSettings for LocalState {
    async fn settings(&self, _: &LaneKey) -> Result<Settings, Failure> {
        Ok(Settings::default())
    }
}
