//! Layers, equal to the byte to those of the Go lifecycle, read once and compressed on all cores.

mod archive;
mod compress;
mod entry;
mod error;
mod growing;
mod header;
mod memory;
mod pack;
mod stat_manifest;
pub mod unpack;
#[cfg(test)]
mod vectors_tests;
mod walk;

pub use archive::{Archive, archive_size};
pub use compress::{Compression, CompressorPool};
pub use entry::{EntryKind, FileSource, LayerEntry};
pub use error::LayerError;
pub use growing::{ArchiveCopy, Growing, Grown, Spool};
pub use memory::LayerMemory;
pub use pack::{ArchiveDigest, Layer, Packer, ReadLayer};
pub use stat_manifest::StatManifest;
pub use walk::{LayerFolder, Order, Ownership, Root};
