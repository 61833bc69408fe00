//! A program that runs under another one, such as a tracer.

use std::process::Command;

/// Returns `wrapper` with a command as its last arguments, in the command's environment and folder.
pub(crate) fn under(mut wrapper: Command, command: &Command) -> Command {
    wrapper.arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            wrapper.env(name, value);
        }
    }
    if let Some(folder) = command.get_current_dir() {
        wrapper.current_dir(folder);
    }
    wrapper
}
