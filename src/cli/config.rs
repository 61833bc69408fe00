//! `packhorse config`: the variables of an app.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use super::whose::Whose;
use crate::context::AppAccess;
use crate::context::read_env_files;
use crate::domain::namespace::Namespace;
use crate::session::Session;
use crate::ui::CliError;

/// Read and change the config variables of an app
///
/// Values are kept encrypted in Parameter Store, or in the local state of `packhorse up`. A change reaches the processes
/// by itself: several within seconds lead to one restart. Values are shown only where they are asked for.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse config list --app shop
  packhorse config set --app shop MAIL_FROM=shop@example.com LOG_LEVEL=info
  packhorse config set --app shop SECRET_KEY --stdin < key.txt
  packhorse config get --app shop MAIL_FROM")]
pub struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    List(ListArgs),
    Get(GetArgs),
    Set(SetArgs),
    Unset(UnsetArgs),
}

/// List the variables
///
/// Shows names; with `--values` values too. Variables that a stack manages are marked: they come back when they are changed.
/// For a review app, those that it has from its pipeline are listed as well.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse config list
  packhorse config list --app storefront:7 --values
  packhorse config list --app shop --values --json")]
struct ListArgs {
    #[command(flatten)]
    whose: Whose,
    /// Show the values
    #[arg(long)]
    values: bool,
}

/// Print the value of one variable
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse config get DATABASE_URL --app shop
  packhorse config get DATABASE_URL")]
struct GetArgs {
    /// The variable
    name: VariableName,
    #[command(flatten)]
    whose: Whose,
}

/// Set variables
///
/// Each by NAME=VALUE, or one by NAME with its value from stdin or a file, or all of a file of variables.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse config set LOG_LEVEL=info WORKERS=4 --app shop
  packhorse config set TLS_KEY --file key.pem --app shop
  packhorse config set SECRET_KEY --stdin < secret.txt
  packhorse config set --env-file .env --app storefront:7")]
struct SetArgs {
    /// What to set
    #[arg(value_name = "NAME=VALUE", required_unless_present = "env_file")]
    variables: Vec<String>,
    /// Read the value of the one variable that is named from stdin
    #[arg(long, conflicts_with_all = ["file", "env_file"])]
    stdin: bool,
    /// Read the value of the one variable that is named from a file
    #[arg(long, value_name = "FILE", conflicts_with = "env_file")]
    file: Option<PathBuf>,
    /// Set all variables of a file with lines NAME=VALUE
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    #[command(flatten)]
    whose: Whose,
}

/// Remove variables
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse config unset LOG_LEVEL WORKERS --app shop
  packhorse config unset LOG_LEVEL")]
struct UnsetArgs {
    /// The variables
    #[arg(required = true, value_name = "NAME")]
    names: Vec<VariableName>,
    #[command(flatten)]
    whose: Whose,
}

/// The name of a variable.
#[derive(Debug, Clone)]
struct VariableName(String);

impl std::str::FromStr for VariableName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let valid = text.starts_with(first) && text.chars().all(|c| first(c) || c.is_ascii_digit());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err("use letters, digits and `_`, beginning with no digit".to_owned())
        }
    }
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &ConfigArgs) -> Result<(), CliError> {
    match &args.command {
        ConfigCommand::List(args) => list(session, args).await,
        ConfigCommand::Get(args) => get(session, args).await,
        ConfigCommand::Set(args) => set(session, args).await,
        ConfigCommand::Unset(args) => unset(session, args).await,
    }
}

/// The path of the app's own variables; a review app's are over those of its pipeline.
fn own_path(app: &AppAccess) -> String {
    Namespace::default().config_paths(&app.lane).pop().unwrap_or_default()
}

async fn list(session: &Session, args: &ListArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let mut variables = std::collections::BTreeMap::new();
    let (own, namespace) = (own_path(&app), Namespace::default());
    for path in namespace.config_paths(&app.lane) {
        for (name, value) in app.parameters.below(&path).await? {
            let managed = app.parameters.is_managed(&format!("{path}{name}")).await?;
            variables.insert(name, (value, managed, path != own));
        }
    }
    let value = |value: &SecretString| if args.values { json!(value.expose_secret()) } else { Value::Null };
    let json: Map<String, Value> = variables.iter().map(|(name, (v, ..))| (name.clone(), value(v))).collect();
    session.printer.json(&json);
    if variables.is_empty() {
        session.printer.note(format_args!("{} has no config variables", app.lane));
    }
    for (name, (value, managed, base)) in &variables {
        let shown = if args.values { format!("={}", value.expose_secret()) } else { String::new() };
        let managed = if *managed { "  (managed by a stack)" } else { "" };
        let base = if *base { "  (from the pipeline)" } else { "" };
        session.printer.result(format_args!("{name}{shown}{managed}{base}"));
    }
    Ok(())
}

