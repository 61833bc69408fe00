//! Why a build does not go on.

use std::io;
use std::path::{Path, PathBuf};

use crate::domain::addons::process_rules;
use crate::domain::build_environment::InvalidEnvironment;
use crate::domain::manifest::{ManifestError, Problems};
use crate::domain::pull_request::DamagedStatus;
use crate::image::{ReferenceError, credentials::CredentialError};
use crate::ports::failure::{Failure, chain};
use crate::ports::image_builder::ImageBuildError;
use crate::ports::test_bed::TestBedError;
use crate::ui::{CliError, Level, Printer};

/// Why a command of the runner failed.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// The environment of the build is not usable.
    #[error("the environment of the build is not complete")]
    Environment(#[from] InvalidEnvironment),
    /// A manifest is not valid.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The stored status of the review app is damaged.
    #[error(transparent)]
    Status(#[from] DamagedStatus),
    /// The name of an image is not valid.
    #[error("`{name}` cannot be the name of an image")]
    ImageName {
        /// The name.
        name: String,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// No login for the registry could be had.
    #[error("no login for `{registry}`")]
    Login {
        /// The registry.
        registry: String,
        /// Why.
        #[source]
        source: CredentialError,
    },
    /// No image was made.
    #[error(transparent)]
    Image(#[from] ImageBuildError),
    /// The tests failed.
    #[error("the tests failed: exit code {code}")]
    TestsFailed {
        /// Their exit code.
        code: i64,
    },
    /// The tests could not be run, or not to their end.
    #[error(transparent)]
    TestBed(#[from] TestBedError),
    /// Something outside refused or did not answer.
    #[error(transparent)]
    Outside(#[from] Failure),
    /// A tag that has to name this image names another one for good.
    #[error("the tag `{tag}` names another image, and the repository does not let it move")]
    TagTaken {
        /// The tag.
        tag: String,
    },
    /// A file of the build could not be read or written.
    #[error("could not {doing} `{}`", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The private folder could be read or changed by others.
    #[error("`{}` belongs to somebody else or can be read by others", path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
    },
    /// What an earlier command left cannot be read.
    #[error("what the earlier commands left in `{}` cannot be read", path.display())]
    DamagedState {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: serde_json::Error,
    },
    /// A command came before the one that prepares it.
    #[error("`{missing}` has not run for this build")]
    OutOfOrder {
        /// What has to run first.
        missing: &'static str,
    },
    /// The command before this one did not come to its end.
    #[error("the image build was cut off before its end")]
    CutOff,
    /// Another command of the build failed after the image was made.
    #[error("another command of the build failed, so its image is not tested and gets no name")]
    OtherCommand,
    /// The build was told to stop.
    #[error("the build was stopped")]
    Interrupted,
    /// What an earlier command recorded.
    #[error("{cause}")]
    Recorded {
        /// The cause on one line.
        cause: String,
        /// The whole explanation.
        text: String,
    },
}

impl From<Problems> for RunnerError {
    fn from(problems: Problems) -> Self {
        Self::Manifest(problems.into())
    }
}

impl RunnerError {
    pub(super) fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { doing, path, source }
    }

    /// Returns what happened on one line, for the lane and for people.
    pub fn cause(&self) -> String {
        let text = match self {
            Self::Manifest(error) => error.to_string(),
            other => chain(other),
        };
        text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
    }

    /// Explains what happened, why, and what to do next: plain text of several lines.
    pub fn explanation(self) -> String {
        if let Self::Recorded { text, .. } = self {
            return text;
        }
        let (printer, captured) = Printer::to_memory(Level::Normal, false);
        printer.error(&self.into());
        captured.stderr()
    }
}

impl From<RunnerError> for CliError {
    fn from(error: RunnerError) -> Self {
        const AGAIN: &str = "start the build again; what was already done is found and not repeated";
        match error {
            RunnerError::Manifest(error) => error.into(),
            RunnerError::Outside(error) | RunnerError::TestBed(TestBedError::Outside(error)) => {
                Self::from(error).hint(AGAIN)
            }
            RunnerError::Interrupted | RunnerError::Image(ImageBuildError::Interrupted) => Self::interrupted(),
            RunnerError::Image(error) => error.into(),
            RunnerError::TestsFailed { .. } => {
                Self::app(error.to_string()).hint("read the output of the tests above; no tag of the image has moved")
            }
            RunnerError::TestBed(TestBedError::TimedOut { .. }) => Self::app(error.to_string())
                .hint("set `timeout` in the `[test]` table, if the tests need longer")
                .hint("look in the output above for the test that waits for something"),
            RunnerError::TestBed(TestBedError::NoAddon { kind, .. }) => {
                let (name, package) = process_rules(kind).package;
                Self::app(error.to_string())
                    .hint(format!("use an environment image that has {name} (on Debian: the package `{package}`)"))
                    .hint("or a privileged project, in which Docker runs add-ons (`packhorse buildspec`)")
            }
            RunnerError::TestBed(_) => Self::app(error.to_string()),
            RunnerError::Status(_) => Self::remote(error.to_string())
                .hint("close the pull request and open it again, or remove the parameter of its status"),
            RunnerError::TagTaken { .. } => Self::remote(error.to_string())
                .hint("build numbers are used once: check that no other project pushes to this repository"),
            RunnerError::OutOfOrder { .. } => Self::app(error.to_string())
                .hint("let the buildspec run `prebuild`, `build` and `postbuild` in this order"),
            RunnerError::CutOff => Self::app(error.to_string()).hint(AGAIN),
            RunnerError::Environment(source) => Self::app("the environment of the build is not complete")
                .because(source)
                .hint("inside CodeBuild these are set by CodeBuild and by the project's environment variables"),
            other => {
                let message = other.to_string();
                let mut next = std::error::Error::source(&other);
                let mut causes = Vec::new();
                while let Some(cause) = next {
                    causes.push(cause.to_string());
                    next = cause.source();
                }
                let error = Self::app(message);
                if causes.is_empty() { error } else { error.because(causes.join(": ")) }
            }
        }
    }
}
