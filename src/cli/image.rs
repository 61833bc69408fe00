//! `packhorse image build`, and what is common to the commands on images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::json;

use super::image_inspect::{self, ImageInspectArgs};
use super::image_rebase::{self, ImageRebaseArgs};
use crate::context::{self, app_folder, read_env_files};
use crate::domain::catalogue::{Catalogue, Lookup};
use crate::domain::env_file;
use crate::domain::manifest::{BuildSystem, Engine};
use crate::env_vars;
use crate::flags::{BuildFlags, CompressionChoice};
use crate::image::{ImageError, Platform};
use crate::ports::failure::Failure;
use crate::ports::image_builder::{BuildOutput, Cache, ImageBuild};
use crate::session::Session;
use crate::ui::{CliError, Level, Progress, Step};

/// Make images, look into them, and put them on new run images
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse image build . --tag shop
  packhorse image inspect registry.example.com/shop:latest
  packhorse image rebase registry.example.com/shop:latest")]
pub struct ImageArgs {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Build(Box<ImageBuildArgs>),
    Inspect(ImageInspectArgs),
    Rebase(ImageRebaseArgs),
}

/// Make an image of an app
///
/// Builder and buildpacks are those that the app's manifests name, as in CodeBuild. Values of variables never stand on
/// a command line, in a layer or in a log.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLES
  packhorse image build                                     The app in this folder
  packhorse image build examples/guestbook --tag guestbook  Another one, with a name
  packhorse image build --tag registry.example.com/shop:1 --publish
  packhorse image build --env-file build.env --env PIP_INDEX_URL")]
struct ImageBuildArgs {
    /// The app's folder
    #[arg(default_value = ".")]
    path: PathBuf,
    /// The image's name (default: that of the folder)
    #[arg(short, long, value_name = "IMAGE")]
    tag: Option<String>,
    /// Push to the registry that the name tells, instead of leaving the image with Docker
    #[arg(long, requires = "tag")]
    publish: bool,
    /// How new layers of a published image are compressed
    #[arg(long, env = env_vars::PACKHORSE_COMPRESSION, hide_env_values = true, value_enum, default_value_t)]
    compression: CompressionChoice,
    /// A buildpack to use instead of those of the manifests; repeat for more, in order: an id, a folder, `docker://IMAGE`,
    /// `urn:cnb:builder:ID`, `urn:cnb:registry:ID` or `from=builder`
    #[arg(long, value_name = "BUILDPACK")]
    buildpack: Vec<String>,
    /// A build variable; a name alone takes the value from this shell
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,
    /// File of build variables, `KEY=VALUE` each; quoted values may span lines; later files win, `--env` wins over all
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Let the builder run all phases in one container, with the registry's credentials
    #[arg(long)]
    trust_builder: bool,
    #[command(flatten)]
    build: BuildFlags,
}

/// Runs the command.
pub(super) async fn run(session: &Session, args: &ImageArgs) -> Result<(), CliError> {
    match &args.command {
        ImageCommand::Build(args) => build(session, args).await,
        ImageCommand::Inspect(args) => image_inspect::run(session, args).await,
        ImageCommand::Rebase(args) => image_rebase::run(session, args).await,
    }
}

/// Reads `linux/arm64` or `linux/arm/v7`.
pub(super) fn platform(text: &str) -> Result<Platform, String> {
    let mut parts = text.split('/');
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(os), Some(architecture), variant, None) if !os.is_empty() && !architecture.is_empty() => {
            let variant = variant.map(str::to_owned);
            Ok(Platform { os: os.to_owned(), variant, ..Platform::linux(architecture) })
        }
        _ => Err("a platform is an operating system and a processor, as in `linux/arm64`".to_owned()),
    }
}

/// Sorts why an image could not be read or written.
pub(super) fn failed(error: ImageError) -> CliError {
    match error {
        ImageError::Registry(error) => Failure::from(error).into(),
        error => CliError::remote("an image could not be read or written").because(error),
    }
}

