//! Reads the app's manifests into a plan.

use super::error::RunnerError;
use super::session::Session;
use super::state::Original;
use crate::domain::manifest::{
    AppPackToml, BuildSystem, BuilderChoice, BuilderReason, ManifestFiles, Resolved, SourceFile, resolve,
};
use crate::ports::failure::Failure;
use crate::ports::image_builder::ImageBuildError;

impl Session<'_> {
    /// Finds the config file as the user wrote it. Where an archived one stands in its place, an earlier run of this build
    /// remembers the user's, or the last commit has it.
    pub(super) async fn find_config(&self) -> Result<Original, RunnerError> {
        let workspace = &self.workspace;
        let replaced = workspace.config_path == workspace.archived_config && workspace.config_is_archived()?;
        if replaced {
            if let Some(original) = &self.state.config {
                return Ok(original.clone());
            }
            let text = self.cx.history.file_at_head(&workspace.source, &workspace.config_path).await.ok();
            return Ok(Original { text });
        }
        let bytes = workspace.read(&workspace.config_path)?;
        let file = bytes.map(|bytes| SourceFile::decode(&workspace.config_path, &bytes)).transpose()?;
        if file.is_none() && self.environment.config_file.is_some() {
            return Err(Failure::NotFound {
                what: format!("the config file `{}` ({})", workspace.config_path, crate::env_vars::APPPACK_TOML),
            }
            .into());
        }
        Ok(Original { text: file.map(|file| file.text().to_owned()) })
    }

    /// Reads the manifests of the source into a plan, or says all that is wrong with them.
    pub(super) fn read_plan(&self) -> Result<Resolved, RunnerError> {
        let read = |name: &str| -> Result<Option<SourceFile>, RunnerError> {
            Ok(self.workspace.read(name)?.map(|bytes| SourceFile::decode(name, &bytes)).transpose()?)
        };
        let config = self.state.config.as_ref().and_then(|original| original.text.as_deref());
        let apppack_toml = config.map(|text| SourceFile::new(&self.workspace.config_path, text));
        let dockerfile = self.workspace.source.join(AppPackToml::dockerfile_path(apppack_toml.as_ref()));
        let files = ManifestFiles {
            apppack_toml,
            app_json: read("app.json")?,
            procfile: read("Procfile")?,
            project_toml: read("project.toml")?,
            dockerfile_exists: dockerfile.is_file(),
        };
        let mut resolved = resolve(&files, &self.cx.settings.catalogue)?;
        let settings = &self.cx.settings;
        if let Some(builder) = &settings.builder {
            let run_image = settings.run_image.clone();
            resolved.plan.builder =
                Some(BuilderChoice { builder: builder.clone(), run_image, reason: BuilderReason::Default });
        }
        for (kind, image) in &self.environment.addon_images {
            resolved.plan.addon_images.entry(*kind).or_insert_with(|| image.clone());
        }
        let engine = self.cx.builder.name();
        if resolved.plan.system == BuildSystem::Dockerfile && engine != "dockerfile" {
            let reason =
                "`[build] system = \"dockerfile\"` is not supported yet; describe the app with buildpacks".to_owned();
            return Err(ImageBuildError::NotPossible { engine, reason }.into());
        }
        Ok(resolved)
    }
}
