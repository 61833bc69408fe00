//! Reads the manifests in an app's folder.

use std::path::Path;

use crate::domain::catalogue::Catalogue;
use crate::domain::manifest::{ManifestError, ManifestFiles, Resolved, SourceFile, resolve};
use crate::ui::CliError;

/// Reads and merges the manifests of an app.
pub(crate) fn plan(folder: &Path) -> Result<Resolved, CliError> {
    let catalogue = Catalogue::shipped().map_err(|error| CliError::internal("broken catalogue").because(error))?;
    let config = crate::domain::namespace::Namespace::default().config_file();
    let files = ManifestFiles {
        apppack_toml: file(folder, &config)?,
        app_json: file(folder, "app.json")?,
        procfile: file(folder, "Procfile")?,
        project_toml: file(folder, "project.toml")?,
        // Refused anyway until its engine is there; a missing file should not hide that.
        dockerfile_exists: true,
    };
    Ok(resolve(&files, &catalogue)?)
}

fn file(folder: &Path, name: &str) -> Result<Option<SourceFile>, CliError> {
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => Ok(Some(SourceFile::decode(name, &bytes).map_err(ManifestError::from)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::manifest(format!("`{name}` cannot be read")).because(error)),
    }
}