async fn build(session: &Session, args: &ImageBuildArgs) -> Result<(), CliError> {
    let (request, wish) = request(session, args)?;
    let published = request.publish.then_some(request.compression);
    let engine = context::image_builder(session, &args.build, wish, published).await?;
    let progress = Progress::begin(&session.printer, "image build");
    session.printer.detail(format_args!("engine {}, builder {}", engine.name(), request.builder));
    let output = LifecycleOutput::new(&progress, session.printer.level());
    let built = engine.build(&request, &output).await;
    let tail = output.end(built.is_ok());
    let built = built.map_err(|error| {
        let error = CliError::from(error);
        // Where the lines were already shown there is no need to repeat them.
        if tail.is_empty() { error } else { error.detail(format!("the end of the build's output:\n{tail}")) }
    })?;
    progress.result(&json!({
        "image": built.image,
        "digest": built.digest,
        "published": request.publish,
        "layout": built.layout,
    }));
    if let Some(folder) = &built.layout {
        session
            .printer
            .note(format_args!("There is no Docker: the image lies in the OCI layout `{}`", folder.display()));
    }
    session.printer.result(format_args!("{}  {}", built.image, built.digest));
    Ok(())
}

/// Puts together what to build, and tells by which engine the app wishes to be built.
fn request(session: &Session, args: &ImageBuildArgs) -> Result<(ImageBuild, Option<Engine>), CliError> {
    let source = args
        .path
        .canonicalize()
        .map_err(|error| CliError::usage(format!("`{}` cannot be read", args.path.display())).because(error))?;
    if !source.is_dir() {
        return Err(CliError::usage(format!("`{}` is not a folder", args.path.display())));
    }
    let resolved = app_folder::plan(&source)?;
    for problems in &resolved.warnings {
        session.printer.warn(crate::ui::diagnostics::draw_problems(problems, true).trim_end());
    }
    let plan = resolved.plan;
    if plan.system == BuildSystem::Dockerfile {
        return Err(CliError::manifest(
            "`[build] system = \"dockerfile\"` cannot be built yet: its engine is not in this build",
        )
        .hint("use buildpacks (leave `system` out), or build with `docker buildx build` for now"));
    }
    let choice = plan.builder.ok_or_else(|| CliError::internal("the plan names no builder"))?;
    let builder = args.build.builder.clone().unwrap_or(choice.builder);
    let run_image = if args.build.builder.is_none() { choice.run_image } else { None };
    let request = ImageBuild {
        image: args.tag.clone().unwrap_or_else(|| name_of(&source)),
        previous_image: None,
        run_image,
        buildpacks: if args.buildpack.is_empty() { plan.buildpacks } else { args.buildpack.clone() },
        env: variables(args)?,
        publish: args.publish,
        compression: args.compression.into(),
        cache: Cache::Volume(source.display().to_string()),
        network: args.build.network.clone(),
        ca_bundle: args.build.ca_bundle.clone(),
        exclude: exclude(&source, &args.env_file),
        docker_config: None,
        trust_builder: args.trust_builder || is_in_catalogue(&builder)?,
        verbose: session.printer.level() == Level::Verbose,
        builder,
        source,
    };
    Ok((request, plan.engine))
}

/// Names what is not part of the app: its history, the state of `up`, and the files of variables.
fn exclude(source: &Path, env_files: &[PathBuf]) -> Vec<String> {
    let apart = app_folder::inside(source, env_files.iter().map(PathBuf::as_path));
    let apart = apart.iter().map(|path| format!("/{}", path.display()));
    ["/.git", "/.packhorse"].into_iter().map(str::to_owned).chain(apart).collect()
}

/// A builder of the catalogue is one that packhorse knows.
fn is_in_catalogue(builder: &str) -> Result<bool, CliError> {
    let catalogue = Catalogue::shipped().map_err(|error| CliError::internal("broken catalogue").because(error))?;
    Ok(matches!(catalogue.find(builder), Lookup::Known(_)))
}

/// Makes an image name from a folder's name: registries take small letters, digits and single separators.
fn name_of(folder: &Path) -> String {
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    if name.is_empty() { "app".to_owned() } else { name }
}

/// Merges files and flags.
fn variables(args: &ImageBuildArgs) -> Result<BTreeMap<String, SecretString>, CliError> {
    let mut variables = read_env_files(&args.env_file)?;
    for text in &args.env {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text.as_str(), std::env::var(text).ok()),
        };
        if !env_file::is_name(name) {
            return Err(CliError::usage("`--env` takes `KEY` or `KEY=VALUE`, where a key has letters, digits and `_`"));
        }
        let value = value.ok_or_else(|| CliError::usage(format!("`--env {name}`: this shell has no such variable")))?;
        variables.insert(name.to_owned(), value.into());
    }
    Ok(variables)
}

