//! A buildpack's description of itself, `buildpack.toml`.

use std::fmt;

use serde::Deserialize;

use super::api::{ApiVersion, InvalidApi};
use super::order::{BuildpackId, Order};
use super::target::{Distro, Target};

/// What a buildpack says of itself. Unknown keys are ignored, as the Go lifecycle does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buildpack {
    /// The version of the Buildpack API, as written.
    pub api: String,
    /// Its id.
    pub id: BuildpackId,
    /// Its version.
    pub version: String,
    /// Where to read about it.
    pub homepage: String,
    /// Whether it is to run without the user's variables.
    pub clear_env: bool,
    /// The media types of the SBOMs that it writes.
    pub sbom_formats: Vec<String>,
    /// The execution environments that it is meant for; empty means all.
    pub exec_env: Vec<String>,
    /// The groups of a composite buildpack, which has no programs of its own.
    pub order: Order,
    /// The platforms that it supports.
    pub targets: Vec<Target>,
}

/// Why a description cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DescriptorError {
    /// It is not TOML, or has a value of the wrong kind.
    #[error("`buildpack.toml` is not valid: {0}")]
    Malformed(#[from] toml::de::Error),
    /// It says which buildpack it is in another way than the folder in which it lies.
    #[error("`buildpack.toml` has no `[buildpack]` table")]
    NoBuildpack,
}

impl Buildpack {
    /// Reads a description. `has_build` tells whether there is a `bin/build`: the sign of a Linux buildpack where no target is named.
    pub fn parse(text: &str, has_build: bool) -> Result<Self, DescriptorError> {
        let raw: Raw = toml::from_str(text)?;
        let targets = raw.targets(has_build);
        let Raw { api, buildpack, order, .. } = raw;
        let info = buildpack.ok_or(DescriptorError::NoBuildpack)?;
        Ok(Self {
            api,
            id: info.id,
            version: info.version,
            homepage: info.homepage,
            clear_env: info.clear_env,
            sbom_formats: info.sbom_formats,
            exec_env: info.exec_env.into_iter().map(ExecEnv::name).collect(),
            order,
            targets,
        })
    }

    /// Returns the version of the Buildpack API.
    pub fn parsed_api(&self) -> Result<ApiVersion, InvalidApi> {
        self.api.parse()
    }

    /// Tells whether the buildpack takes part in this execution environment; before API 0.12 all do.
    pub fn runs_in(&self, exec_env: &str) -> bool {
        let declares = self.parsed_api().is_ok_and(|api| api >= ApiVersion::EXEC_ENV);
        let names = |wanted: &str| self.exec_env.iter().any(|name| name == wanted);
        !declares || self.exec_env.is_empty() || names("*") || names(exec_env)
    }
}

impl fmt::Display for Buildpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.version)
    }
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    api: String,
    buildpack: Option<Info>,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    targets: Vec<Target>,
    #[serde(default)]
    stacks: Vec<Stack>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Info {
    id: BuildpackId,
    #[serde(default)]
    version: String,
    #[serde(default)]
    homepage: String,
    #[serde(default)]
    clear_env: bool,
    #[serde(default)]
    sbom_formats: Vec<String>,
    #[serde(default)]
    exec_env: Vec<ExecEnv>,
}

/// The specification shows tables with a name, the Go code reads texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum ExecEnv {
    Text(String),
    Table { name: String },
}

impl ExecEnv {
    fn name(self) -> String {
        match self {
            Self::Text(name) | Self::Table { name } => name,
        }
    }
}

#[derive(Deserialize)]
struct Stack {
    #[serde(default)]
    id: String,
}

impl Raw {
    /// The declared targets, else those that the older stacks stand for, else Linux where there is something to build with.
    fn targets(&self, has_build: bool) -> Vec<Target> {
        if !self.targets.is_empty() {
            return self.targets.clone();
        }
        let since_targets = self.api.parse::<ApiVersion>().is_ok_and(|api| api >= ApiVersion::TARGETS);
        let of_stack = |stack: &Stack| match stack.id.as_str() {
            "io.buildpacks.stacks.bionic" if since_targets || self.stacks.len() == 1 => Some(bionic()),
            "*" => Some(Target::default()),
            _ => None,
        };
        let targets: Vec<_> = self.stacks.iter().filter_map(of_stack).collect();
        if targets.is_empty() && has_build {
            return vec![Target { os: "linux".to_owned(), ..Target::default() }];
        }
        targets
    }
}

fn bionic() -> Target {
    let distros = vec![Distro { name: "ubuntu".to_owned(), version: "18.04".to_owned() }];
    Target { os: "linux".to_owned(), arch: "amd64".to_owned(), variant: String::new(), distros }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Buildpack {
        Buildpack::parse(text, true).unwrap()
    }

    #[test]
    fn targets_come_from_stacks_where_none_are_declared() {
        let with = |api: &str, rest: &str| {
            parse(&format!("api = \"{api}\"\n[buildpack]\nid = \"a\"\nversion = \"1\"\n{rest}")).targets
        };
        let linux = Target { os: "linux".into(), ..Target::default() };
        let bionic_id = "[[stacks]]\nid = \"io.buildpacks.stacks.bionic\"\n";
        assert_eq!(with("0.10", ""), std::slice::from_ref(&linux));
        assert_eq!(with("0.10", "[[stacks]]\nid = \"*\"\n"), [Target::default()]);
        assert_eq!(with("0.9", bionic_id), [bionic()]);
        assert_eq!(with("0.10", &format!("{bionic_id}[[stacks]]\nid = \"x\"\n")), [bionic()]);
        assert_eq!(with("0.9", &format!("{bionic_id}[[stacks]]\nid = \"x\"\n")), [linux]);
        assert_eq!(with("0.10", "[[targets]]\narch = \"arm64\"\n[[stacks]]\nid = \"*\"\n")[0].arch, "arm64");
        assert_eq!(Buildpack::parse("[buildpack]\nid = \"a\"", false).unwrap().targets, []);
    }

    #[test]
    fn execution_environments_are_texts_or_tables_and_count_from_api_0_12() {
        let texts = "[buildpack]\nid = \"a\"\nexec-env = [\"test\"]";
        let tables = "[buildpack]\nid = \"a\"\n[[buildpack.exec-env]]\nname = \"test\"";
        for text in [texts, tables] {
            assert!(!parse(&format!("api = \"0.12\"\n{text}")).runs_in("production"));
            assert!(parse(&format!("api = \"0.12\"\n{text}")).runs_in("test"));
            assert!(parse(&format!("api = \"0.11\"\n{text}")).runs_in("production"));
        }
        assert!(parse("api = \"0.12\"\n[buildpack]\nid = \"a\"\nexec-env = [\"*\"]").runs_in("production"));
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let text = "api = \"0.10\"\nfuture = 1\n[buildpack]\nid = \"heroku/x\"\nversion = \"1.2.3\"\nclear-env = true\nlater = []\n[metadata]\na = 1";
        let buildpack = parse(text);
        assert!(buildpack.clear_env);
        assert_eq!(buildpack.to_string(), "heroku/x@1.2.3");
    }
}
