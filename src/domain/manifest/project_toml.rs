//! `project.toml`: the buildpacks' own project descriptor.
//!
//! `pack` reads the file itself; packhorse reads it for its embedded engine, and to point at mistakes before a build.

use std::collections::BTreeMap;

use super::node::{Located, Reader, Table, join};
use super::problem::{Parsed, Problem, Problems, SourceFile};
use super::toml_tree;

/// A buildpack of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectBuildpack {
    /// On the builder or in a registry, with a version if one is asked for.
    Id {
        /// The buildpack's id.
        id: String,
        /// Its version.
        version: Option<String>,
    },
    /// A directory, an archive or an image.
    Uri(String),
    /// A script in the file itself.
    Script {
        /// The buildpack's id.
        id: String,
        /// The Buildpack API it is written for.
        api: Option<String>,
        /// The script.
        inline: String,
        /// The shell that runs it.
        shell: Option<String>,
    },
}

impl ProjectBuildpack {
    /// Returns it as it would be written in a list of buildpacks; nothing for a script.
    pub fn locator(&self) -> Option<String> {
        match self {
            Self::Id { id, version: Some(version) } => Some(format!("{id}@{version}")),
            Self::Id { id: text, version: None } | Self::Uri(text) => Some(text.clone()),
            Self::Script { .. } => None,
        }
    }
}

/// What a `project.toml` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectToml {
    /// The builder it asks for.
    pub builder: Option<Located<String>>,
    /// The group; empty = detect.
    pub group: Vec<ProjectBuildpack>,
    /// What runs before the group.
    pub pre: Vec<ProjectBuildpack>,
    /// What runs after the group.
    pub post: Vec<ProjectBuildpack>,
    /// Variables of the build; of a repeated name the last value.
    pub build_env: BTreeMap<String, String>,
    /// Patterns of the only files that go into the build.
    pub include: Vec<String>,
    /// Patterns of files that stay out of the build.
    pub exclude: Vec<String>,
}

impl ProjectToml {
    /// Reads the file by its schema version: 0.1 (also when none is given), 0.2 or 0.3.
    pub fn read(file: &SourceFile) -> Result<Parsed<Self>, Problems> {
        toml_tree::read(file, read_root)
    }
}

fn read_root(root: &Table, reader: &mut Reader) -> ProjectToml {
    let version = reader.table(root, "", "_").and_then(|(header, path)| {
        reader.unknown_keys(header, &path, &["schema-version"], &OTHER_PROJECT_KEYS);
        reader.filled(header, &path, "schema-version")
    });
    match version.as_ref().map(|version| version.value.as_str()) {
        Some("0.2" | "0.3") => read_current(root, reader),
        Some("0.1") => read_first(root, reader),
        Some(_) => {
            let span = version.map_or(0..0, |version| version.span);
            let path = "_.schema-version";
            let problem = Problem::error(path, format!("`{path}` must be `0.1`, `0.2` or `0.3`"), span);
            reader.push(problem.label("not a version known here").help("write `schema-version = \"0.2\"`"));
            ProjectToml::default()
        }
        None => {
            if root.get("io").is_some() {
                // Almost certainly a newer file without its header: `pack` would ignore all of it.
                let span = root.entries.iter().find(|entry| entry.key == "io").map_or(0..0, |io| io.key_span.clone());
                let problem = Problem::error("_.schema-version", "the file does not say its schema version", span);
                reader.push(problem.help("put `[_]` and `schema-version = \"0.2\"` at the top"));
                return read_current(root, reader);
            }
            read_first(root, reader)
        }
    }
}

/// Keys that describe the project and mean nothing to a build.
const OTHER_PROJECT_KEYS: [&str; 10] = [
    "id",
    "name",
    "version",
    "authors",
    "documentation-url",
    "source-url",
    "licenses",
    "metadata",
    "source",
    "homepage",
];

fn read_current(root: &Table, reader: &mut Reader) -> ProjectToml {
    let mut out = ProjectToml::default();
    // Top-level tables other than `io.buildpacks` belong to others by the schema.
    let Some((io, path)) = reader.table(root, "", "io") else { return out };
    let Some((buildpacks, path)) = reader.table(io, &path, "buildpacks") else { return out };
    let known = ["builder", "group", "pre", "post", "build", "include", "exclude"];
    reader.unknown_keys(buildpacks, &path, &known, &["env"]);
    out.builder = reader.filled(buildpacks, &path, "builder");
    out.group = read_group(buildpacks, &path, "group", reader);
    for (key, target) in [("pre", &mut out.pre), ("post", &mut out.post)] {
        if let Some((section, path)) = reader.table(buildpacks, &path, key) {
            reader.unknown_keys(section, &path, &["group"], &[]);
            *target = read_group(section, &path, "group", reader);
        }
    }
    // `env.build` is the older spelling of `build.env`.
    for (section, key) in [("env", "build"), ("build", "env")] {
        if let Some((section, path)) = reader.table(buildpacks, &path, section) {
            reader.unknown_keys(section, &path, &[key], &[]);
            read_env(section, &path, key, reader, &mut out.build_env);
        }
    }
    read_filters(buildpacks, &path, reader, &mut out);
    out
}

