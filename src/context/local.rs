//! `up`: the pipeline with local adapters.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};

use super::app_folder;
use super::docker;
use super::env_files::read_env_files;
use crate::adapters::docker::ContainerTestBed;
use crate::adapters::docker::place::ContainerPlace;
use crate::adapters::local::{ActivityFile, LocalArtifacts, LocalState, SystemClock};
use crate::adapters::process::Git;
use crate::domain::addons::rules;
use crate::domain::catalogue::Catalogue;
use crate::domain::lane::{LaneKey, ReviewAppState};
use crate::domain::manifest::{AddonKind, AppPlan};
use crate::domain::names::{AppName, PullRequest};
use crate::domain::namespace::Namespace;
use crate::env_vars;
use crate::flags::UpArgs;
use crate::orchestrator::{LanePorts, Orchestrator};
use crate::ports::artifacts::OneStore;
use crate::ports::failure::Failure;
use crate::ports::parameters::ParameterStore;
use crate::ports::review_apps::ReviewApps;
use crate::runner::{RunnerContext, RunnerSettings, STATE_FOLDER};
use crate::session::Session;
use crate::ui::CliError;
use crate::up::announce::{Announcer, ShownActivity};
use crate::up::handover::{Standing, Wish, ask, result};
use crate::up::local_builds::LocalBuilds;
use crate::up::pipeline::Pipeline;
use crate::up::proxy::Proxy;
use crate::up::run::{Up, report};

/// The port that `up` prefers, as other local runners do.
const USUAL_PORT: u16 = 5000;

/// The longest name of an app on this machine: container names with it stay host names.
const LONGEST_NAME: usize = 50;

/// Where an app's local state lies, unless told otherwise.
pub(super) fn state_folder(folder: &Path, given: Option<&Path>) -> PathBuf {
    given.map_or_else(|| folder.join(STATE_FOLDER), Path::to_path_buf)
}

/// The lane of the app in a folder, named after the folder.
pub(super) fn lane_of(folder: &Path, pull_request: Option<PullRequest>) -> Result<LaneKey, CliError> {
    let name = folder.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // A name begins with a letter; a folder whose name begins otherwise still tells it from others.
    let plain = plain.trim_matches('-');
    let whole = match plain.chars().next() {
        None => "app".to_owned(),
        Some(first) if first.is_ascii_alphabetic() => plain.to_owned(),
        Some(_) => format!("app-{plain}"),
    };
    let cut = whole.get(..LONGEST_NAME).unwrap_or(&whole).trim_end_matches('-');
    let app: AppName =
        cut.parse().map_err(|error| CliError::usage("the folder's name cannot name an app").because(error))?;
    Ok(LaneKey { app, pull_request })
}

/// Runs the pipeline on this machine.
pub(super) async fn up(session: &Session, args: &UpArgs) -> Result<(), CliError> {
    let folder = args
        .path
        .canonicalize()
        .map_err(|error| CliError::usage(format!("`{}` cannot be read", args.path.display())).because(error))?;
    let state_folder = state_folder(&folder, args.state_dir.as_deref());
    let state = LocalState::open(&state_folder)?;
    let unusable = |error| CliError::remote(format!("`{}` cannot be used", state_folder.display())).because(error);
    let holder = match Standing::take(&state_folder).await.map_err(unusable)? {
        Standing::First(holder) => holder,
        Standing::Later(mut first) => {
            // Variables count for what is built from now on, whoever gave them.
            store_config(&state, &lane_of(&folder, args.review_app)?, read_env_files(&args.env_file)?).await?;
            ask(&mut first, Wish::Build).await.map_err(unusable)?;
            session.printer.note("Handed over to the `up` that runs here already; its output shows the build.");
            return match result(first).await.map_err(unusable)? {
                Some(outcome) => report(&session.printer, &outcome),
                None => Err(CliError::app("the `up` that runs here ended before the build did")),
            };
        }
    };
    keep_out_of_history(&state_folder).map_err(unusable)?;
    let resolved = app_folder::plan(&folder)?;
    let lane = lane_of(&folder, args.review_app)?;
    let state = Arc::new(state);
    let engine = Arc::new(docker::connect().await?);
    let proxy = listen(args.port).await?;
    let clock = Arc::new(SystemClock);
    let place = Arc::new(ContainerPlace::new(
        engine.clone(),
        state.clone(),
        state.clone(),
        clock.clone(),
        Arc::new(proxy.clone()),
        &instance(&state_folder).map_err(unusable)?,
    )?);
    provide_config(&place, state.as_ref(), &lane, &resolved.plan, &args.env_file).await?;

    let artifacts = Arc::new(LocalArtifacts::new(state_folder.join("artifacts")));
    let announcer = Announcer { printer: session.printer.clone(), proxy: proxy.clone(), artifacts: artifacts.clone() };
    let lanes = LanePorts { lanes: state.clone(), records: state.clone(), events: Arc::new(announcer), clock };
    let builds = Arc::new(LocalBuilds::default());
    let runner = RunnerContext {
        lanes: lanes.clone(),
        parameters: state.clone(),
        artifacts: artifacts.clone(),
        review_apps: Arc::new(NoStacks),
        builder: super::image_builder(session, &args.build, resolved.plan.engine, None).await?,
        images: engine.clone(),
        test_bed: Arc::new(ContainerTestBed::new(engine.clone(), super::engine::stop(session))),
        credentials: docker::credentials()?,
        history: Arc::new(Git),
        printer: session.printer.aside(),
        interrupt: session.interrupt.gently.clone(),
        settings: settings(&folder, &state_folder, args)?,
    };
    let orchestrator = Arc::new(Orchestrator {
        lanes,
        artifacts: Arc::new(OneStore(artifacts)),
        images: engine.clone(),
        builds: builds.clone(),
        config: state.clone(),
        settings: state.clone(),
        parameters: state.clone(),
        place: place.clone(),
        review_apps: Arc::new(NoStacks),
        activity: Arc::new(ShownActivity {
            log: Arc::new(ActivityFile::new(state_folder.join("activity.jsonl"))),
            printer: session.printer.clone(),
        }),
        notifier: super::notifier()?,
    });
    let builds_folder = state_folder.join("builds");
    let url = proxy.url();
    let pipeline = Pipeline { lane, builds_folder, runner, orchestrator, builds, state, place, engine, url };
    let interrupt = session.interrupt.gently.clone();
    let up = Up { pipeline, proxy, holder, printer: session.printer.clone(), interrupt, once: args.once };
    Box::pin(up.run()).await
}