/// How many lines of a failed build are repeated where they were not shown.
const TAIL: usize = 40;

/// Turns the output of an engine into the lifecycle's phases.
struct LifecycleOutput<'a> {
    progress: &'a Progress,
    /// Whether the lines stay visible as they come, so that none need be repeated.
    lines_stay: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    step: Option<Step>,
    tail: Vec<String>,
}

impl<'a> LifecycleOutput<'a> {
    fn new(progress: &'a Progress, level: Level) -> Self {
        let lines_stay = level == Level::Verbose || (!progress.draws() && level > Level::Quiet);
        Self { progress, lines_stay, state: Mutex::default() }
    }

    /// Ends the phase under way and returns the lines to repeat.
    fn end(self, succeeded: bool) -> String {
        let State { step, tail } = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(step) = step {
            if succeeded { step.done("") } else { step.failed("") }
        }
        if self.lines_stay { String::new() } else { tail.join("\n") }
    }
}

impl BuildOutput for LifecycleOutput<'_> {
    fn line(&self, line: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(phase) = lifecycle_phase(line) {
            if let Some(step) = state.step.take() {
                step.done("");
            }
            state.step = Some(self.progress.step(phase));
            state.tail.clear();
            return;
        }
        if state.tail.len() == TAIL {
            state.tail.remove(0);
        }
        state.tail.push(line.to_owned());
        match &state.step {
            Some(step) if !self.lines_stay => step.at(line),
            Some(step) => self.progress.output(step.name(), line),
            None => self.progress.output("engine", line),
        }
    }
}

/// Reads the lifecycle phase from a header such as `===> DETECTING`, with or without `[detector]` before it.
fn lifecycle_phase(line: &str) -> Option<&'static str> {
    let plain = anstream::adapter::strip_str(line).to_string();
    let (_, word) = plain.split_once("===> ")?;
    Some(match word.trim() {
        "ANALYZING" => "analyze",
        "DETECTING" => "detect",
        "RESTORING" => "restore",
        "BUILDING" => "build",
        "EXPORTING" => "export",
        "CREATING" => "create",
        "EXTENDING" | "EXTENDING (BUILD)" | "EXTENDING (RUN)" => "extend",
        "PUBLISHING" => "publish",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Printer;

    #[test]
    fn an_image_is_named_after_its_folder() {
        for (folder, name) in
            [("/src/Guest_Book", "guest-book"), ("/src/shop.v2", "shop-v2"), ("/", "app"), ("/src/-", "app")]
        {
            assert_eq!(name_of(Path::new(folder)), name);
        }
    }

    #[test]
    fn each_phase_of_the_lifecycle_is_a_step() {
        let (printer, captured) = Printer::to_memory(Level::Normal, false);
        let progress = Progress::begin(&printer, "image build");
        let output = LifecycleOutput::new(&progress, Level::Normal);
        for line in ["===> DETECTING", "2 of 3 buildpacks", "\u{1b}[1m[builder] ===> BUILDING\u{1b}[0m", "pip install"]
        {
            output.line(line);
        }
        assert_eq!(output.end(false), "");
        let steps: Vec<String> =
            captured.stderr().lines().map(|line| line.split(" in ").next().unwrap_or_default().to_owned()).collect();
        assert_eq!(
            steps,
            ["==> detect", "2 of 3 buildpacks", "    detect done", "==> build", "pip install", "    build failed"]
        );
    }

    #[test]
    fn where_lines_were_not_shown_the_end_is_repeated() {
        let (printer, _) = Printer::to_memory(Level::Quiet, false);
        let progress = Progress::begin(&printer, "image build");
        let output = LifecycleOutput::new(&progress, Level::Quiet);
        output.line("===> BUILDING");
        (0..50).for_each(|number| output.line(&format!("line {number}")));
        let tail = output.end(false);
        assert!(tail.starts_with("line 10\n") && tail.ends_with("line 49"), "{tail}");
    }
}
