//! `up` from its first build to Ctrl-C.

use std::sync::Arc;

use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::handover::{Holder, Outcome, answer};
use super::logs;
use super::pipeline::Pipeline;
use super::proxy::Proxy;
use crate::adapters::docker::place::ContainerPlace;
use crate::domain::lane::Phase;
use crate::ui::{CliError, Printer};

/// A pipeline and what runs around it.
pub struct Up {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Where the app runs.
    pub place: Arc<ContainerPlace>,
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
        let served = self.serve().await;
        self.proxy.close();
        let halted = self.place.halt(&self.pipeline.lane).await;
        served?;
        Ok(halted?)
    }

    async fn serve(&self) -> Result<(), CliError> {
        let outcome = tokio::select! {
            outcome = self.pipeline.run() => outcome?,
            () = self.interrupt.cancelled() => return Err(CliError::interrupted()),
        };
        report(&self.printer, &outcome)?;
        if self.once {
            return Ok(());
        }
        self.printer
            .note("Following the logs; Ctrl-C stops the app, another `packhorse up` here replaces the release.");
        let logs = logs::follow(Arc::clone(&self.place), self.pipeline.lane.clone(), self.printer.clone());
        tokio::select! {
            () = logs => Ok(()),
            ended = self.build_for_others() => ended,
            () = self.interrupt.cancelled() => {
                self.printer.note("Stopping …");
                Ok(())
            }
        }
    }

    /// Builds whenever another `up` of this folder asks for it.
    async fn build_for_others(&self) -> Result<(), CliError> {
        loop {
            let lost = |error| CliError::internal("the control socket failed").because(error);
            let mut asking = self.holder.asked().await.map_err(lost)?;
            let outcome = match self.pipeline.run().await {
                Ok(outcome) => outcome,
                Err(failure) => Outcome {
                    build: 0,
                    url: None,
                    phase: Some("build".to_owned()),
                    cause: Some(crate::ports::failure::chain(&failure)),
                },
            };
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
/// # Errors
/// A failed build is an error of the app.
pub fn report(printer: &Printer, outcome: &Outcome) -> Result<(), CliError> {
    printer.json_line(&json!({ "type": "result", "result": outcome }));
    if let Some(url) = &outcome.url {
        printer.result(format_args!("Build {} is live: {url}", outcome.build));
        return Ok(());
    }
    let phase = outcome.phase.as_deref().unwrap_or("build");
    let cause = outcome.cause.as_deref().unwrap_or("no cause is known");
    Err(CliError::app(format!("build {} failed in its {phase} phase: {cause}", outcome.build)).hint(next_step(phase)))
}

fn next_step(phase: &str) -> &'static str {
    let phase = Phase::ALL.into_iter().find(|known| known.as_str() == phase);
    match phase {
        Some(Phase::Test) => "the output of the tests is above; fix what they found and run `packhorse up` again",
        Some(Phase::Finalize) => "see which processes the app defines: `Procfile`, or `[services]` in `apppack.toml`",
        Some(Phase::Release) => "see the release command in `Procfile`; the release that ran before still runs",
        Some(Phase::Postdeploy) => "see `scripts.postdeploy` in `app.json`",
        Some(Phase::Deploy) => "see why the process ends: it must keep running, and `web` must answer on `$PORT`",
        Some(Phase::Build) | None => "the output of the build is above; `packhorse doctor` checks this machine",
    }
}
