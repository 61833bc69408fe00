//! `postbuild`: tests the image and gives it its names.
//!
//! Reads the private state and the manifests. Writes `test.log` and, on a failure, the skip marker.

use std::time::{Duration, Instant};

use super::build::mark;
use super::error::RunnerError;
use super::log::{Log, Printed, cut_off};
use super::metadata::{TestMetadata, TestOutcome};
use super::prebuild::end_failed_build;
use super::session::{Session, interruptible, rounded};
use super::state::{MadeImage, Prebuild};
use super::workspace::{BUILD_LOG, TEST_LOG};
use super::{RunnerContext, StepEnd};
use crate::domain::build_environment::CodeBuildEnvironment;
use crate::domain::build_variables::{Variables, test_variables};
use crate::domain::lane::{Phase, PhaseState};
use crate::domain::manifest::{BuildSystem, TestPlan};
use crate::domain::namespace::Marker;
use crate::ports::image_builder::BuildOutput as _;
use crate::ports::test_bed::{TestBedError, TestEnvironment, TestRun};

/// Tests the image that `build` made; only when the tests pass does any tag move.
///
/// Does nothing for a build that was skipped or has failed. Running it again repeats the tests; names that are given already
/// stay. Whatever happens, add-ons and logins are gone afterwards.
pub async fn postbuild(cx: &RunnerContext) -> StepEnd {
    let opened = CodeBuildEnvironment::read(&cx.settings.variables)
        .map_err(RunnerError::from)
        .and_then(|environment| Session::open(cx, environment));
    let (mut session, known) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let cause = error.cause();
            cx.printer.note(error.explanation().trim_end());
            return StepEnd::Failed { cause };
        }
    };
    if session.workspace.is_marked_skipped() || session.state.prebuild == Prebuild::Skipped {
        session.clean_up().await;
        cx.printer.note("Nothing to test");
        return StepEnd::Done;
    }
    let image = match session.state.image.clone() {
        Some(_) if session.environment.succeeding == Some(false) => {
            return fail_cut_off(&mut session, RunnerError::OtherCommand).await;
        }
        Some(image) => image,
        None => {
            let error = match session.state.prebuild.clone() {
                Prebuild::Failed { cause, text } => RunnerError::Recorded { cause, text },
                // `build` was killed: it could leave neither a log nor a marker.
                Prebuild::Ready if known => RunnerError::CutOff,
                _ => RunnerError::OutOfOrder { missing: "build" },
            };
            return fail_cut_off(&mut session, error).await;
        }
    };
    let log = match Log::begin(session.dir.file(TEST_LOG), &cx.printer) {
        Ok(log) => log,
        Err(error) => return fail_cut_off(&mut session, error).await,
    };
    mark(&cx.printer, &cx.settings, Marker::TestStart);
    let outcome = interruptible(cx, test(&mut session, &image, &log)).await;
    let end = match outcome {
        Ok(()) => {
            session.clean_up().await;
            StepEnd::Done
        }
        Err(error) => fail(&mut session, &log, error).await,
    };
    cx.printer.marker("");
    mark(&cx.printer, &cx.settings, Marker::TestEnd);
    end
}

async fn test(session: &mut Session<'_>, image: &MadeImage, log: &Log) -> Result<(), RunnerError> {
    let plan = session.read_plan()?.plan;
    match &plan.test {
        None => {
            log.line("No tests are defined");
            let environment = session.cx.test_bed.environment();
            session.state.metadata.test =
                Some(TestMetadata { outcome: TestOutcome::None, environment, exit_code: None, seconds: 0.0 });
        }
        Some(tests) => {
            let launcher = plan.system == BuildSystem::Buildpack;
            run_tests(session, image, tests, launcher, log).await?;
        }
    }
    session.workspace.write(TEST_LOG, &log.content()?)?;
    if !session.state.test_bed {
        return pass(session).await;
    }
    // Nobody needs the add-ons any more, and their end takes longer than all that is left to do.
    let (test_bed, build_id) = (session.cx.test_bed.clone(), session.environment.build_id.clone());
    let (passed, removed) = tokio::join!(pass(session), test_bed.remove(&build_id));
    // Where that failed, cleaning up tries again and says so.
    session.state.test_bed = removed.is_err();
    passed
}

