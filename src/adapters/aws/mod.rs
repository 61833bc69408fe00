//! AWS behind the ports: converts, calls, converts back, sorts the error.
//!
//! All clients are made in one place, which decides about regions, endpoints, certificates, names, time limits and
//! retries. No SDK type leaves this folder but in constructors.

mod app_config;
mod app_settings;
mod artifacts;
mod build_service;
mod clients;
mod ecr;
mod ecs;
mod failure;
mod items;
mod lane_store;
mod name_resolver;
mod parameters;
mod phase_events;
mod place_records;
mod records;
mod review_apps;
mod trust;
mod versioned_item;

pub use app_settings::DynamoSettings;
pub use artifacts::{S3Artifacts, S3Buckets};
pub use build_service::CodeBuild;
pub use clients::{AwsSettings, Clients};
pub use ecr::EcrCredentials;
pub use ecs::EcsPlace;
pub use lane_store::DynamoLaneStore;
pub use parameters::SsmParameters;
pub use phase_events::EventBridgePhaseEvents;
pub use place_records::DynamoPlaceRecords;
pub use records::DynamoRecords;
pub use review_apps::CloudFormationReviewApps;
