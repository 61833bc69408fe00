//! Which process is started, and with which arguments.

use std::ffi::{OsStr, OsString};

use crate::api::ApiVersion;
use crate::failure::{Cause, Result};
use crate::metadata::{Buildpack, Metadata, Platform, Process};

/// What there is to select from.
pub struct Selection<'a> {
    pub metadata: &'a Metadata,
    pub platform: Platform,
    /// The execution environment, such as `production`.
    pub exec_env: &'a OsStr,
}

impl Selection<'_> {
    /// Returns the process after which the launcher is called, or else the one that the arguments describe.
    pub fn process(&self, name: &OsStr, arguments: &[OsString]) -> Result<Process> {
        if !self.metadata.processes.iter().any(|process| process.kind == name) {
            return given(arguments);
        }
        let meant = |process: &&Process| process.kind == name && self.is_meant(process);
        let Some(process) = self.metadata.processes.iter().find(meant) else {
            return Err(Cause::new(format!("process type {} was not found", name.display())));
        };
        self.with_arguments(process.clone(), arguments)
    }

    fn is_meant(&self, process: &Process) -> bool {
        let named = |exec_env: &OsString| exec_env == "*" || exec_env == self.exec_env;
        self.platform < Platform::EXEC_ENV || process.exec_env.is_empty() || process.exec_env.iter().any(named)
    }

    fn with_arguments(&self, mut process: Process, arguments: &[OsString]) -> Result<Process> {
        if self.platform < Platform::REPLACES_ARGUMENTS {
            process.args.extend_from_slice(arguments);
            return Ok(process);
        }
        if process.command.len() > 1 {
            let fixed = process.command.split_off(1);
            let free = if arguments.is_empty() { process.args } else { arguments.to_vec() };
            process.args = [fixed, free].concat();
        } else if !arguments.is_empty() {
            let Some(buildpack) = self.buildpack(&process.buildpack) else {
                return Err(Cause::new(format!(
                    "failed to find buildpack for process {} with buildpack ID {}",
                    process.kind.display(),
                    process.buildpack
                )));
            };
            if buildpack.api.parse().is_ok_and(|api: ApiVersion| api < ApiVersion::LIST_COMMANDS) {
                process.args.extend_from_slice(arguments);
            } else {
                process.args = arguments.to_vec();
            }
        }
        Ok(process)
    }

    /// Refuses a process with arguments for a shell whose buildpack nobody knows.
    pub fn check_origin(&self, process: &Process) -> Result<()> {
        let Process { kind, args, buildpack, .. } = process;
        if args.is_empty() || buildpack.is_empty() || self.buildpack(buildpack).is_some() {
            return Ok(());
        }
        Err(Cause::new(format!("process type '{}' provided by unknown buildpack '{buildpack}'", kind.display())))
    }

    fn buildpack(&self, id: &str) -> Option<&Buildpack> {
        self.metadata.buildpacks.iter().find(|buildpack| buildpack.id == id)
    }
}

/// A process that the user gave: for a shell, unless `--` comes first.
fn given(arguments: &[OsString]) -> Result<Process> {
    let (command, args, direct) = match arguments {
        [] => return Err(Cause::new("when there is no default process a command is required")),
        [dashes, command, args @ ..] if dashes == "--" => (command, args, true),
        [command, args @ ..] => (command, args, false),
    };
    Ok(Process { command: vec![command.clone()], args: args.to_vec(), direct, ..Process::default() })
}
