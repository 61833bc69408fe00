//! What a command does that cannot reach anything outside, because this machine or the project is set up wrongly.

use super::build::{fail_without_session, skip_marker};
use super::prebuild::TOLD_BY_BUILD;
use super::{RunnerSettings, StepEnd};
use crate::domain::build_environment::is_in_codebuild;
use crate::env_vars;
use crate::ui::{CliError, Level, Printer};

/// The commands of the runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `prebuild`.
    Prebuild,
    /// `build`.
    Build,
    /// `postbuild`.
    Postbuild,
}

/// Ends a command that could not even begin.
///
/// As with any other failure, `prebuild` leaves it to `build` to fail inside CodeBuild, since that is where clients look; both
/// meet the same obstacle.
pub fn cannot_begin(command: Command, printer: &Printer, settings: &RunnerSettings, error: &CliError) -> StepEnd {
    let cause = std::iter::once(error.message.clone()).chain(error.causes()).collect::<Vec<_>>().join(": ");
    let build_id = settings.variables.get(env_vars::CODEBUILD_BUILD_ID).map_or("", String::as_str);
    match command {
        Command::Build => {
            let (copy, captured) = Printer::to_memory(Level::Normal, false);
            copy.error(error);
            return fail_without_session(printer, settings, &cause, &captured.stderr());
        }
        Command::Postbuild if skip_marker(settings).exists() => {
            printer.note("Nothing to test");
            return StepEnd::Done;
        }
        Command::Prebuild | Command::Postbuild => printer.error(error),
    }
    if command == Command::Prebuild && is_in_codebuild(build_id) {
        printer.note(TOLD_BY_BUILD);
        return StepEnd::Done;
    }
    StepEnd::Failed { cause }
}
