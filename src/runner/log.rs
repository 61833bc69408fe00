//! A log that is printed and kept: `build.log`, `test.log`.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use super::error::RunnerError;
use crate::ports::image_builder::BuildOutput;
use crate::ui::Printer;

/// Prints lines to stdout and keeps them in a private file; known secrets are replaced in both.
pub(super) struct Log {
    printer: Printer,
    path: PathBuf,
    kept: Mutex<Kept>,
}

struct Kept {
    file: File,
    failure: Option<io::Error>,
    secrets: Vec<String>,
}

impl Log {
    /// Begins an empty log.
    pub(super) fn begin(path: PathBuf, printer: &Printer) -> Result<Self, RunnerError> {
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = file.map_err(RunnerError::file("write", &path))?;
        let kept = Mutex::new(Kept { file, failure: None, secrets: Vec::new() });
        Ok(Self { printer: printer.clone(), path, kept })
    }

    /// Hides these values from now on.
    pub(super) fn hide<'s>(&self, values: impl IntoIterator<Item = &'s SecretString>) {
        let lines = values.into_iter().flat_map(|value| value.expose_secret().lines());
        let mut secrets: Vec<String> = lines.filter(|line| is_telling(line)).map(str::to_owned).collect();
        // A value may be part of another one; the longer one goes first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        secrets.dedup();
        self.kept().secrets = secrets;
    }

    /// Writes lines; a text of several is written line by line.
    pub(super) fn say(&self, text: &str) {
        for line in text.lines() {
            self.line(line);
        }
    }

    /// Returns all that was kept.
    pub(super) fn content(&self) -> Result<Vec<u8>, RunnerError> {
        match self.kept().failure.take() {
            Some(failure) => Err(RunnerError::file("write", &self.path)(failure)),
            None => std::fs::read(&self.path).map_err(RunnerError::file("read", &self.path)),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BuildOutput for Log {
    fn line(&self, line: &str) {
        let mut kept = self.kept();
        let line = kept.secrets.iter().fold(line.to_owned(), |line, secret| line.replace(secret.as_str(), "***"));
        self.printer.exact(&line);
        if let Err(error) = writeln!(kept.file, "{line}") {
            kept.failure.get_or_insert(error);
        }
    }
}

/// Prints lines to stdout and keeps nothing.
pub(super) struct Printed<'p>(pub(super) &'p Printer);

impl BuildOutput for Printed<'_> {
    fn line(&self, line: &str) {
        self.0.exact(line);
    }
}

/// Tells whether a value gives something away: short ones and plain words are everywhere in a log.
fn is_telling(value: &str) -> bool {
    value.len() >= 8 && !value.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '-' | '_' | ' '))
}

/// Returns what a log that was cut off has kept.
pub(super) fn cut_off(path: &Path) -> Option<Vec<u8>> {
    std::fs::read(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Level;

    #[test]
    fn secrets_are_hidden_where_a_log_is_printed_and_where_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (printer, captured) = Printer::to_memory(Level::Normal, false);
        let log = Log::begin(folder.path().join("log"), &printer).unwrap();
        let values =
            ["hunter2-hunter2", "hunter2-hunter2-and-more", "production", "short", "first line!\nsecond line 2"];
        log.hide(&values.map(SecretString::from));
        log.say("hunter2-hunter2-and-more in production\nshort hunter2-hunter2\nsecond line 2");
        let expected = "*** in production\nshort ***\n***\n";
        assert_eq!(captured.stdout(), expected);
        assert_eq!(log.content().unwrap(), expected.as_bytes());
    }
}
