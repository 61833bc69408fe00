//! `Procfile`: one `{type}: {command}` per line.

use super::node::Located;
use super::problem::{Parsed, Problem, Problems, SourceFile, finish};
use super::suggest::shown;
use crate::domain::names::ProcessType;

/// What a `Procfile` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Procfile {
    /// The processes in the order of the file, `release` among them; the place is that of the type.
    pub processes: Vec<(Located<ProcessType>, String)>,
}

impl Procfile {
    /// Reads the file. Blank lines and lines that begin with `#` say nothing; of a repeated type the last line counts.
    pub fn read(file: &SourceFile) -> Result<Parsed<Self>, Problems> {
        let (value, problems) = Self::read_lenient(file);
        finish(file, value, problems)
    }

    /// Reads what can be read and returns every problem beside it.
    ///
    /// In a build the file is read by a buildpack, whose rules count: there, these problems are only advice.
    pub(super) fn read_lenient(file: &SourceFile) -> (Self, Vec<Problem>) {
        let mut out = Self::default();
        let mut problems = Vec::new();
        for (span, line) in file.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                continue;
            }
            let indent = line.len() - line.trim_start().len();
            let Some((name, command)) = trimmed.split_once(':') else {
                let problem = Problem::error("", "a line must be `type: command`", span.start + indent..span.end);
                problems.push(problem.label("no `:` in here").help("write for example `web: ./serve`"));
                continue;
            };
            let place = span.start + indent..span.start + indent + name.len();
            let name = name.trim_end();
            let process = match name.parse::<ProcessType>() {
                Ok(process) => process,
                Err(error) => {
                    problems.push(if name.is_empty() {
                        Problem::error("", "there is no process type before the `:`", place.start..place.start + 1)
                    } else {
                        Problem::error(shown(name), error.to_string(), place)
                    });
                    continue;
                }
            };
            let command = command.trim();
            if command.is_empty() {
                let message = format!("the process `{process}` has no command");
                problems.push(Problem::error(name, message, place).help(format!("write `{name}: …`")));
                continue;
            }
            if let Some(earlier) = out.processes.iter().position(|(known, _)| known.value == process) {
                let message = format!("the process `{process}` stands here twice");
                problems.push(Problem::warning(name, message, place.clone()).label("this one counts"));
                out.processes.remove(earlier);
            }
            out.processes.push((Located::new(process, place), command.to_owned()));
        }
        if problems.is_empty() && !out.processes.iter().any(|(process, _)| process.value.is_web()) {
            let first = out.processes.first().map_or(0..0, |(process, _)| process.span.clone());
            let problem = Problem::warning("", "there is no `web` process", first);
            problems.push(problem.help("without one nothing answers HTTP requests: add `web: …`"));
        }
        (out, problems)
    }

    /// Returns the command of a process.
    #[must_use]
    pub fn command(&self, process: &str) -> Option<&str> {
        self.processes.iter().find(|(known, _)| known.value.as_str() == process).map(|(_, command)| command.as_str())
    }
}
