//! Which app a command is about.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use super::Session;
use crate::context::{self, AppAccess};
use crate::domain::lane::LaneKey;
use crate::domain::names::InvalidName;
use crate::env_vars;
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

/// An app or review app as it is named on the command line.
#[derive(Debug, Clone)]
pub(super) struct AppFlag(pub(super) LaneKey);

impl FromStr for AppFlag {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text.split_once(':') {
            Some((app, pull_request)) => {
                LaneKey { app: app.parse()?, pull_request: Some(pull_request.trim_start_matches("pr/").parse()?) }
            }
            None => LaneKey::app(text.parse()?),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_review_app_is_named_behind_a_colon() {
        assert_eq!("storefront:7".parse::<AppFlag>().unwrap().0.to_string(), "storefront:7");
        assert_eq!("storefront:pr/7".parse::<AppFlag>().unwrap().0.to_string(), "storefront:7");
        assert_eq!("shop".parse::<AppFlag>().unwrap().0, LaneKey::app("shop".parse().unwrap()));
        assert!("shop:x".parse::<AppFlag>().is_err());
    }
}