async fn get(session: &Session, args: &GetArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let name = &args.name.0;
    let mut found = None;
    for path in Namespace::default().config_paths(&app.lane) {
        found = app.parameters.below(&path).await?.remove(name).or(found);
    }
    let Some(value) = found else {
        return Err(CliError::app(format!("{} has no variable `{name}`", app.lane))
            .hint("`packhorse config list` shows the variables there are"));
    };
    session.printer.json(&json!({ name.as_str(): value.expose_secret() }));
    session.printer.result(value.expose_secret());
    Ok(())
}

async fn set(session: &Session, args: &SetArgs) -> Result<(), CliError> {
    let variables = wanted(args)?;
    let app = args.whose.open(session).await?;
    let path = own_path(&app);
    let mut set = Vec::new();
    for (name, value) in variables {
        let parameter = format!("{path}{name}");
        if app.parameters.is_managed(&parameter).await? {
            session.printer.warn(format_args!("`{name}` is managed by a stack, which may set it again"));
        }
        app.parameters.put_secret(&parameter, &value).await?;
        session.printer.note(format_args!("Set {name}"));
        set.push(name);
    }
    session.printer.json(&json!({ "set": set }));
    Ok(())
}

/// What is to be set, read whole before anything is.
fn wanted(args: &SetArgs) -> Result<Vec<(String, SecretString)>, CliError> {
    let name = |text: &str| -> Result<String, CliError> {
        let VariableName(name) =
            text.parse().map_err(|rule: String| CliError::usage(format!("`{text}` cannot name a variable: {rule}")))?;
        Ok(name)
    };
    if args.stdin || args.file.is_some() {
        let [only] = &args.variables[..] else {
            return Err(CliError::usage("name one variable, whose value is read"));
        };
        return Ok(vec![(name(only)?, value_from(args.file.as_deref())?)]);
    }
    let mut variables: Vec<(String, SecretString)> = Vec::new();
    for (given, value) in read_env_files(&args.env_file)? {
        variables.push((name(&given)?, value));
    }
    for text in &args.variables {
        // The text itself may be a value that should not be repeated.
        let Some((given, value)) = text.split_once('=') else {
            return Err(CliError::usage("give each variable as NAME=VALUE")
                .hint("for a value that should not stand on the command line: `packhorse config set NAME --stdin`"));
        };
        variables.push((name(given)?, SecretString::from(value)));
    }
    if let Some((empty, _)) = variables.iter().find(|(_, value)| value.expose_secret().is_empty()) {
        return Err(CliError::usage(format!("`{empty}` would be empty, which Parameter Store cannot hold"))
            .hint(format!("to remove it: `packhorse config unset {empty}`")));
    }
    Ok(variables)
}

/// A value from a file or stdin; the line end that editors and `echo` add is no part of it.
fn value_from(file: Option<&std::path::Path>) -> Result<SecretString, CliError> {
    let from_stdin = || {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    };
    let read = file.map_or_else(from_stdin, std::fs::read_to_string);
    let text = read.map_err(|error| CliError::usage("the value cannot be read").because(error))?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if value.is_empty() {
        return Err(CliError::usage("the value is empty, which Parameter Store cannot hold"));
    }
    Ok(SecretString::from(value))
}

async fn unset(session: &Session, args: &UnsetArgs) -> Result<(), CliError> {
    let app = args.whose.open(session).await?;
    let path = own_path(&app);
    let mut removed = Vec::new();
    for VariableName(name) in &args.names {
        if app.parameters.remove(&format!("{path}{name}")).await? {
            session.printer.note(format_args!("Removed {name}"));
            removed.push(name);
        } else {
            session.printer.warn(format_args!("{} has no variable `{name}`", app.lane));
        }
    }
    session.printer.json(&json!({ "removed": removed }));
    Ok(())
}
