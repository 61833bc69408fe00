//! Why a layer could not be written.

use std::io;
use std::path::PathBuf;

/// Why a layer could not be written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// A file or folder cannot be read.
    #[error("`{}` cannot be read for its layer", path.display())]
    Unreadable {
        /// Where it lies on this machine.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file was written to while it was archived.
    #[error("`{}` changed while it was archived: it had {size} bytes and then {}", path.display(), if *grew { "more" } else { "fewer" })]
    Changed {
        /// Where it lies on this machine.
        path: PathBuf,
        /// Its size when its folder was listed.
        size: u64,
        /// Whether it had more bytes than that.
        grew: bool,
    },
    /// The compressed layer cannot be kept.
    #[error("a layer cannot be kept in `{}`", folder.display())]
    Unwritable {
        /// The folder for layers.
        folder: PathBuf,
        /// Why; a full disk, for example.
        #[source]
        source: io::Error,
    },
    /// The bytes cannot be compressed.
    #[error("a layer cannot be compressed")]
    Uncompressed(#[source] io::Error),
    /// Somebody wanted it to end.
    #[error("the layer was given up")]
    Stopped,
}
