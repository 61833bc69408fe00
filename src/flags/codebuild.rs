//! `packhorse codebuild`.

use clap::{Args, Subcommand};

/// Run a step of a build inside CodeBuild
///
/// The buildspec calls the three steps in order; `packhorse buildspec` prints one. Started under the name
/// `apppack-builder`, the program takes the steps directly, so that an existing buildspec works unchanged.
/// Every step reads what CodeBuild and the project put into the environment, and ends with 0 or 1.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse codebuild prebuild
  packhorse codebuild build
  packhorse codebuild postbuild")]
pub struct CodebuildArgs {
    /// The step.
    #[command(subcommand)]
    pub verb: Verb,
}

/// A step of the build runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Verb {
    /// Decide whether to build, check the manifests, log in, start add-ons
    Prebuild,
    /// Make the image and push it under its candidate name
    Build,
    /// Run the tests; when they pass, give the image its names
    Postbuild,
}
