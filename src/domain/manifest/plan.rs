//! One app's manifests merged into one plan: which file rules where they speak of the same thing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::addon::AddonKind;
use super::app_json::{AppJson, EnvDeclaration, Formation, keep_errors_of};
use super::apppack_toml::{AppPackToml, BuildSystem, DEFAULT_DOCKERFILE, Engine};
use super::locator::locate;
use super::node::Located;
use super::problem::{ManifestError, Parsed, Problem, Problems, SourceFile, finish};
use super::procfile::Procfile;
use super::project_toml::ProjectToml;
use super::suggest::{listed, shown};
use crate::domain::catalogue::{Catalogue, DEFAULT_STACK, KnownBuilder, Lookup};
use crate::domain::names::ProcessType;

/// The manifests found in an app's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManifestFiles {
    /// `apppack.toml`, or the file that `APPPACK_TOML` names.
    pub apppack_toml: Option<SourceFile>,
    /// `app.json`.
    pub app_json: Option<SourceFile>,
    /// `Procfile`.
    pub procfile: Option<SourceFile>,
    /// `project.toml`.
    pub project_toml: Option<SourceFile>,
    /// Whether the file at [`AppPackToml::dockerfile_path`] exists; asked only for Dockerfile builds.
    pub dockerfile_exists: bool,
}

/// Where the builder was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuilderReason {
    /// `build.builder` of `apppack.toml`.
    AppPackToml,
    /// `stack` of `app.json`.
    Stack,
    /// Nowhere.
    Default,
}

impl fmt::Display for BuilderReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AppPackToml => "`build.builder` in apppack.toml",
            Self::Stack => "`stack` in app.json",
            Self::Default => "the default",
        })
    }
}

/// The builder to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuilderChoice {
    /// The reference of the builder image.
    pub builder: String,
    /// The reference of the run image, if the catalogue knows it; else the builder's own counts.
    pub run_image: Option<String>,
    /// Why this one.
    pub reason: BuilderReason,
}

/// How to test the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestPlan {
    /// The shell command.
    pub command: String,
    /// The variables, `CI` among them; those of add-ons are put over them.
    pub env: BTreeMap<String, String>,
    /// The names for which a random secret is to be made.
    pub generate: BTreeSet<String>,
    /// The time limit, if the app sets one.
    pub timeout: Option<Duration>,
}

/// What is to be built, tested, released and run, as the app's manifests say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPlan {
    /// How the image is described.
    pub system: BuildSystem,
    /// What is to make it, if the app has a wish.
    pub engine: Option<Engine>,
    /// The builder; none for a Dockerfile.
    pub builder: Option<BuilderChoice>,
    /// The buildpacks as engines take them; empty = those of `project.toml`, else detect.
    pub buildpacks: Vec<String>,
    /// The Dockerfile's path in the app's directory; without meaning for buildpacks.
    pub dockerfile: String,
    /// How to test, if the app has a test command.
    pub test: Option<TestPlan>,
    /// What runs beside the tests.
    pub test_addons: BTreeSet<AddonKind>,
    /// Images to use for add-ons instead of the usual ones.
    pub addon_images: BTreeMap<AddonKind, String>,
    /// What the app itself needs where packhorse runs it on one machine.
    pub addons: BTreeSet<AddonKind>,
    /// Variables that the app declares, for a machine that has no others.
    pub env: BTreeMap<String, EnvDeclaration>,
    /// The release command of a manifest; a buildpack image may bring its own.
    pub release_command: Option<String>,
    /// What runs once in a new review app.
    pub postdeploy_command: Option<String>,
    /// What runs before a review app goes away.
    pub pre_destroy_command: Option<String>,
    /// The services of a Dockerfile app; those of a buildpack app come from its image.
    pub services: BTreeMap<ProcessType, String>,
    /// How many of each process, and how large.
    pub formation: BTreeMap<ProcessType, Formation>,
    /// `project.toml`, for the embedded engine; `pack` reads the file itself.
    pub project: ProjectToml,
}

/// A plan with the warnings of every file that has some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The plan.
    pub plan: AppPlan,
    /// The warnings, file by file.
    pub warnings: Vec<Problems>,
}

