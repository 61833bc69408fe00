//! `packhorse orchestrator`.

use clap::{Args, ValueEnum};

use super::AppFlag;
use crate::env_vars;

/// Where release tasks and services run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PlaceChoice {
    /// The Docker daemon of this machine
    Docker,
    /// ECS in the account
    #[default]
    Ecs,
}

/// Handle one event
///
/// Reads an EventBridge event as JSON, brings it into the app's lane and performs what the lane then owes. An event
/// that no longer matters is ignored with its reason and is no error.
#[derive(Debug, Clone, Args)]
#[command(after_help = "EXAMPLES
  packhorse orchestrator handle event.json
  packhorse orchestrator handle - --place docker --follow < event.json")]
pub struct HandleArgs {
    /// The file that holds the event; `-` reads stdin
    #[arg(value_name = "FILE|-")]
    pub event: String,
    /// Where release tasks and services run
    #[arg(long, value_enum, default_value_t, env = env_vars::PACKHORSE_PLACE, hide_env_values = true, value_name = "PLACE")]
    pub place: PlaceChoice,
    /// Stay until the build has ended
    #[arg(long)]
    pub follow: bool,
}

/// Take events from a queue until told to stop
///
/// A message is deleted once it is handled, so a worker that is killed leaves it to the next one. What cannot be read as
/// an event goes to the queue for dead letters, with its reason. Timers look for deadlines and sweep.
#[derive(Debug, Clone, Args)]
#[command(after_help = "EXAMPLES
  packhorse orchestrator poll --queue https://sqs.us-east-1.amazonaws.com/111122223333/packhorse-events
  PACKHORSE_QUEUE=https://… packhorse orchestrator poll --sweep-every 300")]
pub struct PollArgs {
    /// The queue that the rules of EventBridge send to
    #[arg(long, env = env_vars::PACKHORSE_QUEUE, hide_env_values = true, value_name = "URL")]
    pub queue: String,
    /// The queue for what can never be handled
    #[arg(long, env = env_vars::PACKHORSE_DEAD_LETTER_QUEUE, hide_env_values = true, value_name = "URL")]
    pub dead_letter_queue: Option<String>,
    /// Where release tasks and services run
    #[arg(long, value_enum, default_value_t, env = env_vars::PACKHORSE_PLACE, hide_env_values = true, value_name = "PLACE")]
    pub place: PlaceChoice,
    /// Seconds between two looks at everything in flight
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub sweep_every: u64,
    /// Seconds for which a message that is worked on stays hidden from other workers
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(2..=43200))]
    pub hidden_for: u64,
}

/// Look at everything that is in flight
///
/// Asks AWS and the place for the truth about every active lane and handles what was missed. With `--search` it first looks
/// for builds and changed settings of which no event told at all; `poll` and the Lambda function do that now and then.
#[derive(Debug, Clone, Args)]
#[command(after_help = "EXAMPLES
  packhorse orchestrator sweep
  packhorse orchestrator sweep --search
  packhorse orchestrator sweep --place docker --follow")]
pub struct SweepArgs {
    /// Where release tasks and services run
    #[arg(long, value_enum, default_value_t, env = env_vars::PACKHORSE_PLACE, hide_env_values = true, value_name = "PLACE")]
    pub place: PlaceChoice,
    /// Look at all apps too: their newest builds, their settings and who may use them
    #[arg(long)]
    pub search: bool,
    /// Repeat until nothing is in flight
    #[arg(long)]
    pub follow: bool,
}

/// Take over an app that another orchestrator ran
///
/// Reads the app's builds, its most recent deploy, its settings and its running services, and makes a lane from them. From then
/// on packhorse moves its builds; nothing that runs is touched. With `--role-arn` the role is written into the app's settings in
/// which the orchestrator acts for it, and the statement is printed by which that role trusts the orchestrator. Can be repeated.
#[derive(Debug, Clone, Args)]
#[command(after_help = "EXAMPLES
  packhorse orchestrator adopt shop --dry-run
  packhorse orchestrator adopt shop --role-arn arn:aws:iam::111122223333:role/apppack-app-shop
  packhorse orchestrator adopt storefront:7")]
pub struct AdoptArgs {
    /// The app; `NAME:7` is the review app of pull request 7
    #[arg(value_name = "NAME[:PR]")]
    pub app: AppFlag,
    /// The role in which the orchestrator acts for the app
    #[arg(long, value_name = "ARN")]
    pub role_arn: Option<String>,
    /// The external id that this role's trust asks for (default: the one that is stored, else a new one)
    #[arg(long, value_name = "ID", requires = "role_arn")]
    pub external_id: Option<String>,
    /// Whom the role is to trust: the orchestrator's own role (default: the account)
    #[arg(long, value_name = "ARN", requires = "role_arn")]
    pub trusted: Option<String>,
    /// The role in which EventBridge Scheduler runs the app's scheduled tasks (default: the one that is stored)
    #[arg(long, value_name = "ARN", requires = "role_arn")]
    pub events_role_arn: Option<String>,
    /// Only tell what would be done
    #[arg(long)]
    pub dry_run: bool,
}
