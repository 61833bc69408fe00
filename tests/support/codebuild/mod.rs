//! A stand-in for CodeBuild: executes a buildspec as its documentation describes, on this machine.
//!
//! One shell for all commands, the documented phases and their transitions, the environment, a source tree as CodeBuild
//! lays it out, the log line by line, artifacts, and the events that EventBridge would carry. What differs from
//! CodeBuild stands in `docs/codebuild-stand-in.md`.
#![allow(dead_code, reason = "each test uses a part of it")]

mod buildspec;
mod container;
mod events;
mod phases;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::Value;

pub(crate) use container::{Kill, KillWhat, KillWhen, ProjectImage};
pub(crate) use source::{GitLayout, Source};

/// The account and region of every build here.
pub(crate) const ACCOUNT: &str = "111122223333";
pub(crate) const REGION: &str = "us-east-1";

/// A CodeBuild project.
#[derive(Clone)]
pub(crate) struct Project {
    /// Its name: the app's or pipeline's.
    pub(crate) name: String,
    /// Inline buildspec.
    pub(crate) buildspec: String,
    /// Environment variables of the project.
    pub(crate) variables: Vec<Variable>,
    /// The bucket of the artifacts, for the event; where they really go is up to `upload`.
    pub(crate) bucket: String,
    /// What the build image puts into the environment beside CodeBuild's own, such as `PATH` and `DOCKER_HOST`.
    pub(crate) image: BTreeMap<String, String>,
    /// The image in which a build runs, without privileges; on this machine when none.
    pub(crate) container: Option<ProjectImage>,
}

/// An environment variable of a project or of one build.
#[derive(Clone)]
pub(crate) struct Variable {
    pub(crate) name: String,
    /// The value that the build sees.
    pub(crate) value: String,
    /// The name of the parameter that holds it; events then show this instead of the value.
    pub(crate) parameter: Option<String>,
}

impl Variable {
    pub(crate) fn plain(name: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), parameter: None }
    }

    pub(crate) fn parameter(name: &str, parameter: &str, value: &str) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), parameter: Some(parameter.to_owned()) }
    }
}

/// Takes one artifact: its key in the bucket and its content.
pub(crate) type Upload<'a> = dyn FnMut(&str, Vec<u8>) -> Result<(), String> + 'a;

/// One build to run.
#[derive(Clone)]
pub(crate) struct StartBuild {
    pub(crate) number: u64,
    pub(crate) source: Source,
    /// `pr/7` for a pull request; the commit when none.
    pub(crate) source_version: Option<String>,
    /// What a webhook sets, without `CODEBUILD_WEBHOOK_`: `EVENT`, `HEAD_REF`, …
    pub(crate) webhook: BTreeMap<String, String>,
    /// Variables of `StartBuild`, which win over the project's.
    pub(crate) variables: Vec<Variable>,
    /// Something to kill in the middle.
    pub(crate) kill: Option<Kill>,
    /// Replaces the random part of the build's id.
    pub(crate) id: Option<String>,
}

impl StartBuild {
    pub(crate) fn of(number: u64, source: Source) -> Self {
        Self {
            number,
            source,
            source_version: None,
            webhook: BTreeMap::new(),
            variables: Vec::new(),
            kill: None,
            id: None,
        }
    }
}

/// A build that has ended.
pub(crate) struct Build {
    pub(crate) project: Project,
    pub(crate) number: u64,
    /// `{project}:{uuid}`.
    pub(crate) id: String,
    pub(crate) arn: String,
    pub(crate) commit: String,
    /// `SUCCEEDED`, `FAILED`, `STOPPED`, …
    pub(crate) status: &'static str,
    pub(crate) source_version: Option<String>,
    pub(crate) variables: Vec<Variable>,
    pub(crate) started: Timestamp,
    pub(crate) phases: Vec<PhaseResult>,
    /// The log stream, a line per message, without line ends.
    pub(crate) log: Vec<String>,
    /// `s3://`-less keys of what was uploaded.
    pub(crate) artifacts: Vec<String>,
    pub(crate) artifact_name: String,
    /// The source folder as the build left it; removed with the build.
    pub(crate) folder: PathBuf,
    _work: tempfile::TempDir,
}

/// How a phase of CodeBuild went.
#[derive(Clone, Debug)]
pub(crate) struct PhaseResult {
    pub(crate) name: &'static str,
    /// `SUCCEEDED`, `FAILED`, …; none for COMPLETED.
    pub(crate) status: Option<&'static str>,
    /// `CODE: message`, or empty.
    pub(crate) context: String,
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

impl Build {
    /// The status of a phase, or nothing when it was not reached.
    pub(crate) fn phase(&self, name: &str) -> Option<&'static str> {
        self.phases.iter().find(|phase| phase.name == name).and_then(|phase| phase.status)
    }

    /// The lines between two markers, both of which must stand alone on a line.
    pub(crate) fn log_between(&self, start: &str, end: &str) -> Option<Vec<String>> {
        let from = self.log.iter().position(|line| line == start)?;
        let to = self.log.iter().skip(from).position(|line| line == end)? + from;
        Some(self.log[from + 1..to].to_vec())
    }

    /// Every event of the build in order: submitted, each phase, the end.
    pub(crate) fn events(&self) -> Vec<Value> {
        events::all(self)
    }

    /// What CodeBuild's API says of the build.
    pub(crate) fn described(&self) -> Value {
        events::described(self)
    }
}

impl Project {
    /// Runs a build to its end; artifacts go to a folder of the same layout as the bucket.
    pub(crate) fn run_with_artifacts_in(&self, start: &StartBuild, bucket: &Path) -> Build {
        self.run(start, &mut |key, content| {
            let file = bucket.join(key);
            std::fs::create_dir_all(file.parent().unwrap()).map_err(|error| error.to_string())?;
            std::fs::write(file, content).map_err(|error| error.to_string())
        })
    }

    /// Runs a build to its end.
    pub(crate) fn run(&self, start: &StartBuild, upload: &mut Upload<'_>) -> Build {
        phases::run(self, start, upload)
    }
}

/// Makes a text in the form of a UUID.
fn uuid() -> String {
    let digits = |count: usize| -> String { (0..count).map(|_| fastrand::digit(16)).collect() };
    [8, 4, 4, 4, 12].map(digits).join("-")
}