/// Merges the manifests (contract 7).
///
/// `apppack.toml` rules where it is present; `app.json` then only fills what it leaves open (stack, buildpacks, the test
/// and its add-ons), and a problem in a key that does not count is a warning. Without it everything comes from
/// `app.json`. Returns the problems of all files at once.
pub fn resolve(files: &ManifestFiles, catalogue: &Catalogue) -> Result<Resolved, ManifestError> {
    let mut results = Collected::default();
    let config = files.apppack_toml.as_ref().map(|file| results.take(file, AppPackToml::read(file)));
    let (json, json_problems) = read_app_json(files, &mut results);
    let config_is_sound = !matches!(config, Some(None));
    let config = config.flatten();
    let project = files.project_toml.as_ref().and_then(|file| results.take(file, ProjectToml::read(file)));
    if let (Some(file), true) = (&files.procfile, config.as_ref().is_none_or(is_buildpack)) {
        let (_, problems) = Procfile::read_lenient(file);
        results.warn(file, keep_errors_of(problems, |_| false));
    }
    let mut merge = Merge { catalogue, config_problems: Vec::new(), json_problems, plan: empty_plan() };
    merge.plan.project = project.unwrap_or_default();
    if let Some(config) = &config {
        merge.take_apppack_toml(config, files.dockerfile_exists);
    } else if config_is_sound {
        merge.take_app_json(&json);
    }
    if config_is_sound {
        merge.builder_and_buildpacks(config.as_ref(), &json);
        merge.test_and_addons(config.as_ref(), &json);
    }
    let Merge { config_problems, json_problems, plan, .. } = merge;
    results.project_builder(files, &plan);
    if let Some(file) = &files.apppack_toml {
        results.take(file, finish(file, (), config_problems));
    }
    if let Some(file) = &files.app_json {
        // Where apppack.toml cannot be read, only the keys count that count beside any.
        let counts = |path: &str| {
            if config_is_sound { key_counts(path, config.as_ref()) } else { is_under(path, "environments.test.addons") }
        };
        let problems = keep_errors_of(json_problems, counts);
        results.take(file, finish(file, (), problems));
    }
    results.into_result(plan)
}

fn read_app_json(files: &ManifestFiles, results: &mut Collected) -> (AppJson, Vec<Problem>) {
    let Some(file) = &files.app_json else { return Default::default() };
    match AppJson::read(file) {
        Ok(read) => read,
        Err(problems) => {
            results.errors.push(problems);
            Default::default()
        }
    }
}

/// Returns whether a key of `app.json` has an effect beside (or without) an `apppack.toml`.
fn key_counts(path: &str, config: Option<&AppPackToml>) -> bool {
    let Some(config) = config else { return true };
    let under = |prefix: &str| is_under(path, prefix);
    let buildpack = is_buildpack(config);
    let test_is_open = config.test_command.is_none();
    (buildpack && config.builder.is_none() && under("stack"))
        || (buildpack && config.buildpacks.is_empty() && under("buildpacks"))
        || (test_is_open && (under("environments.test.scripts") || under("environments.test.env")))
        || under("environments.test.addons")
        || path == "environments"
        || path == "environments.test"
}

fn is_under(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn is_buildpack(config: &AppPackToml) -> bool {
    config.system == BuildSystem::Buildpack
}

fn empty_plan() -> AppPlan {
    AppPlan {
        system: BuildSystem::Buildpack,
        engine: None,
        builder: None,
        buildpacks: Vec::new(),
        dockerfile: DEFAULT_DOCKERFILE.to_owned(),
        test: None,
        test_addons: BTreeSet::new(),
        addon_images: BTreeMap::new(),
        addons: BTreeSet::new(),
        env: BTreeMap::new(),
        release_command: None,
        postdeploy_command: None,
        pre_destroy_command: None,
        services: BTreeMap::new(),
        formation: BTreeMap::new(),
        project: ProjectToml::default(),
    }
}

/// The state of one merge.
struct Merge<'c> {
    catalogue: &'c Catalogue,
    config_problems: Vec<Problem>,
    json_problems: Vec<Problem>,
    plan: AppPlan,
}

