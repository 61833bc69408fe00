//! What the lifecycle says while it works.

use std::fmt;

use crate::image::Digest;

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Of use only to somebody who looks for a cause.
    Debug,
    /// What happens.
    Info,
    /// Something is not as it should be, and the build goes on.
    Warning,
}

/// Receives what the lifecycle says, and the output of buildpacks.
pub trait Log: Send + Sync {
    /// A line of the lifecycle's own, without its line end; text with line ends is several lines.
    fn line(&self, level: Level, text: &str);

    /// Output of a buildpack's build as it comes, in pieces that end anywhere.
    fn output(&self, bytes: &[u8]);

    /// The image is where it goes, under this digest; the cache is still to be written.
    fn exported(&self, _digest: &Digest) {}
}

impl dyn Log + '_ {
    /// Says something at level debug.
    pub fn debug(&self, text: fmt::Arguments<'_>) {
        self.line(Level::Debug, &text.to_string());
    }

    /// Says something at level info.
    pub fn info(&self, text: fmt::Arguments<'_>) {
        self.line(Level::Info, &text.to_string());
    }

    /// Warns. The printed line begins with `Warning: `, which whoever prints it adds.
    pub fn warn(&self, text: fmt::Arguments<'_>) {
        self.line(Level::Warning, &text.to_string());
    }

    /// Announces a phase, `===> DETECTING`.
    pub fn phase(&self, name: &str) {
        self.line(Level::Info, &format!("===> {name}"));
    }
}

/// Keeps everything in memory.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Recorder(std::sync::Mutex<Vec<(Level, String)>>);

#[cfg(test)]
impl Recorder {
    /// Returns the lines from `level` on.
    pub(crate) fn lines(&self, level: Level) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|(at, _)| *at >= level).map(|(_, text)| text.clone()).collect()
    }
}

#[cfg(test)]
impl Log for Recorder {
    fn line(&self, level: Level, text: &str) {
        self.0.lock().unwrap().push((level, text.to_owned()));
    }

    fn output(&self, bytes: &[u8]) {
        self.line(Level::Info, &String::from_utf8_lossy(bytes));
    }
}
