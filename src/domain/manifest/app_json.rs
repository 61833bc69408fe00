//! `app.json` as Heroku defines it, as far as packhorse uses it.

use std::collections::BTreeMap;

use super::json;
use super::node::{Format, Located, Node, Reader, Table, Value, join};
use super::problem::{Problem, ProblemKind, Problems, SourceFile, Span};
use super::suggest::shown;
use crate::domain::names::ProcessType;

/// Keys of Heroku's schema that other tools read.
const OTHER_KEYS: &[&str] = &[
    "$schema",
    "name",
    "description",
    "keywords",
    "website",
    "repository",
    "logo",
    "success_url",
    "image",
    "features",
    "labs",
    "nodejs",
];

/// A variable as `env` declares it: a plain value or Heroku's object form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvDeclaration {
    /// The value or default, if there is one.
    pub value: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// Whether the app cannot do without; true unless said otherwise.
    pub required: bool,
    /// Whether a random secret is to be made for it (`"generator": "secret"`).
    pub generated: bool,
}

/// How many of a process run, and how large.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Formation {
    /// The number of processes.
    pub quantity: Option<u32>,
    /// The name of the size, as written.
    pub size: Option<String>,
}

/// What an `app.json` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppJson {
    /// `stack`.
    pub stack: Option<Located<String>>,
    /// `buildpacks[].url`, as written.
    pub buildpacks: Vec<Located<String>>,
    /// `scripts.postdeploy`.
    pub postdeploy: Option<String>,
    /// `scripts.pr-predestroy`.
    pub pr_predestroy: Option<String>,
    /// `env`.
    pub env: BTreeMap<String, EnvDeclaration>,
    /// `addons`: the plan of each, as written.
    pub addons: Vec<Located<String>>,
    /// `formation`.
    pub formation: BTreeMap<ProcessType, Formation>,
    /// `environments.test.scripts.test`.
    pub test_script: Option<String>,
    /// `environments.test.env`.
    pub test_env: BTreeMap<String, Located<EnvDeclaration>>,
    /// `environments.test.addons`: the plan of each, as written.
    pub test_addons: Vec<Located<String>>,
}

impl AppJson {
    /// Reads the file. Only a syntax error is an error here.
    ///
    /// Which of the other problems matter depends on which keys rule, and that depends on `apppack.toml`; so they are
    /// returned beside the value, errors among them, each with the path of its key. What could not be read is left out.
    pub fn read(file: &SourceFile) -> Result<(Self, Vec<Problem>), Problems> {
        let mut reader = Reader { format: Format::Json, ..Reader::default() };
        match json::parse(file, &mut reader.problems) {
            Ok(root) => {
                let value = read_root(&root, &mut reader);
                Ok((value, reader.problems))
            }
            Err(mut problem) => {
                problem.span = file.clamp(&problem.span);
                Err(Problems { file: file.clone(), list: vec![problem] })
            }
        }
    }

    /// Reads the file with every problem taken seriously, used or not.
    pub fn read_strict(file: &SourceFile) -> Result<super::Parsed<Self>, Problems> {
        let (value, problems) = Self::read(file)?;
        super::problem::finish(file, value, problems)
    }
}

fn read_root(root: &Table, reader: &mut Reader) -> AppJson {
    let known = ["stack", "buildpacks", "scripts", "env", "addons", "formation", "environments"];
    reader.unknown_keys(root, "", &known, OTHER_KEYS);
    let mut out = AppJson {
        stack: reader.filled(root, "", "stack"),
        buildpacks: read_buildpacks(root, "", reader),
        env: read_env(root, "", reader).into_iter().map(|(name, env)| (name, env.value)).collect(),
        addons: read_addons(root, "", reader),
        formation: read_formation(root, "", reader),
        ..AppJson::default()
    };
    if let Some((scripts, path)) = reader.table(root, "", "scripts") {
        read_scripts(scripts, &path, reader, &mut out);
    }
    if let Some((environments, path)) = reader.table(root, "", "environments") {
        reader.unknown_keys(environments, &path, &["test", "review"], &["development", "staging", "production"]);
        if let Some((test, path)) = reader.table(environments, &path, "test") {
            read_test(test, &path, reader, &mut out);
        }
    }
    out
}

