//! Carries out what a lane owes. Doing any of it again is safe.

use super::Orchestrator;
use crate::domain::lane::{Action, ActionResult, Lane, ReleasePlan};
use crate::ports::failure::Failure;
use crate::ports::place::TaskRequest;

impl Orchestrator {
    pub(super) async fn perform(&self, lane: &Lane, action: &Action) -> Result<ActionResult, Failure> {
        match action {
            Action::ReadArtifacts { build } => {
                return Ok(ActionResult::Artifacts(Box::new(self.read_artifacts(lane, *build).await?)));
            }
            Action::RunTask { task, image, command } => {
                let Some(plan) = lane.builds.get(&task.build).and_then(|build| build.plan.as_ref()) else {
                    return Ok(ActionResult::Refused { cause: format!("build {} has no plan", task.build) });
                };
                let plan = ReleasePlan { image: image.clone(), ..plan.clone() };
                let formation = self.formation(lane, task.build, &plan).await?;
                let (lane, key) = (lane.key.clone(), task.clone());
                self.place.start_task(&TaskRequest { lane, key, command: command.clone(), formation }).await?;
            }
            Action::StopTask { task } => self.place.stop_task(&lane.key, task).await?,
            Action::UpdateServices { build, plan } => {
                let formation = self.formation(lane, *build, plan).await?;
                self.place.update_services(&lane.key, &formation).await?;
            }
            Action::StopBuild { arn, .. } => self.builds.stop(arn).await?,
            Action::RemoveReviewApp => {
                self.place.remove(&lane.key).await?;
                if let Some(pull_request) = lane.key.pull_request {
                    self.review_apps.remove(&lane.key.app, pull_request).await?;
                }
            }
        }
        Ok(ActionResult::Done)
    }
}
