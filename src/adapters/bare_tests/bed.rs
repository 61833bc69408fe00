//! Runs tests without Docker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::addons::AddonProcesses;
use super::stage::{Place, Stage};
use crate::adapters::lines::Lines;
use crate::adapters::process::Stop;
use crate::domain::launch::shell_command;
use crate::image::ImageSource;
use crate::lifecycle::{Exit, Program};
use crate::ports::failure::Failure;
use crate::ports::image_builder::BuildOutput;
use crate::ports::test_bed::{AddonRequest, TestBed, TestBedError, TestEnvironment, TestRun};

/// How long tests that are told to stop may take to say goodbye.
const GRACE: Duration = Duration::from_secs(10);

/// Runs the tests of images made by buildpacks where there is no Docker.
///
/// All processes of a run end with it, and when packhorse is killed; then its files in the build image stay until the next run or
/// build.
pub struct BareTestBed {
    place: Place,
    helper: PathBuf,
    images: Arc<dyn ImageSource>,
    addons: AddonProcesses,
    stop: Stop,
}

impl BareTestBed {
    /// Runs tests of what is in `images`, in this place, until told to stop. `helper` is the program packhorse.
    pub fn new(
        place: Place,
        helper: impl Into<PathBuf>,
        images: Arc<dyn ImageSource>,
        addons: AddonProcesses,
        stop: Stop,
    ) -> Self {
        Self { place, helper: helper.into(), images, addons, stop }
    }

    async fn run_program(
        &self,
        stage: &Stage,
        program: &Program,
        limit: Duration,
        output: &dyn BuildOutput,
    ) -> Result<i64, TestBedError> {
        let (ask, mut lines) = (CancellationToken::new(), Lines::default());
        let ended = {
            let mut hear = |bytes: &[u8]| lines.push(bytes, |line| output.line(line));
            let ended = stage.sandbox.run_until(program, &mut hear, &ask);
            tokio::pin!(ended);
            let until = Instant::now() + limit;
            let stopped = tokio::select! {
                ended = timeout_at(until, &mut ended) => match ended {
                    Ok(ended) => Ok(ended),
                    Err(_) => Err(TestBedError::TimedOut { seconds: limit.as_secs() }),
                },
                () = self.stop.gently.cancelled() => Err(TestBedError::Interrupted),
            };
            if stopped.is_err() {
                ask.cancel();
                // What the tests say at their end is still shown. What is left then ends with the future.
                tokio::select! {
                    _ = &mut ended => {}
                    () = self.stop.at_once.cancelled() => {}
                    () = sleep(GRACE) => {}
                }
            }
            stopped
        };
        lines.finish(|line| output.line(line));
        let exit = ended?.map_err(|error| Failure::refused("run the tests", error))?;
        Ok(match exit {
            Exit::Exited(code) => code.into(),
            Exit::Signaled(signal) => 128 + i64::from(signal),
        })
    }
}

#[async_trait]
impl TestBed for BareTestBed {
    fn environment(&self) -> TestEnvironment {
        match self.place {
            Place::BuildImage(_) => TestEnvironment::BuildImage,
            Place::Sandbox(_) => TestEnvironment::AppImageInSandbox,
        }
    }

    async fn start(&self, build_id: &str, addons: &[AddonRequest]) -> Result<BTreeMap<String, String>, TestBedError> {
        self.remove(build_id).await?;
        if addons.is_empty() {
            return Ok(BTreeMap::new());
        }
        let started = tokio::select! {
            started = self.addons.start(build_id, addons) => started,
            () = self.stop.gently.cancelled() => Err(TestBedError::Interrupted),
        };
        if started.is_err() {
            // The failure is worth more than one of cleaning up after it.
            let _ = self.remove(build_id).await;
        }
        started
    }

    async fn run(&self, run: &TestRun, output: &dyn BuildOutput) -> Result<i64, TestBedError> {
        let launch = shell_command(&run.command, run.launcher);
        let set_up = Stage::set_up(&self.place, &self.helper, self.images.as_ref(), &run.image);
        let stage = tokio::select! {
            stage = set_up => stage.map_err(Failure::from)?,
            () = self.stop.gently.cancelled() => return Err(TestBedError::Interrupted),
        };
        let argv = launch.entrypoint.into_iter().chain(launch.arguments).collect();
        self.run_program(&stage, &stage.program(argv, run), run.limit, output).await
    }

    async fn remove(&self, build_id: &str) -> Result<(), Failure> {
        self.addons.remove(build_id).await
    }
}
