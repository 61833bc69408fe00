//! The one way out: results to stdout, everything else to stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use super::error::CliError;

/// How much is said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Results, warnings and errors only.
    Quiet,
    /// What happens.
    #[default]
    Normal,
    /// What happens and why.
    Verbose,
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Colour {
    /// On a terminal that can show them, as `NO_COLOR`, `CLICOLOR` and `CLICOLOR_FORCE` allow.
    #[default]
    Auto,
    /// Never.
    Never,
}

/// Writes to stdout and stderr.
///
/// Cheap to clone; all clones share the streams, so lines never mix. A reader that went away (`… | head -1`) ends the
/// output quietly: later writes do nothing, and the program goes on. Other failures to write are kept for
/// [`Printer::failure`].
#[derive(Clone)]
pub struct Printer {
    shared: Arc<Shared>,
    /// Whether this clone's stdout is for others: see [`Printer::aside`].
    aside: bool,
    /// Whether this clone says only what went wrong: see [`Printer::silent`].
    silent: bool,
}

struct Shared {
    level: Level,
    json: bool,
    coloured: [bool; 2],
    bars: Option<MultiProgress>,
    streams: Mutex<Streams>,
}

struct Streams {
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    /// Per stream: whether its reader went away or it failed.
    ended: [bool; 2],
    failure: Option<io::Error>,
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// The style of the parts of a message.
const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HEADING: Style = AnsiColor::Cyan.on_default().bold();
const FAINT: Style = Style::new().dimmed();

impl Printer {
    /// Makes the printer of a program: stdout and stderr of the process.
    pub fn of_process(level: Level, json: bool, colour: Colour) -> Self {
        let coloured = |choice: anstream::ColorChoice| colour == Colour::Auto && choice != anstream::ColorChoice::Never;
        let terminal = io::stderr().is_terminal();
        let bars = (terminal && !json && level > Level::Quiet)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr()));
        Self::make(
            level,
            json,
            [coloured(AutoStream::choice(&io::stdout())), coloured(AutoStream::choice(&io::stderr()))],
            bars,
            Box::new(io::stdout()),
            Box::new(io::stderr()),
        )
    }

    /// Makes a printer that keeps what it is told, without colours.
    pub fn to_memory(level: Level, json: bool) -> (Self, Captured) {
        let captured = Captured::default();
        let printer =
            Self::make(level, json, [false; 2], None, Box::new(captured.out.clone()), Box::new(captured.err.clone()));
        (printer, captured)
    }

    fn make(
        level: Level,
        json: bool,
        coloured: [bool; 2],
        bars: Option<MultiProgress>,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        let streams = Mutex::new(Streams { out, err, ended: [false; 2], failure: None });
        Self { shared: Arc::new(Shared { level, json, coloured, bars, streams }), aside: false, silent: false }
    }

    /// Returns a printer for work whose output is not the command's result: all that it prints is what happens, and goes
    /// to stderr. Lines that only clients of a log read are left out.
    #[must_use]
    pub fn aside(&self) -> Self {
        Self { aside: true, ..self.clone() }
    }

    /// Returns a printer for work that is nobody's concern unless it fails: of all it prints, warnings and errors remain.
    #[must_use]
    pub fn silent(&self) -> Self {
        Self { silent: true, ..self.aside() }
    }

    /// Tells whether a program reads stdout.
    pub fn is_json(&self) -> bool {
        self.shared.json
    }

    /// Tells how much is said.
    pub fn level(&self) -> Level {
        self.shared.level
    }

    /// The bars that are drawn on the terminal, where there is one.
    pub(super) fn bars(&self) -> Option<&MultiProgress> {
        self.shared.bars.as_ref()
    }

    /// Writes a line of the result to stdout; with `--json` nothing, since a program reads it.
    pub fn result(&self, line: impl Display) {
        if !self.shared.json {
            self.write(Stream::Out, &format!("{line}\n"));
        }
    }

    /// Writes text to stdout, such as help; without colours where there are none.
    pub fn print(&self, text: &str) {
        self.write(Stream::Out, text);
    }

    /// Writes text to stderr, such as what is wrong with a command line; without colours where there are none.
    pub fn print_to_stderr(&self, text: &str) {
        self.write(Stream::Err, text);
    }

    /// Writes a line to stdout as it is: no colours, whatever the level.
    pub fn exact(&self, line: &str) {
        if self.aside {
            // Colours that a program wrote are kept for a terminal that shows them.
            self.note(line);
        } else {
            self.write_raw(Stream::Out, format!("{line}\n").as_bytes());
        }
    }

    /// Writes a line to stdout as [`Printer::exact`] does, for clients that compare it byte for byte.
    pub fn marker(&self, line: &str) {
        if !self.aside {
            self.exact(line);
        }
    }

    /// Writes bytes to stdout as they are.
    pub fn exact_bytes(&self, bytes: &[u8]) {
        self.write_raw(Stream::Out, bytes);
    }

    /// Writes bytes to stderr as they are.
    pub fn exact_bytes_to_stderr(&self, bytes: &[u8]) {
        self.write_raw(Stream::Err, bytes);
    }

    /// Writes a value as one document, indented by two spaces, where `--json` was given.
    pub fn json(&self, value: &impl Serialize) {
        if self.shared.json {
            let text =
                serde_json::to_string_pretty(value).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"));
            self.exact(&text);
        }
    }

    /// Writes a value on a line of its own, where `--json` was given.
    pub fn json_line(&self, value: &impl Serialize) {
        if self.shared.json && !self.aside {
            let text = serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\": \"{error}\"}}"));
            self.exact(&text);
        }
    }

    /// Says what happens.
    pub fn note(&self, line: impl Display) {
        if self.shared.level >= Level::Normal && !self.silent {
            self.write(Stream::Err, &format!("{line}\n"));
        }
    }

    /// Says what begins.
    pub fn heading(&self, line: impl Display) {
        self.note(format_args!("{HEADING}==>{HEADING:#} {line}"));
    }

    /// Says more, for those who asked for it.
    pub fn detail(&self, line: impl Display) {
        if self.shared.level >= Level::Verbose {
            self.write(Stream::Err, &format!("{FAINT}{line}{FAINT:#}\n"));
        }
    }

    /// Warns of something that was carried on with.
    pub fn warn(&self, line: impl Display) {
        self.write(Stream::Err, &format!("{WARNING}warning:{WARNING:#} {line}\n"));
    }

    /// Explains an error: what happened, the causes, and numbered next steps.
    pub fn error(&self, error: &CliError) {
        self.write(Stream::Err, &render(error));
        self.json_line(&error.to_json());
    }

    /// Returns the first failure to write that was not a reader going away.
    pub fn failure(&self) -> Option<io::Error> {
        self.streams().failure.take()
    }

    fn write(&self, stream: Stream, text: &str) {
        if self.shared.coloured[stream as usize] {
            self.write_raw(stream, text.as_bytes());
        } else {
            self.write_raw(stream, anstream::adapter::strip_str(text).to_string().as_bytes());
        }
    }

    fn write_raw(&self, stream: Stream, bytes: &[u8]) {
        let write = || self.streams().write(stream, bytes);
        match &self.shared.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.shared.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Streams {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if self.ended[stream as usize] {
            return;
        }
        let target = match stream {
            Stream::Out => &mut self.out,
            Stream::Err => &mut self.err,
        };
        if let Err(error) = target.write_all(bytes).and_then(|()| target.flush()) {
            self.ended[stream as usize] = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.failure.get_or_insert(error);
            }
        }
    }
}

