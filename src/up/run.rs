//! `up` from its first build to Ctrl-C.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::handover::{Holder, Outcome, Wish, answer};
use super::pipeline::Pipeline;
use super::proxy::Proxy;
use super::{jobs, logs};
use crate::domain::lane::Phase;
use crate::ports::failure::chain;
use crate::ui::{CliError, Printer};

/// How often to look for what other commands have changed.
const BETWEEN: Duration = Duration::from_millis(250);

/// A pipeline and what runs around it.
pub struct Up {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// What holds its port.
    pub proxy: Proxy,
    /// What later `up`s of this folder connect to.
    pub holder: Holder,
    /// The one way out.
    pub printer: Printer,
    /// Told when the user wants to stop.
    pub interrupt: CancellationToken,
    /// Whether to end after the first deploy.
    pub once: bool,
}

impl Up {
    /// Builds, deploys and serves until told to stop, then stops all that was started.
    ///
    /// # Errors
    /// Says which phase of the first build failed, or what did not answer.
    pub async fn run(self) -> Result<(), CliError> {
        let (wishes, asked) = mpsc::unbounded_channel();
        let served = tokio::select! {
            served = self.serve(asked) => served,
            lost = self.open_the_door(wishes) => Err(CliError::internal("the control socket failed").because(lost)),
        };
        self.proxy.close();
        let halted = self.pipeline.place.halt(&self.pipeline.lane).await;
        served?;
        Ok(halted?)
    }

    /// Hears what others ask for, also while a build is under way.
    async fn open_the_door(&self, wishes: mpsc::UnboundedSender<UnixStream>) -> std::io::Error {
        let mut stopping = Vec::new();
        loop {
            match self.holder.asked().await {
                Ok((Wish::Build, stream)) => {
                    // Who asks when nothing is built any more hears that by the end of the connection.
                    let _ = wishes.send(stream);
                }
                // Whoever waits for the end sees it when the connection ends with this process.
                Ok((Wish::Stop, stream)) => {
                    stopping.push(stream);
                    self.interrupt.cancel();
                }
                Err(error) => return error,
            }
        }
    }

    async fn serve(&self, asked: mpsc::UnboundedReceiver<UnixStream>) -> Result<(), CliError> {
        self.pipeline.take_over(&self.printer).await?;
        // What is changed from now on may be missing in what the build deploys.
        let settings = self.pipeline.state.settings_version().await?;
        let outcome = self.pipeline.run().await?;
        // The runner has stopped what it had started.
        if self.interrupt.is_cancelled() {
            return Err(CliError::interrupted());
        }
        report(&self.printer, &outcome)?;
        if self.once {
            self.printer.note("Stopping, as `--once` asks …");
            return Ok(());
        }
        self.printer
            .note("Following the logs; Ctrl-C stops the app, another `packhorse up` here replaces the release.");
        let (place, lane) = (&self.pipeline.place, &self.pipeline.lane);
        tokio::select! {
            () = logs::follow(Arc::clone(place), lane.clone(), self.printer.clone()) => {}
            () = jobs::run(Arc::clone(place), lane.clone(), self.printer.clone()) => {}
            () = self.build_for_others(asked, settings) => {}
        }
        self.printer.note("Stopping …");
        Ok(())
    }

    /// Looks once, after a moment, for what other commands have changed.
    async fn keep_up(&self, settings: &mut String) {
        tokio::time::sleep(BETWEEN).await;
        if let Err(failure) = self.pipeline.keep_up(settings).await {
            warn!(cause = chain(&failure), "Changes must wait");
        }
    }

    /// Builds whenever another `up` of this folder asks for it, and follows what other commands change in between, until told
    /// to stop. A build brings along what was changed before its deploy.
    async fn build_for_others(&self, mut asked: mpsc::UnboundedReceiver<UnixStream>, mut settings: String) {
        loop {
            let asking = tokio::select! {
                biased;
                () = self.interrupt.cancelled() => return,
                asking = asked.recv() => asking,
                () = self.keep_up(&mut settings) => continue,
            };
            let Some(mut asking) = asking else { return };
            let outcome = match self.pipeline.run().await {
                Ok(outcome) => outcome,
                Err(failure) => {
                    Outcome { phase: Some("build".to_owned()), cause: Some(chain(&failure)), ..Outcome::default() }
                }
            };
            if self.interrupt.is_cancelled() {
                return;
            }
            // The running release stays whatever became of the new one; whoever asked may be gone.
            let _ = answer(&mut asking, &outcome).await;
            if let Err(error) = report(&self.printer, &outcome) {
                self.printer.error(&error);
            }
        }
    }
}

/// Says how a build ended: where the app answers, or the phase, the cause and the next step.
///
/// For programs it is the same object either way, the last one of the build.
///
/// # Errors
/// A failed build is an error of the app.
pub fn report(printer: &Printer, outcome: &Outcome) -> Result<(), CliError> {
    let result = json!({ "type": "result", "result": outcome });
    if let Some(url) = &outcome.url {
        printer.json_line(&result);
        if outcome.unchanged {
            printer.note(
                "The image and the configuration are those that run: nothing is tested, released or deployed again",
            );
        }
        printer.result(format_args!("Build {} is live: {url}", outcome.build));
        return Ok(());
    }
    let phase = outcome.phase.as_deref().unwrap_or("build");
    let cause = outcome.cause.as_deref().unwrap_or("no cause is known");
    let error = CliError::app(format!("build {} failed in its {phase} phase: {cause}", outcome.build));
    Err(error.hint(next_step(phase)).read_as(result))
}

fn next_step(phase: &str) -> &'static str {
    let phase = Phase::ALL.into_iter().find(|known| known.as_str() == phase);
    match phase {
        Some(Phase::Test) => {
            "fix what the tests found (`packhorse build logs --phase test`), and run `packhorse up` again"
        }
        Some(Phase::Finalize) => "see which processes the app defines: `Procfile`, or `[services]` in `apppack.toml`",
        Some(Phase::Release) => "see the release command in `Procfile`, and `packhorse why`; nothing was deployed",
        Some(Phase::Postdeploy) => "see `scripts.postdeploy` in `app.json`",
        Some(Phase::Deploy) => "see why the process ends: it must keep running, and `web` must answer on `$PORT`",
        Some(Phase::Build) | None => {
            "`packhorse why` names the cause, `packhorse build logs` has the whole output, `packhorse doctor` checks this machine"
        }
    }
}