impl Merge<'_> {
    fn take_apppack_toml(&mut self, config: &AppPackToml, dockerfile_exists: bool) {
        let plan = &mut self.plan;
        plan.system = config.system;
        plan.engine = config.engine.as_ref().map(|engine| engine.value);
        if let Some(path) = &config.dockerfile {
            plan.dockerfile.clone_from(&path.value);
        }
        plan.addon_images.clone_from(&config.addon_images);
        plan.release_command.clone_from(&config.release_command);
        plan.postdeploy_command.clone_from(&config.initialize_command);
        plan.pre_destroy_command.clone_from(&config.pre_destroy_command);
        plan.services.clone_from(&config.services);
        if config.system == BuildSystem::Dockerfile && !dockerfile_exists {
            let span = config.dockerfile.as_ref().map_or_else(|| config.system_span.clone(), |path| path.span.clone());
            let message = format!("there is no file `{}`", shown(&plan.dockerfile));
            let problem = Problem::error("build.dockerfile", message, span);
            self.config_problems.push(problem.help("set `build.dockerfile` to its path from the app's directory"));
        }
    }

    fn take_app_json(&mut self, json: &AppJson) {
        self.plan.postdeploy_command.clone_from(&json.postdeploy);
        self.plan.pre_destroy_command.clone_from(&json.pr_predestroy);
    }

    fn builder_and_buildpacks(&mut self, config: Option<&AppPackToml>, json: &AppJson) {
        if self.plan.system == BuildSystem::Dockerfile {
            return;
        }
        let builder = config.and_then(|config| config.builder.as_ref());
        let (word, path, reason) = match (builder, &json.stack) {
            (Some(word), _) => (word.clone(), "build.builder", BuilderReason::AppPackToml),
            (None, Some(word)) => (word.clone(), "stack", BuilderReason::Stack),
            (None, None) => (Located::new(DEFAULT_STACK.to_owned(), 0..0), "stack", BuilderReason::Default),
        };
        let (choice, known, problem) = choose_builder(&word, path, reason, self.catalogue);
        self.plan.builder = choice;
        match reason {
            BuilderReason::AppPackToml => self.config_problems.extend(problem),
            BuilderReason::Stack | BuilderReason::Default => self.json_problems.extend(problem),
        }
        if let Some(config) = config.filter(|config| !config.buildpacks.is_empty()) {
            let path = |n| format!("build.buildpacks[{n}]");
            self.plan.buildpacks = locate_all(&config.buildpacks, known, path, &mut self.config_problems);
        } else {
            let path = |n| format!("buildpacks[{n}].url");
            self.plan.buildpacks = locate_all(&json.buildpacks, known, path, &mut self.json_problems);
        }
    }

    fn test_and_addons(&mut self, config: Option<&AppPackToml>, json: &AppJson) {
        let timeout = config.and_then(|config| config.test_timeout);
        let ci = || ("CI".to_owned(), "true".to_owned());
        if let Some((command, config)) = config.and_then(|config| Some((config.test_command.clone()?, config))) {
            // `test.env` comes after, so that it may override `CI`.
            let env = std::iter::once(ci()).chain(config.test_env.clone()).collect();
            self.plan.test = Some(TestPlan { command, env, generate: BTreeSet::new(), timeout });
        } else if let Some(command) = json.test_script.clone() {
            let own = config.map(|config| config.test_env.clone()).unwrap_or_default();
            let (declared, generate) = self.declared_test_env(json);
            // The forced `true` comes after what app.json declares; apppack.toml, if there, still has the last word.
            let env = declared.into_iter().chain([ci()]).chain(own).collect();
            self.plan.test = Some(TestPlan { command, env, generate, timeout });
        }
        for (n, plan) in json.test_addons.iter().enumerate() {
            if let Some(kind) = AddonKind::from_in_dyno_plan(&plan.value) {
                self.plan.test_addons.insert(kind);
                continue;
            }
            let path = format!("environments.test.addons[{n}]");
            let message = format!("the add-on `{}` is not started for tests", shown(&plan.value));
            let help = match AddonKind::nearest_plan(&plan.value) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("started are {}", listed(AddonKind::ALL.map(AddonKind::in_dyno_plan))),
            };
            self.json_problems.push(Problem::warning(path, message, plan.span.clone()).help(help));
        }
        self.plan.addons = json.addons.iter().filter_map(|plan| AddonKind::from_any_plan(&plan.value)).collect();
        self.plan.env.clone_from(&json.env);
        self.plan.formation.clone_from(&json.formation);
    }

    /// Returns the variables with a value, and the names of those to be made up.
    fn declared_test_env(&mut self, json: &AppJson) -> (BTreeMap<String, String>, BTreeSet<String>) {
        let (mut env, mut generate) = (BTreeMap::new(), BTreeSet::new());
        for (name, declared) in &json.test_env {
            let path = format!("environments.test.env.{}", shown(name));
            match &declared.value {
                EnvDeclaration { value: Some(value), .. } => {
                    if name == "CI" && value != "true" {
                        let problem = Problem::warning(path, "`CI` is always `true` in tests", declared.span.clone());
                        self.json_problems.push(problem.label("this value has no effect"));
                    }
                    env.insert(name.clone(), value.clone());
                }
                EnvDeclaration { generated: true, .. } => {
                    generate.insert(name.clone());
                }
                EnvDeclaration { required: true, .. } => {
                    let message = format!("`{path}` is required but has no value");
                    let problem = Problem::warning(path, message, declared.span.clone());
                    self.json_problems.push(problem.help("add a `value`, or `\"generator\": \"secret\"`"));
                }
                EnvDeclaration { .. } => {}
            }
        }
        (env, generate)
    }
}

