//! Programs of buildpacks that set variables when a process starts.

use std::io::{self, PipeReader, Read as _};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use crate::environment::Variables;
use crate::failure::{Cause, Context, Result};
use crate::metadata;
use crate::system;

/// Runs a program with the variables so far, and sets those that it writes to its file descriptor 3, as TOML.
///
/// Returns only once nobody has that descriptor any more, however long something keeps it that the program left running.
pub fn run(program: &Path, variables: &mut Variables) -> Result<()> {
    let at = program.display();
    let output = execute(program, variables)
        .context(format_args!("failed to execute exec.d file at path '{at}'"))?
        .map_err(|error| Cause::from(error).0)
        .map_err(Cause::new)
        .context(format_args!("failed to read output from exec.d file at path '{at}'"))?;
    let set = |variables: &mut Variables| {
        let text = str::from_utf8(&output).map_err(|_| Cause::new("toml: invalid UTF-8 byte"))?;
        let table = metadata::parse(text)?;
        let mut pairs = Vec::new();
        for (name, value) in &table {
            let Some(value) = value.get_ref().as_str() else {
                let kind = value.get_ref().type_str();
                return Err(Cause::new(format!(
                    "toml: `{}` has a value of the type {kind}, and variables are strings",
                    name.get_ref()
                )));
            };
            pairs.push((name.get_ref().as_ref().to_owned(), value.to_owned()));
        }
        for (name, value) in pairs {
            variables.set(name, value);
        }
        Ok(())
    };
    set(variables).context(format_args!("failed to decode output from exec.d file at path '{at}'"))
}

/// Returns what the program wrote. That it failed counts for more than that it could not be read.
fn execute(program: &Path, variables: &Variables) -> Result<io::Result<Vec<u8>>> {
    let (reader, writer) = io::pipe()?;
    let child = system::spawn_with_descriptor_3(program, variables, writer);
    let mut child = child.map_err(|error| Cause::of_path("fork/exec", program, &error))?;
    let output = read(reader);
    let status = child.wait()?;
    if status.success() { Ok(output) } else { Err(Cause::new(words(status))) }
}

fn read(mut reader: PipeReader) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    reader.read_to_end(&mut output).map(|_| output)
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let dumped = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("signal: {}{dumped}", system::signal_words(signal))
        }
        (None, None) => "no exit status".to_owned(),
    }
}
