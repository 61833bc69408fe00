//! The processes of an app: each buildpack adds its own, and may replace those of earlier ones.

use std::collections::BTreeMap;

use crate::lifecycle::metadata::Process;

/// The processes so far, by type.
#[derive(Debug, Default)]
pub(super) struct Processes {
    by_type: BTreeMap<String, Process>,
    default: String,
}

impl Processes {
    /// Adds a buildpack's processes, each with whether it is to be the default.
    ///
    /// Returns the type that was the default and is none any more: one of them replaced it without being one.
    pub(super) fn add(&mut self, processes: Vec<(Process, bool)>) -> Option<String> {
        let mut lost = None;
        for (process, is_default) in processes {
            if is_default {
                self.default.clone_from(&process.kind);
                lost = None;
            } else if process.kind == self.default {
                self.default.clear();
                lost = Some(process.kind.clone());
            }
            self.by_type.insert(process.kind.clone(), process);
        }
        lost
    }

    /// Returns the processes by type, and the default one's type; empty where there is none.
    pub(super) fn finish(self) -> (Vec<Process>, String) {
        (self.by_type.into_values().collect(), self.default)
    }
}
