//! `packhorse ps`: the processes of an app.

use std::collections::BTreeSet;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::whose::Whose;
use crate::context::AppAccess;
use crate::domain::formation::{Scaling, Size};
use crate::domain::names::ProcessType;
use crate::domain::namespace::{Namespace, Parameters};
use crate::domain::scaling_change::{self, ScalingChange};
use crate::session::Session;
use crate::ui::CliError;

/// Show the processes of an app, scale and restart them
///
/// Without a command, shows the process types of the running release with their scale, and what runs of each.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "EXAMPLES
  packhorse ps --app shop
  packhorse ps scale web 2 --app shop
  packhorse ps scale worker 1-4 --cpu 1 --memory 2G --app shop
  packhorse ps restart web --app shop"
)]
pub struct PsArgs {
    #[command(subcommand)]
    command: Option<PsCommand>,
    #[command(flatten)]
    whose: Whose,
}

#[derive(Debug, Subcommand)]
enum PsCommand {
    Scale(ScaleArgs),
    Restart(RestartArgs),
}

/// Set how many processes of a type run, and what each gets
///
/// A number is a fixed count; a range lets their number follow the load. The change reaches the services by itself.
/// `release` has a size too.
#[derive(Debug, Args)]
#[command(
    visible_alias = "resize",
    after_help = "EXAMPLES
  packhorse ps scale web 2
  packhorse ps scale web 2-6 --app shop
  packhorse ps scale release --memory 2G --app shop
  packhorse ps scale web=3 --app shop"
)]
struct ScaleArgs {
    /// The process type; `web=3` stands for `web 3`
    process: String,
    /// How many: `2`, or `1-4` to choose by load
    #[arg(value_name = "N|MIN-MAX", value_parser = scaling_change::count)]
    count: Option<(u32, u32)>,
    /// Virtual CPUs of each, such as `0.5`
    #[arg(long, value_name = "CPUS", value_parser = scaling_change::cpu)]
    cpu: Option<u32>,
    /// Memory of each, such as `512M` or `2G`
    #[arg(long, value_name = "SIZE", value_parser = scaling_change::memory)]
    memory: Option<u32>,
    #[command(flatten)]
    whose: Whose,
}

/// Restart processes
///
/// New ones start before the old ones stop.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse ps restart --app shop
  packhorse ps restart web --app shop")]
struct RestartArgs {
    /// The process type (default: all)
    process: Option<ProcessType>,
    #[command(flatten)]
    whose: Whose,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &PsArgs) -> Result<(), CliError> {
    match &args.command {
        None => show(session, &args.whose).await,
        Some(PsCommand::Scale(args)) => scale(session, args).await,
        Some(PsCommand::Restart(args)) => restart(session, args).await,
    }
}

/// The parameter of an app's own scale.
fn scaling_parameter(app: &AppAccess) -> String {
    let kind = app.lane.pull_request.map_or(Parameters::App, Parameters::ReviewApp);
    format!("{}/scaling", Namespace::default().parameters(&app.lane.app, kind))
}

async fn show(session: &Session, whose: &Whose) -> Result<(), CliError> {
    let app = whose.open(session).await?;
    let Some(status) = app.records.deploy_status(&app.lane).await? else {
        session.printer.json(&json!([]));
        session.printer.note(format_args!("{} was never deployed", app.lane));
        return Ok(());
    };
    let running = app.processes.running(&app.lane).await?;
    let scaling = match app.parameters.get(&scaling_parameter(&app)).await? {
        Some(text) => Scaling::default()
            .with(&text)
            .map_err(|error| CliError::remote("the stored scale cannot be used").because(error))?,
        None => Scaling::default(),
    };
    let document: Vec<Value> = running
        .iter()
        .map(|process| {
            json!({
                "name": process.process, "status": process.status, "cpu": process.cpu.map(|cpu| f64::from(cpu) / 1024.0),
                "memory": process.memory.map(|memory| memory.to_string()), "build_number": process.build.map(|build| build.to_string()),
                "started_at": process.started.map(|at| at.0), "task_arn": process.id,
            })
        })
        .collect();
    session.printer.json(&document);
    session.printer.result(format_args!(
        "Build {} of {} ({})",
        status.build_number,
        app.lane,
        if status.failed { "the last deploy failed" } else { "live" }
    ));
    for process in &status.processes {
        let scale = scaling.of(&process.name);
        let count = if scale.min == scale.max { scale.min.to_string() } else { format!("{}-{}", scale.min, scale.max) };
        session.printer.result(format_args!("{:<12} {count:>5}  {}", process.name, process.command));
        for found in running.iter().filter(|found| found.process == process.name) {
            let build = found.build.map(|build| format!("build {build}")).unwrap_or_default();
            session.printer.result(format_args!("  {:<10} {build:<10} {}", found.status, found.id));
        }
    }
    let listed = |name: &str| status.processes.iter().any(|process| process.name == name);
    for found in running.iter().filter(|found| !listed(&found.process)) {
        session.printer.result(format_args!("{:<12}        {:<10} {}", found.process, found.status, found.id));
    }
    Ok(())
}

