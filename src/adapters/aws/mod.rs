//! AWS behind the ports: converts, calls, converts back, sorts the error.
//!
//! All clients are made in one place, which decides about regions, endpoints, certificates, names, time limits and
//! retries. No SDK type leaves this folder but in constructors.

mod access_items;
mod activity_log;
mod app_config;
mod app_settings;
mod artifacts;
mod build_service;
mod clients;
mod ecr;
mod ecs;
mod event_queue;
mod failure;
mod items;
mod lane_store;
mod log_reader;
mod name_resolver;
mod parameters;
mod phase_events;
mod place_records;
mod processes;
mod records;
mod review_apps;
mod trust;
mod versioned_item;

pub use access_items::DynamoAccessItems;
pub use activity_log::CloudWatchActivityLog;
pub use app_settings::DynamoSettings;
pub use artifacts::{S3Artifacts, S3Buckets};
pub use build_service::CodeBuild;
pub use clients::{AwsSettings, Clients};
pub use ecr::EcrCredentials;
pub use ecs::EcsPlace;
pub use event_queue::SqsQueue;
pub use lane_store::DynamoLaneStore;
pub use log_reader::AwsLogs;
pub use parameters::SsmParameters;
pub use phase_events::EventBridgePhaseEvents;
pub use place_records::DynamoPlaceRecords;
pub use processes::EcsProcesses;
pub use records::DynamoRecords;
pub use review_apps::CloudFormationReviewApps;
