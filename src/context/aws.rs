//! Adapters in an AWS account.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;

use super::client::{AppAccess, Home};
use super::engine::Outcome;
use super::no_docker::NoDocker;
use super::orchestrators::{Orchestrators, clients, lanes, variable};
use super::{bare_tests, docker, engine};
use crate::adapters::aws::{
    AwsLogs, Clients, CloudFormationReviewApps, CodeBuild, DynamoSettings, EcrCredentials, EcsProcesses, S3Artifacts,
    SsmParameters,
};
use crate::adapters::docker::{ContainerTestBed, Docker};
use crate::adapters::local::SystemClock;
use crate::adapters::process::Git;
use crate::domain::aws_event::{self, News};
use crate::domain::catalogue::Catalogue;
use crate::domain::lane::{Ending, Lane, LaneKey};
use crate::domain::manifest::{AppPackToml, Engine, SourceFile};
use crate::domain::names::{BuildArn, BuildNumber};
use crate::domain::namespace::Namespace;
use crate::env_vars;
use crate::flags::{CompressionChoice, EngineChoice, HandleArgs, Verb};
use crate::image::CredentialSource;
use crate::image::credentials::CredentialChain;
use crate::orchestrator::LanePorts;
use crate::orchestrator::Orchestrator;
use crate::orchestrator::handle::Handled;
use crate::ports::build_service::BuildService as _;
use crate::ports::failure::Failure;
use crate::ports::image_builder::ImageBuilder;
use crate::ports::test_bed::TestBed;
use crate::runner::{self, RunnerContext, RunnerSettings, StepEnd};
use crate::session::Session;
use crate::ui::{CliError, ErrorKind};

/// How often to ask a place that sends no events.
pub(super) const BETWEEN: Duration = Duration::from_millis(500);

/// Opens an app in the account.
pub(super) async fn app(session: &Session, lane: &LaneKey) -> Result<AppAccess, CliError> {
    let clients = clients(session).await?;
    let LanePorts { lanes, records, clock, .. } = lanes(&clients);
    let settings = Arc::new(DynamoSettings::new(clients.dynamodb(), Namespace::default().table()));
    Ok(AppAccess {
        lane: lane.clone(),
        records,
        lanes,
        parameters: Arc::new(SsmParameters::new(clients.ssm())),
        logs: Arc::new(AwsLogs::new(&clients)),
        processes: Arc::new(EcsProcesses::new(&clients, settings.clone())),
        settings,
        clock,
        home: Home::Account(Box::new(clients)),
    })
}

/// Starts a build of an app's project.
pub(super) async fn start_build(
    app: &AppAccess,
    clients: &Clients,
    source: Option<&str>,
) -> Result<BuildNumber, CliError> {
    let settings = app.settings.settings(&app.lane).await?;
    let project = settings.codebuild_project.unwrap_or_else(|| app.lane.app.to_string());
    let version = match (app.lane.pull_request, source) {
        (Some(_), Some(_)) => {
            return Err(CliError::usage("a review app is built from its pull request; `--ref` has no meaning there"));
        }
        (Some(pull_request), None) => Some(pull_request.source_version()),
        (None, source) => source.map(str::to_owned),
    };
    Ok(CodeBuild::new(clients).start(&project, version).await?)
}

/// Stops a build.
pub(super) async fn stop_build(clients: &Clients, arn: &BuildArn) -> Result<(), Failure> {
    CodeBuild::new(clients).stop(arn).await
}

/// Runs a step of the build runner. All that it has to say is said when it ends.
pub(super) async fn codebuild(session: &Session, verb: Verb) -> Result<(), CliError> {
    let settings = settings()?;
    let cx = match runner_context(session, settings.clone()).await {
        Ok(cx) => cx,
        Err(error) => {
            let command = match verb {
                Verb::Prebuild => runner::Command::Prebuild,
                Verb::Build => runner::Command::Build,
                Verb::Postbuild => runner::Command::Postbuild,
            };
            return told(runner::cannot_begin(command, &session.printer, &settings, &error));
        }
    };
    told(match verb {
        Verb::Prebuild => runner::prebuild(&cx).await,
        Verb::Build => runner::build(&cx).await,
        Verb::Postbuild => runner::postbuild(&cx).await,
    })
}

