//! Progress of long work for its three readers: a person at a terminal, the log of a build, and a program.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;

use super::printer::{Level, Printer};

/// The version of the JSON lines; a reader refuses one that is newer than it knows.
pub const JSON_FORMAT: u32 = 1;

/// Work that ends sooner is shown without a spinner, which would only flicker.
const BEFORE_SPINNING: Duration = Duration::from_millis(250);

/// Reports the steps of long work.
///
/// On a terminal a step spins once it has taken 250 ms; elsewhere each event is a plain line on stderr; with `--json`
/// each is a line on stdout, after a first line that carries the format's version.
#[derive(Clone)]
pub struct Progress {
    printer: Printer,
}

impl Progress {
    /// Begins to report, and with `--json` writes the first line.
    pub fn begin(printer: &Printer, command: &str) -> Self {
        printer.json_line(&json!({
            "type": "packhorse",
            "format": JSON_FORMAT,
            "version": env!("CARGO_PKG_VERSION"),
            "command": command,
        }));
        Self { printer: printer.clone() }
    }

    /// Tells whether steps are drawn on a terminal, so that their lines do not stay.
    pub fn draws(&self) -> bool {
        self.printer.bars().is_some()
    }

    /// Begins a step, such as `detect`. End it with [`Step::done`] or [`Step::failed`]; a dropped one was abandoned.
    pub fn step(&self, name: impl Into<String>) -> Step {
        let name = name.into();
        self.printer.json_line(&json!({ "type": "step", "step": name, "state": "started" }));
        let spinner = self.printer.bars().map(|bars| Spinner::start(bars.clone(), name.clone()));
        if spinner.is_none() && !self.printer.is_json() {
            self.printer.heading(&name);
        }
        Step { printer: self.printer.clone(), name, since: Instant::now(), spinner, ended: false }
    }

    /// Tells something of the whole work.
    pub fn say(&self, text: &str) {
        self.printer.json_line(&json!({ "type": "note", "text": text }));
        if !self.printer.is_json() {
            self.printer.note(text);
        }
    }

    /// Hands on a line of output of the work's programs, with the process or step that wrote it.
    pub fn output(&self, from: &str, line: &str) {
        self.printer.json_line(&json!({ "type": "output", "from": from, "line": line }));
        if !self.printer.is_json() {
            self.printer.note(line);
        }
    }

    /// Writes the last line for programs: the result of the whole work.
    pub fn result(&self, value: &serde_json::Value) {
        let mut line = json!({ "type": "result" });
        if let (Some(line), Some(value)) = (line.as_object_mut(), value.as_object()) {
            line.extend(value.clone());
        }
        self.printer.json_line(&line);
    }
}

/// A step under way.
pub struct Step {
    printer: Printer,
    name: String,
    since: Instant,
    spinner: Option<Spinner>,
    ended: bool,
}

impl Step {
    /// The step's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Tells what the step is at.
    pub fn at(&self, text: &str) {
        self.printer.json_line(&json!({ "type": "step", "step": self.name, "state": "running", "text": text }));
        match &self.spinner {
            Some(spinner) => spinner.bar.set_message(text.to_owned()),
            None if self.printer.is_json() => {}
            None => self.printer.note(format_args!("    {text}")),
        }
    }

    /// Ends the step well; `detail` may be empty.
    pub fn done(mut self, detail: &str) {
        self.end("succeeded", "done", detail);
    }

    /// Ends the step badly. The cause belongs to the error that follows.
    pub fn failed(mut self, detail: &str) {
        self.end("failed", "failed", detail);
    }

    fn end(&mut self, state: &str, word: &str, detail: &str) {
        self.ended = true;
        drop(self.spinner.take());
        let seconds = self.since.elapsed().as_secs_f64();
        self.printer.json_line(&json!({
            "type": "step",
            "step": self.name,
            "state": state,
            "seconds": (seconds * 1000.0).round() / 1000.0,
            "text": detail,
        }));
        if !self.printer.is_json() && self.printer.level() > Level::Quiet {
            let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
            self.printer.note(format_args!("    {} {word} in {seconds:.1} s{detail}", self.name));
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if !self.ended {
            self.end("abandoned", "stopped", "");
        }
    }
}

/// A spinner that shows itself only after a while; gone from the terminal once dropped.
struct Spinner {
    bar: ProgressBar,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Spinner {
    fn start(bars: MultiProgress, name: String) -> Self {
        // Hidden until it is added to the bars that are drawn.
        let bar = ProgressBar::hidden().with_prefix(name);
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {prefix} {elapsed} {wide_msg:.dim}") {
            bar.set_style(style);
        }
        let (stop, stopped) = mpsc::channel();
        let hidden = bar.clone();
        let thread = std::thread::spawn(move || {
            if stopped.recv_timeout(BEFORE_SPINNING) == Err(RecvTimeoutError::Timeout) {
                let shown = bars.add(hidden);
                shown.enable_steady_tick(Duration::from_millis(100));
                // Returns when the step ends.
                let _ = stopped.recv();
                shown.finish_and_clear();
                bars.remove(&shown);
            }
        });
        Self { bar, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_gets_one_plain_line_per_event() {
        let (printer, captured) = Printer::to_memory(Level::Normal, false);
        let progress = Progress::begin(&printer, "image build");
        let step = progress.step("detect");
        step.at("2 of 3 buildpacks take part");
        step.done("");
        let lines: Vec<String> = captured.stderr().lines().map(str::to_owned).collect();
        assert_eq!(lines[..2], ["==> detect", "    2 of 3 buildpacks take part"]);
        assert!(lines[2].starts_with("    detect done in 0."), "{lines:?}");
        assert_eq!(captured.stdout(), "");
    }

    #[test]
    fn a_program_reads_the_version_of_the_format_first() {
        let (printer, captured) = Printer::to_memory(Level::Normal, true);
        let progress = Progress::begin(&printer, "image build");
        drop(progress.step("detect"));
        progress.result(&json!({ "image": "shop" }));
        let lines: Vec<serde_json::Value> =
            captured.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["format"], 1);
        assert_eq!(lines[1]["state"], "started");
        assert_eq!(lines[2]["state"], "abandoned");
        assert_eq!(lines[3]["image"], "shop");
        assert_eq!(captured.stderr(), "");
    }
}
