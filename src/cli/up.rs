//! `packhorse up`: the pipeline on one machine.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Session;
use super::image::EngineChoice;
use crate::context;
use crate::domain::names::PullRequest;
use crate::env_vars;
use crate::ui::CliError;

/// Build, test, release and run an app on this machine
///
/// Goes the way of a commit in an account (build, test, finalize, release, postdeploy, deploy), with Docker as the
/// place where all of it runs. Waits until the web process answers, prints its URL and follows the logs; Ctrl-C stops
/// all that was started, and the data of add-ons is kept for the next time (see `packhorse down`). A second `up` of the
/// same path hands its build over to the first and replaces the release without dropping a request; where nothing has
/// changed it says so.
#[derive(Debug, Clone, Args)]
#[command(after_help = "EXAMPLES
  packhorse up                           Run the app in this folder
  packhorse up examples/guestbook        Run another one
  packhorse up --once --json             In CI: end with the deploy, 1 when a phase failed
  packhorse up --review-app 7            Run it as the review app of pull request 7")]
pub struct UpArgs {
    /// The app's folder
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// End after the deploy and stop what was started, with 1 when a phase failed
    #[arg(long)]
    pub once: bool,
    /// Run as the review app of this pull request
    #[arg(long, value_name = "NUMBER")]
    pub review_app: Option<PullRequest>,
    /// The port to answer on (default: 5000, or a free one)
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Files with config variables, `KEY=VALUE` each; later ones win
    #[arg(long, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// How to make the image
    #[command(flatten)]
    pub build: BuildFlags,
    /// Where state is kept (default: `.packhorse` in the app's folder)
    #[arg(long, env = env_vars::PACKHORSE_STATE_DIR, hide_env_values = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}

/// The flags of every command that makes an image.
#[derive(Debug, Clone, Args)]
pub struct BuildFlags {
    /// What makes the image (default: what `[build] engine` of apppack.toml says, else `auto`)
    #[arg(long, env = env_vars::PACKHORSE_ENGINE, hide_env_values = true, value_enum, value_name = "ENGINE")]
    pub engine: Option<EngineChoice>,
    /// The builder image (default: what the app's manifests say)
    #[arg(long, value_name = "IMAGE")]
    pub builder: Option<String>,
    /// PEM file of certificate authorities that downloads during the build trust
    #[arg(long, env = env_vars::PACKHORSE_CA_BUNDLE, hide_env_values = true, value_name = "FILE")]
    pub ca_bundle: Option<PathBuf>,
    /// The network of build containers, such as `host`
    #[arg(long, env = env_vars::PACKHORSE_BUILD_NETWORK, hide_env_values = true, value_name = "NETWORK")]
    pub network: Option<String>,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &UpArgs) -> Result<(), CliError> {
    context::up(session, args).await.map_err(|error| {
        if error.json.is_some() {
            return error;
        }
        // It ended before there was a build, or beside it: programs find the cause where they find that of a build.
        let cause: Vec<String> = std::iter::once(error.message.clone()).chain(error.causes()).collect();
        let result = json!({ "build": null, "url": null, "phase": null, "cause": cause.join(": ") });
        let json = json!({ "type": "result", "result": result, "error": error.to_json() });
        error.read_as(json)
    })
}
