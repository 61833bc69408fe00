//! The real thing: real engines, real images.

#[cfg(feature = "aws")]
mod adopt;
mod bare_tests;
#[cfg(feature = "aws")]
mod client;
#[cfg(feature = "aws")]
mod codebuild;
mod codebuild_image;
mod commands;
#[cfg(feature = "aws")]
mod crashes;
mod docker_engine;
mod docker_place;
mod docker_tests;
mod embedded;
mod embedded_buildpacks;
mod embedded_cache;
#[cfg(feature = "aws")]
mod event_log;
#[cfg(feature = "aws")]
mod full_disk;
mod image_build;
mod image_rebase;
#[cfg(feature = "aws")]
mod lambda;
#[cfg(feature = "aws")]
mod lane_faults;
mod launcher;
mod lifecycle;
mod lifecycle_failures;
#[cfg(feature = "aws")]
mod on_ecs;
mod pack;
mod planted_secret;
#[cfg(feature = "aws")]
mod poll;
mod pull_requests;
#[cfg(feature = "aws")]
mod registry_faults;
mod runner;
mod runner_adversity;
mod sandbox;
#[cfg(feature = "aws")]
mod unprivileged;
mod up;
mod why;
