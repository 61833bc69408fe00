//! What a buildpack says of the app it built: `launch.toml` and `build.toml`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Broken;
use crate::lifecycle::api::ApiVersion;
use crate::lifecycle::buildpack::Buildpack;
use crate::lifecycle::folders::Folders;
use crate::lifecycle::go_json;
use crate::lifecycle::layer_dir::read_toml;
use crate::lifecycle::metadata::{Command, Label, Member, Process, Slice};
use crate::lifecycle::plan::Require;
use crate::lifecycle::site::Site;

/// A bill of materials of the older kind, one entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct BomEntry {
    #[serde(default)]
    name: String,
    #[serde(default, skip_serializing)]
    version: String,
    #[serde(default, deserialize_with = "as_json")]
    metadata: serde_json::Value,
    #[serde(skip_deserializing)]
    buildpack: Option<BomOwner>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct BomOwner {
    id: String,
    version: String,
}

fn as_json<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<serde_json::Value, D::Error> {
    toml::Table::deserialize(deserializer).map(|table| go_json::from_toml(&table.into()))
}

/// Notes from which buildpack the entries are.
pub(super) fn claim(bom: &mut [BomEntry], member: &Member) -> Result<(), Broken> {
    for entry in bom {
        if !entry.version.is_empty() {
            let rule =
                "has a top level version which is not allowed. The buildpack should instead set metadata.version";
            return Err(Broken::Rule(format!("bom entry '{}' {rule}", entry.name)));
        }
        entry.buildpack = Some(BomOwner { id: member.id.to_string(), version: member.version.clone() });
    }
    Ok(())
}

/// `build.toml`.
#[derive(Default)]
pub(super) struct BuildToml {
    pub(super) unmet: Vec<String>,
    pub(super) bom: Vec<BomEntry>,
}

#[derive(Deserialize, Default)]
struct RawBuild {
    #[serde(default)]
    unmet: Vec<Unmet>,
    #[serde(default)]
    bom: Vec<BomEntry>,
}

#[derive(Deserialize)]
struct Unmet {
    #[serde(default)]
    name: String,
}

/// Reads which requires the buildpack left to others.
pub(super) fn read_build(folders: &Folders, path: &Path, requires: &[Require]) -> Result<BuildToml, Broken> {
    let RawBuild { unmet, bom } = read_toml(folders, path, |_| Ok(()))?;
    let unmet: Vec<_> = unmet.into_iter().map(|unmet| unmet.name).collect();
    for name in &unmet {
        if name.is_empty() {
            return Err(Broken::Rule("unmet.name is required".to_owned()));
        }
        if !requires.iter().any(|require| require.name == *name) {
            return Err(Broken::Rule(format!("unmet.name '{name}' must match a requested dependency")));
        }
    }
    Ok(BuildToml { unmet, bom })
}

/// `launch.toml`.
#[derive(Default)]
pub(super) struct LaunchToml {
    pub(super) labels: Vec<Label>,
    /// With whether each is to be the default.
    pub(super) processes: Vec<(Process, bool)>,
    pub(super) slices: Vec<Slice>,
    pub(super) bom: Vec<BomEntry>,
}

#[derive(Deserialize, Default)]
struct RawLaunch {
    #[serde(default)]
    labels: Vec<Label>,
    #[serde(default)]
    processes: Vec<RawProcess>,
    #[serde(default)]
    slices: Vec<Slice>,
    #[serde(default)]
    bom: Vec<BomEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawProcess {
    #[serde(rename = "type", default)]
    kind: String,
    command: Option<toml::Value>,
    args: Option<Vec<String>>,
    direct: Option<bool>,
    #[serde(default)]
    default: bool,
    #[serde(default)]
    working_dir: String,
    #[serde(default)]
    exec_env: Vec<String>,
}

/// Reads processes, labels and slices, by the rules of the buildpack's API.
pub(super) fn read_launch(site: &Site<'_>, path: &Path, buildpack: &Buildpack) -> Result<LaunchToml, Broken> {
    let RawLaunch { labels, processes, slices, bom } = read_toml(site.folders, path, |_| Ok(()))?;
    let api = buildpack.parsed_api().unwrap_or(ApiVersion::OLDEST);
    if processes.iter().filter(|process| process.default).count() > 1 {
        return Err(Broken::Rule("multiple default process types aren't allowed".to_owned()));
    }
    let mut read = Vec::new();
    for raw in processes {
        let default = raw.default;
        read.push((process(site, raw, api, buildpack)?, default));
    }
    Ok(LaunchToml { labels, processes: read, slices, bom })
}

fn process(site: &Site<'_>, raw: RawProcess, api: ApiVersion, buildpack: &Buildpack) -> Result<Process, Broken> {
    let RawProcess { kind, command, args, direct, mut working_dir, exec_env, .. } = raw;
    let (command, direct) = if api >= ApiVersion::LIST_COMMANDS {
        if direct.is_some() {
            return Err(Broken::Rule("process.direct is not supported on this buildpack version".to_owned()));
        }
        (
            list(command)
                .ok_or_else(|| Broken::Rule(format!("the command of process '{kind}' must be a list of texts")))?,
            true,
        )
    } else {
        let Some(toml::Value::String(command)) = command else {
            return Err(Broken::Rule(format!("the command of process '{kind}' must be a text")));
        };
        (vec![command], direct.unwrap_or(false))
    };
    if api < ApiVersion::DIRECTORIES_IN_ENV && !working_dir.is_empty() {
        site.log.warn(format_args!(
            "process working directory isn't supported in this buildpack api version. Ignoring working directory for process '{kind}'"
        ));
        working_dir.clear();
    }
    let buildpack = buildpack.id.to_string();
    Ok(Process { kind, command: Command(command), args, direct, buildpack, working_dir, exec_env })
}

fn list(command: Option<toml::Value>) -> Option<Vec<String>> {
    let items = match command {
        None => Vec::new(),
        Some(toml::Value::Array(items)) => items,
        Some(_) => return None,
    };
    items.into_iter().map(|item| item.as_str().map(ToOwned::to_owned)).collect()
}
