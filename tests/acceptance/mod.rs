//! The real thing: real engines, real images.

mod commands;
mod docker_engine;
mod docker_place;
mod docker_tests;
mod image_build;
mod pack;
mod pull_requests;
mod runner;
mod runner_adversity;
mod up;
