//! `prebuild`: whether to build at all, the manifests, the logins, the add-ons.
//!
//! Reads the environment, the status of the review app, the manifests. Writes the private state; on a skip also the skip
//! marker, `commit.txt` and empty files for the upload.

use std::time::Duration;

use tracing::info;

use super::build::skip_marker;
use super::error::RunnerError;
use super::session::{Session, interruptible};
use super::state::{Prebuild, State};
use super::workspace::COMMIT;
use super::{RunnerContext, StepEnd};
use crate::domain::build_environment::{CodeBuildEnvironment, is_in_codebuild};
use crate::domain::lane::{Phase, PhaseState};
use crate::domain::manifest::AppPlan;
use crate::domain::names::PullRequest;
use crate::domain::namespace::Parameters;
use crate::domain::pull_request::{self, Stored, Trigger, Verdict};
use crate::env_vars;
use crate::ports::failure::{Failure, chain};
use crate::ports::test_bed::AddonRequest;
use crate::ui::diagnostics::draw_problems;

/// What `prebuild` says where clients do not look.
pub(super) const TOLD_BY_BUILD: &str = "The build fails with this in its `build` phase, where its log is shown.";

/// Prepares a build, or finds that there is nothing to build.
///
/// CodeBuild ends a build whose `pre_build` fails without any log that clients show. So there a failure is only recorded, and
/// `build` fails with it where clients look. Running it again begins anew and removes what a killed run left.
pub async fn prebuild(cx: &RunnerContext) -> StepEnd {
    let environment = match CodeBuildEnvironment::read(&cx.settings.variables) {
        Ok(environment) => environment,
        Err(error) => {
            let build_id = cx.settings.variables.get(env_vars::CODEBUILD_BUILD_ID).map_or("", String::as_str);
            let error = RunnerError::from(error);
            let cause = error.cause();
            cx.printer.note(error.explanation().trim_end());
            // `build` reads the same environment and fails with it.
            return if is_in_codebuild(build_id) { StepEnd::Done } else { StepEnd::Failed { cause } };
        }
    };
    let (mut session, known) = match Session::open(cx, environment) {
        Ok(opened) => opened,
        Err(error) => return failed_before_anything(cx, error),
    };
    let work = async {
        begin(&mut session, known).await?;
        prepare(&mut session).await
    };
    match interruptible(cx, work).await {
        Ok(()) => StepEnd::Done,
        Err(error) => fail(&mut session, error).await,
    }
}

/// Forgets what an earlier attempt found out, but not what it must clean up.
async fn begin(session: &mut Session<'_>, known: bool) -> Result<(), RunnerError> {
    let State { attempt, lane, told, config, test_bed, written, .. } = std::mem::take(&mut session.state);
    session.state = State { attempt, lane, told, config, test_bed, written, ..State::default() };
    if !known {
        session.state.written = session.workspace.outputs_to_come();
    }
    session.clean_up().await;
    session.workspace.unmark()?;
    session.state.commit = find_commit(session).await?;
    session.begin_metadata();
    session.save()
}

async fn prepare(session: &mut Session<'_>) -> Result<(), RunnerError> {
    if let Some(reason) = check_pull_request(session).await? {
        return skip(session, reason).await;
    }
    let now = session.now();
    session.state.metadata.phase_begins(Phase::Build, now);
    session.report_started().await?;
    session.workspace.complete_git_folder()?;
    session.state.config = Some(session.find_config().await?);
    session.save()?;
    let resolved = session.read_plan()?;
    for problems in &resolved.warnings {
        session.cx.printer.note(draw_problems(problems, false).trim_end());
    }
    session.log_in(&images(&resolved.plan)).await?;
    start_addons(session, &resolved.plan).await?;
    session.state.prebuild = Prebuild::Ready;
    session.store_metadata("prebuild").await
}

