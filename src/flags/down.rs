//! `packhorse down`.

use std::path::PathBuf;

use clap::Args;

use crate::env_vars;

/// Stop an app that runs on this machine
///
/// Ends the `packhorse up` of this folder, if one runs, and removes its containers and networks; also those of one that
/// was killed. The data of add-ons, build caches and images are kept for the next `up`, unless `--volumes` is given.
#[derive(Debug, Clone, Args)]
#[command(after_help = "EXAMPLES
  packhorse down                         Stop the app in this folder
  packhorse down examples/guestbook      Stop another one
  packhorse down --volumes               Remove all that `up` has made, data included")]
pub struct DownArgs {
    /// The app's folder
    #[arg(default_value = ".")]
    pub path: PathBuf,
    /// Also remove the data of add-ons, build caches, images and the state folder
    #[arg(long)]
    pub volumes: bool,
    /// Where state is kept (default: `.packhorse` in the app's folder)
    #[arg(long, env = env_vars::PACKHORSE_STATE_DIR, hide_env_values = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
}
