//! Rules without I/O, clock or randomness: equal inputs give equal outputs.

pub mod activity;
pub mod addons;
pub mod app_settings;
pub mod aws_event;
pub mod build_environment;
pub mod build_variables;
pub mod buildspec;
pub mod catalogue;
pub mod ecs;
pub mod engine_choice;
pub mod env_file;
pub mod file_patterns;
pub mod formation;
pub mod lane;
pub mod launch;
pub mod layer_figures;
pub mod lifecycle_phase;
pub mod machine;
pub mod manifest;
pub mod names;
pub mod namespace;
pub mod pull_request;
pub mod redact;
pub mod tags;
