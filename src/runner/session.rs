//! One command of one build: its environment, what is known so far, and its files.

use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::debug;

use super::RunnerContext;
use super::error::RunnerError;
use super::metadata::BuildMetadata;
use super::state::{LaneUse, State, StateDir};
use super::workspace::Workspace;
use crate::domain::build_environment::CodeBuildEnvironment;
use crate::domain::lane::PhaseState;
use crate::domain::names::EpochSeconds;
use crate::image::Repository;
use crate::ports::failure::chain;

/// The time that work has to end by itself once the build is told to stop.
const GRACE: Duration = Duration::from_secs(20);

/// One command of one build.
pub(super) struct Session<'c> {
    pub(super) cx: &'c RunnerContext,
    pub(super) environment: CodeBuildEnvironment,
    pub(super) state: State,
    pub(super) dir: StateDir,
    pub(super) workspace: Workspace,
    began: Instant,
}

impl<'c> Session<'c> {
    /// Opens the build that the environment names; the state is new when no command of it has run yet.
    pub(super) fn open(cx: &'c RunnerContext, environment: CodeBuildEnvironment) -> Result<(Self, bool), RunnerError> {
        let dir = StateDir::open(&cx.settings.private, &environment.build_id)?;
        let (state, known) = match dir.load()? {
            Some(state) => (state, true),
            None => (State::default(), false),
        };
        let workspace = Workspace::new(&cx.settings, &environment);
        Ok((Self { cx, environment, state, dir, workspace, began: Instant::now() }, known))
    }

    pub(super) fn now(&self) -> EpochSeconds {
        self.cx.lanes.clock.now()
    }

    /// Stores what is known.
    pub(super) fn save(&self) -> Result<(), RunnerError> {
        self.dir.save(&self.state)
    }

    /// Says something once per build.
    pub(super) fn tell_once(&mut self, line: &str) {
        if self.state.told.insert(line.to_owned()) {
            self.cx.printer.warn(line);
        }
    }

    /// Returns the repository of the app's images: `DOCKER_REPO`, or a name within the Docker daemon.
    pub(super) fn repository(&self) -> Result<Repository, RunnerError> {
        let name = match (&self.environment.repository, self.cx.settings.publish) {
            (Some(repository), true) => repository.clone(),
            (None, true) => {
                return Err(crate::ports::failure::Failure::refused(
                    "find the repository of the app's images",
                    format!("the environment variable `{}` is not set", crate::env_vars::DOCKER_REPO),
                )
                .into());
            }
            (_, false) => format!("packhorse/{}", self.environment.app.as_str().to_ascii_lowercase()),
        };
        name.parse().map_err(|source| RunnerError::ImageName { name, source })
    }

    /// Fills in what every build has.
    pub(super) fn begin_metadata(&mut self) {
        let environment = &self.environment;
        self.state.metadata = BuildMetadata {
            app: environment.app.to_string(),
            pull_request: environment.pull_request().map(|pr| pr.to_string()),
            build_number: match environment.label.number() {
                Some(number) => number.0.into(),
                None => environment.label.to_string().into(),
            },
            build_arn: environment.arn.as_ref().map(ToString::to_string),
            commit: self.state.commit.clone(),
            ..BuildMetadata::default()
        };
    }

    /// Stores `{n}/build.json`, with how long this command took so far.
    ///
    /// Where a lane follows the build, the orchestrator needs it, so a failure counts. Elsewhere it is an extra that the role
    /// may not allow, and is said once.
    pub(super) async fn store_metadata(&mut self, command: &str) -> Result<(), RunnerError> {
        let seconds = rounded(self.began.elapsed());
        self.state.metadata.durations.insert(command.to_owned(), seconds);
        self.save()?;
        let key = format!("{}/{}", self.environment.label, BuildMetadata::FILE);
        let mut document = serde_json::to_vec_pretty(&self.state.metadata).unwrap_or_default();
        document.push(b'\n');
        match self.cx.artifacts.put(&key, Bytes::from(document)).await {
            Ok(()) => Ok(()),
            Err(failure) if self.state.lane == LaneUse::Told => Err(failure.into()),
            Err(failure) => {
                debug!(cause = chain(&failure), "build.json was not stored");
                self.tell_once(&format!("`{key}` was not stored ({failure}); nothing else depends on it here"));
                self.save()
            }
        }
    }

    /// Removes the add-ons and the logins of the build; a failure is said and costs nothing else.
    pub(super) async fn clean_up(&mut self) {
        if self.state.test_bed {
            match self.cx.test_bed.remove(&self.environment.build_id).await {
                Ok(()) => self.state.test_bed = false,
                Err(failure) => self.cx.printer.warn(format!("add-ons may still run: {}", chain(&failure))),
            }
        }
        if let Err(error) = self.remove_logins().and_then(|()| self.save()) {
            self.cx.printer.warn(error.cause());
        }
    }

    /// Ends the phases that run, for the metadata.
    pub(super) fn end_phases(&mut self, outcome: PhaseState) {
        let now = self.now();
        let open: Vec<_> =
            self.state.metadata.phases.iter().filter(|(_, p)| p.end.is_none()).map(|(p, _)| *p).collect();
        for phase in open {
            self.state.metadata.phase_ends(phase, outcome, now);
        }
    }
}

/// Returns seconds with three decimals, which is as much as anybody reads.
pub(super) fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Runs work until its end or until the build is told to stop; then the work has a moment to end by itself.
pub(super) async fn interruptible<T>(
    cx: &RunnerContext,
    work: impl Future<Output = Result<T, RunnerError>> + Send,
) -> Result<T, RunnerError> {
    if cx.interrupt.is_cancelled() {
        return Err(RunnerError::Interrupted);
    }
    let mut work = pin!(work);
    tokio::select! {
        biased;
        () = cx.interrupt.cancelled() => {
            // What the work itself has to say about its interruption is not of interest.
            let _ = tokio::time::timeout(GRACE, work).await;
            Err(RunnerError::Interrupted)
        }
        done = &mut work => done,
    }
}