fn read_first(root: &Table, reader: &mut Reader) -> ProjectToml {
    let mut out = ProjectToml::default();
    reader.unknown_keys(root, "", &["_", "project", "build", "metadata"], &["io", "com"]);
    let Some((build, path)) = reader.table(root, "", "build") else { return out };
    reader.unknown_keys(build, &path, &["builder", "buildpacks", "env", "include", "exclude"], &["pre", "post"]);
    out.builder = reader.filled(build, &path, "builder");
    out.group = read_group(build, &path, "buildpacks", reader);
    read_env(build, &path, "env", reader, &mut out.build_env);
    read_filters(build, &path, reader, &mut out);
    out
}

fn read_filters(section: &Table, path: &str, reader: &mut Reader, out: &mut ProjectToml) {
    let texts = |found: Option<Vec<Located<String>>>| {
        found.unwrap_or_default().into_iter().map(|pattern| pattern.value).collect::<Vec<_>>()
    };
    out.include = texts(reader.strings(section, path, "include"));
    out.exclude = texts(reader.strings(section, path, "exclude"));
    if let Some(entry) = section.entries.iter().find(|entry| entry.key == "exclude")
        && !out.include.is_empty()
        && !out.exclude.is_empty()
    {
        let message = "`include` and `exclude` cannot be used together";
        reader.push(Problem::error(join(path, "exclude"), message, entry.key_span.clone()).help("keep one of the two"));
    }
}

fn read_group(parent: &Table, path: &str, key: &str, reader: &mut Reader) -> Vec<ProjectBuildpack> {
    let items = reader.array(parent, path, key).unwrap_or_default();
    let path = join(path, key);
    let mut out = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let path = format!("{path}[{n}]");
        let Some(table) = reader.as_table(item, &path) else { continue };
        reader.unknown_keys(table, &path, &["id", "version", "uri", "script"], &["exec-env", "optional"]);
        let id = reader.filled(table, &path, "id");
        let version = reader.filled(table, &path, "version");
        let uri = reader.filled(table, &path, "uri");
        let script = reader.table(table, &path, "script");
        match (id, uri, script) {
            (Some(id), None, Some((script, path))) => {
                reader.unknown_keys(script, &path, &["api", "inline", "shell"], &[]);
                let text = |found: Option<Located<String>>| found.map(|text| text.value);
                let Some(inline) = text(reader.filled(script, &path, "inline")) else {
                    let message = format!("`{path}` has no `inline` text");
                    reader.push(Problem::error(path, message, item.span.clone()).help("write `inline = \"…\"`"));
                    continue;
                };
                let (api, shell) =
                    (text(reader.filled(script, &path, "api")), text(reader.filled(script, &path, "shell")));
                out.push(ProjectBuildpack::Script { id: id.value, api, inline, shell });
            }
            (_, Some(uri), _) => {
                if let Some(version) = version {
                    let message = format!("`{path}` has both a `uri` and a `version`");
                    reader.push(Problem::error(path, message, version.span).help("remove `version`"));
                } else {
                    out.push(ProjectBuildpack::Uri(uri.value));
                }
            }
            (Some(id), None, None) => {
                out.push(ProjectBuildpack::Id { id: id.value, version: version.map(|version| version.value) });
            }
            (None, None, _) => {
                let message = format!("`{path}` has neither an `id` nor a `uri`");
                reader.push(Problem::error(path, message, item.span.clone()).help("write `id = \"heroku/python\"`"));
            }
        }
    }
    out
}

fn read_env(parent: &Table, path: &str, key: &str, reader: &mut Reader, out: &mut BTreeMap<String, String>) {
    let items = reader.array(parent, path, key).unwrap_or_default();
    let path = join(path, key);
    for (n, item) in items.iter().enumerate() {
        let path = format!("{path}[{n}]");
        let Some(table) = reader.as_table(item, &path) else { continue };
        reader.unknown_keys(table, &path, &["name", "value"], &["exec-env"]);
        let Some(name) = reader.filled(table, &path, "name") else {
            let message = format!("`{path}` has no `name`");
            reader.push(Problem::error(path, message, item.span.clone()).help("write `name = \"…\"`"));
            continue;
        };
        if name.value.contains('=') {
            let message = format!("`{path}.name` must not hold `=`");
            reader.push(Problem::error(path, message, name.span));
            continue;
        }
        let value = reader.string(table, &path, "value").map(|value| value.value).unwrap_or_default();
        out.insert(name.value, value);
    }
}
