//! Which app a command is about.

use std::path::PathBuf;

use clap::Args;

use crate::context::{self, AppAccess};
use crate::env_vars;
use crate::flags::AppFlag;
use crate::session::Session;
use crate::ui::CliError;

/// An app in the account, or the one of the local state.
#[derive(Debug, Clone, Args)]
pub(super) struct Whose {
    /// App in the AWS account; `NAME:7` is the review app of pull request 7
    #[arg(short, long, visible_alias = "app-name", value_name = "NAME[:PR]")]
    app: Option<AppFlag>,
    /// Folder with local state (default: `.packhorse`)
    #[arg(long, env = env_vars::PACKHORSE_STATE_DIR, hide_env_values = true, value_name = "DIR", conflicts_with = "app")]
    state_dir: Option<PathBuf>,
}

impl Whose {
    /// Opens what is kept of the app.
    pub(super) async fn open(&self, session: &Session) -> Result<AppAccess, CliError> {
        context::app(session, self.app.as_ref().map(|AppFlag(lane)| lane), self.state_dir.as_deref()).await
    }
}
