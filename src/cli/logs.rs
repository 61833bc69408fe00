//! `packhorse logs`: what the processes of an app say.

use std::collections::BTreeSet;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::whose::Whose;
use crate::domain::names::ProcessType;
use crate::session::Session;
use crate::ui::CliError;

/// Show what the processes of an app say
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse logs --app shop
  packhorse logs --follow --process web --app shop
  packhorse logs --since 3600 --app storefront:7")]
pub struct LogsArgs {
    /// Go on with what they say from now on
    #[arg(short, long)]
    follow: bool,
    /// Only processes of this type
    #[arg(long, visible_alias = "prefix", value_name = "TYPE")]
    process: Option<ProcessType>,
    /// How many seconds to look back
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    since: u64,
    #[command(flatten)]
    whose: Whose,
}

/// How often to look for more.
const BETWEEN: Duration = Duration::from_secs(2);
/// Milliseconds by which lines may come late.
const LATE: u64 = 10_000;

/// Runs the command.
pub(super) async fn run(session: &Session, args: &LogsArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let settings = app.settings.settings(&app.lane).await?;
    // Streams begin with the process type; those of a review app with its number (`data-contract` 5.1).
    let review_app = app.lane.pull_request.map(|pr| format!("pr{pr}-")).unwrap_or_default();
    let prefix = format!("{review_app}{}", args.process.as_ref().map(ProcessType::as_str).unwrap_or_default());
    let mut since = app.clock.now().0.saturating_sub(args.since) * 1000;
    let mut seen = BTreeSet::new();
    loop {
        let lines = app.logs.said(&settings.log_group, &prefix, since).await?;
        for line in lines {
            if !seen.insert((line.at, line.id.clone())) {
                continue;
            }
            since = since.max(line.at.map_or(0, |at| at.saturating_sub(LATE)));
            session.printer.json_line(&json!({ "at": line.at, "stream": line.stream, "text": line.text }));
            let process = line.stream.split('/').next().unwrap_or_default();
            session.printer.result(format_args!("{process:<10} | {}", line.text));
        }
        let oldest = since;
        seen.retain(|(at, _): &(Option<u64>, String)| at.is_none_or(|at| at >= oldest));
        if !args.follow {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN).await;
    }
}
