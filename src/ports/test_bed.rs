//! Where an app's tests run: a container or sandbox of the new image, with its add-ons beside it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::image_builder::BuildOutput;
use crate::domain::manifest::AddonKind;

/// An add-on that tests need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddonRequest {
    /// What it is.
    pub kind: AddonKind,
    /// The image to run instead of the usual one.
    pub image: Option<String>,
}

/// One run of an app's tests.
#[derive(Debug, Clone)]
pub struct TestRun {
    /// The build, by which its add-ons are found.
    pub build_id: String,
    /// The image, by digest where it has one.
    pub image: String,
    /// The shell command, evaluated once.
    pub command: String,
    /// Whether buildpacks made the image, so that its launcher sets up the environment.
    pub launcher: bool,
    /// The variables of the tests, those of add-ons among them.
    pub env: BTreeMap<String, SecretString>,
    /// The time after which the tests are stopped.
    pub limit: Duration,
}

/// Where tests run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestEnvironment {
    /// In a container of the app image.
    #[default]
    AppImage,
    /// In the app image's own files, in a sandbox in place of a container.
    AppImageInSandbox,
    /// In the build image, with the app image's layers and variables: what the run image has is missing, what the build image has is
    /// there.
    BuildImage,
}

impl fmt::Display for TestEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppImage => "app image",
            Self::AppImageInSandbox => "app image in a sandbox",
            Self::BuildImage => "build image",
        })
    }
}

/// Why tests could not be run, or not to their end.
#[derive(Debug, thiserror::Error)]
pub enum TestBedError {
    /// An add-on did not become ready.
    #[error("the add-on `{addon}` did not start: {reason}")]
    Addon {
        /// Which.
        addon: String,
        /// What it said.
        reason: String,
    },
    /// Add-ons are processes here, and this one cannot be had.
    #[error("the add-on `{}` cannot be had here: {reason}", kind.as_str())]
    NoAddon {
        /// Which.
        kind: AddonKind,
        /// Why not.
        reason: String,
    },
    /// The tests took longer than allowed and were stopped.
    #[error("the tests were stopped after {seconds} s")]
    TimedOut {
        /// The limit.
        seconds: u64,
    },
    /// They were told to stop.
    #[error("the tests were interrupted")]
    Interrupted,
    /// Something outside refused or did not answer.
    #[error(transparent)]
    Outside(#[from] Failure),
}

/// Runs tests.
///
/// All that belongs to a build is found by its id, so that a later process finds what a killed one left behind.
#[async_trait]
pub trait TestBed: Send + Sync {
    /// Tells where tests run.
    fn environment(&self) -> TestEnvironment {
        TestEnvironment::AppImage
    }

    /// Starts the add-ons where nobody else reaches them and returns, once every one of them answers, the variables by which tests
    /// reach them. What an earlier attempt of this build left is removed first.
    async fn start(&self, build_id: &str, addons: &[AddonRequest]) -> Result<BTreeMap<String, String>, TestBedError>;

    /// Fetches an image to where tests run, ahead of time. A failure means only that [`Self::run`] has to do it.
    async fn fetch(&self, _image: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// Runs the tests and returns their exit code. Nothing of them runs when this returns; what they leave behind goes with
    /// [`Self::remove`].
    async fn run(&self, run: &TestRun, output: &dyn BuildOutput) -> Result<i64, TestBedError>;

    /// Removes all that belongs to a build; nothing to remove counts as done.
    async fn remove(&self, build_id: &str) -> Result<(), Failure>;
}
