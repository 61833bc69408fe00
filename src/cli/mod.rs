//! The command line: one file per command.

mod build;
mod build_json;
mod build_start;
mod build_watch;
mod buildspec;
mod completions;
mod config;
mod doctor;
mod image;
mod image_inspect;
mod image_rebase;
mod logs;
mod orchestrator;
mod ps;
mod releases;
mod scheduled_tasks;
mod up;
mod whose;
mod why;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::{CommandFactory, Parser, Subcommand};

use crate::context;
use crate::domain::namespace::Namespace;
use crate::flags::{CodebuildArgs, DownArgs, Globals, UpArgs, Verb};
use crate::session::Session;
use crate::ui::{CliError, ExitCode};

/// Heroku-like deploys in your own AWS account, and on your laptop
///
/// One commit becomes an image, is tested, released and deployed: in CodeBuild and ECS, or with `up` on one machine.
#[derive(Debug, Parser)]
#[command(
    name = "packhorse",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "EXAMPLES
  packhorse up examples/guestbook     Build, test, release and run an app on this machine
  packhorse image build . --tag shop  Make an image of the app in this folder
  packhorse doctor                    See what this machine lacks

Exit codes: 0 done; 1 the app, its build or its release is at fault; 2 the command line is wrong;
3 a manifest is invalid; 4 AWS, a registry or Docker refused or was unreachable; 70 a bug; 130 interrupted."
)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The program under the name that an existing buildspec calls.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, disable_help_subcommand = true, arg_required_else_help = true)]
struct BuilderCli {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    verb: Verb,
}

/// Every command.
#[derive(Debug, Subcommand)]
#[expect(missing_docs, reason = "the help of each command stands at its arguments")]
pub enum Command {
    Up(UpArgs),
    Down(DownArgs),
    Image(image::ImageArgs),
    Build(build::BuildArgs),
    Why(why::WhyArgs),
    Releases(releases::ReleasesArgs),
    Rollback(releases::RollbackArgs),
    Ps(ps::PsArgs),
    Config(config::ConfigArgs),
    ScheduledTasks(scheduled_tasks::ScheduledTasksArgs),
    Logs(logs::LogsArgs),
    Codebuild(CodebuildArgs),
    Orchestrator(orchestrator::OrchestratorArgs),
    Buildspec(buildspec::BuildspecArgs),
    Doctor(doctor::DoctorArgs),
    Completions(completions::CompletionsArgs),
}

/// What a command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run a command.
    Run(Box<Cli>),
    /// Show help or the version and be done.
    Show(String),
    /// The command line is wrong; the text says how.
    Wrong {
        /// What is wrong.
        text: String,
        /// The exit code for where the program was started.
        code: ExitCode,
    },
}

/// Reads a command line, its program name included.
///
/// Started as `apppack-builder`, the program takes the three verbs of the builder directly; as `bootstrap`, Lambda
/// started it.
pub fn read<I: IntoIterator<Item = OsString>>(arguments: I) -> Invocation {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let builder = Namespace::default().builder_program();
    match arguments.first().and_then(|program| Path::new(program).file_name()).and_then(OsStr::to_str) {
        Some("bootstrap") => Invocation::Run(Box::new(Cli {
            globals: Globals::default(),
            command: Command::Orchestrator(orchestrator::OrchestratorArgs::lambda()),
        })),
        Some(program) if program == builder => {
            let command = BuilderCli::command().bin_name(builder);
            let parsed = command
                .try_get_matches_from(&arguments)
                .and_then(|matches| <BuilderCli as clap::FromArgMatches>::from_arg_matches(&matches));
            let parsed = parsed.map(|BuilderCli { globals, verb }| Cli {
                globals,
                command: Command::Codebuild(CodebuildArgs { verb }),
            });
            invocation(parsed, ExitCode::Usage.inside_codebuild())
        }
        _ => invocation(Cli::try_parse_from(&arguments), ExitCode::Usage),
    }
}

fn invocation(parsed: Result<Cli, clap::Error>, wrong: ExitCode) -> Invocation {
    match parsed {
        Ok(cli) => Invocation::Run(Box::new(cli)),
        Err(error) => {
            let text = error.render().ansi().to_string();
            if error.exit_code() == 0 { Invocation::Show(text) } else { Invocation::Wrong { text, code: wrong } }
        }
    }
}

impl Command {
    /// Tells whether the command ends itself when interrupted, as it has things to stop and remove.
    pub fn stops_itself(&self) -> bool {
        matches!(self, Self::Up(_) | Self::Image(_) | Self::Codebuild(_) | Self::Orchestrator(_))
    }

    /// Tells whether it runs where only the exit codes 0 and 1 are known.
    pub fn is_inside_codebuild(&self) -> bool {
        matches!(self, Self::Codebuild(_))
    }

    /// Runs the command.
    pub async fn run(self, session: &Session) -> Result<(), CliError> {
        match self {
            Self::Up(args) => up::run(session, &args).await,
            Self::Down(args) => context::down(session, &args).await,
            Self::Image(args) => image::run(session, &args).await,
            Self::Build(args) => build::run(session, &args).await,
            Self::Why(args) => why::run(session, &args).await,
            Self::Releases(args) => releases::releases(session, &args).await,
            Self::Rollback(args) => releases::rollback(session, &args).await,
            Self::Ps(args) => ps::run(session, &args).await,
            Self::Config(args) => config::run(session, &args).await,
            Self::ScheduledTasks(args) => scheduled_tasks::run(session, &args).await,
            Self::Logs(args) => logs::run(session, &args).await,
            Self::Codebuild(args) => context::codebuild(session, args.verb).await,
            Self::Orchestrator(args) => orchestrator::run(session, &args).await,
            Self::Buildspec(args) => buildspec::run(session, &args).await,
            Self::Doctor(args) => doctor::run(session, &args).await,
            Self::Completions(args) => {
                completions::run(session, &args);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        BuilderCli::command().debug_assert();
    }

    #[test]
    fn started_as_the_old_builder_it_takes_the_verbs_directly() {
        for verb in ["prebuild", "build", "postbuild"] {
            let invocation = read(arguments(&format!("/usr/local/bin/apppack-builder {verb}")));
            let Invocation::Run(cli) = invocation else { panic!("{invocation:?}") };
            assert!(cli.command.is_inside_codebuild(), "{verb}");
        }
        assert!(matches!(read(arguments("apppack-builder up")), Invocation::Wrong { code: ExitCode::App, .. }));
    }

    #[test]
    fn started_as_bootstrap_it_is_lambdas() {
        let Invocation::Run(cli) = read(arguments("/var/task/bootstrap")) else { panic!("it asks for nothing") };
        assert!(matches!(cli.command, Command::Orchestrator(_)));
    }
}
