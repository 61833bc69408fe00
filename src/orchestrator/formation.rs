//! Reads what a release is to run with: config variables by name, scaling, what runs by the clock.

use super::Orchestrator;
use crate::domain::formation::{Formation, Scaling, ScheduledTask};
use crate::domain::lane::{Lane, ReleasePlan};
use crate::domain::names::BuildNumber;
use crate::domain::namespace::Namespace;
use crate::ports::failure::Failure;

impl Orchestrator {
    /// Returns the whole wanted state for a release, with all that is not part of the release as it is now.
    ///
    /// # Errors
    /// Fails when a store does not answer, or when a parameter is not what the contract says.
    pub async fn formation(&self, lane: &Lane, build: BuildNumber, plan: &ReleasePlan) -> Result<Formation, Failure> {
        let namespace = Namespace::default();
        let settings = self.settings.settings(&lane.key).await?;
        let mut scaling = Scaling::new(settings.usual_size());
        for name in namespace.scaling_parameters(&lane.key) {
            if let Some(text) = self.parameters.get(&name).await? {
                scaling = scaling.with(&text).map_err(|error| Failure::refused(format!("use {name}"), error))?;
            }
        }
        let scheduled_tasks = match namespace.scheduled_tasks_parameter(&lane.key) {
            None => Vec::new(),
            Some(name) => match self.parameters.get(&name).await? {
                None => Vec::new(),
                Some(text) => {
                    ScheduledTask::list(&text).map_err(|error| Failure::refused(format!("use {name}"), error))?
                }
            },
        };
        let of_build = lane.builds.get(&build).map(|known| &known.commit);
        let rollback = lane.rollback.as_ref().map(|rollback| &rollback.release);
        let removal = lane.removal.as_ref().and_then(|removal| removal.last_command.as_ref());
        let mut releases = lane.live.iter().chain(rollback).chain(removal.map(|last| &last.release));
        let of_release = releases.find(|release| release.build == build).map(|release| &release.commit);
        let commit = of_build.or(of_release).cloned().unwrap_or_default();
        let config = self.config.names(&lane.key).await?;
        Ok(Formation { build, commit, plan: plan.clone(), config, scaling, scheduled_tasks })
    }
}
