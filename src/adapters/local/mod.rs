//! Stores on this machine: what `packhorse up` keeps in `.packhorse/`.
//!
//! Items lie in an SQLite database, artifacts are files. Several processes may use them at once. Everything is for
//! the owner's eyes only, since config variables are secrets.

mod activity_log;
mod artifacts;
mod clock;
mod database;
mod lane_store;
mod parameters;
mod place_records;
mod records;
mod settings;

pub use activity_log::ActivityFile;
pub use artifacts::LocalArtifacts;
pub use clock::SystemClock;
pub use database::LocalState;
