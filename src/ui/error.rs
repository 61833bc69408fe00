//! The error that a command ends with: who is at fault, what happened, and what to do next.

use std::error::Error;

use serde_json::json;

use super::diagnostics::draw_manifest_error;
use super::exit_code::ExitCode;
use super::hints;
use crate::domain::manifest::ManifestError;
use crate::ports::failure::{BoxError, Failure};
use crate::ports::image_builder::ImageBuildError;

/// Who is at fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The app, its build or its release.
    App,
    /// The command line.
    Usage,
    /// A manifest of the app.
    Manifest,
    /// AWS, a registry or Docker.
    Remote,
    /// packhorse itself.
    Internal,
    /// Nobody: it was told to stop.
    Interrupted,
    /// A command that was run on somebody's behalf and ended with this code.
    Passed(u8),
    /// The app's build, which has said all there is to say where its readers look for it.
    Told,
}

impl ErrorKind {
    /// The exit code that belongs to it.
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::App | Self::Told => ExitCode::App,
            Self::Usage => ExitCode::Usage,
            Self::Manifest => ExitCode::Manifest,
            Self::Remote => ExitCode::Outside,
            Self::Internal => ExitCode::Internal,
            Self::Interrupted => ExitCode::Interrupted,
            Self::Passed(code) => ExitCode::Passed(code),
        }
    }

    /// The word in JSON output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::App | Self::Told => "app",
            Self::Usage => "usage",
            Self::Manifest => "manifest",
            Self::Remote => "remote",
            Self::Internal => "internal",
            Self::Interrupted => "interrupted",
            Self::Passed(_) => "passed",
        }
    }
}

/// What a command ends with when it fails.
///
/// Printed as what happened, the causes below it, then numbered steps.
#[derive(Debug)]
pub struct CliError {
    /// Who is at fault.
    pub kind: ErrorKind,
    /// What happened: lower case, no full stop.
    pub message: String,
    /// Text to show as it is between the message and the hints, such as excerpts of a manifest.
    pub details: Vec<String>,
    /// What to do next, in order.
    pub hints: Vec<String>,
    /// The cause.
    pub source: Option<BoxError>,
    /// What a program reads in place of the error itself.
    pub json: Option<Box<serde_json::Value>>,
}

impl std::fmt::Display for CliError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CliError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl CliError {
    /// Makes an error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: Vec::new(), hints: Vec::new(), source: None, json: None }
    }

    /// The app, its build or its release is at fault.
    pub fn app(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::App, message)
    }

    /// The command line is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// A manifest is invalid.
    pub fn manifest(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Manifest, message)
    }

    /// AWS, a registry or Docker refused or was unreachable.
    pub fn remote(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Remote, message)
    }

    /// packhorse is at fault.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The user asked to stop.
    pub fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, "interrupted")
    }

    /// Adds a next step.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds text that is shown as it is.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// Gives a program something else to read than the error itself.
    #[must_use]
    pub fn read_as(mut self, json: serde_json::Value) -> Self {
        self.json = Some(Box::new(json));
        self
    }

    /// Adds the cause, and the hints known for it.
    #[must_use]
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        let source = source.into();
        for hint in hints::for_cause(&*source) {
            if !self.hints.contains(&hint) {
                self.hints.push(hint);
            }
        }
        self.source = Some(source);
        self
    }

    /// The causes below the message, nearest first; one that says nothing new is left out.
    pub fn causes(&self) -> Vec<String> {
        let mut causes: Vec<String> = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            let said = |earlier: &str| earlier.contains(&text);
            if !text.is_empty() && !said(&self.message) && !causes.iter().any(|earlier| said(earlier)) {
                causes.push(text);
            }
            next = cause.source();
        }
        causes
    }

    /// The line that a program reads with `--json`.
    pub fn to_json(&self) -> serde_json::Value {
        if let Some(json) = &self.json {
            return json.as_ref().clone();
        }
        json!({
            "type": "error",
            "kind": self.kind.as_str(),
            "exit_code": self.kind.exit_code().code(),
            "message": self.message,
            "causes": self.causes(),
            "details": self.details.iter().map(|text| anstream::adapter::strip_str(text).to_string()).collect::<Vec<_>>(),
            "hints": self.hints,
        })
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        let kind = match &failure {
            Failure::NotFound { .. } => ErrorKind::App,
            Failure::Conflict { .. }
            | Failure::Denied { .. }
            | Failure::Refused { .. }
            | Failure::Unavailable { .. } => ErrorKind::Remote,
        };
        Self::flattened(kind, failure)
    }
}

impl From<ManifestError> for CliError {
    fn from(error: ManifestError) -> Self {
        let names: Vec<String> = error.files.iter().map(|problems| format!("`{}`", problems.file.name())).collect();
        let verb = if names.len() == 1 { "is" } else { "are" };
        // The printer takes the colours away where there are none.
        Self::manifest(format!("{} {verb} not valid", names.join(" and "))).detail(draw_manifest_error(&error, true))
    }
}

impl From<ImageBuildError> for CliError {
    fn from(error: ImageBuildError) -> Self {
        match error {
            ImageBuildError::Interrupted => Self::interrupted(),
            ImageBuildError::Outside(failure) => failure.into(),
            ImageBuildError::NotPossible { .. } => Self::flattened(ErrorKind::Remote, error),
            ImageBuildError::Failed { .. } | ImageBuildError::TimedOut { .. } => Self::flattened(ErrorKind::App, error),
        }
    }
}

impl CliError {
    /// Makes an error whose message is that of `error` itself, with its causes and hints.
    fn flattened(kind: ErrorKind, error: impl Error + Send + Sync + 'static) -> Self {
        Self::new(kind, error.to_string()).because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_listed_once_and_nearest_first() {
        let error: CliError = Failure::refused("push `shop`", "the registry answered 403").into();
        assert_eq!(error.message, "could not push `shop`");
        assert_eq!(error.causes(), ["the registry answered 403"]);
        assert_eq!(error.kind.exit_code().code(), 4);
    }

    #[test]
    fn a_failed_image_build_is_the_apps_fault_and_a_stopped_one_nobodys() {
        let failed = ImageBuildError::Failed { step: "build".to_owned(), code: 51 };
        assert_eq!(CliError::from(failed).kind, ErrorKind::App);
        assert_eq!(CliError::from(ImageBuildError::Interrupted).kind.exit_code().code(), 130);
    }

    #[test]
    fn programs_read_the_same_as_people() {
        let error = CliError::app("the release command failed").because("exit code 3").hint("look at the log");
        assert_eq!(
            error.to_json().to_string(),
            r#"{"causes":["exit code 3"],"details":[],"exit_code":1,"hints":["look at the log"],"kind":"app","message":"the release command failed","type":"error"}"#
        );
    }
}
