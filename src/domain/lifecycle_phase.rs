//! The phases of the Cloud Native Buildpacks lifecycle, as `pack` tells them in its output.

use std::fmt;

/// A phase of the lifecycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifecyclePhase {
    /// The previous image is looked at.
    Analyze,
    /// The buildpacks are chosen.
    Detect,
    /// Layers of earlier builds are brought back.
    Restore,
    /// Image extensions run.
    Extend,
    /// The buildpacks run.
    Build,
    /// The image is written.
    Export,
}

impl LifecyclePhase {
    /// The phase's name in the specification.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Analyze => "analyze",
            Self::Detect => "detect",
            Self::Restore => "restore",
            Self::Extend => "extend",
            Self::Build => "build",
            Self::Export => "export",
        }
    }

    /// Reads a line such as `===> BUILDING`, with or without the tag of a phase's container before it.
    pub fn begun_by(line: &str) -> Option<Self> {
        let word = line.rsplit_once("===> ").filter(|(before, _)| before.is_empty() || before.ends_with("] "))?.1;
        Some(match word.split(' ').next()? {
            "ANALYZING" => Self::Analyze,
            "DETECTING" => Self::Detect,
            "RESTORING" => Self::Restore,
            "EXTENDING" => Self::Extend,
            "BUILDING" => Self::Build,
            "EXPORTING" => Self::Export,
            _ => return None,
        })
    }

    /// Finds the phase that ends with an exit code; the lifecycle has a band of codes for each.
    pub fn of_exit_code(code: i32) -> Option<Self> {
        Some(match code {
            20..=29 => Self::Detect,
            30..=39 => Self::Analyze,
            40..=49 => Self::Restore,
            50..=59 => Self::Build,
            60..=69 => Self::Export,
            90..=109 => Self::Extend,
            _ => return None,
        })
    }
}

impl fmt::Display for LifecyclePhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads the lifecycle's exit code out of the line with which `pack` fails.
pub fn failed_with(line: &str) -> Option<i32> {
    let code = line.rsplit_once("failed with status code: ")?.1;
    code.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_read_from_both_kinds_of_output() {
        assert_eq!(LifecyclePhase::begun_by("===> BUILDING"), Some(LifecyclePhase::Build));
        assert_eq!(LifecyclePhase::begun_by("[creator] ===> EXPORTING"), Some(LifecyclePhase::Export));
        assert_eq!(LifecyclePhase::begun_by("===> EXTENDING (BUILD)"), Some(LifecyclePhase::Extend));
        assert_eq!(LifecyclePhase::begun_by("echo ===> BUILDING"), None);
        assert_eq!(LifecyclePhase::begun_by("===> DANCING"), None);
    }

    #[test]
    fn a_failure_names_its_phase() {
        let line = "ERROR: failed to build: executing lifecycle: failed with status code: 51";
        assert_eq!(failed_with(line).and_then(LifecyclePhase::of_exit_code), Some(LifecyclePhase::Build));
        assert_eq!(failed_with("ERROR: failed to build: something else"), None);
        assert_eq!(LifecyclePhase::of_exit_code(1), None);
    }
}
