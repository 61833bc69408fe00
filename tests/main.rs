//! Every integration test, as one binary.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops where something is wrong, and says what it did"
)]

mod acceptance;
mod cli;
mod contract;
mod hostile;
mod manifests;
mod simulation;
mod support;
mod why;
