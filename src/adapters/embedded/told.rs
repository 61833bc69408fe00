//! What the lifecycle says, as lines of a build's output.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::adapters::lines::Lines;
use crate::domain::layer_figures::LayerFigures;
use crate::domain::redact::Redactor;
use crate::image::Digest;
use crate::lifecycle::log::{Level, Log};
use crate::ports::image_builder::BuildOutput;

/// Hands lines on with known values hidden, and counts what happened to layers.
pub(super) struct Told<'a> {
    output: &'a dyn BuildOutput,
    redactor: Redactor,
    verbose: bool,
    publishes: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What buildpacks printed since the last line end.
    begun: Lines,
    layers: LayerFigures,
}

impl<'a> Told<'a> {
    pub(super) fn new(output: &'a dyn BuildOutput, redactor: Redactor, verbose: bool, publishes: bool) -> Self {
        Self { output, redactor, verbose, publishes, state: Mutex::default() }
    }

    /// Says something that is not the lifecycle's.
    pub(super) fn say(&self, text: &str) {
        self.line(Level::Info, text);
    }

    /// Returns what happened to layers so far.
    pub(super) fn layers(&self) -> LayerFigures {
        self.state().layers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_on(&self, line: &str) {
        self.output.line(&self.redactor.redact(line));
    }
}

impl Log for Told<'_> {
    fn line(&self, level: Level, text: &str) {
        if level == Level::Debug && !self.verbose {
            return;
        }
        let mut state = self.state();
        mem::take(&mut state.begun).finish(|line| self.hand_on(line));
        let sign = if level == Level::Warning { "Warning: " } else { "" };
        for line in text.lines() {
            state.layers.count(line);
            self.hand_on(&format!("{sign}{line}"));
        }
    }

    fn exported(&self, digest: &Digest) {
        if self.publishes {
            self.output.published(digest.as_str());
        }
    }

    fn output(&self, bytes: &[u8]) {
        self.state().begun.push(bytes, |line| self.hand_on(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl BuildOutput for Heard {
        fn published(&self, digest: &str) {
            self.line(&format!("published {digest}"));
        }

        fn line(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    #[test]
    fn lines_stay_whole_values_are_hidden_and_layers_counted() {
        let heard = Heard::default();
        let told = Told::new(&heard, Redactor::new(["s3cret-value"]), false, true);
        told.output(b"token s3cret-");
        told.output(b"value\nbegun");
        told.line(Level::Debug, "not shown");
        told.line(Level::Warning, "Adding layer 'a:b' s3cret-value");
        told.say("Adding layer 'a:b'");
        assert_eq!(
            *heard.0.lock().unwrap(),
            ["token ***", "begun", "Warning: Adding layer 'a:b' ***", "Adding layer 'a:b'"]
        );
        assert_eq!(told.layers().added, 2);
        let digest = Digest::of(b"image");
        told.exported(&digest);
        assert_eq!(heard.0.lock().unwrap().pop(), Some(format!("published {digest}")));
        Told::new(&heard, Redactor::default(), false, false).exported(&digest);
        assert_eq!(heard.0.lock().unwrap().len(), 4);
    }
}
