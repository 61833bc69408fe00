//! The parts of a buildspec 0.2 that the stand-in knows; it refuses what it does not know, so that no test passes for it.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Buildspec {
    pub(super) version: f64,
    #[serde(default)]
    pub(super) env: Env,
    #[serde(default)]
    pub(super) phases: BTreeMap<String, Phase>,
    pub(super) artifacts: Option<Artifacts>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Env {
    pub(super) shell: Option<String>,
    #[serde(default)]
    pub(super) variables: BTreeMap<String, String>,
}

#[derive(Debug, Default, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Phase {
    #[serde(default)]
    pub(super) commands: Vec<String>,
    #[serde(default)]
    pub(super) finally: Vec<String>,
    pub(super) on_failure: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Artifacts {
    pub(super) files: Vec<String>,
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) base_directory: Option<String>,
}

/// Reads a buildspec.
pub(super) fn parse(text: &str) -> Result<Buildspec, String> {
    let buildspec: Buildspec = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    if buildspec.version.to_bits() != 0.2_f64.to_bits() {
        return Err(format!("version {} is not executed here, only 0.2", buildspec.version));
    }
    if let Some(name) =
        buildspec.phases.keys().find(|name| !["install", "pre_build", "build", "post_build"].contains(&name.as_str()))
    {
        return Err(format!("unknown phase {name}"));
    }
    Ok(buildspec)
}
