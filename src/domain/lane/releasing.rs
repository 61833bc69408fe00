//! Release, Postdeploy and Deploy: the part in which a build has the lane's one turn.

use super::action::Action;
use super::decide::{Irrelevant, Step};
use super::event::{ServicesState, TaskExit};
use super::phase::{Phase, PhaseState};
use super::release::{Release, ReleasePlan};
use super::state::{Build, Ending};
use super::task::{TaskKey, TaskKind, TaskState};
use crate::domain::names::BuildNumber;

/// Attempts at a task that keeps ending without an exit code.
const TASK_ATTEMPTS: u32 = 3;
/// `DescribeServices` takes at most ten; clients hand over all that a deploy lists.
const SHOWN_SERVICES: usize = 10;

impl Step {
    pub(super) fn begin_release(&mut self, number: BuildNumber) {
        self.lane.releases += 1;
        let sequence = self.lane.releases;
        let Some(plan) = self.lane.builds.get_mut(&number).and_then(|build| build.plan.as_mut()) else { return };
        plan.sequence = sequence;
        let plan = plan.clone();
        match plan.release_command.clone() {
            Some(command) => self.begin_task(number, TaskKind::Release, &plan.image, command),
            None => self.after_release(number, &plan),
        }
    }

    pub(super) fn after_release(&mut self, number: BuildNumber, plan: &ReleasePlan) {
        let first = self.lane.key.pull_request.is_some() && !self.lane.postdeployed;
        match plan.postdeploy_command.clone().filter(|_| first) {
            Some(command) => self.begin_task(number, TaskKind::Postdeploy, &plan.image, command),
            None => self.begin_deploy(number, plan),
        }
    }

    pub(super) fn begin_task(&mut self, number: BuildNumber, kind: TaskKind, image: &str, command: String) {
        let now = self.now;
        if let Some(build) = self.lane.builds.get_mut(&number) {
            build.end_phase(PhaseState::Succeeded, now);
            build.enter(kind.phase(), now);
        }
        self.ask_for_task(TaskKey { build: number, kind, attempt: 1 }, image.to_owned(), command);
    }

    pub(super) fn ask_for_task(&mut self, key: TaskKey, image: String, command: String) {
        if let Some(build) = self.lane.builds.get_mut(&key.build) {
            build.task = Some(TaskState { key: key.clone(), requested: false, running: false });
        }
        self.owe(Action::RunTask { task: key, image, command });
    }

    pub(super) fn begin_deploy(&mut self, number: BuildNumber, plan: &ReleasePlan) {
        let now = self.now;
        if let Some(build) = self.lane.builds.get_mut(&number) {
            build.end_phase(PhaseState::Succeeded, now);
            build.enter(Phase::Deploy, now);
            build.task = None;
            if let Some(record) = build.phases.get_mut(&Phase::Deploy) {
                let (web, others): (Vec<_>, Vec<_>) = plan.services.iter().partition(|(process, _)| process.is_web());
                let arns = web.into_iter().chain(others).map(|(_, service)| service.arn.clone());
                record.arns = arns.take(SHOWN_SERVICES).collect();
            }
        }
        self.owe(Action::UpdateServices { build: number, plan: plan.clone() });
    }

    pub(super) fn task_running(&mut self, key: &TaskKey, arn: &str, logs: &str) -> Result<(), Irrelevant> {
        let build = self.waiting_for(key)?;
        let task = build.task.as_mut().ok_or("nothing waits for this task")?;
        if task.running {
            return Err("the task was seen running before");
        }
        task.running = true;
        task.requested = true;
        if let Some(record) = build.phases.get_mut(&key.kind.phase()) {
            record.arns = vec![arn.to_owned()];
            logs.clone_into(&mut record.logs);
        }
        Ok(())
    }

    pub(super) fn task_ended(&mut self, key: &TaskKey, exit: &TaskExit, logs: &str) -> Result<(), Irrelevant> {
        if self.lane.draining.as_ref().is_some_and(|(draining, _)| draining == key) {
            self.lane.draining = None;
            return Ok(());
        }
        let now = self.now;
        let build = self.waiting_for(key)?;
        let plan = build.plan.clone().ok_or("the build has no plan")?;
        let phase = key.kind.phase();
        if let Some(record) = build.phases.get_mut(&phase).filter(|_| !logs.is_empty()) {
            logs.clone_into(&mut record.logs);
        }
        let fail = |build: &mut Build, cause: String| {
            build.fail(&cause, now);
            Ok(())
        };
        match exit {
            TaskExit::Code(0) => {}
            TaskExit::Code(code) => return fail(build, format!("the {phase} command exited with code {code}")),
            TaskExit::Unknown => {
                return fail(build, format!("outcome unknown: nobody can tell whether the {phase} command ran"));
            }
            TaskExit::NoCode { reason } if key.attempt >= TASK_ATTEMPTS => {
                return fail(build, format!("the {phase} task did not run, {TASK_ATTEMPTS} times: {reason}"));
            }
            TaskExit::NoCode { .. } => {
                let command = match key.kind {
                    TaskKind::Release => plan.release_command,
                    TaskKind::Postdeploy => plan.postdeploy_command,
                };
                let again = TaskKey { attempt: key.attempt + 1, ..key.clone() };
                self.drop_owed(|action| matches!(action, Action::RunTask { task, .. } if task == key));
                self.ask_for_task(again, plan.image, command.unwrap_or_default());
                return Ok(());
            }
        }
        self.drop_owed(|action| matches!(action, Action::RunTask { task, .. } if task == key));
        match key.kind {
            TaskKind::Release => self.after_release(key.build, &plan),
            TaskKind::Postdeploy => {
                self.lane.postdeployed = true;
                self.begin_deploy(key.build, &plan);
            }
        }
        Ok(())
    }

    pub(super) fn services_seen(&mut self, number: BuildNumber, state: &ServicesState) -> Result<(), Irrelevant> {
        if self.owes(|action| matches!(action, Action::UpdateServices { build, .. } if *build == number)) {
            return Err("the services were not asked to change yet");
        }
        let now = self.now;
        let build = self.in_flight(number)?;
        if build.current_phase() != Some(Phase::Deploy) {
            return Err("the build does not deploy");
        }
        let Some(plan) = build.plan.clone() else { return Err("the build has no plan") };
        match state {
            ServicesState::Steady => {
                build.end_phase(PhaseState::Succeeded, now);
                build.ending = Some(Ending::Deployed);
                let (arn, commit, started) = (build.arn.clone(), build.commit.clone(), build.started);
                self.lane.live = Some(Release { build: number, arn, commit, started, plan, at: now });
                self.lane.failed_deploy = None;
                self.lane.postdeployed = true;
            }
            ServicesState::Failed { cause } => {
                build.fail(cause, now);
                self.lane.failed_deploy = Some(number);
            }
        }
        Ok(())
    }
}
