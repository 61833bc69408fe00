//! Release, Postdeploy and Deploy: the part in which a build has the lane's one turn.

use super::action::Action;
use super::decide::{Irrelevant, Step};
use super::event::{ServicesState, TaskExit};
use super::phase::{Phase, PhaseState};
use super::release::{Release, ReleasePlan, Sizes};
use super::state::{Build, Ending};
use super::task::{TaskKey, TaskKind, TaskState, exit_in_words};
use crate::domain::names::BuildNumber;

/// `DescribeServices` takes at most ten; clients hand over all that a deploy lists.
const SHOWN_SERVICES: usize = 10;

impl Step {
    pub(super) fn begin_release(&mut self, number: BuildNumber) {
        let sequence = self.next_sequence();
        self.lane.converging = None;
        let Some(plan) = self.lane.build_mut(number).and_then(|build| build.plan.as_mut()) else { return };
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
        if let (Some(build), Some(phase)) = (self.lane.build_mut(number), kind.phase()) {
            build.end_phase(PhaseState::Succeeded, now);
            build.enter(phase, now);
        }
        self.ask_for_task(TaskKey { build: number, kind, attempt: 1 }, image.to_owned(), command);
    }

    pub(super) fn ask_for_task(&mut self, key: TaskKey, image: String, command: String) {
        if let Some(build) = self.lane.build_mut(key.build) {
            build.task = Some(TaskState::new(key.clone(), self.now));
        }
        self.owe(Action::RunTask { task: key, image, command });
    }

