//! Carries out what a lane owes. Doing any of it again is safe.

use super::Orchestrator;
use crate::domain::lane::{Action, ActionResult, Lane, ReleasePlan, TaskKind};
use crate::domain::names::ProcessType;
use crate::ports::failure::Failure;
use crate::ports::place::{TaskRequest, TaskStatus};

impl Orchestrator {
    pub(super) async fn perform(&self, lane: &Lane, action: &Action) -> Result<ActionResult, Failure> {
        match action {
            Action::ReadArtifacts { build } => {
                return Ok(ActionResult::Artifacts(Box::new(self.read_artifacts(lane, *build).await?)));
            }
            Action::RunTask { task, image, command } => {
                let of_build = lane.builds.get(&task.build).and_then(|build| build.plan.as_ref());
                let last_command = lane.removal.as_ref().and_then(|removal| removal.last_command.as_ref());
                let of_removal = last_command.map(|last| &last.release.plan);
                let plan = if task.kind == TaskKind::PreDestroy { of_removal } else { of_build };
                let Some(plan) = plan else {
                    return Ok(ActionResult::Refused { cause: format!("build {} has no plan", task.build) });
                };
                let plan = ReleasePlan { image: image.clone(), ..plan.clone() };
                let formation = self.formation(lane, task.build, &plan).await?;
                let (lane, key) = (lane.key.clone(), task.clone());
                self.place.start_task(&TaskRequest { lane, key, command: command.clone(), formation }).await?;
            }
            Action::KeepLog { task } => {
                let log = match self.place.task(&lane.key, task).await? {
                    TaskStatus::Exited { log, .. } => log,
                    _ => None,
                };
                return Ok(self.keep_log(lane, task, log).await?.map_or(ActionResult::Done, ActionResult::LogKept));
            }
            Action::StopTask { task } => self.place.stop_task(&lane.key, task).await?,
            Action::UpdateServices { build, plan } => {
                let formation = self.formation(lane, *build, plan).await?;
                self.place.update_services(&lane.key, &formation).await?;
                let size = |process: &ProcessType| (process.clone(), formation.scaling.of(process.as_str()));
                return Ok(ActionResult::Ordered(formation.plan.services.keys().map(size).collect()));
            }
            Action::StopBuild { arn, .. } => self.builds.stop(arn).await?,
            Action::RemoveReviewApp { sequence } => {
                self.place.remove(&lane.key, *sequence).await?;
                let Some(pull_request) = lane.key.pull_request else { return Ok(ActionResult::Gone) };
                if !self.review_apps.remove(&lane.key.app, pull_request).await? {
                    return Ok(ActionResult::Gone);
                }
            }
        }
        Ok(ActionResult::Done)
    }
}