fn told(end: StepEnd) -> Result<(), CliError> {
    match end {
        StepEnd::Done => Ok(()),
        StepEnd::Failed { cause } => Err(CliError::new(ErrorKind::Told, cause)),
    }
}

async fn runner_context(session: &Session, mut settings: RunnerSettings) -> Result<RunnerContext, CliError> {
    // Here, where what is wrong with it is told like all else that keeps a build from beginning.
    settings.compression = choice::<CompressionChoice>(env_vars::PACKHORSE_COMPRESSION)?.unwrap_or_default().into();
    let clients = clients(session).await?;
    let clock = Arc::new(SystemClock);
    let ecr: Arc<dyn CredentialSource> = Arc::new(EcrCredentials::new(clients.clone(), clock));
    let credentials: Arc<dyn CredentialSource> = Arc::new(CredentialChain::new(vec![ecr, docker::credentials()?]));
    let registry = engine::registry(credentials.clone())?;
    let daemon = docker::connect_with(credentials.clone()).await;
    let asked = asked(&settings)?;
    let outcome = Outcome { publish: true, compression: settings.compression };
    let builder = builder(session, asked, &daemon, outcome, &credentials)?;
    let test_bed: Arc<dyn TestBed> = match (daemon, asked) {
        (Ok(daemon), _) => Arc::new(ContainerTestBed::new(Arc::new(daemon), engine::stop(session))),
        (Err(failure), Some(Engine::Pack)) => Arc::new(NoDocker(failure)),
        (Err(_), _) => Arc::new(bare_tests::bed(session, credentials.clone())?),
    };
    let bucket = variable(env_vars::ARTIFACT_BUCKET).unwrap_or_default();
    Ok(RunnerContext {
        lanes: lanes(&clients),
        parameters: Arc::new(SsmParameters::new(clients.ssm())),
        artifacts: Arc::new(S3Artifacts::new(clients.s3(), bucket)),
        review_apps: Arc::new(CloudFormationReviewApps::new(&clients, Namespace::default())),
        builder,
        images: registry,
        test_bed,
        credentials,
        history: Arc::new(Git),
        printer: session.printer.clone(),
        interrupt: session.interrupt.gently.clone(),
        settings,
    })
}

/// Returns the engine that the project or else the app asks for.
fn asked(settings: &RunnerSettings) -> Result<Option<Engine>, CliError> {
    let of_project = choice::<EngineChoice>(env_vars::PACKHORSE_ENGINE)?.map(Engine::from);
    Ok(of_project.or_else(|| engine_of_app(settings)))
}

/// Reads a variable that takes one of a few words.
fn choice<C: ValueEnum>(name: &str) -> Result<Option<C>, CliError> {
    let Some(word) = variable(name) else { return Ok(None) };
    let read = C::from_str(&word, false).map_err(|_| {
        let words = C::value_variants().iter().filter_map(ValueEnum::to_possible_value);
        let words: Vec<String> = words.map(|word| format!("`{}`", word.get_name())).collect();
        CliError::usage(format!("{name} cannot be `{word}`"))
            .hint(format!("set it to one of {}, or remove it", words.join(", ")))
    });
    read.map(Some)
}

/// Makes the engine that is asked for, or else one that can do it here.
fn builder(
    session: &Session,
    asked: Option<Engine>,
    daemon: &Result<Docker, Failure>,
    outcome: Outcome,
    credentials: &Arc<dyn CredentialSource>,
) -> Result<Arc<dyn ImageBuilder>, CliError> {
    match (asked, daemon) {
        // The build itself tells why, where its readers look for it.
        (Some(Engine::Pack), Err(failure)) => Ok(Arc::new(NoDocker(failure.copy()))),
        (asked, Ok(daemon)) => engine::select(session, asked, Ok(daemon.clone()), outcome, credentials),
        (asked, Err(failure)) => engine::select(session, asked, Err(failure.copy()), outcome, credentials),
    }
}