type Chosen<'c> = (Option<BuilderChoice>, Option<&'c KnownBuilder>, Option<Problem>);

fn choose_builder<'c>(
    word: &Located<String>,
    path: &str,
    reason: BuilderReason,
    catalogue: &'c Catalogue,
) -> Chosen<'c> {
    let name = word.value.trim();
    let error = |message: String| Problem::error(path, message, word.span.clone());
    match catalogue.find(name) {
        Lookup::Known(known) => {
            let (builder, run_image) = (known.builder.clone(), Some(known.run_image.clone()));
            (Some(BuilderChoice { builder, run_image, reason }), Some(known), None)
        }
        Lookup::Image if !name.contains(char::is_whitespace) && !name.starts_with('-') => {
            (Some(BuilderChoice { builder: name.to_owned(), run_image: None, reason }), None, None)
        }
        Lookup::Image => (None, None, Some(error(format!("`{path}` is neither a stack nor an image reference")))),
        Lookup::EndOfLife(ended) => {
            let problem = error(format!("the stack `{}` is no longer supported", ended.stack))
                .label(format!("no security updates since {}", ended.since))
                .help(format!("use `{}`", ended.instead));
            (None, None, Some(problem))
        }
        Lookup::Unknown(meant) => {
            let help = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("use one of {}, or the reference of a builder image", listed(catalogue.stacks())),
            };
            (None, None, Some(error(format!("there is no stack `{}`", shown(name))).help(help)))
        }
    }
}

fn locate_all(
    written: &[Located<String>],
    known: Option<&KnownBuilder>,
    path: impl Fn(usize) -> String,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let mut out = Vec::new();
    for (n, word) in written.iter().enumerate() {
        match locate(&word.value, known) {
            Ok(locator) => {
                if let Some(advice) = locator.warning {
                    problems.push(Problem::warning(path(n), advice.message, word.span.clone()).help(advice.help));
                }
                out.push(locator.text);
            }
            Err(advice) => {
                problems.push(Problem::error(path(n), advice.message, word.span.clone()).help(advice.help));
            }
        }
    }
    out
}

/// The problems of every file so far.
#[derive(Default)]
struct Collected {
    errors: Vec<Problems>,
    warnings: Vec<Problems>,
}

impl Collected {
    /// Keeps the problems and returns the value, if it could be read.
    fn take<T>(&mut self, file: &SourceFile, result: Result<Parsed<T>, Problems>) -> Option<T> {
        match result {
            Ok(Parsed { value, warnings }) => {
                self.warn(file, warnings);
                Some(value)
            }
            Err(problems) => {
                add(&mut self.errors, problems);
                None
            }
        }
    }

    fn warn(&mut self, file: &SourceFile, list: Vec<Problem>) {
        if !list.is_empty() {
            add(&mut self.warnings, Problems { file: file.clone(), list });
        }
    }

    /// Says that the builder of `project.toml` does not count: by the contract apppack.toml and app.json name it.
    fn project_builder(&mut self, files: &ManifestFiles, plan: &AppPlan) {
        let (Some(file), Some(wanted), Some(choice)) = (&files.project_toml, &plan.project.builder, &plan.builder)
        else {
            return;
        };
        if wanted.value != choice.builder {
            let message = format!("the builder of project.toml is not used, but `{}`", shown(&choice.builder));
            let problem = Problem::warning("io.buildpacks.builder", message, wanted.span.clone())
                .label(format!("{} counts", choice.reason))
                .help("set `build.builder` in apppack.toml, or `stack` in app.json");
            self.warn(file, vec![problem]);
        }
    }

    fn into_result(self, plan: AppPlan) -> Result<Resolved, ManifestError> {
        let Self { mut errors, warnings } = self;
        if errors.is_empty() {
            return Ok(Resolved { plan, warnings });
        }
        // A file with an error is shown whole, its warnings too.
        for problems in warnings {
            if errors.iter().any(|known| known.file == problems.file) {
                add(&mut errors, problems);
            }
        }
        Err(ManifestError { files: errors })
    }
}

/// Adds the problems of a file to those known of it already, ordered by place.
fn add(all: &mut Vec<Problems>, problems: Problems) {
    if let Some(known) = all.iter_mut().find(|known| known.file == problems.file) {
        known.list.extend(problems.list);
        known.list.sort_by_key(|problem| (problem.span.start, problem.kind));
    } else {
        all.push(problems);
    }
}
