//! One suite per port, run against every implementation.

mod app_config;
mod app_settings;
mod artifacts;
pub(crate) mod images;
mod lane_store;
mod layer_cache;
mod parameters;
pub(crate) mod phase_events;
mod records;
mod registry;
