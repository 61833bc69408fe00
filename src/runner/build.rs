//! `build`: makes the image under its candidate name.
//!
//! Reads the private state, the manifests and the config variables. Writes `build.log`, `commit.txt`, `metadata.toml`, the
//! effective config file, and on a failure the skip marker.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::future::try_join_all;

use super::error::RunnerError;
use super::fetch_ahead::make_image;
use super::log::Log;
use super::metadata::{BuilderMetadata, CacheMetadata, ImageMetadata};
use super::names::tag;
use super::prebuild::{end_failed_build, images, write_commit};
use super::session::{Session, interruptible};
use super::state::{MadeImage, Prebuild};
use super::workspace::{BUILD_LOG, METADATA};
use super::{RunnerContext, RunnerSettings, StepEnd};
use crate::domain::build_environment::CodeBuildEnvironment;
use crate::domain::build_variables::build_variables;
use crate::domain::catalogue::Lookup;
use crate::domain::lane::{Phase, PhaseState};
use crate::domain::manifest::{AppPlan, Effective, ImageProcesses, SourceFile};
use crate::domain::namespace::Marker;
use crate::domain::tags;
use crate::image::{ImageReference, Repository};
use crate::ports::image_builder::{BuildOutput as _, BuiltImage, Cache, ImageBuild, ImageBuildError};
use crate::ui::Printer;

/// Makes the image of a build that `prebuild` has prepared.
///
/// All there is to say, the reason of a failure included, stands between the two markers and in `build.log`. Running it again
/// makes the image under another candidate name.
pub async fn build(cx: &RunnerContext) -> StepEnd {
    let environment = match CodeBuildEnvironment::read(&cx.settings.variables) {
        Ok(environment) => environment,
        Err(error) => return without_session(cx, error.into()),
    };
    let (mut session, known) = match Session::open(cx, environment) {
        Ok(opened) => opened,
        Err(error) => return without_session(cx, error),
    };
    if session.state.prebuild == Prebuild::Skipped || (!known && session.workspace.is_marked_skipped()) {
        cx.printer.note("Nothing to build");
        return StepEnd::Done;
    }
    session.state.attempt += 1;
    session.state.image = None;
    let log = match begin_log(&session) {
        Ok(log) => log,
        Err(error) => return without_session(cx, error),
    };
    mark(&cx.printer, &cx.settings, Marker::BuildStart);
    let outcome = interruptible(cx, make(&mut session, &log)).await;
    let end = match outcome {
        Ok(()) => StepEnd::Done,
        Err(error) => fail(&mut session, &log, error).await,
    };
    cx.printer.marker("");
    mark(&cx.printer, &cx.settings, Marker::BuildEnd);
    end
}

fn begin_log(session: &Session<'_>) -> Result<Log, RunnerError> {
    session.save()?;
    Log::begin(session.dir.file(BUILD_LOG), &session.cx.printer)
}

pub(super) fn mark(printer: &Printer, settings: &RunnerSettings, marker: Marker) {
    printer.marker(&settings.namespace.marker(marker));
}

async fn make(session: &mut Session<'_>, log: &Log) -> Result<(), RunnerError> {
    match session.state.prebuild.clone() {
        Prebuild::Ready => {}
        Prebuild::Failed { cause, text } => return Err(RunnerError::Recorded { cause, text }),
        Prebuild::Unfinished | Prebuild::Skipped => return Err(RunnerError::OutOfOrder { missing: "prebuild" }),
    }
    session.workspace.unmark()?;
    let original = session.state.config.clone().and_then(|original| original.text);
    session.workspace.restore_config(original.as_deref())?;
    let plan = session.read_plan()?.plan;
    let request = plan_image(session, &plan, log).await?;
    let cx = session.cx;
    log.line(&format!("===> BUILDING with {} ({})", request.builder, cx.builder.name()));
    let tested = plan.test.is_some() && session.environment.in_codebuild();
    let (image, digest) =
        tokio::join!(make_image(session, &request, tested, log), digest_of_builder(cx, &request.builder));
    let image = image?;
    let builder = BuilderMetadata { digest, reference: request.builder.clone() };
    let verb = if request.publish { "PUBLISHING" } else { "KEEPING" };
    log.line(&format!("===> {verb} {} ({})", request.image, image.digest));
    let reference = keep(session, &request, &image, builder)?;
    describe(session, &reference, &plan).await?;
    write_commit(session).await?;
    let now = session.now();
    session.state.metadata.phase_ends(Phase::Build, PhaseState::Succeeded, now);
    if session.environment.in_codebuild() {
        session.state.metadata.phase_begins(Phase::Test, now);
    } else {
        // No `postbuild` follows outside CodeBuild.
        session.give_names(log).await?;
        session.clean_up().await;
    }
    session.store_metadata("build").await?;
    session.workspace.write(BUILD_LOG, &log.content()?)?;
    session.report_image().await
}

/// Finds out the builder's digest. Worth knowing, not worth failing or waiting for: its registry may be out of reach.
async fn digest_of_builder(cx: &RunnerContext, builder: &str) -> Option<String> {
    let name = builder.parse().ok()?;
    let digest = tokio::time::timeout(Duration::from_secs(5), cx.images.resolve(&name)).await.ok()?.ok()?;
    Some(digest.to_string())
}

