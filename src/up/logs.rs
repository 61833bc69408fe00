//! The output of an app's processes, each with a name and a colour.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use serde_json::json;
use tokio::task::JoinSet;

use crate::adapters::docker::place::ContainerPlace;
use crate::domain::lane::LaneKey;
use crate::ui::Printer;

/// The colours of process types, in order of their names.
const COLOURS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Blue, AnsiColor::Red];
/// How often to look for processes of a new release.
const BETWEEN: Duration = Duration::from_millis(500);

/// Prints what an app's processes say, until the returned future is dropped; those of later releases are found too.
pub async fn follow(place: Arc<ContainerPlace>, lane: LaneKey, printer: Printer) {
    let mut followed = BTreeSet::new();
    let mut readers = JoinSet::new();
    loop {
        // An engine that does not answer for a moment is asked again.
        for running in place.running(&lane).await.unwrap_or_default() {
            if followed.insert(running.container.clone()) {
                let (place, printer) = (Arc::clone(&place), printer.clone());
                let lane = lane.clone();
                readers.spawn(async move {
                    let say = |text: &str| show(&printer, &running.process, text);
                    let _ = place.follow(&running.container, &say).await;
                    if let Ok(Some(code)) = place.ended_by_itself(&lane, &running).await {
                        say(&format!("(exited with code {code}; `packhorse up` starts it again after a change)"));
                    }
                });
            }
        }
        tokio::time::sleep(BETWEEN).await;
    }
}

/// Prints a line of a process.
pub(super) fn show(printer: &Printer, process: &str, line: &str) {
    if printer.is_json() {
        printer.json_line(&json!({ "type": "output", "from": process, "line": line }));
        return;
    }
    let style = Style::new().fg_color(Some(colour(process).into()));
    printer.note(format_args!("{style}{process:<8} |{style:#} {line}"));
}

/// A process type keeps its colour whatever else runs.
fn colour(process: &str) -> AnsiColor {
    let sum = process.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
    COLOURS[sum % COLOURS.len()]
}
