//! What is wrong with a manifest, and where: the one error type of every manifest reader.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A range of bytes in a [`SourceFile`]'s text.
pub type Span = Range<usize>;

/// A manifest as it was read: the name to show to people and its whole text.
///
/// Cloning is cheap: the text is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    name: Arc<str>,
    text: Arc<str>,
}

impl SourceFile {
    /// Takes the text of a file; a leading byte order mark is left out.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        Self { name: name.into(), text: text.strip_prefix('\u{feff}').unwrap_or(text).into() }
    }

    /// Takes the bytes of a file.
    ///
    /// Fails with the place of the first byte that is not UTF-8; the excerpt then shows replacement characters.
    pub fn decode(name: &str, bytes: &[u8]) -> Result<Self, Problems> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self::new(name, text)),
            Err(error) => {
                let file = Self { name: name.into(), text: String::from_utf8_lossy(bytes).into() };
                let at = error.valid_up_to();
                let byte = bytes.get(at).copied().unwrap_or_default();
                let problem = Problem::error("", "the file is not UTF-8 text", at..at + '\u{fffd}'.len_utf8())
                    .label(format!("byte 0x{byte:02x} here"))
                    .help("save the file with the encoding UTF-8");
                Err(Problems { file, list: vec![problem] })
            }
        }
    }

    /// Returns the name shown to people, such as `app.json`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns where a byte offset lies. An offset past the end, or inside a character, counts as the place before it.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let before = &self.text[..self.text.floor_char_boundary(offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// Returns the span cut to the text and to character boundaries.
    #[must_use]
    pub fn clamp(&self, span: &Span) -> Span {
        let start = self.text.floor_char_boundary(span.start);
        start..self.text.ceil_char_boundary(span.end).max(start)
    }

    /// Returns the lines of the text with the span of each, without its line ending.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Span, &str)> {
        let mut start = 0;
        self.text.split_inclusive('\n').map(move |full| {
            let line = full.strip_suffix('\n').unwrap_or(full);
            let line = line.strip_suffix('\r').unwrap_or(line);
            let span = start..start + line.len();
            start += full.len();
            (span, line)
        })
    }
}

/// A place in a text, both counted from 1; the column counts characters, a tab being one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line; CRLF ends one line, not two.
    pub line: usize,
    /// The character in the line.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Whether a problem stops the build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProblemKind {
    /// The manifest cannot be used.
    Error,
    /// The manifest can be used, but says something that has no effect or is likely a slip.
    Warning,
}

/// One thing that is wrong, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stops the build.
    pub kind: ProblemKind,
    /// The key it is about, such as `formation.web.quantity`; empty for the file as a whole and for syntax.
    pub path: String,
    /// What is wrong: lower case, no full stop, names in backticks.
    pub message: String,
    /// Where, in bytes.
    pub span: Span,
    /// A few words to stand under the marked text.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
}

impl Problem {
    /// Makes an error about `path` at `span`.
    #[must_use]
    pub fn error(path: impl Into<String>, message: impl Into<String>, span: Span) -> Self {
        Self { kind: ProblemKind::Error, path: path.into(), message: message.into(), span, label: None, help: None }
    }

    /// Makes a warning about `path` at `span`.
    #[must_use]
    pub fn warning(path: impl Into<String>, message: impl Into<String>, span: Span) -> Self {
        Self { kind: ProblemKind::Warning, ..Self::error(path, message, span) }
    }

    /// Adds the words under the marked text.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// The problems of one file, in the order of their places: the error of every manifest reader.
///
/// As an error it prints one line per problem; the command line draws it with excerpts (`ui::diagnostics`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file they are in.
    pub file: SourceFile,
    /// The problems; at least one of them is an error where this is used as one.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Returns whether one of them stops the build.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.kind == ProblemKind::Error)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}: ", self.file.name(), self.file.position(problem.span.start))?;
            if problem.kind == ProblemKind::Warning {
                f.write_str("warning: ")?;
            }
            f.write_str(&problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The problems of all the files of an app; every file is listed that has an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// One entry per file.
    pub files: Vec<Problems>,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problems) in self.files.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problems}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ManifestError {}

impl From<Problems> for ManifestError {
    fn from(problems: Problems) -> Self {
        Self { files: vec![problems] }
    }
}

/// A value together with the warnings met while reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed<T> {
    /// What was read.
    pub value: T,
    /// What should be said about it; never an error.
    pub warnings: Vec<Problem>,
}

/// Ends a reading: an error when one of the problems is, else the value with its warnings, both ordered by place.
pub(super) fn finish<T>(file: &SourceFile, value: T, mut problems: Vec<Problem>) -> Result<Parsed<T>, Problems> {
    for problem in &mut problems {
        problem.span = file.clamp(&problem.span);
    }
    problems.sort_by_key(|problem| (problem.span.start, problem.kind));
    if problems.iter().any(|problem| problem.kind == ProblemKind::Error) {
        Err(Problems { file: file.clone(), list: problems })
    } else {
        Ok(Parsed { value, warnings: problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_counts_characters_and_crlf_as_one_line_end() {
        let file = SourceFile::new("app.json", "a\r\n\tü→x\n");
        let place = |needle: &str| file.position(file.text().find(needle).unwrap()).to_string();
        assert_eq!(place("a"), "1:1");
        assert_eq!(place("ü"), "2:2");
        assert_eq!(place("x"), "2:4");
        assert_eq!(file.position(usize::MAX).to_string(), "3:1");
    }

    #[test]
    fn a_byte_order_mark_does_not_shift_the_columns() {
        let file = SourceFile::decode("app.json", b"\xef\xbb\xbf{}").unwrap();
        assert_eq!(file.text(), "{}");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_an_error_with_their_place() {
        let problems = SourceFile::decode("app.json", b"{\n \"a\": \"\xe9\"}").unwrap_err();
        assert_eq!(problems.to_string(), "app.json:2:8: the file is not UTF-8 text");
    }

    #[test]
    fn a_span_is_cut_to_the_text_and_to_characters() {
        let file = SourceFile::new("x", "aü");
        assert_eq!(file.clamp(&(2..9)), 1..3);
        assert_eq!(file.clamp(&(7..9)), 3..3);
    }

    #[test]
    fn lines_come_without_their_endings() {
        let file = SourceFile::new("Procfile", "a\r\nb\n\nc");
        let lines: Vec<_> = file.lines().collect();
        assert_eq!(lines, [(0..1, "a"), (3..4, "b"), (5..5, ""), (6..7, "c")]);
    }
}
