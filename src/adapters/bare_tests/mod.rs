//! Tests without Docker: the app image in a sandbox or over the build image, add-ons as processes.

mod addons;
mod bed;
mod postgres;
mod programs;
mod redis;
mod stage;

pub use addons::AddonProcesses;
pub use bed::BareTestBed;
pub use stage::Place;
