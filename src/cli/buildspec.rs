//! `packhorse buildspec`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::domain::buildspec::{BuildspecOptions, Difference, compare, render};
use crate::flags::EngineChoice;
use crate::session::Session;
use crate::ui::CliError;

/// Print the buildspec of a CodeBuild project
///
/// For a privileged project whose image brings Docker, pack and packhorse; with `--unprivileged` for one whose image is a
/// builder that packhorse was put into, where no Docker is needed. Put it inline into the project, where the app's own
/// source cannot change it. With `--check`, compares a file by meaning and ends with 1 when it differs.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse buildspec > buildspec.yml
  packhorse buildspec --program /opt/packhorse/packhorse --engine pack
  packhorse buildspec --unprivileged
  packhorse buildspec --check buildspec.yml")]
pub struct BuildspecArgs {
    /// The program that the phases call
    #[arg(long, default_value = "packhorse", value_name = "PATH")]
    program: String,
    /// The version that the program must have, checked in the install phase
    #[arg(long, value_name = "VERSION")]
    require_version: Option<String>,
    /// For a project without privileges: the engine is `embedded`, add-ons of tests are processes, and nothing starts Docker
    #[arg(long, conflicts_with = "registry_mirror")]
    unprivileged: bool,
    /// The engine to set for the build
    #[arg(long, value_enum, default_value_t, value_name = "ENGINE")]
    engine: EngineChoice,
    /// A mirror of Docker Hub for dockerd to ask first; repeat for more
    #[arg(long, value_name = "URL")]
    registry_mirror: Vec<String>,
    /// Compare this file instead of printing; `-` reads stdin
    #[arg(long, value_name = "FILE|-")]
    check: Option<PathBuf>,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &BuildspecArgs) -> Result<(), CliError> {
    let engine = match (args.engine, args.unprivileged) {
        (EngineChoice::Auto, false) => None,
        (EngineChoice::Auto, true) | (EngineChoice::Embedded, _) => Some("embedded"),
        (EngineChoice::Pack | EngineChoice::Dockerfile, true) => {
            return Err(CliError::usage(
                "only the engine `embedded` needs no Docker, and an unprivileged project has none",
            )
            .hint("leave `--engine` or `--unprivileged` out"));
        }
        (EngineChoice::Pack, false) => Some("pack"),
        (EngineChoice::Dockerfile, false) => Some("dockerfile"),
    };
    let options = BuildspecOptions {
        program: args.program.clone(),
        version: args.require_version.clone(),
        engine: engine.map(str::to_owned),
        privileged: !args.unprivileged,
        registry_mirrors: args.registry_mirror.clone(),
        ..BuildspecOptions::default()
    };
    let wanted = render(&options).map_err(|error| CliError::usage(error.to_string()))?;
    match &args.check {
        None => {
            session.printer.json(&json!({ "buildspec": wanted }));
            if !session.printer.is_json() {
                session.printer.exact_bytes(wanted.as_bytes());
            }
            Ok(())
        }
        Some(file) => check(session, &wanted, file).await,
    }
}

async fn check(session: &Session, wanted: &str, file: &PathBuf) -> Result<(), CliError> {
    let name = if file.as_os_str() == "-" { "stdin".to_owned() } else { format!("`{}`", file.display()) };
    let mut found = String::new();
    let read = if file.as_os_str() == "-" {
        tokio::io::stdin().read_to_string(&mut found).await.map(drop)
    } else {
        tokio::fs::read_to_string(file).await.map(|text| found = text)
    };
    read.map_err(|error| CliError::usage(format!("{name} cannot be read")).because(error))?;
    let differences =
        compare(wanted, &found).map_err(|error| CliError::manifest(format!("{name} is not YAML")).because(error))?;
    session.printer.json(&json!({ "differences": differences.iter().map(document).collect::<Vec<_>>() }));
    if differences.is_empty() {
        session.printer.note(format_args!("{name} does the same as what `packhorse buildspec` prints"));
        return Ok(());
    }
    for difference in &differences {
        session.printer.result(line(difference));
    }
    Err(CliError::app(format!("{name} differs in {} places", differences.len()).replace(" 1 places", " 1 place"))
        .hint("replace it by what `packhorse buildspec` prints with the same flags"))
}

fn document(difference: &Difference) -> serde_json::Value {
    match difference {
        Difference::Missing { path, wanted } => json!({ "path": path, "wanted": wanted }),
        Difference::Unexpected { path, found } => json!({ "path": path, "found": found }),
        Difference::Different { path, wanted, found } => json!({ "path": path, "wanted": wanted, "found": found }),
    }
}

fn line(difference: &Difference) -> String {
    let indented = |text: &str| text.replace('\n', "\n    ");
    match difference {
        Difference::Missing { path, wanted } => format!("{path} is missing\n  wanted: {}", indented(wanted)),
        Difference::Unexpected { path, found } => format!("{path} is not expected\n  found: {}", indented(found)),
        Difference::Different { path, wanted, found } => {
            format!("{path} differs\n  wanted: {}\n  found: {}", indented(wanted), indented(found))
        }
    }
}
