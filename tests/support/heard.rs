//! Keeps what tests of apps print, and may stop them at a line.

use std::sync::Mutex;

use packhorse::adapters::process::Stop;
use packhorse::ports::image_builder::BuildOutput;

#[derive(Default)]
pub(crate) struct Heard {
    lines: Mutex<Vec<String>>,
    stop_at: Option<(&'static str, Stop)>,
}

impl BuildOutput for Heard {
    fn line(&self, line: &str) {
        if let Some((text, stop)) = &self.stop_at
            && line == *text
        {
            stop.gently.cancel();
        }
        self.lines.lock().unwrap().push(line.to_owned());
    }
}

impl Heard {
    /// Stops with `stop` as soon as this line is heard.
    pub(crate) fn stopping_at(line: &'static str, stop: Stop) -> Self {
        Self { stop_at: Some((line, stop)), ..Self::default() }
    }

    pub(crate) fn taken(self) -> Vec<String> {
        self.lines.into_inner().unwrap()
    }
}
