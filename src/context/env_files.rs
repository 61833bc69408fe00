//! Reads files of config variables and build variables.

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;

use crate::domain::env_file;
use crate::ui::CliError;

/// Reads files of variables; later ones win.
pub(crate) fn read_env_files(files: &[PathBuf]) -> Result<BTreeMap<String, SecretString>, CliError> {
    let mut variables = BTreeMap::new();
    for file in files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file)
            .map_err(|error| CliError::usage(format!("`{name}` cannot be read")).because(error))?;
        let entries = env_file::parse(&name, &text).map_err(|error| CliError::manifest(error.to_string()))?;
        for entry in entries {
            let value = match entry.value {
                Some(value) => value,
                None => std::env::var(&entry.name).map_err(|_| {
                    CliError::usage(format!("{name}:{}: this shell has no variable `{}`", entry.line, entry.name))
                })?,
            };
            variables.insert(entry.name, value.into());
        }
    }
    Ok(variables)
}
