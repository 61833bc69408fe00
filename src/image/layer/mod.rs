//! Layers, equal to the byte to those of the Go lifecycle, read once and compressed on all cores.

mod archive;
mod compress;
mod entry;
mod error;
mod header;
mod pack;
mod stat_manifest;
#[cfg(test)]
mod vectors_tests;
mod walk;

pub use archive::Archive;
pub use compress::{Compression, CompressorPool};
pub use entry::{EntryKind, FileSource, LayerEntry};
pub use error::LayerError;
pub use pack::{ArchiveDigest, Layer, Packer};
pub use stat_manifest::StatManifest;
pub use walk::{LayerFolder, Order, Ownership, Root};
