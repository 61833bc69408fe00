//! Stores that live as long as the process: for the simulation and for tests.
//!
//! They keep every promise of their ports but one: nothing outlives the process.

mod access_items;
mod artifacts;
mod clock;
mod lane_store;
mod parameters;
mod people;
mod phase_events;
mod place_records;
mod queue;
mod records;
mod settings;

pub use access_items::MemoryAccessItems;
pub use artifacts::MemoryArtifacts;
pub use clock::SettableClock;
pub use lane_store::MemoryLaneStore;
pub use parameters::MemoryParameters;
pub use people::CollectedNews;
pub use phase_events::CollectedPhaseEvents;
pub use place_records::MemoryPlaceRecords;
pub use queue::{CollectedDeadLetters, MemoryQueue};
pub use records::MemoryRecords;
pub use settings::MemorySettings;

/// Takes a lock; a panic of another holder does not matter, since every change below is one assignment.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
