//! One suite per port, run against every implementation.

mod access_items;
mod activity_log;
mod app_config;
pub(crate) mod app_settings;
mod artifacts;
mod build_service;
mod event_queue;
pub(crate) mod images;
mod lane_store;
mod layer_cache;
mod notifier;
mod parameters;
pub(crate) mod phase_events;
mod place;
#[cfg(feature = "aws")]
pub(crate) mod place_on_ecs;
#[cfg(feature = "aws")]
mod place_records;
mod records;
mod registry;
mod review_apps;
pub(crate) mod test_bed;