/// Names the images that the build reads, for their registries' logins.
pub(super) fn images(plan: &AppPlan) -> Vec<String> {
    let builder = plan.builder.iter().flat_map(|choice| std::iter::once(&choice.builder).chain(&choice.run_image));
    let buildpacks = plan
        .buildpacks
        .iter()
        .filter_map(|buildpack| buildpack.strip_prefix("docker://").or_else(|| buildpack.strip_prefix("docker:/")));
    builder.map(String::as_str).chain(buildpacks).map(str::to_owned).collect()
}

/// Decides about a pull request and carries it out; returns why there is nothing to build, if so.
async fn check_pull_request(session: &mut Session<'_>) -> Result<Option<&'static str>, RunnerError> {
    let environment = &session.environment;
    let Some(pr) = environment.pull_request() else { return Ok(None) };
    let cx = session.cx;
    let app = environment.app.clone();
    let name = cx.settings.namespace.parameters(&app, Parameters::ReviewApp(pr));
    let trigger = Trigger::new(&environment.webhook_event, environment.review_app_created);
    let verdict = update_status(cx, &name, trigger, pr).await?;
    if verdict.remove {
        // The lane hears of the skipped build first, so that closing does not stop the very build that tells of it.
        session.report_skipped(verdict.skip.unwrap_or_default()).await?;
        if !session.report_closed().await? && cx.review_apps.remove(&app, pr).await? {
            cx.printer.note(format!("The review app of pull request {pr} is being removed"));
        }
    }
    Ok(verdict.skip)
}

/// Brings the stored status of a pull request up to what happened.
///
/// Parameter Store cannot write on a condition, but for "there is none". That is enough: whatever is replaced here is
/// replaced because of the event, whoever wrote it, while a status that was missing a moment ago may be there by now. To replace
/// that one unseen could undo a review app that was just created.
async fn update_status(
    cx: &RunnerContext,
    name: &str,
    trigger: Trigger,
    pr: PullRequest,
) -> Result<Verdict, RunnerError> {
    const ATTEMPTS: u32 = 5;
    // A read may be older than a write that was answered already.
    const PAUSE: Duration = Duration::from_millis(200);
    for _ in 0..ATTEMPTS {
        let stored = Stored::read(cx.parameters.get(name).await?.as_deref());
        let verdict = pull_request::decide(trigger, pr, &stored)?;
        match &verdict.write {
            None => return Ok(verdict),
            Some(value) if stored == Stored::Missing => {
                if cx.parameters.create(name, value).await? {
                    return Ok(verdict);
                }
                tokio::time::sleep(PAUSE).await;
            }
            Some(value) => {
                cx.parameters.put(name, value).await?;
                return Ok(verdict);
            }
        }
    }
    Err(Failure::Conflict { what: format!("the parameter {name}") }.into())
}

async fn skip(session: &mut Session<'_>, reason: &'static str) -> Result<(), RunnerError> {
    session.cx.printer.note(format!("Nothing to build: {reason}"));
    write_commit(session).await?;
    session.workspace.write_placeholders()?;
    session.workspace.mark_skipped()?;
    session.state.prebuild = Prebuild::Skipped;
    session.state.metadata.skipped = Some(reason.to_owned());
    session.save()?;
    session.report_skipped(reason).await?;
    session.store_metadata("prebuild").await
}

async fn start_addons(session: &mut Session<'_>, plan: &AppPlan) -> Result<(), RunnerError> {
    // Only tests use them, and outside CodeBuild no tests follow.
    if plan.test.is_none() || plan.test_addons.is_empty() || !session.environment.in_codebuild() {
        return Ok(());
    }
    let addons: Vec<AddonRequest> = plan
        .test_addons
        .iter()
        .map(|kind| AddonRequest { kind: *kind, image: plan.addon_images.get(kind).cloned() })
        .collect();
    // Stored before anything is started, so that whatever happens it is removed.
    session.state.test_bed = true;
    session.save()?;
    session.state.addon_env = session.cx.test_bed.start(&session.environment.build_id, &addons).await?;
    let names: Vec<&str> = addons.iter().map(|addon| addon.kind.as_str()).collect();
    session.cx.printer.note(format!("Add-ons for the tests are ready: {}", names.join(", ")));
    Ok(())
}

async fn fail(session: &mut Session<'_>, error: RunnerError) -> StepEnd {
    let interrupted = matches!(error, RunnerError::Interrupted);
    let cause = error.cause();
    let text = error.explanation();
    session.cx.printer.note(text.trim_end());
    session.clean_up().await;
    session.state.metadata.failure = Some(cause.clone());
    session.state.prebuild = Prebuild::Failed { cause: cause.clone(), text };
    let mut recorded = session.save();
    if recorded.is_err() {
        let _ = session.report_failed(Phase::Build, &cause).await;
        // `build` meets the same obstacle, or finds that nothing was prepared; it must not find an earlier attempt.
        recorded = session.dir.forget().and_then(|()| session.workspace.unmark());
    }
    if session.environment.in_codebuild() && !interrupted && recorded.is_ok() {
        session.cx.printer.note(TOLD_BY_BUILD);
        return StepEnd::Done;
    }
    end_failed_build(session, Phase::Build, &cause, "prebuild").await;
    StepEnd::Failed { cause }
}

/// Leaves behind what every failed build leaves: the files for the upload, the marker, the fact, the metadata.
///
/// Each is tried whatever became of the others. Returns what could not be done, for people.
pub(super) async fn end_failed_build(
    session: &mut Session<'_>,
    phase: Phase,
    cause: &str,
    command: &str,
) -> Vec<String> {
    session.end_phases(PhaseState::Failed);
    let config = session.state.config.as_ref().and_then(|original| original.text.clone());
    session.state.metadata.failure = Some(cause.to_owned());
    let outcomes = [
        write_commit(session).await,
        session.workspace.archive_config_elsewhere(config.as_deref()),
        session.workspace.write_placeholders(),
        session.workspace.mark_skipped(),
        session.report_failed(phase, cause).await,
        session.store_metadata(command).await,
    ];
    session.clean_up().await;
    let problems = outcomes.into_iter().filter_map(|outcome| Some(outcome.err()?.cause())).collect::<Vec<_>>();
    for problem in &problems {
        info!(problem, "A failed build could not leave all behind");
    }
    problems
}

/// Fails where not even the build's own folder can be used, which `build` needs as well.
fn failed_before_anything(cx: &RunnerContext, error: RunnerError) -> StepEnd {
    let cause = error.cause();
    cx.printer.note(error.explanation().trim_end());
    let build_id = cx.settings.variables.get(env_vars::CODEBUILD_BUILD_ID).map_or("", String::as_str);
    if !is_in_codebuild(build_id) {
        return StepEnd::Failed { cause };
    }
    // One of an earlier attempt.
    let _ = std::fs::remove_file(skip_marker(&cx.settings));
    cx.printer.note(TOLD_BY_BUILD);
    StepEnd::Done
}

/// Names the commit: as CodeBuild resolved it, else as git knows it, else by the content of the source.
async fn find_commit(session: &Session<'_>) -> Result<String, RunnerError> {
    if let Some(commit) = &session.environment.resolved_source_version {
        return Ok(commit.clone());
    }
    match session.cx.history.head(&session.workspace.source).await {
        Ok(commit) => Ok(commit),
        Err(failure) => {
            info!(cause = chain(&failure), "The source has no history; its content names it");
            session.workspace.content_hash()
        }
    }
}

/// Writes `commit.txt`: the last commit for people, or one line when git cannot tell.
pub(super) async fn write_commit(session: &Session<'_>) -> Result<(), RunnerError> {
    let mut text = match session.cx.history.describe_head(&session.workspace.source).await {
        Ok(text) => text,
        Err(_) => format!("commit {}", session.state.commit),
    };
    text.push('\n');
    session.workspace.write(COMMIT, text.as_bytes())
}
