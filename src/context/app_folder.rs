//! Reads the manifests in an app's folder.

use std::path::{Path, PathBuf};

use crate::domain::catalogue::Catalogue;
use crate::domain::manifest::{ManifestError, ManifestFiles, Resolved, SourceFile, resolve};
use crate::domain::namespace::Namespace;
use crate::ui::CliError;

/// Reads and merges the manifests of an app.
pub(crate) fn plan(folder: &Path) -> Result<Resolved, CliError> {
    let catalogue = Catalogue::shipped().map_err(|error| CliError::internal("broken catalogue").because(error))?;
    let config = Namespace::default().config_file();
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

/// Returns those of the files and folders that lie in an app's folder, relative to it.
///
/// For what is handed to packhorse beside the app and must not become part of its image, such as files of config variables.
pub(crate) fn inside<'p>(folder: &Path, paths: impl IntoIterator<Item = &'p Path>) -> Vec<PathBuf> {
    let relative = |path: &Path| {
        let path = path.canonicalize().ok()?;
        path.strip_prefix(folder).ok().filter(|path| !path.as_os_str().is_empty()).map(Path::to_path_buf)
    };
    paths.into_iter().filter_map(relative).collect()
}

fn file(folder: &Path, name: &str) -> Result<Option<SourceFile>, CliError> {
    match std::fs::read(folder.join(name)) {
        Ok(bytes) => Ok(Some(SourceFile::decode(name, &bytes).map_err(ManifestError::from)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CliError::manifest(format!("`{name}` cannot be read")).because(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_folder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("app/config")).unwrap();
        for file in ["app/config/.env", "other.env"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let paths = ["app", "app/config/../config/.env", "other.env", "app/missing"].map(|path| root.join(path));
        let found = inside(&root.join("app"), paths.iter().map(PathBuf::as_path));
        assert_eq!(found, [PathBuf::from("config/.env")]);
    }
}
