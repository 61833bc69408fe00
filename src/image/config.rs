//! The image config: what runs, as whom, with which variables and labels, over which layers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::Digest;

/// An image config. Fields that packhorse does not know are kept in `other`, here and below.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The processor, in Go's names.
    #[serde(default)]
    pub architecture: String,
    /// The operating system.
    #[serde(default)]
    pub os: String,
    /// When the image was made, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// How a container of the image runs.
    #[serde(default, deserialize_with = "null_is_default")]
    pub config: RuntimeConfig,
    /// What made the layers, the lowest first; steps that made none are there too.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// The uncompressed layers, the lowest first.
    #[serde(default)]
    pub rootfs: RootFs,
    /// Fields that packhorse has no use for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl ImageConfig {
    /// Returns the label `name`.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.get(name).map(String::as_str)
    }

    /// Sets the variable `name`, where it stands or else at the end.
    pub fn set_env(&mut self, name: &str, value: &str) {
        let pair = format!("{name}={value}");
        let is_it = |pair: &&mut String| pair.split_once('=').is_some_and(|(key, _)| key == name);
        match self.config.env.iter_mut().find(is_it) {
            Some(found) => *found = pair,
            None => self.config.env.push(pair),
        }
    }

    /// Returns the variable `name`, the last one if it is set twice.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&str> {
        self.config.env.iter().rev().find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then_some(value)
        })
    }
}

/// How a container of the image runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RuntimeConfig {
    /// User, or user and group, by name or number; empty is root.
    #[serde(default, deserialize_with = "null_is_default")]
    pub user: String,
    /// `KEY=value` lines.
    #[serde(default, deserialize_with = "null_is_default")]
    pub env: Vec<String>,
    /// The program, with arguments that always come first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub entrypoint: Vec<String>,
    /// Arguments that a caller may replace.
    #[serde(default, deserialize_with = "null_is_default")]
    pub cmd: Vec<String>,
    /// The folder in which it starts.
    #[serde(default, deserialize_with = "null_is_default")]
    pub working_dir: String,
    /// Labels.
    #[serde(default, deserialize_with = "null_is_default")]
    pub labels: BTreeMap<String, String>,
    /// Fields that packhorse has no use for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

impl RuntimeConfig {
    /// Returns the folders whose content outlives a container, unless it is told otherwise: the image's volumes.
    pub fn volumes(&self) -> Vec<String> {
        let declared = self.other.get("Volumes").and_then(Value::as_object);
        declared.map(|volumes| volumes.keys().cloned().collect()).unwrap_or_default()
    }
}

/// What made a layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// When, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// By which command or step.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    /// Whether the step made no layer.
    #[serde(default, deserialize_with = "null_is_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    /// Fields that packhorse has no use for.
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// The uncompressed layers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RootFs {
    /// Digests of the uncompressed layers, the lowest first.
    #[serde(default, deserialize_with = "null_is_default")]
    pub diff_ids: Vec<Digest>,
    /// Fields that packhorse has no use for (`type`, always `layers`).
    #[serde(flatten)]
    pub other: BTreeMap<String, Value>,
}

/// Go writes `null` for an empty list or map.
fn null_is_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_an_empty_list_and_unknown_fields_are_kept() {
        let config: ImageConfig = serde_json::from_str(
            r#"{"architecture":"amd64","os":"linux","created":"1980-01-01T00:00:01Z",
                "config":{"Env":null,"Labels":null,"Cmd":null,"Healthcheck":{"Test":["NONE"]}},
                "rootfs":{"type":"layers","diff_ids":null}}"#,
        )
        .unwrap();
        assert!(config.config.env.is_empty());
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(again["created"], "1980-01-01T00:00:01Z");
        assert_eq!(again["config"]["Healthcheck"]["Test"][0], "NONE");
        assert_eq!(again["rootfs"]["type"], "layers");
    }

    #[test]
    fn a_variable_is_replaced_where_it_stands() {
        let mut config: ImageConfig = serde_json::from_str(r#"{"config":{"Env":["A=1","B=2"]}}"#).unwrap();
        config.set_env("A", "3");
        config.set_env("C", "4");
        assert_eq!(config.config.env, ["A=3", "B=2", "C=4"]);
    }

    #[test]
    fn last_setting_of_a_variable_counts() {
        let config: ImageConfig = serde_json::from_str(r#"{"config":{"Env":["A=1","B=x=y","A=2"]}}"#).unwrap();
        assert_eq!(config.env("A"), Some("2"));
        assert_eq!(config.env("B"), Some("x=y"));
        assert_eq!(config.env("C"), None);
    }
}
