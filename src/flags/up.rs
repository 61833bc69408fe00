//! `packhorse up`.

use std::path::PathBuf;

use clap::Args;

use super::BuildFlags;
use crate::domain::names::PullRequest;
use crate::env_vars;

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