/// Draws an error for people.
fn render(error: &CliError) -> String {
    use std::fmt::Write as _;

    let mut text = format!("{ERROR}error:{ERROR:#} {}\n", error.message);
    for cause in error.causes() {
        let _ = writeln!(text, "  {FAINT}caused by:{FAINT:#} {}", cause.trim_end().replace('\n', "\n    "));
    }
    for detail in &error.details {
        let _ = writeln!(text, "\n{}", detail.trim_end());
    }
    match error.hints.as_slice() {
        [] => {}
        [only] => {
            let _ = writeln!(text, "\n{HEADING}next:{HEADING:#} {only}");
        }
        steps => {
            let _ = writeln!(text, "\n{HEADING}next:{HEADING:#}");
            for (number, step) in steps.iter().enumerate() {
                let _ = writeln!(text, "  {}. {step}", number + 1);
            }
        }
    }
    text
}

/// What a printer in memory was told.
#[derive(Clone, Default)]
pub struct Captured {
    out: Bytes,
    err: Bytes,
}

#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Bytes {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Captured {
    /// What went to stdout so far.
    pub fn stdout(&self) -> String {
        self.out.text()
    }

    /// What went to stderr so far.
    pub fn stderr(&self) -> String {
        self.err.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_go_to_stdout_and_everything_else_to_stderr() {
        let (printer, captured) = Printer::to_memory(Level::Normal, false);
        printer.result("42");
        printer.note("built");
        printer.detail("only when verbose");
        printer.warn("slow");
        assert_eq!(captured.stdout(), "42\n");
        assert_eq!(captured.stderr(), "built\nwarning: slow\n");
    }

    #[test]
    fn quiet_leaves_results_warnings_and_errors() {
        let (printer, captured) = Printer::to_memory(Level::Quiet, false);
        printer.note("built");
        printer.warn("slow");
        printer.error(&CliError::app("no image"));
        printer.result("42");
        assert_eq!(captured.stdout(), "42\n");
        assert_eq!(captured.stderr(), "warning: slow\nerror: no image\n");
    }

    #[test]
    fn with_json_stdout_holds_nothing_else() {
        let (printer, captured) = Printer::to_memory(Level::Normal, true);
        printer.result("for people");
        printer.json(&serde_json::json!({ "builds": [] }));
        assert_eq!(captured.stdout(), "{\n  \"builds\": []\n}\n");
    }

    #[test]
    fn what_is_printed_aside_leaves_stdout_alone() {
        let (printer, captured) = Printer::to_memory(Level::Normal, true);
        let aside = printer.aside();
        aside.marker("#*# begin #*#");
        aside.exact("Installing packages");
        aside.note("ready");
        aside.json_line(&1);
        printer.json_line(&2);
        assert_eq!(captured.stdout(), "2\n");
        assert_eq!(captured.stderr(), "Installing packages\nready\n");
    }

    #[test]
    fn an_error_tells_what_why_and_what_next() {
        let (printer, captured) = Printer::to_memory(Level::Normal, false);
        let error = CliError::app("the release command failed")
            .because("exit code 3")
            .detail("the last lines of its log")
            .hint("look at the log")
            .hint("repeat the build");
        printer.error(&error);
        assert_eq!(
            captured.stderr(),
            "error: the release command failed\n  caused by: exit code 3\n\nthe last lines of its log\n\nnext:\n  1. look at the log\n  2. repeat the build\n"
        );
    }

    struct Gone(io::ErrorKind);

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_but_a_full_disk_is() {
        for (kind, failed) in [(io::ErrorKind::BrokenPipe, false), (io::ErrorKind::StorageFull, true)] {
            let gone = || Box::new(Gone(kind));
            let printer = Printer::make(Level::Normal, false, [false; 2], None, gone(), gone());
            printer.result("42");
            printer.exact("43");
            assert_eq!(printer.failure().is_some(), failed, "{kind}");
        }
    }

    #[test]
    fn exact_lines_are_not_touched() {
        let (printer, captured) = Printer::to_memory(Level::Quiet, true);
        printer.exact("\u{1b}[1mas it is\u{1b}[0m ");
        assert_eq!(captured.stdout(), "\u{1b}[1mas it is\u{1b}[0m \n");
    }
}
