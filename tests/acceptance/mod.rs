//! The real thing: real engines, real images.

mod docker_engine;
mod docker_place;
mod docker_tests;
mod pack;
mod pull_requests;
mod up;
