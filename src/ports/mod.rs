//! What packhorse needs from outside, one small capability per file, each with its errors.

pub mod activity_log;
pub mod app_config;
pub mod app_settings;
pub mod artifacts;
pub mod build_service;
pub mod clock;
pub mod container_engine;
pub mod failure;
pub mod image_builder;
pub mod image_store;
pub mod lane_store;
pub mod notifier;
pub mod parameters;
pub mod phase_events;
pub mod place;
pub mod place_records;
pub mod records;
pub mod review_apps;
pub mod routes;
pub mod source_history;
pub mod test_bed;
