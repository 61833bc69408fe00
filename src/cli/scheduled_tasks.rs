//! `packhorse scheduled-tasks`: commands that run by the clock.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::whose::Whose;
use crate::context::AppAccess;
use crate::domain::app_settings::NO_SCHEDULE_ROLE;
use crate::domain::namespace::{Namespace, Parameters};
use crate::domain::schedule;
use crate::session::Session;
use crate::ui::CliError;

/// Show and change the commands that run by the clock
///
/// They run with the image and the config variables of the running release.
#[derive(Debug, Args)]
#[command(
    visible_alias = "cron",
    after_help = "EXAMPLES
  packhorse scheduled-tasks list --app shop
  packhorse scheduled-tasks create --schedule '0 3 * * ? *' 'python manage.py cleanup' --app shop
  packhorse scheduled-tasks delete 2 --app shop"
)]
pub struct ScheduledTasksArgs {
    #[command(subcommand)]
    command: ScheduledTasksCommand,
}

#[derive(Debug, Subcommand)]
enum ScheduledTasksCommand {
    List(ListArgs),
    Create(CreateArgs),
    Delete(DeleteArgs),
}

/// List the commands in their order
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse scheduled-tasks list
  packhorse scheduled-tasks list --app shop --json")]
struct ListArgs {
    #[command(flatten)]
    whose: Whose,
}

/// Add a command
///
/// The schedule has six fields, in UTC: minute, hour, day of the month, month, day of the week, year. One of the two days
/// is `?`.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse scheduled-tasks create --schedule '0 3 * * ? *' 'python manage.py cleanup'
  packhorse scheduled-tasks create --schedule '0/10 * * * ? *' ./poll --app shop")]
struct CreateArgs {
    /// The command line
    command: String,
    /// When it runs, as an AWS cron expression
    #[arg(short, long, value_name = "CRON")]
    schedule: String,
    #[command(flatten)]
    whose: Whose,
}

/// Remove a command
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse scheduled-tasks delete 1
  packhorse scheduled-tasks delete 2 --app shop")]
struct DeleteArgs {
    /// Its number in the list
    number: usize,
    #[command(flatten)]
    whose: Whose,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &ScheduledTasksArgs) -> Result<(), CliError> {
    match &args.command {
        ScheduledTasksCommand::List(args) => {
            let app = args.whose.open(session).await?;
            let tasks = read(&app).await?;
            show(session, &app, &tasks);
            Ok(())
        }
        ScheduledTasksCommand::Create(args) => {
            let app = args.whose.open(session).await?;
            let schedule = args.schedule.trim();
            schedule::check(schedule)
                .map_err(|rule| CliError::usage(format!("`{schedule}` is no schedule: {rule}")))?;
            let command = args.command.trim();
            if command.is_empty() {
                return Err(CliError::usage("the command is empty"));
            }
            let mut tasks = read(&app).await?;
            tasks.push(json!({ "schedule": schedule, "command": command }));
            write(session, &app, &tasks).await?;
            warn_of_missing_role(session, &app).await;
            Ok(())
        }
        ScheduledTasksCommand::Delete(args) => {
            let app = args.whose.open(session).await?;
            let mut tasks = read(&app).await?;
            if args.number == 0 || args.number > tasks.len() {
                return Err(CliError::app(format!("{} has no scheduled task {}", app.lane, args.number))
                    .hint("`packhorse scheduled-tasks list` shows them with their numbers"));
            }
            tasks.remove(args.number - 1);
            write(session, &app, &tasks).await
        }
    }
}

/// The `apps` path is used for pipelines too (`data-contract` 3).
fn parameter(app: &AppAccess) -> Result<String, CliError> {
    if app.lane.pull_request.is_some() {
        return Err(CliError::usage("review apps have no scheduled tasks"));
    }
    Ok(format!("{}/scheduled-tasks", Namespace::default().parameters(&app.lane.app, Parameters::App)))
}

/// The entries as they are stored, so that what packhorse does not know of them is kept. One that cannot be read is an
/// error, never an empty list.
async fn read(app: &AppAccess) -> Result<Vec<Value>, CliError> {
    let parameter = parameter(app)?;
    let Some(text) = app.parameters.get(&parameter).await? else { return Ok(Vec::new()) };
    crate::domain::formation::ScheduledTask::list(&text).map_err(|error| damaged(&parameter).because(error))?;
    serde_json::from_str(&text).map_err(|error| damaged(&parameter).because(error))
}

fn damaged(parameter: &str) -> CliError {
    CliError::remote("the stored scheduled tasks cannot be used, and were left as they are")
        .hint(format!("repair the parameter {parameter}"))
}

async fn write(session: &Session, app: &AppAccess, tasks: &[Value]) -> Result<(), CliError> {
    let text = Value::Array(tasks.to_vec()).to_string();
    if text.len() > 4096 {
        return Err(CliError::usage("there would be more scheduled tasks than fit into a parameter (4 KB)")
            .hint("put several into one script"));
    }
    app.parameters.put(&parameter(app)?, &text).await?;
    show(session, app, tasks);
    Ok(())
}

/// Says where nobody can start what was stored. Settings that cannot be read are told by whoever needs them.
async fn warn_of_missing_role(session: &Session, app: &AppAccess) {
    if !app.is_here() && app.settings.settings(&app.lane).await.is_ok_and(|settings| settings.schedule_role.is_none()) {
        session.printer.warn(format_args!("this is stored, and not run yet: {NO_SCHEDULE_ROLE}"));
    }
}

fn show(session: &Session, app: &AppAccess, tasks: &[Value]) {
    session.printer.json(&tasks);
    if tasks.is_empty() {
        session.printer.note(format_args!("{} has no scheduled tasks", app.lane));
    }
    for (index, task) in tasks.iter().enumerate() {
        let text = |name: &str| task[name].as_str().unwrap_or_default().to_owned();
        session.printer.result(format_args!("{:>2}  {:<20}  {}", index + 1, text("schedule"), text("command")));
    }
}
