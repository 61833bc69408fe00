//! `apppack.toml`: how an app is built, tested, released and run.

use std::collections::BTreeMap;
use std::time::Duration;

use super::addon::AddonKind;
use super::node::{Entry, Located, Node, Reader, Table, Value, join};
use super::problem::{Parsed, Problem, Problems, SourceFile, Span, finish};
use super::suggest::{listed, nearest, shown};
use super::toml_tree;
use crate::domain::names::ProcessType;

/// How the image is described.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BuildSystem {
    /// Cloud Native Buildpacks, the default.
    #[default]
    Buildpack,
    /// A Dockerfile.
    Dockerfile,
}

impl BuildSystem {
    /// Returns the word used in `build.system`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Buildpack => "buildpack",
            Self::Dockerfile => "dockerfile",
        }
    }
}

/// What makes the image, where the app has a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Whatever fits the machine.
    Auto,
    /// The `pack` command with Docker.
    Pack,
    /// Docker with buildx.
    Dockerfile,
    /// packhorse's own lifecycle.
    Embedded,
}

impl Engine {
    const ALL: [Self; 4] = [Self::Auto, Self::Pack, Self::Dockerfile, Self::Embedded];

    /// Returns the word used in `build.engine`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Pack => "pack",
            Self::Dockerfile => "dockerfile",
            Self::Embedded => "embedded",
        }
    }
}

/// The Dockerfile of an app that names none.
pub const DEFAULT_DOCKERFILE: &str = "Dockerfile";

/// What an `apppack.toml` says. Blank texts count as missing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppPackToml {
    /// `build.system`.
    pub system: BuildSystem,
    /// `build.engine` (ours).
    pub engine: Option<Located<Engine>>,
    /// `build.buildpacks`, as written; empty = detect.
    pub buildpacks: Vec<Located<String>>,
    /// `build.builder`, as written: an image reference or the name of a stack.
    pub builder: Option<Located<String>>,
    /// `build.dockerfile`.
    pub dockerfile: Option<Located<String>>,
    /// `test.command`.
    pub test_command: Option<String>,
    /// `test.env`; of a repeated name the last value.
    pub test_env: BTreeMap<String, String>,
    /// `test.timeout` (ours).
    pub test_timeout: Option<Duration>,
    /// `test.addons` (ours): the images to use for add-ons.
    pub addon_images: BTreeMap<AddonKind, String>,
    /// `deploy.release_command`.
    pub release_command: Option<String>,
    /// `review_app.initialize_command`.
    pub initialize_command: Option<String>,
    /// `review_app.pre_destroy_command`.
    pub pre_destroy_command: Option<String>,
    /// `services.{name}.command`.
    pub services: BTreeMap<ProcessType, String>,
    /// Where `build.system` or, without it, the file begins: the place for problems about the whole.
    pub system_span: Span,
}

impl AppPackToml {
    /// Reads a user's file and applies every rule of the format; that the Dockerfile exists is left to the caller.
    pub fn read(file: &SourceFile) -> Result<Parsed<Self>, Problems> {
        let (value, mut reader, table, syntax_is_sound) = Self::read_lenient(file);
        if syntax_is_sound {
            validate(&value, &table, &mut reader);
        }
        finish(file, value, reader.problems)
    }

    /// Reads an *effective* file, which packhorse or another builder has archived: services may stand beside buildpacks.
    pub fn read_effective(file: &SourceFile) -> Result<Parsed<Self>, Problems> {
        let (value, reader, _, _) = Self::read_lenient(file);
        finish(file, value, reader.problems)
    }

    /// Returns the Dockerfile's path, which a caller must know to say whether it exists. Never fails.
    #[must_use]
    pub fn dockerfile_path(file: Option<&SourceFile>) -> String {
        file.and_then(|file| Self::read_lenient(file).0.dockerfile)
            .map_or_else(|| DEFAULT_DOCKERFILE.to_owned(), |path| path.value)
    }

