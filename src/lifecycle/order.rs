//! The order in which groups of buildpacks are tried, and the buildpacks that every group gets.

use std::fmt;

use serde::Deserialize;

/// The id of a buildpack, such as `heroku/python`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, serde::Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct BuildpackId(String);

/// Why a text is not a buildpack id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be a buildpack id: it would name a folder that is not the buildpack's own")]
pub struct InvalidId(String);

impl BuildpackId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the name of the buildpack's folders, where `/` is `_`.
    pub fn folder(&self) -> String {
        self.0.replace('/', "_")
    }
}

impl std::str::FromStr for BuildpackId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for BuildpackId {
    type Error = InvalidId;

    /// Takes what the Go lifecycle takes, but for names that lie elsewhere in the layers folder.
    fn try_from(text: String) -> Result<Self, InvalidId> {
        let reserved = ["", ".", "..", "app", "config", "generated", "sbom"].contains(&text.as_str());
        if reserved || text.contains('\0') { Err(InvalidId(text)) } else { Ok(Self(text)) }
    }
}

impl From<BuildpackId> for String {
    fn from(id: BuildpackId) -> Self {
        id.0
    }
}

impl fmt::Display for BuildpackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A buildpack in a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub struct Element {
    /// Its id.
    pub id: BuildpackId,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Whether the group can do without it.
    #[serde(default)]
    pub optional: bool,
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.version)
    }
}

/// Buildpacks that are tried together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// The buildpacks, in the order in which they build.
    #[serde(default)]
    pub group: Vec<Element>,
}

/// The groups, the preferred one first.
pub type Order = Vec<Group>;

/// `order.toml`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct OrderFile {
    /// The groups of buildpacks.
    #[serde(default)]
    pub order: Order,
    /// The groups of image extensions, which this lifecycle does not run.
    #[serde(default, rename = "order-extensions")]
    pub extensions: Order,
}

/// `system.toml`: buildpacks that every group gets, unless it names them itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SystemFile {
    /// The buildpacks.
    #[serde(default)]
    pub system: System,
}

/// The buildpacks that every group gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct System {
    /// Those that come before the group's own.
    #[serde(default)]
    pub pre: SystemBuildpacks,
    /// Those that come after the group's own.
    #[serde(default)]
    pub post: SystemBuildpacks,
}

/// Buildpacks on one side of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct SystemBuildpacks {
    /// The buildpacks.
    #[serde(default)]
    pub buildpacks: Vec<Element>,
}

/// Returns the order with the system buildpacks in each group; they are required, whatever they say of themselves.
pub fn with_system(order: Order, system: &System) -> Order {
    let missing_in = |group: &Group, side: &SystemBuildpacks| -> Vec<Element> {
        let named = |element: &&Element| group.group.iter().any(|other| other.id == element.id);
        let required = |element: &Element| Element { optional: false, ..element.clone() };
        side.buildpacks.iter().filter(|element| !named(element)).map(required).collect()
    };
    order
        .into_iter()
        .map(|group| {
            let (mut all, post) = (missing_in(&group, &system.pre), missing_in(&group, &system.post));
            all.extend(group.group);
            all.extend(post);
            Group { group: all }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(group: &Group) -> Vec<String> {
        group.group.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn system_buildpacks_surround_groups_that_do_not_name_them() {
        let file: OrderFile = toml::from_str(
            "[[order]]\n[[order.group]]\nid = \"a\"\nversion = \"1\"\noptional = true\n[[order]]\n[[order.group]]\nid = \"b\"\nversion = \"1\"",
        )
        .unwrap();
        let system: SystemFile = toml::from_str(
            "[[system.pre.buildpacks]]\nid = \"p\"\nversion = \"1\"\noptional = true\n[[system.post.buildpacks]]\nid = \"a\"\nversion = \"2\"",
        )
        .unwrap();
        let order = with_system(file.order, &system.system);
        assert_eq!(ids(&order[0]), ["p@1", "a@1"]);
        assert_eq!(ids(&order[1]), ["p@1", "b@1", "a@2"]);
        assert_eq!(order[1].group.iter().map(|element| element.optional).collect::<Vec<_>>(), [false; 3]);
    }

    #[test]
    fn id_that_names_another_folder_is_refused() {
        for text in ["", ".", "..", "config", "sbom", "a\0b"] {
            assert!(text.parse::<BuildpackId>().is_err(), "{text}");
        }
        assert_eq!("../../etc".parse::<BuildpackId>().unwrap().folder(), ".._.._etc");
    }
}
