//! `packhorse completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::session::Session;

/// Print completions for a shell
///
/// Save them where the shell looks for completions.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse completions bash > ~/.local/share/bash-completion/completions/packhorse
  packhorse completions zsh > ~/.zfunc/_packhorse
  packhorse completions fish > ~/.config/fish/completions/packhorse.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_parser = parse_shell, value_name = "bash|zsh|fish")]
    shell: Shell,
}

fn parse_shell(text: &str) -> Result<Shell, String> {
    match text {
        "bash" => Ok(Shell::Bash),
        "zsh" => Ok(Shell::Zsh),
        "fish" => Ok(Shell::Fish),
        _ => Err("use `bash`, `zsh` or `fish`".to_owned()),
    }
}

/// Runs the command.
pub(super) fn run(session: &Session, args: &CompletionsArgs) {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "packhorse", &mut script);
    session.printer.exact_bytes(&script);
}
