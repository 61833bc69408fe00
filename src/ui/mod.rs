//! What people and programs see: the printer, progress, errors with their hints, excerpts of manifests, exit codes.

pub mod diagnostics;
pub mod error;
pub mod exit_code;
pub mod hints;
pub mod printer;
pub mod progress;

pub use error::{CliError, ErrorKind};
pub use exit_code::ExitCode;
pub use printer::{Colour, Level, Printer};
pub use progress::{Progress, Step};