async fn scale(session: &Session, args: &ScaleArgs) -> Result<(), CliError> {
    let (process, count) = match args.process.split_once('=') {
        Some((process, text)) if args.count.is_none() => {
            let count =
                scaling_change::count(text).map_err(|rule| CliError::usage(format!("`{text}` is no count: {rule}")))?;
            (process, Some(count))
        }
        Some(_) => return Err(CliError::usage("give the count once")),
        None => (args.process.as_str(), args.count),
    };
    let process: ProcessType =
        process.parse().map_err(|error| CliError::usage("that is no process type").because(error))?;
    let wanted = ScalingChange { count, cpu: args.cpu, memory: args.memory };
    if wanted == ScalingChange::default() {
        return Err(CliError::usage("say what is to change: a count, `--cpu` or `--memory`"));
    }
    let app = args.whose.open(session).await?;
    let known = app.records.deploy_status(&app.lane).await?.map(|status| status.processes).unwrap_or_default();
    let task_only = ["release", "scheduler"].contains(&process.as_str());
    if !task_only && !known.is_empty() && !known.iter().any(|known| known.name == process.as_str()) {
        let names: Vec<&str> = known.iter().map(|known| known.name.as_str()).collect();
        session.printer.warn(format_args!(
            "the running release has no `{process}`, only {}; the scale is kept for later",
            names.join(", ")
        ));
    }
    let settings = app.settings.settings(&app.lane).await?;
    let parameter = scaling_parameter(&app);
    let current = app.parameters.get(&parameter).await?;
    let changed = scaling_change::change(current.as_deref(), process.as_str(), wanted, settings.usual_size()).map_err(
        |error| {
            CliError::remote("the stored scale cannot be used, and was left as it is")
                .because(error)
                .hint(format!("repair the parameter {parameter}"))
        },
    )?;
    let scale = Scaling::new(settings.usual_size())
        .with(&changed)
        .map_err(|error| CliError::internal("a scale that was just written").because(error))?
        .of(process.as_str());
    let fargate = settings.run_task.get("launchType").and_then(Value::as_str) == Some("FARGATE");
    if let Some(why) = scaling_change::refused_by_fargate(scale.size).filter(|_| fargate) {
        return Err(CliError::usage(format!("Fargate runs no `{process}` of this size: {why}")));
    }
    app.parameters.put(&parameter, &changed).await?;
    let Size { cpu, memory } = scale.size;
    session.printer.json(&json!({ process.as_str(): { "cpu": cpu, "memory": memory, "min_processes": scale.min, "max_processes": scale.max } }));
    let count = if scale.min == scale.max { scale.min.to_string() } else { format!("{} to {}", scale.min, scale.max) };
    session
        .printer
        .result(format_args!("{process}: {count} with {} virtual CPUs and {memory}M each", f64::from(cpu) / 1024.0));
    if app.is_here() && scale.min < scale.max {
        session.printer.note(format_args!("On this machine nothing measures the load: {} run", scale.min));
    }
    Ok(())
}

/// Returns the process types of the running release, and of whatever else runs.
async fn processes(app: &AppAccess) -> Result<Vec<ProcessType>, CliError> {
    let released = app.records.deploy_status(&app.lane).await?.map(|status| status.processes).unwrap_or_default();
    let running = app.processes.running(&app.lane).await?;
    let names =
        released.into_iter().map(|process| process.name).chain(running.into_iter().map(|process| process.process));
    let types: BTreeSet<ProcessType> = names.filter_map(|name| name.parse().ok()).collect();
    Ok(types.into_iter().collect())
}

async fn restart(session: &Session, args: &RestartArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let processes = match &args.process {
        Some(process) => vec![process.clone()],
        None => processes(&app).await?,
    };
    let restarted = app.processes.restart(&app.lane, &processes).await?;
    session.printer.json(&json!({ "restarted": restarted }));
    for name in &restarted {
        session.printer.result(format_args!("{name} is being restarted"));
    }
    if restarted.is_empty() {
        return Err(CliError::app(format!("{} has no service that could be restarted", app.lane))
            .hint("`packhorse ps` shows what runs"));
    }
    Ok(())
}