    pub(super) fn begin_deploy(&mut self, number: BuildNumber, plan: &ReleasePlan) {
        let now = self.now;
        if let Some(build) = self.lane.build_mut(number) {
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

    /// A task was asked for, or may not be.
    pub(super) fn task_ordered(&mut self, key: &TaskKey, refused: Option<&str>) {
        let now = self.now;
        if let Some(task) = self.last_command(key) {
            match refused {
                Some(_) => self.remove_review_app(),
                None => task.ordered(now),
            }
            return;
        }
        let Ok(build) = self.waiting_for(key) else { return };
        match (refused, build.task.as_mut()) {
            (Some(cause), _) => build.fail(&format!("the {} task was refused: {cause}", key.kind), now),
            (None, Some(task)) => task.ordered(now),
            (None, None) => {}
        }
    }

    pub(super) fn task_running(&mut self, key: &TaskKey, arn: &str, logs: &str) -> Result<(), Irrelevant> {
        const KNOWN: Irrelevant = "the task was seen running before";
        if let Some(task) = self.last_command(key) {
            return if std::mem::replace(&mut task.running, true) { Err(KNOWN) } else { Ok(()) };
        }
        let build = self.waiting_for(key)?;
        let task = build.task.as_mut().ok_or("nothing waits for this task")?;
        if task.running {
            return Err(KNOWN);
        }
        task.running = true;
        task.requested = true;
        if let Some(record) = key.kind.phase().and_then(|phase| build.phases.get_mut(&phase)) {
            record.arns = vec![arn.to_owned()];
            logs.clone_into(&mut record.logs);
        }
        Ok(())
    }

    pub(super) fn task_ended(&mut self, key: &TaskKey, exit: &TaskExit, logs: &str) -> Result<(), Irrelevant> {
        const HIDDEN: Irrelevant = "the task may not be visible yet";
        if self.lane.draining.as_ref().is_some_and(|(draining, _)| draining == key) {
            self.lane.draining = None;
            return Ok(());
        }
        let now = self.now;
        let hidden = |task: &TaskState| *exit == TaskExit::Unknown && task.may_be_hidden(now);
        if let Some(task) = self.last_command(key) {
            if hidden(task) {
                return Err(HIDDEN);
            }
            self.last_command_ended(key, exit, logs);
            return Ok(());
        }
        let build = self.waiting_for(key)?;
        if build.task.as_ref().is_some_and(hidden) {
            return Err(HIDDEN);
        }
        let plan = build.plan.clone().ok_or("the build has no plan")?;
        let kind = key.kind;
        if let Some(record) = kind.phase().and_then(|phase| build.phases.get_mut(&phase)).filter(|_| !logs.is_empty()) {
            logs.clone_into(&mut record.logs);
        }
        let failure = match exit {
            TaskExit::Code { code: 0, .. } => None,
            TaskExit::Code { code, reason } => Some(exit_in_words(kind, *code, reason.as_deref())),
            TaskExit::Stopped { reason } if reason.is_empty() => {
                Some(format!("the {kind} task was stopped by somebody"))
            }
            TaskExit::Stopped { reason } => Some(format!("the {kind} task was stopped: {reason}")),
            TaskExit::Unknown => Some(format!("outcome unknown: nobody can tell whether the {kind} command ran")),
            TaskExit::NoCode { reason } if key.attempt >= TaskKey::ATTEMPTS => {
                Some(format!("the {kind} task did not run, {} times: {reason}", TaskKey::ATTEMPTS))
            }
            TaskExit::NoCode { .. } => {
                let command = match kind {
                    TaskKind::Release => plan.release_command,
                    TaskKind::Postdeploy => plan.postdeploy_command,
                    TaskKind::PreDestroy => None,
                };
                self.drop_owed(|action| matches!(action, Action::RunTask { task, .. } if task == key));
                self.ask_for_task(key.again(), plan.image, command.unwrap_or_default());
                return Ok(());
            }
        };
        if let Some(cause) = &failure {
            build.fail(cause, now);
        }
        self.drop_owed(|action| matches!(action, Action::RunTask { task, .. } if task == key));
        if logs.is_empty() && matches!(exit, TaskExit::Code { .. } | TaskExit::Stopped { .. }) {
            self.owe(Action::KeepLog { task: key.clone() });
        }
        match kind {
            _ if failure.is_some() => {}
            TaskKind::Release => self.after_release(key.build, &plan),
            TaskKind::Postdeploy => {
                self.lane.postdeployed = true;
                self.begin_deploy(key.build, &plan);
            }
            TaskKind::PreDestroy => {}
        }
        Ok(())
    }

    pub(super) fn log_kept(&mut self, key: &TaskKey, url: &str) {
        let build = self.lane.build_mut(key.build);
        let record = build.zip(key.kind.phase()).and_then(|(build, phase)| build.phases.get_mut(&phase));
        if let Some(record) = record {
            url.clone_into(&mut record.logs);
        }
    }

    /// Which of the lane's orders to its services this one is, if it still matters.
    fn order_of(&self, number: BuildNumber, sequence: u64) -> Option<Order> {
        let lane = &self.lane;
        let is = |plan: &ReleasePlan| plan.sequence == sequence;
        let deploys = |build: &Build| {
            build.in_flight() && build.current_phase() == Some(Phase::Deploy) && build.plan.as_ref().is_some_and(is)
        };
        if lane.builds.get(&number).is_some_and(|build| deploys(build)) {
            return Some(Order::Deploy);
        }
        if lane.rollback.as_ref().is_some_and(|rollback| rollback.deploying.is_some() && is(&rollback.release.plan)) {
            return Some(Order::Rollback);
        }
        lane.live.as_ref().is_some_and(|live| is(&live.plan)).then_some(Order::Settings)
    }

    pub(super) fn services_ordered(&mut self, number: BuildNumber, sequence: u64, sizes: &Sizes) {
        let place = match self.order_of(number, sequence) {
            Some(Order::Deploy) => self.lane.build_mut(number).map(|build| &mut build.sizes),
            Some(Order::Rollback) => self.lane.rollback.as_mut().map(|rollback| &mut rollback.release.sizes),
            Some(Order::Settings) => self.lane.live.as_mut().map(|live| &mut live.sizes),
            None => None,
        };
        if let Some(place) = place {
            place.clone_from(sizes);
        }
    }

    pub(super) fn services_refused(&mut self, number: BuildNumber, sequence: u64, cause: &str) {
        let now = self.now;
        match self.order_of(number, sequence) {
            Some(Order::Deploy) => {
                if let Ok(build) = self.in_flight(number) {
                    build.fail(&format!("the services could not be updated: {cause}"), now);
                    self.lane.failed_deploy = Some(number);
                }
            }
            Some(Order::Rollback) => {
                if let Some(rollback) = self.lane.rollback.take() {
                    self.rollback_failed(&rollback);
                }
            }
            Some(Order::Settings) => self.lane.converging = None,
            None => {}
        }
    }

    pub(super) fn services_seen(
        &mut self,
        number: BuildNumber,
        sequence: u64,
        state: &ServicesState,
    ) -> Result<(), Irrelevant> {
        let this = |action: &Action| matches!(action, Action::UpdateServices { plan, .. } if plan.sequence == sequence);
        if self.owes(this) {
            return Err("the services were not asked to change yet");
        }
        let now = self.now;
        match self.order_of(number, sequence) {
            Some(Order::Deploy) => {}
            Some(Order::Rollback) => {
                self.rollback_seen(state);
                return Ok(());
            }
            Some(Order::Settings) if self.lane.converging.is_some() => {
                self.lane.converging = None;
                return Ok(());
            }
            Some(Order::Settings) | None => return Err("nothing waits for these services"),
        }
        let goes_on = self.lane.live.as_ref().map(|live| live.build);
        let build = self.in_flight(number)?;
        let Some(plan) = build.plan.clone() else { return Err("the build has no plan") };
        match state {
            ServicesState::Steady => {
                build.end_phase(PhaseState::Succeeded, now);
                build.ending = Some(Ending::Deployed);
                let (arn, commit, started) = (build.arn.clone(), build.commit.clone(), build.started);
                let sizes = build.sizes.clone();
                self.lane.live = Some(Release { build: number, arn, commit, started, plan, at: now, sizes });
                self.lane.failed_deploy = None;
                self.lane.postdeployed = true;
            }
            ServicesState::Failed { cause } => {
                let after = match goes_on {
                    Some(live) => format!("build {live} goes on running"),
                    None => "it is the first deploy, so there is no release to go back to".to_owned(),
                };
                build.fail(&format!("{cause}; {after}"), now);
                self.lane.failed_deploy = Some(number);
            }
        }
        Ok(())
    }
}

/// What an order to the services is for.
enum Order {
    Deploy,
    Rollback,
    Settings,
}