fn settings(folder: &Path, state: &Path, args: &UpArgs) -> Result<RunnerSettings, CliError> {
    let catalogue = Catalogue::shipped().map_err(|error| CliError::internal("broken catalogue").because(error))?;
    let (source, private) = (folder.to_path_buf(), state.join("private"));
    let mut settings = RunnerSettings::in_codebuild(BTreeMap::new(), source, private, catalogue);
    settings.variables =
        [env_vars::PACKHORSE_TEST_TIMEOUT, env_vars::PACKHORSE_POSTGRES_IMAGE, env_vars::PACKHORSE_REDIS_IMAGE]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)))
            .collect();
    settings.publish = false;
    // Both hold config variables, and both often lie in the app's folder.
    settings.apart.extend(app_folder::inside(folder, args.env_file.iter().map(PathBuf::as_path).chain([state])));
    settings.builder.clone_from(&args.build.builder);
    settings.network.clone_from(&args.build.network);
    settings.ca_bundle.clone_from(&args.build.ca_bundle);
    Ok(settings)
}

async fn listen(port: Option<u16>) -> Result<Proxy, CliError> {
    match port {
        Some(port) => Proxy::listen(port).await.map_err(|error| {
            CliError::remote(format!("port {port} cannot be used"))
                .because(error)
                .hint("choose another one with `--port`")
        }),
        None => match Proxy::listen(USUAL_PORT).await {
            Ok(proxy) => Ok(proxy),
            Err(_) => Proxy::listen(0).await.map_err(|error| CliError::remote("no port is free").because(error)),
        },
    }
}

/// Starts the app's databases and stores its config variables, those of files over those of databases.
async fn provide_config(
    place: &ContainerPlace,
    parameters: &dyn ParameterStore,
    lane: &LaneKey,
    plan: &AppPlan,
    files: &[PathBuf],
) -> Result<(), CliError> {
    let given = read_env_files(files)?;
    let paths = Namespace::default().config_paths(lane);
    let path = paths.last().map(String::as_str).unwrap_or_default();
    let image = |kind: AddonKind| plan.addon_images.get(&kind).cloned().unwrap_or_else(|| rules(kind).image.to_owned());
    let addons = plan.addons.iter().map(|kind| (*kind, image(*kind))).collect();
    for (name, value) in place.ensure_addons(lane, &addons).await? {
        if !given.contains_key(&name) {
            parameters.put(&format!("{path}{name}"), &value).await?;
        }
    }
    store_config(parameters, lane, given).await
}

/// Stores config variables of an app.
async fn store_config(
    parameters: &dyn ParameterStore,
    lane: &LaneKey,
    given: BTreeMap<String, SecretString>,
) -> Result<(), CliError> {
    let paths = Namespace::default().config_paths(lane);
    let path = paths.last().map(String::as_str).unwrap_or_default();
    for (name, value) in given {
        parameters.put(&format!("{path}{name}"), value.expose_secret()).await?;
    }
    Ok(())
}

/// Keeps the state, config variables among it, out of the app's git history.
fn keep_out_of_history(folder: &Path) -> std::io::Result<()> {
    let path = folder.join(".gitignore");
    if path.exists() { Ok(()) } else { std::fs::write(path, "*\n") }
}

/// A short text that tells this state folder's containers from those of another one; made once.
pub(super) fn instance(folder: &Path) -> std::io::Result<String> {
    let path = folder.join("instance");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = format!("{:08x}", fastrand::u32(..));
            std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?
                .write_all(text.as_bytes())?;
            Ok(text)
        }
        Err(error) => Err(error),
    }
}

/// On one machine no stack stands behind a review app.
struct NoStacks;

#[async_trait]
impl ReviewApps for NoStacks {
    async fn remove(&self, _: &AppName, _: PullRequest) -> Result<bool, Failure> {
        Ok(false)
    }

    async fn removal(&self, _: &AppName, _: PullRequest) -> Result<Option<ReviewAppState>, Failure> {
        Ok(Some(ReviewAppState::Gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_is_named_after_its_folder() {
        let name = |folder: &str| lane_of(Path::new(folder), None).unwrap().app.to_string();
        assert_eq!(name("/src/guestbook"), "guestbook");
        assert_eq!(name("/src/My Shop.v2"), "my-shop-v2");
        assert_eq!((name("/src/shop1"), name("/src/shop2")), ("shop1".to_owned(), "shop2".to_owned()));
        assert_eq!(name("/src/2048"), "app-2048");
        assert_eq!(name("/src/_site_"), "site");
        assert_eq!(name(&format!("/src/{}", "long-".repeat(20))), "long-".repeat(10).trim_end_matches('-'));
        assert_eq!(name("/"), "app");
    }
}
