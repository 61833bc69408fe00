//! What the launcher is told: `config/metadata.toml` and the platform's API.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::api::ApiVersion;
use crate::failure::{Cause, Failure, Result};
use crate::path;

/// The Platform API with which an image was made.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Platform(ApiVersion);

impl Platform {
    /// The arguments of a user replace those of a process.
    pub const REPLACES_ARGUMENTS: Self = Self(ApiVersion::new(0, 10));
    /// Processes can be meant for one execution environment.
    pub const EXEC_ENV: Self = Self(ApiVersion::new(0, 15));
    const OLDEST: Self = Self(ApiVersion::new(0, 7));
    const NEWEST: Self = Self(ApiVersion::new(0, 15));

    /// Takes the value of `CNB_PLATFORM_API`.
    pub fn of_environment(value: &OsStr) -> Result<Self, Failure> {
        let text = value.to_string_lossy();
        if text.trim().is_empty() {
            return Err(Failure::of_platform_api(
                "get platform API version; please set 'CNB_PLATFORM_API' to specify the desired platform API version",
            ));
        }
        let Ok(version) = text.parse() else {
            return Err(Failure::of_platform_api(format!("parse platform API '{text}'")));
        };
        if !(Self::OLDEST..=Self::NEWEST).contains(&Self(version)) {
            return Err(Failure::of_platform_api(format!(
                "set platform API: platform API version '{text}' is incompatible with the lifecycle"
            )));
        }
        Ok(Self(version))
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A buildpack that took part in the build.
#[derive(Debug)]
pub struct Buildpack {
    pub id: String,
    pub api: String,
}

/// A process that the image can run.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// Its type; empty for one that the user gave.
    pub kind: OsString,
    /// The program, and arguments that always come first.
    pub command: Vec<OsString>,
    pub args: Vec<OsString>,
    /// Whether it runs without a shell.
    pub direct: bool,
    /// The buildpack that defined it; empty for one that the user gave.
    pub buildpack: String,
    pub working_dir: PathBuf,
    /// The execution environments that it is meant for; none means all.
    pub exec_env: Vec<OsString>,
}

/// What the build left for the launcher.
#[derive(Debug, Default)]
pub struct Metadata {
    pub processes: Vec<Process>,
    pub buildpacks: Vec<Buildpack>,
}

impl Metadata {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let read = || {
            let text = String::from_utf8(path::read(path)?).map_err(|_| Cause::new("toml: invalid UTF-8 byte"))?;
            Self::parse(&text)
        };
        read().map_err(|cause| Failure::of_metadata(&cause))
    }

    fn parse(text: &str) -> Result<Self> {
        let file = parse(text)?;
        let buildpack = |table: &DeTable<'_>| Ok(Buildpack { id: text_of(table, "id")?, api: text_of(table, "api")? });
        Ok(Self {
            buildpacks: tables(&file, "buildpacks", buildpack)?,
            processes: tables(&file, "processes", process)?,
        })
    }

    /// Refuses buildpacks of other APIs.
    pub fn check_apis(&self) -> Result<(), Failure> {
        for Buildpack { id, api } in &self.buildpacks {
            let Ok(version) = api.parse::<ApiVersion>() else {
                return Err(Failure::of_buildpack_api(format!("parse buildpack API '<nil>' for buildpack '{id}'")));
            };
            if !version.is_supported() {
                return Err(Failure::of_buildpack_api(format!(
                    "set API for buildpack '{id}': buildpack API version '{api}' is incompatible with the lifecycle"
                )));
            }
        }
        Ok(())
    }
}

/// Parses a TOML document; what is wrong is said on one line.
pub fn parse(text: &str) -> Result<DeTable<'_>> {
    let parsed = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        Cause::new(format!("toml: line {line}: {}", error.message()))
    })?;
    Ok(parsed.into_inner())
}

fn value<'t, 'i>(table: &'t DeTable<'i>, key: &str) -> Option<&'t DeValue<'i>> {
    table.get(key).map(Spanned::get_ref)
}

fn process(table: &DeTable<'_>) -> Result<Process> {
    // Lifecycles of platforms before 0.10 wrote a text.
    let command = match value(table, "command") {
        Some(DeValue::String(text)) => vec![text.as_ref().into()],
        _ => texts(table, "command")?,
    };
    let direct = match value(table, "direct") {
        None => false,
        Some(DeValue::Boolean(direct)) => *direct,
        Some(other) => return Err(unexpected("direct", other)),
    };
    Ok(Process {
        kind: text_of(table, "type")?.into(),
        command,
        args: texts(table, "args")?,
        direct,
        buildpack: text_of(table, "buildpack-id")?,
        working_dir: text_of(table, "working-dir")?.into(),
        exec_env: texts(table, "exec-env")?,
    })
}

fn tables<T>(file: &DeTable<'_>, key: &str, read: impl Fn(&DeTable<'_>) -> Result<T>) -> Result<Vec<T>> {
    let items = match value(file, key) {
        None => return Ok(Vec::new()),
        Some(DeValue::Array(items)) => items,
        Some(other) => return Err(unexpected(key, other)),
    };
    let one = |item: &DeValue<'_>| item.as_table().ok_or_else(|| unexpected(key, item)).and_then(&read);
    items.iter().map(|item| one(item.get_ref())).collect()
}

/// A text that may be missing.
fn text_of(table: &DeTable<'_>, key: &str) -> Result<String> {
    match value(table, key) {
        None => Ok(String::new()),
        Some(DeValue::String(text)) => Ok(text.as_ref().to_owned()),
        Some(other) => Err(unexpected(key, other)),
    }
}

/// A list of texts that may be missing.
fn texts(table: &DeTable<'_>, key: &str) -> Result<Vec<OsString>> {
    let items = match value(table, key) {
        None => return Ok(Vec::new()),
        Some(DeValue::Array(items)) => items,
        Some(other) => return Err(unexpected(key, other)),
    };
    let one = |item: &DeValue<'_>| item.as_str().map(OsString::from).ok_or_else(|| unexpected(key, item));
    items.iter().map(|item| one(item.get_ref())).collect()
}

fn unexpected(key: &str, value: &DeValue<'_>) -> Cause {
    Cause::new(format!("toml: `{key}` has a value of the type {}, which it cannot have", value.type_str()))
}
