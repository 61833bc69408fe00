//! `packhorse doctor`: what this machine lacks.

use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::json;

use crate::domain::machine::{Check, Verdict, checks};
use crate::env_vars;
use crate::flags::AppFlag;
use crate::session::Session;
use crate::ui::CliError;
use crate::{adapters, context};

/// Check what this machine has and lacks
///
/// Looks at Docker, pack, the engine `embedded`, git, disk space and the certificate bundle; with `--app` also at the AWS account, by reading
/// that app's builds. Each check is ok, warn or fail with the next step; ends with 4 when a needed thing fails.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse doctor
  packhorse doctor --app shop --region eu-central-1
  packhorse doctor --json")]
pub struct DoctorArgs {
    /// App whose builds are read, to check the AWS account
    #[arg(short, long, value_name = "NAME[:PR]")]
    app: Option<AppFlag>,
    /// The `pack` program
    #[arg(long, env = env_vars::PACKHORSE_PACK, hide_env_values = true, value_name = "FILE")]
    pack: Option<PathBuf>,
    /// PEM file of certificate authorities that downloads during a build trust
    #[arg(long, env = env_vars::PACKHORSE_CA_BUNDLE, hide_env_values = true, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &DoctorArgs) -> Result<(), CliError> {
    let pack = args.pack.clone().map(PathBuf::into_os_string);
    let embedded = context::embedded_engine().await;
    let mut facts = adapters::machine::facts(pack, args.ca_bundle.clone(), std::path::Path::new("."), embedded).await;
    if let Some(AppFlag(lane)) = &args.app {
        facts.aws = Some(read_account(session, lane).await.map_err(|error| {
            let causes = error.causes();
            if causes.is_empty() { error.message } else { format!("{}: {}", error.message, causes.join(": ")) }
        }));
    }
    let checks = checks(&facts);
    let printer = &session.printer;
    printer.json(&json!({ "checks": checks }));
    for check in &checks {
        printer.result(line(check));
    }
    let failed: Vec<&str> =
        checks.iter().filter(|check| check.verdict == Verdict::Fail).map(|check| check.name).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(CliError::remote(format!("this machine is not ready: {}", failed.join(", "))))
}

async fn read_account(session: &Session, lane: &crate::domain::lane::LaneKey) -> Result<String, CliError> {
    let source = context::app(session, Some(lane), None).await?;
    let builds = source.records.builds(&source.lane, 1).await?;
    Ok(match builds.first() {
        Some(build) => format!("{lane} can be read; its newest build is {}", build.build_number),
        None => format!("the table can be read; {lane} has no builds"),
    })
}

fn line(check: &Check) -> String {
    let (word, style) = match check.verdict {
        Verdict::Ok => ("ok  ", AnsiColor::Green.on_default()),
        Verdict::Warn => ("warn", AnsiColor::Yellow.on_default()),
        Verdict::Fail => ("fail", AnsiColor::Red.on_default().bold()),
    };
    let next = if check.next.is_empty() { String::new() } else { format!("\n                  next: {}", check.next) };
    let plain = Style::new();
    format!("{style}{word}{style:#}  {plain}{:<10}  {}{next}", check.name, check.found)
}
