//! The flags that every command takes.

use clap::Args;

use crate::ui::{Colour, Level, Printer};

/// Flags that every command takes.
#[derive(Debug, Clone, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(next_help_heading = "Everywhere")]
pub struct Globals {
    /// Write results for programs, as JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Say only results, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Use no colours (the same as setting `NO_COLOR`)
    #[arg(long, global = true)]
    pub no_color: bool,
    /// AWS region (default: that of the AWS profile)
    #[arg(long, global = true, value_name = "REGION")]
    pub region: Option<String>,
}

impl Globals {
    /// Makes the printer that these flags ask for.
    pub fn printer(&self) -> Printer {
        Printer::of_process(self.level(), self.json, self.colour())
    }

    fn level(&self) -> Level {
        match (self.quiet, self.verbose) {
            (true, _) => Level::Quiet,
            (false, true) => Level::Verbose,
            (false, false) => Level::Normal,
        }
    }

    fn colour(&self) -> Colour {
        if self.no_color { Colour::Never } else { Colour::Auto }
    }
}
