//! What runs by the clock: a container per run, which is gone after its end.

use super::super::labels::{BUILD, PROCESS, ROLE_JOB};
use super::{ContainerPlace, OneOff};
use crate::domain::ecs::schedule_name;
use crate::domain::lane::LaneKey;
use crate::domain::place_record::Jobs;
use crate::domain::schedule::{Occurrence, due};
use crate::ports::container_engine::ContainerState;
use crate::ports::failure::{Failure, chain};

/// The process type under which jobs are shown and scaled, as in an account.
pub const SCHEDULER: &str = "scheduler";

impl ContainerPlace {
    /// Starts the jobs of the live release that are due now, and returns in words what could not be started.
    ///
    /// The name of a run's container says what it runs and for which minute, and the moment up to which all was started is noted
    /// afterwards: somebody who was killed in between starts nothing twice. What was missed by more than five minutes is left
    /// out.
    ///
    /// # Errors
    /// Fails when the engine or a store does not answer; what is due is then started by the next call.
    pub async fn start_due_jobs(&self, lane: &LaneKey) -> Result<Vec<String>, Failure> {
        let (record, _) = self.records.load(lane).await?;
        let (Some(jobs), now) = (record.jobs, self.clock.now()) else { return Ok(Vec::new()) };
        if now.0 / 60 == jobs.until.0 / 60 {
            return Ok(Vec::new());
        }
        let mut refused = Vec::new();
        for run in due(&jobs.tasks, jobs.until, now) {
            match self.start_job(lane, &jobs, &run).await {
                Ok(()) => {}
                Err(failure) if failure.is_passing() => return Err(failure),
                Err(failure) => refused.push(format!("`{}` was not started: {}", run.task.command, chain(&failure))),
            }
        }
        self.remember(lane, |record| {
            let Some(jobs) = record.jobs.as_mut() else { return false };
            std::mem::replace(&mut jobs.until, now) != now
        })
        .await?;
        Ok(refused)
    }

    async fn start_job(&self, lane: &LaneKey, jobs: &Jobs, run: &Occurrence<'_>) -> Result<(), Failure> {
        let Occurrence { task, copy, at } = run;
        let schedule = schedule_name(lane, &task.schedule, &task.command, *copy);
        let hash = schedule.rsplit('-').next().unwrap_or(&schedule);
        let mut labels = self.labelled(lane, ROLE_JOB);
        labels.insert(BUILD.to_owned(), jobs.build.to_string());
        labels.insert(PROCESS.to_owned(), SCHEDULER.to_owned());
        let once = OneOff {
            name: self.name(lane, format_args!("{SCHEDULER}-{hash}-{}", at.0 / 60)),
            image: &jobs.image,
            command: &task.command,
            memory: jobs.size.memory,
            labels,
        };
        let container = self.one_off(lane, once).await?;
        self.make_once(&container).await?;
        let made = self.engine.container(&container.name).await?;
        if !made.is_some_and(|made| matches!(made.state, ContainerState::Created { .. })) {
            return Ok(());
        }
        match self.begin(&container).await {
            Err(failure) if !failure.is_passing() => {
                self.engine.remove(&container.name).await?;
                Err(failure)
            }
            other => other,
        }
    }

    /// The containers of runs that were started and whose end nobody has seen.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn jobs(&self, lane: &LaneKey) -> Result<Vec<String>, Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_JOB)).await?;
        Ok(all.into_iter().map(|container| container.name).collect())
    }

    /// Waits for the end of a run, removes its container and returns its exit code.
    ///
    /// # Errors
    /// Fails when the engine does not answer, or when somebody else has removed it.
    pub async fn end_of_job(&self, container: &str) -> Result<i64, Failure> {
        let code = self.engine.wait(container).await?;
        self.engine.remove(container).await?;
        Ok(code)
    }
}