fn read_scripts(scripts: &Table, path: &str, reader: &mut Reader, out: &mut AppJson) {
    const DESTROY: [&str; 3] = ["pre-destroy", "predestroy", "pr-pre-destroy"];
    for entry in scripts.entries.iter().filter(|entry| DESTROY.contains(&entry.key.as_str())) {
        let full = join(path, &entry.key);
        let message = format!("`{full}` is not run");
        let problem = Problem::warning(full, message, entry.key_span.clone());
        reader.push(problem.label("not a script's name").help("did you mean `pr-predestroy`?"));
    }
    let tolerated = [&DESTROY[..], &["test", "test-setup", "dokku"]].concat();
    reader.unknown_keys(scripts, path, &["postdeploy", "pr-predestroy"], &tolerated);
    out.postdeploy = reader.filled(scripts, path, "postdeploy").map(|script| script.value);
    out.pr_predestroy = reader.filled(scripts, path, "pr-predestroy").map(|script| script.value);
}

fn read_test(test: &Table, path: &str, reader: &mut Reader, out: &mut AppJson) {
    reader.unknown_keys(test, path, &["scripts", "env", "addons"], &["formation", "stack"]);
    if let Some((scripts, path)) = reader.table(test, path, "scripts") {
        reader.unknown_keys(scripts, &path, &["test"], &["test-setup"]);
        out.test_script = reader.filled(scripts, &path, "test").map(|script| script.value);
    }
    out.test_env = read_env(test, path, reader);
    out.test_addons = read_addons(test, path, reader);
}

/// Reads `buildpacks`: objects with a `url`. A plain string is a common slip and is explained.
fn read_buildpacks(parent: &Table, path: &str, reader: &mut Reader) -> Vec<Located<String>> {
    let items = reader.array(parent, path, "buildpacks").unwrap_or_default();
    let path = join(path, "buildpacks");
    let mut out = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let path = format!("{path}[{n}]");
        if let Value::Text(text) = &item.value {
            let help = format!("write `{{\"url\": \"{}\"}}`", shown(text));
            reader.mismatch(item, &path, "an object with a `url`", Some(help));
            continue;
        }
        let Some(buildpack) = reader.as_table(item, &path) else { continue };
        reader.unknown_keys(buildpack, &path, &["url"], &[]);
        match buildpack.get("url") {
            Some(_) => out.extend(reader.string(buildpack, &path, "url")),
            None => reader.push(missing(&path, "url", item.span.clone())),
        }
    }
    out
}

fn missing(path: &str, key: &str, span: Span) -> Problem {
    Problem::error(path, format!("`{path}` has no `{key}`"), span).help(format!("add `\"{key}\": \"…\"`"))
}

/// Reads `env`: a value per name, or Heroku's object with `value`, `description`, `required` and `generator`.
fn read_env(parent: &Table, path: &str, reader: &mut Reader) -> BTreeMap<String, Located<EnvDeclaration>> {
    let mut out = BTreeMap::new();
    let Some((env, path)) = reader.table(parent, path, "env") else { return out };
    for entry in &env.entries {
        let path = join(&path, &entry.key);
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            let message = "a variable's name must not be empty nor hold `=`";
            reader.push(Problem::error(path, message, entry.key_span.clone()));
            continue;
        }
        if let Some(declared) = read_env_value(&entry.node, &path, reader) {
            out.insert(entry.key.clone(), Located::new(declared, entry.key_span.clone()));
        }
    }
    out
}

