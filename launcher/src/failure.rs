//! Failures in the words of the Go launcher, which people search for.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The result of a step, which fails for one cause.
pub type Result<T, E = Cause> = std::result::Result<T, E>;

/// A process could not be launched.
const LAUNCH: u8 = 82;
/// Anything without a code of its own.
const GENERIC: u8 = 1;
/// The platform speaks another API.
const PLATFORM_API: u8 = 11;
/// A buildpack needs another API.
const BUILDPACK_API: u8 = 12;

/// Why a step failed: steps and reasons from the outside to the inside.
#[derive(Debug)]
pub struct Cause(pub String);

impl Cause {
    /// A cause in words.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// What a call of the system said about a path.
    pub fn of_path(call: &str, path: &Path, error: &io::Error) -> Self {
        Self(format!("{call} {}: {}", path.display(), words(error)))
    }
}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self(words(&error))
    }
}

/// Says during which step something failed.
pub trait Context<T> {
    fn context(self, step: impl fmt::Display) -> Result<T>;
}

impl<T, E: Into<Cause>> Context<T> for Result<T, E> {
    fn context(self, step: impl fmt::Display) -> Result<T> {
        self.map_err(|error| Cause(format!("{step}: {}", error.into().0)))
    }
}

/// Why nothing was launched.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
}

impl Failure {
    pub fn of_platform_api(text: impl Into<String>) -> Self {
        Self { code: PLATFORM_API, text: text.into() }
    }

    pub fn of_buildpack_api(text: impl Into<String>) -> Self {
        Self { code: BUILDPACK_API, text: text.into() }
    }

    pub fn of_metadata(cause: &Cause) -> Self {
        Self { code: GENERIC, text: format!("read metadata: {}", cause.0) }
    }

    pub fn of_launch(cause: &Cause) -> Self {
        Self { code: LAUNCH, text: format!("launch: {}", cause.0) }
    }

    pub fn code(&self) -> u8 {
        self.code
    }

    pub fn show(&self) {
        say("\u{1b}[31;1m", "ERROR: ", &format!("failed to {}", self.text));
    }
}

pub fn warn(text: &str) {
    say("\u{1b}[33;1m", "Warning: ", text);
}

/// Writes a line to standard output, as the Go lifecycle does with all that it says. A closed one is nobody's concern.
fn say(colour: &str, level: &str, text: &str) {
    let plain = std::env::var_os("CNB_NO_COLOR").is_some_and(|value| is_true(&value));
    let (begin, end) = if plain { ("", "") } else { (colour, "\u{1b}[0m") };
    let _ = writeln!(io::stdout(), "{begin}{level}{end}{text}");
}

/// What Go takes for true.
fn is_true(value: &OsStr) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].iter().any(|word| value.as_bytes() == word.as_bytes())
}

/// The system's words for an error, written as Go writes them.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