    fn read_lenient(file: &SourceFile) -> (Self, Reader, Table, bool) {
        let (root, syntax) = toml_tree::parse(file);
        let mut reader = Reader::default();
        let value = read_root(&root, &mut reader);
        toml_tree::drop_echoes(file, &syntax, &mut reader.problems);
        let sound = syntax.is_empty();
        reader.problems.extend(syntax);
        (value, reader, root, sound)
    }
}

fn read_root(root: &Table, reader: &mut Reader) -> AppPackToml {
    let mut out = AppPackToml { system_span: 0..0, ..AppPackToml::default() };
    reader.unknown_keys(root, "", &["build", "test", "deploy", "review_app", "services"], &[]);
    if let Some((build, path)) = reader.table(root, "", "build") {
        reader.unknown_keys(build, &path, &["system", "engine", "buildpacks", "builder", "dockerfile"], &[]);
        read_system(build, &path, reader, &mut out);
        out.engine = read_engine(build, &path, reader);
        out.buildpacks = reader.strings(build, &path, "buildpacks").unwrap_or_default();
        out.builder = reader.filled(build, &path, "builder");
        out.dockerfile = reader.filled(build, &path, "dockerfile");
    }
    if let Some((test, path)) = reader.table(root, "", "test") {
        reader.unknown_keys(test, &path, &["command", "env", "timeout", "addons"], &[]);
        out.test_command = text(reader.filled(test, &path, "command"));
        out.test_env = read_env(test, &path, reader);
        out.test_timeout = test.get("timeout").and_then(|node| read_timeout(node, &join(&path, "timeout"), reader));
        out.addon_images = read_addon_images(test, &path, reader);
    }
    if let Some((deploy, path)) = reader.table(root, "", "deploy") {
        reader.unknown_keys(deploy, &path, &["release_command"], &[]);
        out.release_command = text(reader.filled(deploy, &path, "release_command"));
    }
    if let Some((review, path)) = reader.table(root, "", "review_app") {
        reader.unknown_keys(review, &path, &["initialize_command", "pre_destroy_command"], &[]);
        out.initialize_command = text(reader.filled(review, &path, "initialize_command"));
        out.pre_destroy_command = text(reader.filled(review, &path, "pre_destroy_command"));
    }
    if let Some((services, path)) = reader.table(root, "", "services") {
        for entry in &services.entries {
            if let Some((name, command)) = read_service(entry, &path, reader) {
                out.services.insert(name, command);
            }
        }
    }
    out
}

fn text(located: Option<Located<String>>) -> Option<String> {
    located.map(|located| located.value)
}

fn read_system(build: &Table, path: &str, reader: &mut Reader, out: &mut AppPackToml) {
    let Some(word) = reader.filled(build, path, "system") else { return };
    out.system_span = word.span.clone();
    match word.value.as_str() {
        "buildpack" => out.system = BuildSystem::Buildpack,
        "dockerfile" => out.system = BuildSystem::Dockerfile,
        other => {
            let words = ["buildpack", "dockerfile"];
            let path = join(path, "system");
            let help = match nearest(other, words) {
                Some(meant) => format!("did you mean `\"{meant}\"`?"),
                None => format!("write one of {}", listed(words)),
            };
            let message = format!("`{path}` must be `buildpack` or `dockerfile`");
            reader.push(Problem::error(path, message, word.span).label("not a build system").help(help));
        }
    }
}

fn read_engine(build: &Table, path: &str, reader: &mut Reader) -> Option<Located<Engine>> {
    let word = reader.filled(build, path, "engine")?;
    if let Some(engine) = Engine::ALL.into_iter().find(|engine| engine.as_str() == word.value) {
        return Some(Located::new(engine, word.span));
    }
    let words = Engine::ALL.map(Engine::as_str);
    let path = join(path, "engine");
    let help = match nearest(&word.value, words) {
        Some(meant) => format!("did you mean `\"{meant}\"`?"),
        None => "remove the line to let packhorse choose".to_owned(),
    };
    let message = format!("`{path}` must be one of {}", listed(words));
    reader.push(Problem::error(path, message, word.span).label("not an engine").help(help));
    None
}

