//! The project descriptor that `pack` is given: the app's own, with what is not part of the app added.
//!
//! `.git` never is: it would give one commit a new digest at every build.

use std::path::Path;

use toml::{Table, Value};

const GIT: &str = ".git";

/// Why the app's `project.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`project.toml` cannot be read: {0}")]
pub(super) struct DescriptorError(String);

/// Writes the descriptor: `own` is the text of the app's `project.toml`, which lies in `folder`.
pub(super) fn descriptor(own: Option<&str>, folder: &Path, exclude: &[String]) -> Result<String, DescriptorError> {
    let wrong = |error: &dyn std::fmt::Display| DescriptorError(error.to_string());
    let mut table: Table = match own {
        Some(text) => text.parse().map_err(|error: toml::de::Error| wrong(&error.message()))?,
        None => Table::from_iter([("_".to_owned(), Value::Table(schema("0.2")))]),
    };
    let version = table.get("_").and_then(|schema| schema.get("schema-version")).and_then(Value::as_str);
    // The oldest form keeps its settings in another table.
    let path: &[&str] = if matches!(version, None | Some("0.1")) { &["build"] } else { &["io", "buildpacks"] };
    let mut settings = &mut table;
    for &key in path {
        let entry = settings.entry(key).or_insert_with(|| Value::Table(Table::new()));
        settings = entry.as_table_mut().ok_or_else(|| wrong(&format!("`{key}` must be a table")))?;
    }
    let patterns = |list: Option<&Value>| match list {
        Some(Value::Array(list)) => list.clone(),
        _ => Vec::new(),
    };
    let excluded = std::iter::once(GIT).chain(exclude.iter().map(String::as_str));
    // A descriptor has one or the other.
    if settings.contains_key("include") {
        let mut include = patterns(settings.get("include"));
        include.extend(excluded.map(|pattern| Value::from(format!("!{pattern}"))));
        settings.insert("include".to_owned(), Value::Array(include));
    } else {
        let mut list = patterns(settings.get("exclude"));
        list.extend(excluded.map(Value::from));
        settings.insert("exclude".to_owned(), Value::Array(list));
    }
    settings.iter_mut().for_each(|(_, value)| anchor(value, folder));
    toml::to_string(&table).map_err(|error| wrong(&error))
}

fn schema(version: &str) -> Table {
    Table::from_iter([("schema-version".to_owned(), Value::from(version))])
}

/// Makes the folders of buildpacks absolute, since the descriptor lies elsewhere now.
fn anchor(value: &mut Value, folder: &Path) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                match value {
                    Value::String(uri) if key == "uri" && !uri.contains(':') && folder.join(&*uri).exists() => {
                        *uri = folder.join(&*uri).to_string_lossy().into_owned();
                    }
                    other => anchor(other, folder),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| anchor(value, folder)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(own: Option<&str>) -> Table {
        descriptor(own, Path::new("/"), &["*.log".to_owned()]).unwrap().parse().unwrap()
    }

    #[test]
    fn an_app_without_a_descriptor_leaves_git_out() {
        let made = made(None);
        assert_eq!(made["_"]["schema-version"].as_str(), Some("0.2"));
        assert_eq!(made["io"]["buildpacks"]["exclude"], Value::from(vec![".git", "*.log"]));
    }

    #[test]
    fn the_apps_own_settings_stay() {
        let own = "[_]\nschema-version = \"0.2\"\n[io.buildpacks]\nbuilder = \"b\"\nexclude = [\"docs\"]\n\
                   [[io.buildpacks.build.env]]\nname = \"A\"\nvalue = \"1\"\n[[io.buildpacks.group]]\nuri = \"etc\"\n\
                   [[io.buildpacks.group]]\nuri = \"docker://x/y\"\n";
        let made = made(Some(own));
        let settings = &made["io"]["buildpacks"];
        assert_eq!(settings["exclude"], Value::from(vec!["docs", ".git", "*.log"]));
        assert_eq!(settings["build"]["env"][0]["value"].as_str(), Some("1"));
        assert_eq!(settings["group"][0]["uri"].as_str(), Some("/etc"));
        assert_eq!(settings["group"][1]["uri"].as_str(), Some("docker://x/y"));
    }

    #[test]
    fn an_include_list_is_kept_and_the_oldest_form_understood() {
        let own = "[_]\nschema-version = \"0.2\"\n[io.buildpacks]\ninclude = [\"src\"]\n";
        assert_eq!(made(Some(own))["io"]["buildpacks"]["include"], Value::from(vec!["src", "!.git", "!*.log"]));
        let own = "[project]\nid = \"x\"\n[build]\nexclude = [\"a\"]\n";
        assert_eq!(made(Some(own))["build"]["exclude"], Value::from(vec!["a", ".git", "*.log"]));
        assert!(descriptor(Some("= nonsense"), Path::new("/"), &[]).is_err());
    }
}