fn read_env_value(node: &Node, path: &str, reader: &mut Reader) -> Option<EnvDeclaration> {
    let Value::Table(object) = &node.value else {
        let value = reader.as_string(node, path)?.value;
        return Some(EnvDeclaration { value: Some(value), required: true, ..EnvDeclaration::default() });
    };
    reader.unknown_keys(object, path, &["value", "description", "required", "generator"], &[]);
    let generator = reader.filled(object, path, "generator");
    if let Some(word) = &generator
        && word.value != "secret"
    {
        let path = join(path, "generator");
        let message = format!("`{path}` must be `secret`");
        reader.push(Problem::error(path, message, word.span.clone()).help("write `\"generator\": \"secret\"`"));
    }
    Some(EnvDeclaration {
        value: reader.string(object, path, "value").map(|value| value.value),
        description: reader.filled(object, path, "description").map(|text| text.value),
        required: reader.boolean(object, path, "required").unwrap_or(true),
        generated: generator.is_some(),
    })
}

/// Reads `addons`: a plan each, or Heroku's object with `plan`, `as` and `options`.
fn read_addons(parent: &Table, path: &str, reader: &mut Reader) -> Vec<Located<String>> {
    let items = reader.array(parent, path, "addons").unwrap_or_default();
    let path = join(path, "addons");
    let mut out = Vec::new();
    for (n, item) in items.iter().enumerate() {
        let path = format!("{path}[{n}]");
        match &item.value {
            Value::Table(object) => {
                reader.unknown_keys(object, &path, &["plan"], &["as", "options"]);
                match object.get("plan") {
                    Some(_) => out.extend(reader.filled(object, &path, "plan")),
                    None => reader.push(missing(&path, "plan", item.span.clone())),
                }
            }
            Value::Text(_) => out.extend(reader.as_string(item, &path)),
            _ => {
                let help = "write `\"heroku-postgresql:in-dyno\"` or `{\"plan\": \"…\"}`".to_owned();
                reader.mismatch(item, &path, "a plan", Some(help));
            }
        }
    }
    out
}

fn read_formation(parent: &Table, path: &str, reader: &mut Reader) -> BTreeMap<ProcessType, Formation> {
    let mut out = BTreeMap::new();
    let Some((formation, path)) = reader.table(parent, path, "formation") else { return out };
    for entry in &formation.entries {
        let path = join(&path, &entry.key);
        let process = match entry.key.parse::<ProcessType>() {
            Ok(process) => process,
            Err(error) => {
                reader.push(Problem::error(path, error.to_string(), entry.key_span.clone()));
                continue;
            }
        };
        let Some(object) = reader.as_table(&entry.node, &path) else { continue };
        reader.unknown_keys(object, &path, &["quantity", "size"], &[]);
        let quantity = object.get("quantity").and_then(|node| read_quantity(node, &join(&path, "quantity"), reader));
        let size = reader.filled(object, &path, "size").map(|size| size.value);
        out.insert(process, Formation { quantity, size });
    }
    out
}

fn read_quantity(node: &Node, path: &str, reader: &mut Reader) -> Option<u32> {
    if let Value::Number(written) = &node.value
        && let Ok(quantity) = written.parse()
    {
        return Some(quantity);
    }
    if node.value != Value::Null {
        let written = match &node.value {
            Value::Text(text) => text.trim().parse::<u32>().ok(),
            _ => None,
        };
        let help = format!("write `\"quantity\": {}`", written.unwrap_or(1));
        reader.mismatch(node, path, "a whole number", Some(help));
    }
    None
}

/// Returns the problems with errors kept only where `rules` says that the key of that path is used.
pub(super) fn keep_errors_of(mut problems: Vec<Problem>, rules: impl Fn(&str) -> bool) -> Vec<Problem> {
    for problem in &mut problems {
        if problem.kind == ProblemKind::Error && !rules(&problem.path) {
            problem.kind = ProblemKind::Warning;
        }
    }
    problems
}
