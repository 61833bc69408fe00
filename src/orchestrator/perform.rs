//! Carries out what a lane owes. Doing any of it again is safe.

use super::Orchestrator;
use crate::domain::lane::{Action, ActionResult, Lane};
use crate::ports::failure::Failure;
use crate::ports::place::TaskRequest;

impl Orchestrator {
    pub(super) async fn perform(&self, lane: &Lane, action: &Action) -> Result<ActionResult, Failure> {
        match action {
            Action::ReadArtifacts { build } => {
                return Ok(ActionResult::Artifacts(Box::new(self.read_artifacts(lane, *build).await?)));
            }
            Action::RunTask { task, image, command } => {
                let request = TaskRequest {
                    lane: lane.key.clone(),
                    key: task.clone(),
                    image: image.clone(),
                    command: command.clone(),
                };
                self.place.start_task(&request).await?;
            }
            Action::StopTask { task } => self.place.stop_task(&lane.key, task).await?,
            Action::UpdateServices { build, plan } => self.place.update_services(&lane.key, *build, plan).await?,
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