fn read_env(test: &Table, path: &str, reader: &mut Reader) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    if let Some(node) = test.get("env")
        && let Value::Table(_) = node.value
    {
        let help = "write `env = [\"KEY=VALUE\"]`".to_owned();
        reader.mismatch(node, &join(path, "env"), "an array of `KEY=VALUE` strings", Some(help));
        return env;
    }
    for (n, entry) in reader.strings(test, path, "env").unwrap_or_default().into_iter().enumerate() {
        let path = format!("{path}.env[{n}]");
        let Some((name, value)) = entry.value.split_once('=') else {
            let help = format!("write `\"{}=VALUE\"`", shown(&entry.value));
            let message = format!("`{path}` must be `KEY=VALUE`");
            reader.push(Problem::error(path, message, entry.span).label("no `=` in here").help(help));
            continue;
        };
        if name.trim().is_empty() {
            let message = format!("`{path}` has no name before the `=`");
            reader.push(Problem::error(path, message, entry.span).help("write `KEY=VALUE`"));
            continue;
        }
        if name.contains(char::is_whitespace) {
            let message = format!("the variable's name in `{path}` holds a space");
            let problem = Problem::warning(path.clone(), message, entry.span.clone());
            reader.push(problem.help("write `KEY=VALUE` without spaces around the `=`"));
        }
        if env.insert(name.to_owned(), value.to_owned()).is_some() {
            let message = format!("`{}` is set twice in `test.env`", shown(name));
            reader.push(Problem::warning(path, message, entry.span).label("this one counts"));
        }
    }
    env
}

/// A day is more than CodeBuild lets any build run.
const LIMITS: std::ops::RangeInclusive<u64> = 1..=86_400;

/// Reads a time limit such as `90`, `90s`, `15m` or `1h`: between one second and one day.
pub fn time_limit(text: &str) -> Option<Duration> {
    duration(text.trim()).filter(|seconds| LIMITS.contains(seconds)).map(Duration::from_secs)
}

/// Reads seconds (a number) or a text like `90s`, `15m`, `1h`.
fn read_timeout(node: &Node, path: &str, reader: &mut Reader) -> Option<Duration> {
    let seconds = match &node.value {
        Value::Number(written) => written.parse::<u64>().ok(),
        Value::Text(text) => duration(text.trim()),
        _ => None,
    };
    match seconds {
        Some(seconds) if LIMITS.contains(&seconds) => Some(Duration::from_secs(seconds)),
        Some(_) => {
            let message = format!("`{path}` must be between one second and one day");
            reader.push(Problem::error(path, message, node.span.clone()).help("write `timeout = \"15m\"`"));
            None
        }
        None => {
            let help = "write `timeout = 900` or `timeout = \"15m\"`".to_owned();
            reader.mismatch(node, path, "a number of seconds, or a text such as `15m`", Some(help));
            None
        }
    }
}

