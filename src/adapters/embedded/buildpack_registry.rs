//! The registry of buildpacks: which image a buildpack of a name is.
//!
//! Source: the index that `pack` reads, <https://github.com/buildpacks/registry-index>: a file for each buildpack, with a line of JSON for each
//! of its versions.

use std::fmt;
use std::time::Duration;

use semver::Version;
use serde::Deserialize;

use crate::ports::failure::Failure;

/// Where the index lies.
pub const BUILDPACK_REGISTRY: &str = "https://raw.githubusercontent.com/buildpacks/registry-index/main";

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest name that the registry takes, and the longest file of its index that is read.
const LONGEST_NAME: usize = 253;
const LONGEST_FILE: usize = 4 * 1024 * 1024;

/// A buildpack of the registry: `namespace/name`, and maybe `@version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Registered {
    namespace: String,
    name: String,
    version: Option<String>,
}

/// A version of a buildpack. Its image is named by digest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Entry {
    version: String,
    #[serde(default)]
    yanked: bool,
    addr: String,
}

impl Registered {
    /// Reads a name; `None` where the registry can have none like it.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (id, version) = text.split_once('@').map_or((text, None), |(id, version)| (id, Some(version)));
        let (namespace, name) = id.split_once('/')?;
        let is_name = |text: &str| {
            let is_of_names = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
            (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(is_of_names) && !text.starts_with('.')
        };
        if !is_name(namespace) || !is_name(name) || version.is_some_and(|version| version.parse::<Version>().is_err()) {
            return None;
        }
        Some(Self { namespace: namespace.to_owned(), name: name.to_owned(), version: version.map(str::to_owned) })
    }

    /// Returns the path of its file in the index.
    fn path(&self) -> String {
        let Self { namespace, name, .. } = self;
        let folder = match name.len() {
            1 | 2 => name.len().to_string(),
            3 => format!("3/{}", &name[..2]),
            _ => format!("{}/{}", &name[..2], &name[2..4]),
        };
        format!("{folder}/{namespace}_{name}")
    }

    /// Finds the image in a file of the index: of the wanted version, else of the newest that was not withdrawn.
    fn choose(&self, index: &str) -> Result<String, String> {
        let lines = index.lines().filter(|line| !line.trim().is_empty());
        let entries: Result<Vec<Entry>, _> = lines.map(serde_json::from_str).collect();
        let entries = entries.map_err(|error| format!("its index cannot be read: {error}"))?;
        let chosen = match &self.version {
            Some(wanted) => entries.iter().find(|entry| entry.version == *wanted),
            None => {
                entries.iter().filter(|entry| !entry.yanked).max_by_key(|entry| entry.version.parse::<Version>().ok())
            }
        };
        chosen.map(|entry| entry.addr.clone()).ok_or_else(|| {
            let there: Vec<&str> = entries.iter().filter(|entry| !entry.yanked).map(|entry| &*entry.version).collect();
            format!(
                "it has {}",
                if there.is_empty() { "no version of it any more".to_owned() } else { there.join(", ") }
            )
        })
    }

    /// Asks the registry which image it is.
    ///
    /// # Errors
    /// [`Failure::NotFound`] where the registry does not have it.
    pub(super) async fn image(&self, registry: &str) -> Result<String, Failure> {
        let doing = || format!("look for the buildpack `{self}` in the registry of buildpacks");
        let address = format!("{}/{}", registry.trim_end_matches('/'), self.path());
        let client = reqwest::Client::builder().timeout(LIMIT).build();
        let client = client.map_err(|error| Failure::refused("make an HTTP client", error))?;
        let away = |error: reqwest::Error| Failure::unavailable(doing(), error);
        let mut answer = client.get(&address).send().await.map_err(away)?;
        match answer.status() {
            reqwest::StatusCode::NOT_FOUND => {
                return Err(Failure::NotFound {
                    what: format!("the buildpack `{self}` in the registry of buildpacks"),
                });
            }
            status if status.is_success() => {}
            status => return Err(Failure::unavailable(doing(), format!("{address} answered {status}"))),
        }
        let mut index = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(away)? {
            index.extend_from_slice(&piece);
            if index.len() > LONGEST_FILE {
                return Err(Failure::refused(doing(), format!("{address} has more than 4 MiB")));
            }
        }
        self.choose(&String::from_utf8_lossy(&index)).map_err(|reason| Failure::refused(doing(), reason))
    }
}

impl fmt::Display for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, version } = self;
        write!(f, "{namespace}/{name}")?;
        version.as_ref().map_or(Ok(()), |version| write!(f, "@{version}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_the_registry_takes() {
        for (text, path) in [
            ("shop/a", "1/shop_a"),
            ("shop/go", "2/shop_go"),
            ("shop/apt", "3/ap/shop_apt"),
            ("shop/node-engine@1.2.3", "no/de/shop_node-engine"),
        ] {
            let read = Registered::read(text).unwrap();
            assert_eq!((read.path().as_str(), read.to_string().as_str()), (path, text));
        }
        for text in ["apt", "shop/", "/apt", "Shop/apt", "shop/apt/x", "shop/apt@new", "../apt", "shop/..", "shop/a_b"]
        {
            assert_eq!(Registered::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_newest_version_counts_unless_one_is_named() {
        let line = |version: &str, yanked: bool| {
            format!(r#"{{"ns":"shop","name":"apt","version":"{version}","yanked":{yanked},"addr":"image-{version}"}}"#)
        };
        let index =
            [line("0.9.0", false), line("0.10.0", false), line("1.0.0-rc.1", true), line("0.2.0", false)].join("\n");
        let image = |text: &str, index: &str| Registered::read(text).unwrap().choose(index);
        assert_eq!(image("shop/apt", &index).unwrap(), "image-0.10.0");
        assert_eq!(image("shop/apt@0.2.0", &index).unwrap(), "image-0.2.0");
        assert_eq!(image("shop/apt@1.0.0-rc.1", &index).unwrap(), "image-1.0.0-rc.1");
        assert_eq!(image("shop/apt@3.0.0", &index).unwrap_err(), "it has 0.9.0, 0.10.0, 0.2.0");
        assert_eq!(image("shop/apt", &line("1.0.0", true)).unwrap_err(), "it has no version of it any more");
        assert!(image("shop/apt", "{").unwrap_err().contains("cannot be read"));
    }
}
