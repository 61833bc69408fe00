//! How much an image may unpack to: a hostile one must not fill memory or disk.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::image::Digest;
use crate::image::digest::Hasher;

/// The limits of unpacking one image. The largest builders in use stay below a tenth of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all layers together, unpacked.
    pub bytes: u64,
    /// Entries of all layers together.
    pub entries: u64,
    /// Bytes unpacked for each compressed byte, from `floor` on. Program files come to 3 or 4.
    pub ratio: u64,
    /// Bytes that a layer may always have.
    pub floor: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 48 << 30, entries: 5_000_000, ratio: 50, floor: 32 << 20 }
    }
}

/// What of the limits is left.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    bytes: u64,
    entries: u64,
    stopped: Arc<AtomicBool>,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, bytes: limits.bytes, entries: limits.entries, stopped: Arc::default() }
    }

    /// Ends reading as soon as `stopped` is true.
    pub(super) fn stop_with(&mut self, stopped: Arc<AtomicBool>) {
        self.stopped = stopped;
    }

    /// Counts one entry.
    pub(super) fn entry(&mut self) -> io::Result<()> {
        self.entries = self
            .entries
            .checked_sub(1)
            .ok_or_else(|| too_much(format!("the image has more than {} files and folders", self.limits.entries)))?;
        Ok(())
    }

    /// Watches over the bytes of one layer, `compressed` bytes long as it came.
    pub(super) fn watch<R: Read>(&mut self, archive: R, compressed: u64) -> Watched<'_, R> {
        let most = self.limits.floor.max(compressed.saturating_mul(self.limits.ratio));
        Watched { archive, budget: self, left: most, compressed, hasher: Hasher::default() }
    }
}

fn too_much(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, text)
}

/// The archive of a layer: counted, hashed, and ended when the work is to stop.
pub(super) struct Watched<'a, R> {
    archive: R,
    budget: &'a mut Budget,
    left: u64,
    compressed: u64,
    hasher: Hasher,
}

impl<R: Read> Watched<'_, R> {
    pub(super) fn budget(&mut self) -> &mut Budget {
        self.budget
    }

    /// Reads what is left and returns the digest of everything.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        io::copy(&mut self, &mut io::sink())?;
        Ok(self.hasher.finish())
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.budget.stopped.load(Ordering::Relaxed) {
            // Not `Interrupted`, which readers take as a reason to go on.
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "unpacking was stopped"));
        }
        let count = self.archive.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            too_much(format!("a layer of {} compressed bytes is a bomb: it unpacks to far more", self.compressed))
        })?;
        self.budget.bytes =
            self.budget.bytes.checked_sub(count as u64).ok_or_else(|| {
                too_much(format!("the image unpacks to more than {} bytes", self.budget.limits.bytes))
            })?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}