/// Returns `[build] engine` of the app's own file. Whatever is wrong with that file is told by the step that reads it.
fn engine_of_app(settings: &RunnerSettings) -> Option<Engine> {
    let name = settings.variables.get(env_vars::APPPACK_TOML).filter(|name| !name.is_empty());
    let name = name.cloned().unwrap_or_else(|| settings.namespace.config_file());
    let bytes = std::fs::read(settings.source.join(&name)).ok()?;
    let file = SourceFile::decode(&name, &bytes).ok()?;
    AppPackToml::read_effective(&file).ok()?.value.engine.map(|engine| engine.value)
}

fn settings() -> Result<RunnerSettings, CliError> {
    let catalogue = Catalogue::shipped().map_err(|error| CliError::internal("broken catalogue").because(error))?;
    let variables: BTreeMap<String, String> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let here =
        || std::env::current_dir().map_err(|error| CliError::remote("there is no current folder").because(error));
    let source = variable(env_vars::CODEBUILD_SRC_DIR).map_or_else(here, |folder| Ok(PathBuf::from(folder)))?;
    let mut settings = RunnerSettings::in_codebuild(variables, source, std::env::temp_dir(), catalogue);
    settings.network = variable(env_vars::PACKHORSE_BUILD_NETWORK);
    settings.trust_builder = variable(env_vars::PACKHORSE_TRUST_BUILDER).as_deref() == Some("1");
    settings.ca_bundle = variable(env_vars::PACKHORSE_CA_BUNDLE).map(PathBuf::from);
    Ok(settings)
}

/// Handles one event, and with `follow` goes on until nothing is in flight.
pub(super) async fn handle(session: &Session, args: &HandleArgs, text: &str) -> Result<(), CliError> {
    let news = match aws_event::read(text) {
        Ok(news) => news,
        // Rules may let more through than is used; that is no failure of whoever hands it on.
        Err(error) if !error.is_garbage() => {
            session.printer.note(format_args!("Ignored: {error}"));
            return Ok(());
        }
        Err(error) => return Err(CliError::usage("this event cannot be used").because(error)),
    };
    let of = match &news {
        News::Lane(addressed) => addressed.lane.to_string(),
        News::Pipeline(pipeline) => format!("the review apps of {pipeline}"),
        News::Service(service) => service.arn.clone(),
        News::Access(_) => "people".to_owned(),
    };
    let orchestrators = Orchestrators::open(session, args.place).await?;
    match orchestrators.hear(&news).await? {
        Handled::Done => session.printer.note(format_args!("Handled an event of {of}")),
        Handled::Ignored(reason) => session.printer.note(format_args!("Ignored an event of {of}: {reason}")),
        Handled::NoLane => {
            session.printer.note(format_args!("{of} has no lane: another orchestrator looks after it"));
        }
        Handled::Owing => session
            .printer
            .warn(format_args!("{of} owes something that must wait: `packhorse orchestrator sweep` does it")),
    }
    match news {
        News::Lane(addressed) if args.follow => {
            follow(session, &orchestrators.of(&addressed.lane).await?, &addressed.lane).await
        }
        _ => Ok(()),
    }
}

async fn follow(session: &Session, orchestrator: &Orchestrator, lane: &LaneKey) -> Result<(), CliError> {
    let ended: Option<Lane> = orchestrator.follow(lane, BETWEEN, |_| {}).await?;
    let newest = ended.as_ref().and_then(|lane| lane.builds.values().next_back());
    match newest.map(|build| (build.number, build.ending.clone())) {
        Some((number, Some(Ending::Failed { phase, cause }))) => {
            Err(CliError::app(format!("build {number} of {lane} failed in its {phase} phase: {cause}")))
        }
        Some((number, Some(Ending::Deployed))) => {
            session.printer.result(format_args!("Build {number} of {lane} is deployed"));
            Ok(())
        }
        _ => Ok(()),
    }
}