/// Gathers the variables and decides how the image is made.
async fn plan_image(session: &Session<'_>, plan: &AppPlan, log: &Log) -> Result<ImageBuild, RunnerError> {
    let (cx, settings, environment) = (session.cx, &session.cx.settings, &session.environment);
    let paths = settings.namespace.config_paths(&environment.lane_key());
    let config = try_join_all(paths.iter().map(|path| cx.parameters.below(path))).await?;
    log.hide(config.iter().flat_map(|variables| variables.values()));
    let choice = plan.builder.clone().ok_or_else(|| ImageBuildError::NotPossible {
        engine: cx.builder.name(),
        reason: "the app names no builder".to_owned(),
    })?;
    let repository = session.repository()?;
    let cache_tags = tags::cache(environment);
    let name = |tag: &str| format!("{repository}:{tag}");
    let candidate = tags::candidate(&environment.build_id, session.state.attempt);
    Ok(ImageBuild {
        source: settings.source.clone(),
        image: name(&candidate),
        previous_image: Some(name(tags::LATEST)),
        env: build_variables(environment, config, &session.state.addon_env),
        publish: settings.publish,
        compression: settings.compression,
        cache: if settings.publish {
            Cache::Image { image: name(&cache_tags.own), fallback: cache_tags.fallback.as_deref().map(name) }
        } else {
            Cache::Volume(environment.lane_key().to_string())
        },
        network: settings.network.clone(),
        ca_bundle: settings.ca_bundle.clone(),
        exclude: session.workspace.not_of_the_app(&session.state.written),
        trust_builder: settings.trust_builder || matches!(settings.catalogue.find(&choice.builder), Lookup::Known(_)),
        docker_config: session.log_in(&images(plan)).await?,
        verbose: environment.debug,
        builder: choice.builder,
        run_image: choice.run_image,
        buildpacks: plan.buildpacks.clone(),
    })
}

/// Remembers the image as soon as it is there, and returns by which name it is read.
fn keep(
    session: &mut Session<'_>,
    request: &ImageBuild,
    made: &BuiltImage,
    builder: BuilderMetadata,
) -> Result<ImageReference, RunnerError> {
    let repository: Repository = session.repository()?;
    let candidate = tags::candidate(&session.environment.build_id, session.state.attempt);
    let tagged = repository.tagged(tag(&candidate)?);
    let published = session.cx.settings.publish;
    let reference = match made.digest.parse().ok().filter(|_| published) {
        Some(digest) => repository.at(digest),
        None => tagged,
    };
    session.state.image = Some(MadeImage { candidate, digest: made.digest.clone() });
    let metadata = &mut session.state.metadata;
    metadata.engine = Some(session.cx.builder.name().to_owned());
    metadata.builder = Some(builder);
    metadata.image = Some(ImageMetadata {
        reference: if published { repository.to_string() } else { String::new() },
        digest: made.digest.clone(),
        tags: Vec::new(),
    });
    metadata.cache = match &request.cache {
        Cache::Image { image, fallback } => {
            Some(CacheMetadata { name: image.clone(), fallback: fallback.clone(), layers: made.layers })
        }
        Cache::Volume(name) => Some(CacheMetadata { name: name.clone(), fallback: None, layers: made.layers }),
        Cache::None => None,
    };
    session.save()?;
    Ok(reference)
}

/// Reads what the image says of itself, and archives with it what the app is.
async fn describe(session: &mut Session<'_>, reference: &ImageReference, plan: &AppPlan) -> Result<(), RunnerError> {
    let images = &session.cx.images;
    let (processes, config) = tokio::try_join!(images.build_metadata(reference), images.config(reference))?;
    session.state.metadata.read_labels(&config);
    let processes = match processes {
        Some(text) => {
            session.workspace.write(METADATA, text.as_bytes())?;
            Some(ImageProcesses::read(&SourceFile::new(METADATA, &text))?.value)
        }
        None => None,
    };
    let effective = Effective::of(plan, processes.as_ref()).render();
    let archived = session.workspace.archived_config.clone();
    session.workspace.write(&archived, effective.as_bytes())
}

async fn fail(session: &mut Session<'_>, log: &Log, error: RunnerError) -> StepEnd {
    let cause = error.cause();
    log.line("");
    log.say(error.explanation().trim_end());
    for problem in end_failed_build(session, Phase::Build, &cause, "build").await {
        log.line(&format!("warning: {problem}"));
    }
    if let Err(error) = log.content().and_then(|content| session.workspace.write(BUILD_LOG, &content)) {
        session.cx.printer.exact(&format!("warning: {}", error.cause()));
    }
    StepEnd::Failed { cause }
}

fn without_session(cx: &RunnerContext, error: RunnerError) -> StepEnd {
    let cause = error.cause();
    fail_without_session(&cx.printer, &cx.settings, &cause, &error.explanation())
}

/// Fails where not even the build's own folder can be used: between the markers, and in `build.log` if that can be written.
pub(super) fn fail_without_session(
    printer: &Printer,
    settings: &RunnerSettings,
    cause: &str,
    explanation: &str,
) -> StepEnd {
    mark(printer, settings, Marker::BuildStart);
    printer.exact(explanation.trim_end());
    // There is no workspace to write it as a whole; an incomplete one still says more than none.
    if let Err(error) = fs::write(settings.outputs.join(BUILD_LOG), explanation) {
        printer.exact(&format!("warning: `{BUILD_LOG}` was not written: {error}"));
    }
    if let Err(error) = fs::write(skip_marker(settings), b"") {
        printer.exact(&format!("warning: the skip marker was not written: {error}"));
    }
    printer.marker("");
    mark(printer, settings, Marker::BuildEnd);
    StepEnd::Failed { cause: cause.to_owned() }
}

/// Where the mark of this build lies that makes later commands do nothing.
pub(super) fn skip_marker(settings: &RunnerSettings) -> PathBuf {
    let build_id = settings.variables.get(crate::env_vars::CODEBUILD_BUILD_ID).map_or("", String::as_str);
    settings.outputs.join(settings.namespace.skip_marker_file(build_id))
}
