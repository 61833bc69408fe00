//! An image's `/layers/config/metadata.toml`: the processes that its buildpacks declared.

use std::collections::BTreeMap;

use super::node::{Located, Node, Reader, Table, Value};
use super::problem::{Parsed, Problem, Problems, SourceFile};
use super::shell_words::command_text;
use super::suggest::shown;
use super::toml_tree;
use crate::domain::names::ProcessType;

/// A process that the launcher of an image knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageProcess {
    /// Its type.
    pub process_type: ProcessType,
    /// The command: one shell text, or a program and its arguments.
    pub command: Vec<String>,
    /// Arguments that a user may replace.
    pub args: Vec<String>,
    /// Whether it starts without a shell.
    pub direct: bool,
    /// The buildpack that declared it.
    pub buildpack_id: Option<String>,
    /// Where it starts, when not in the app's directory.
    pub working_dir: Option<String>,
}

impl ImageProcess {
    /// Returns the command as one text (contract 7.4).
    ///
    /// A working directory of its own is entered by a shell first, since the text is all that a service keeps.
    #[must_use]
    pub fn text(&self) -> String {
        let words: Vec<&str> = self.command.iter().chain(&self.args).map(String::as_str).collect();
        let text = command_text(&words);
        match &self.working_dir {
            Some(directory) => {
                let script = format!("cd {} || exit; {text}", super::shell_words::quote(directory));
                command_text(&["bash", "-c", &script])
            }
            None => text,
        }
    }

    /// Returns whether it is a one-off helper of Heroku's Ruby buildpack, which never runs as a service.
    fn is_ruby_helper(&self) -> bool {
        matches!(self.process_type.as_str(), "rake" | "console") && self.buildpack_id.as_deref() == Some("heroku/ruby")
    }
}

/// What an image runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageProcesses {
    /// All processes, in the order of the file.
    pub processes: Vec<ImageProcess>,
    /// The process that starts when none is named.
    pub default: Option<String>,
}

impl ImageProcesses {
    /// Reads the file. Keys that packhorse does not use pass in silence: the file is written by the lifecycle.
    pub fn read(file: &SourceFile) -> Result<Parsed<Self>, Problems> {
        toml_tree::read(file, read_root)
    }

    /// Returns the command of each service. `release` and the helpers of Heroku's Ruby buildpack are none.
    #[must_use]
    pub fn services(&self) -> BTreeMap<ProcessType, String> {
        let is_service =
            |process: &&ImageProcess| process.process_type.as_str() != "release" && !process.is_ruby_helper();
        let text = |process: &ImageProcess| (process.process_type.clone(), process.text());
        self.processes.iter().filter(is_service).map(text).collect()
    }

    /// Returns the release command; of several the last.
    #[must_use]
    pub fn release_command(&self) -> Option<String> {
        self.processes.iter().rev().find(|process| process.process_type.as_str() == "release").map(ImageProcess::text)
    }
}

fn read_root(root: &Table, reader: &mut Reader) -> ImageProcesses {
    let mut out = ImageProcesses {
        default: reader.filled(root, "", "buildpack-default-process-type").map(|name| name.value),
        ..ImageProcesses::default()
    };
    for (n, item) in reader.array(root, "", "processes").unwrap_or_default().iter().enumerate() {
        let path = format!("processes[{n}]");
        let Some(table) = reader.as_table(item, &path) else { continue };
        let Some(process) = read_process(item, table, &path, reader) else { continue };
        if reader.boolean(table, &path, "default") == Some(true) {
            out.default.get_or_insert_with(|| process.process_type.to_string());
        }
        if process.process_type.as_str() == "release" && out.release_command().is_some() {
            let problem = Problem::warning(path, "the image has two `release` processes", item.span.clone());
            reader.push(problem.label("this one counts"));
        }
        out.processes.push(process);
    }
    out
}

fn read_process(item: &Node, table: &Table, path: &str, reader: &mut Reader) -> Option<ImageProcess> {
    let Some(name) = reader.filled(table, path, "type") else {
        reader.push(Problem::error(path, format!("`{path}` has no `type`"), item.span.clone()));
        return None;
    };
    let process_type = match name.value.parse::<ProcessType>() {
        Ok(process_type) => process_type,
        Err(error) => {
            reader.push(Problem::error(path, error.to_string(), name.span));
            return None;
        }
    };
    // Before Platform API 0.10 the command was a string, one shell text.
    let command = match table.get("command").map(|node| &node.value) {
        Some(Value::Text(text)) if text.is_empty() => Vec::new(),
        Some(Value::Text(_)) => reader.string(table, path, "command").map(|text| vec![text.value])?,
        _ => texts(reader.strings(table, path, "command")),
    };
    let args = texts(reader.strings(table, path, "args"));
    if command.is_empty() && args.is_empty() {
        if !matches!(table.get("command").map(|node| &node.value), None | Some(Value::Text(_) | Value::Array(_))) {
            return None; // Reported as what it is.
        }
        let problem = Problem::warning(path, format!("the process `{}` has no command", shown(&name.value)), name.span);
        reader.push(problem.label("it is left out"));
        return None;
    }
    Some(ImageProcess {
        process_type,
        command,
        args,
        direct: reader.boolean(table, path, "direct").unwrap_or(false),
        buildpack_id: reader.filled(table, path, "buildpack-id").map(|id| id.value),
        working_dir: reader.filled(table, path, "working-dir").map(|directory| directory.value),
    })
}

fn texts(found: Option<Vec<Located<String>>>) -> Vec<String> {
    found.unwrap_or_default().into_iter().map(|text| text.value).collect()
}