/// Gives the image its names and tells that the tests have passed.
async fn pass(session: &mut Session<'_>) -> Result<(), RunnerError> {
    // The log of the tests holds what the tests said, nothing else.
    session.give_names(&Printed(&session.cx.printer)).await?;
    session.end_phases(PhaseState::Succeeded);
    session.store_metadata("postbuild").await?;
    session.report_tests_passed().await
}

async fn run_tests(
    session: &mut Session<'_>,
    image: &MadeImage,
    tests: &TestPlan,
    launcher: bool,
    log: &Log,
) -> Result<(), RunnerError> {
    let mut env: Variables = tests.generate.iter().map(|name| (name.clone(), generated().into())).collect();
    env.extend(test_variables(&tests.env, &session.state.addon_env));
    let run = TestRun {
        build_id: session.environment.build_id.clone(),
        image: name_of(session, image)?,
        command: tests.command.clone(),
        launcher,
        env,
        limit: limit(session, tests),
    };
    // Clients know that the first line is the command.
    log.line(&format!("+ {}", tests.command));
    let environment = session.cx.test_bed.environment();
    if environment != TestEnvironment::AppImage {
        log.line(&format!("test environment: {environment}"));
    }
    session.state.test_bed = true;
    session.save()?;
    let began = Instant::now();
    let ended = session.cx.test_bed.run(&run, log).await;
    let (outcome, exit_code) = match &ended {
        Ok(0) => (TestOutcome::Passed, Some(0)),
        Ok(code) => (TestOutcome::Failed, Some(*code)),
        Err(TestBedError::TimedOut { .. }) => (TestOutcome::TimedOut, None),
        Err(_) => (TestOutcome::Broken, None),
    };
    let seconds = rounded(began.elapsed());
    session.state.metadata.test = Some(TestMetadata { outcome, environment, exit_code, seconds });
    match ended? {
        0 => Ok(()),
        code => Err(RunnerError::TestsFailed { code }),
    }
}

fn limit(session: &Session<'_>, tests: &TestPlan) -> Duration {
    tests.timeout.or(session.environment.test_limit).unwrap_or(session.cx.settings.test_limit)
}

/// Names the very image that was built: by digest, or by its candidate name in the daemon.
fn name_of(session: &Session<'_>, image: &MadeImage) -> Result<String, RunnerError> {
    if !session.cx.settings.publish {
        return Ok(image.digest.clone());
    }
    Ok(format!("{}@{}", session.repository()?, image.digest))
}

/// Makes a value for a variable that a manifest wants to be generated; it lives as long as the tests.
fn generated() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(64).collect()
}

async fn fail(session: &mut Session<'_>, log: &Log, error: RunnerError) -> StepEnd {
    let cause = error.cause();
    log.say(error.explanation().trim_end());
    for problem in end_failed_build(session, Phase::Test, &cause, "postbuild").await {
        log.line(&format!("warning: {problem}"));
    }
    if let Err(error) = log.content().and_then(|content| session.workspace.write(TEST_LOG, &content)) {
        session.cx.printer.exact(&format!("warning: {}", error.cause()));
    }
    StepEnd::Failed { cause }
}

/// Ends a build whose image build was cut off, and saves what its log had kept.
async fn fail_cut_off(session: &mut Session<'_>, error: RunnerError) -> StepEnd {
    let cause = error.cause();
    let text = error.explanation();
    session.cx.printer.note(text.trim_end());
    let mut kept = cut_off(&session.dir.file(BUILD_LOG)).unwrap_or_default();
    kept.extend_from_slice(text.as_bytes());
    let mut problems = Vec::new();
    if !session.workspace.outputs.join(BUILD_LOG).exists()
        && let Err(error) = session.workspace.write(BUILD_LOG, &kept)
    {
        problems.push(error.cause());
    }
    problems.extend(end_failed_build(session, Phase::Build, &cause, "postbuild").await);
    for problem in problems {
        session.cx.printer.warn(problem);
    }
    StepEnd::Failed { cause }
}