fn duration(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
    let unit = match text[digits.len()..].trim() {
        "" | "s" | "sec" | "seconds" => 1,
        "m" | "min" | "minutes" => 60,
        "h" | "hour" | "hours" => 3600,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn read_addon_images(test: &Table, path: &str, reader: &mut Reader) -> BTreeMap<AddonKind, String> {
    let mut images = BTreeMap::new();
    let Some((addons, path)) = reader.table(test, path, "addons") else { return images };
    reader.unknown_keys(addons, &path, &AddonKind::ALL.map(AddonKind::as_str), &[]);
    for kind in AddonKind::ALL {
        let Some(image) = reader.string(addons, &path, kind.as_str()) else { continue };
        if image.value.is_empty() || image.value.contains(char::is_whitespace) || image.value.starts_with('-') {
            let path = join(&path, kind.as_str());
            let message = format!("`{path}` must be an image reference");
            let help = format!("write `{0} = \"{0}:16\"`", kind.as_str());
            reader.push(Problem::error(path, message, image.span).help(help));
        } else {
            images.insert(kind, image.value);
        }
    }
    images
}

fn read_service(entry: &Entry, path: &str, reader: &mut Reader) -> Option<(ProcessType, String)> {
    let path = join(path, &entry.key);
    let name = match entry.key.parse::<ProcessType>() {
        Ok(name) => name,
        Err(error) => {
            let problem = Problem::error(path, error.to_string(), entry.key_span.clone());
            reader.push(problem.label("cannot be the name of a service"));
            return None;
        }
    };
    if let Value::Text(command) = &entry.node.value {
        let help = format!("write `[services.{}]` and under it `command = \"{}\"`", entry.key, shown(command));
        reader.mismatch(&entry.node, &path, "a table with a `command`", Some(help));
        return None;
    }
    let service = reader.as_table(&entry.node, &path)?;
    reader.unknown_keys(service, &path, &["command"], &[]);
    // An empty command is kept: whether it is an error depends on the build system.
    let command = match service.get("command") {
        Some(_) => reader.string(service, &path, "command")?.value,
        None => String::new(),
    };
    Some((name, command))
}

/// The rules that take more than one key to see (contract 7.1).
fn validate(value: &AppPackToml, root: &Table, reader: &mut Reader) {
    match value.system {
        BuildSystem::Buildpack => {
            if !value.services.is_empty() {
                let span = place(root, "services").unwrap_or(0..0);
                reader.push(
                    Problem::error("services", "`services` only works with `build.system = \"dockerfile\"`", span)
                        .label("the processes of a buildpack image come from its buildpacks")
                        .help("move the commands to a `Procfile`, or set `build.system`"),
                );
            }
            if let Some(path) = &value.dockerfile {
                reader.push(
                    Problem::warning("build.dockerfile", "`build.dockerfile` has no effect here", path.span.clone())
                        .label("the image is built by buildpacks")
                        .help("add `system = \"dockerfile\"` to build with it"),
                );
            }
        }
        BuildSystem::Dockerfile => {
            for (n, locator) in value.buildpacks.iter().enumerate() {
                reader.push(
                    Problem::error(
                        format!("build.buildpacks[{n}]"),
                        "a Dockerfile build has no buildpacks",
                        locator.span.clone(),
                    )
                    .help("remove `buildpacks`, or set `system = \"buildpack\"`"),
                );
            }
            if let Some(builder) = &value.builder {
                reader.push(
                    Problem::warning("build.builder", "`build.builder` has no effect here", builder.span.clone())
                        .label("the image is built from a Dockerfile"),
                );
            }
            validate_services(value, root, reader);
        }
    }
    if let Some(engine) = &value.engine {
        let fits = match engine.value {
            Engine::Auto => true,
            Engine::Dockerfile => value.system == BuildSystem::Dockerfile,
            Engine::Pack | Engine::Embedded => value.system == BuildSystem::Buildpack,
        };
        if !fits {
            let message =
                format!("the engine `{}` cannot build the system `{}`", engine.value.as_str(), value.system.as_str());
            let problem = Problem::error("build.engine", message, engine.span.clone());
            reader.push(problem.help("remove the line to let packhorse choose"));
        }
    }
}

fn validate_services(value: &AppPackToml, root: &Table, reader: &mut Reader) {
    let services = root.get("services").and_then(|node| match &node.value {
        Value::Table(table) => Some(table),
        _ => None,
    });
    for (name, command) in &value.services {
        if command.trim().is_empty() {
            let entry = services.and_then(|table| table.entries.iter().find(|entry| entry.key == name.as_str()));
            let span = entry.map_or(0..0, |entry| entry.key_span.clone());
            let path = format!("services.{name}");
            let message = format!("the service `{name}` has no command");
            reader.push(Problem::error(path, message, span).help("write `command = \"…\"` in its table"));
        }
    }
    // A `web` that could not be read has been reported already.
    let written = services.is_some_and(|table| table.get("web").is_some());
    if !written {
        let span = place(root, "services").unwrap_or_else(|| value.system_span.clone());
        reader.push(
            Problem::error("services", "there is no `web` service", span)
                .label("a Dockerfile app needs one")
                .help("write `[services.web]` and under it `command = \"…\"`"),
        );
    }
}

/// Returns where a section is written.
fn place(root: &Table, section: &str) -> Option<Span> {
    root.entries.iter().find(|entry| entry.key == section).map(|entry| entry.key_span.clone())
}
