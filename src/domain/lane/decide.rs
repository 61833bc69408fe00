//! Decides what a lane does next.

use super::event::{
    Action, ActionId, ActionResult, ArtifactsRead, BuildResult, Event, ServicesState, TaskExit, time_limit,
};
use super::projection::build_record;
use super::state::{
    Build, Ending, Lane, Phase, PhaseRecord, PhaseState, Release, ReleasePlan, TaskKey, TaskKind, TaskState,
};
use crate::domain::names::{BuildNumber, EpochSeconds};

/// What follows from an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The lane becomes this one; its owed actions are to be performed once it is stored.
    Changed(Box<Lane>),
    /// Nothing follows, for this reason.
    Ignored(&'static str),
}

/// Attempts at a task that keeps ending without an exit code.
const TASK_ATTEMPTS: u32 = 3;
/// Seconds after which a task that was told to stop no longer holds the lane's turn.
const DRAIN_LIMIT: u64 = 10 * 60;
/// Ended builds that a lane remembers, so that late events about them find them ended.
const REMEMBERED: usize = 10;
/// `DescribeServices` takes at most ten; clients hand over all that a deploy lists.
const SHOWN_SERVICES: usize = 10;

/// Decides what a lane does next.
///
/// Total over every lane and event. EventBridge may repeat, reorder or drop an event, so one that no longer matters is
/// [`Decision::Ignored`] with its reason and is never an error.
pub fn decide(lane: &Lane, event: &Event, now: EpochSeconds) -> Decision {
    let mut step = Step { lane: lane.clone(), now };
    if let Err(reason) = step.apply(event) {
        return Decision::Ignored(reason);
    }
    step.give_turn();
    step.note_unprojected(lane);
    step.forget();
    if step.lane == *lane { Decision::Ignored("nothing new") } else { Decision::Changed(Box::new(step.lane)) }
}

/// Why an event changes nothing.
type Irrelevant = &'static str;

/// A lane while it takes one step.
struct Step {
    lane: Lane,
    now: EpochSeconds,
}

impl Step {
    fn apply(&mut self, event: &Event) -> Result<(), Irrelevant> {
        match event {
            Event::BuildStarted { .. } => self.build_started(event),
            Event::ImageBuilt { number } => self.image_built(*number),
            Event::TestsPassed { number, by_runner } => self.tests_passed(*number, *by_runner),
            Event::BuildSkipped { number, reason } => self.build_skipped(*number, reason),
            Event::BuildFailed { number, phase, cause } => self.build_failed(*number, *phase, cause),
            Event::BuildEnded { number, result } => self.build_ended(*number, result),
            Event::TaskRunning { task, arn, logs } => self.task_running(task, arn, logs),
            Event::TaskEnded { task, exit, logs } => self.task_ended(task, exit, logs),
            Event::ServicesSeen { number, state } => self.services_seen(*number, state),
            Event::Performed { action, result } => self.performed(*action, result),
            Event::Projected { builds } => self.projected(builds),
            Event::PullRequestClosed { at } => self.pull_request_closed(*at),
            Event::Tick => self.tick(),
        }
    }

    // Build and Test: facts of the runner, or CodeBuild's word where no runner reports.

    fn build_started(&mut self, event: &Event) -> Result<(), Irrelevant> {
        let Event::BuildStarted { number, arn, commit, started, logs, by_runner } = event else {
            return Err("not about a start");
        };
        if self.lane.forgotten >= Some(*number) {
            return Err("the build is over and forgotten");
        }
        if let Some(build) = self.lane.builds.get_mut(number) {
            if !build.in_flight() {
                return Err("the build is over");
            }
            build.runner_reports |= by_runner;
            if build.commit.is_empty() {
                build.commit.clone_from(commit);
            }
            if let Some(record) = build.phases.get_mut(&Phase::Build)
                && record.logs.is_empty()
            {
                record.logs.clone_from(logs);
            }
            return Ok(());
        }
        if let Some(closed) = self.lane.closed {
            if *started <= closed {
                return Err("the pull request was closed");
            }
            // It was opened again: a new review app, which is initialized anew.
            self.lane.closed = None;
            self.lane.postdeployed = false;
        }
        let mut build = Build {
            number: *number,
            arn: arn.clone(),
            commit: commit.clone(),
            started: *started,
            runner_reports: *by_runner,
            phases: std::collections::BTreeMap::new(),
            plan: None,
            task: None,
            ending: None,
            settled: false,
        };
        build.enter(Phase::Build, *started);
        if let Some(record) = build.phases.get_mut(&Phase::Build) {
            record.logs.clone_from(logs);
        }
        self.lane.builds.insert(*number, build);
        Ok(())
    }

    fn image_built(&mut self, number: BuildNumber) -> Result<(), Irrelevant> {
        let now = self.now;
        let build = self.in_flight(number)?;
        if build.current_phase() != Some(Phase::Build) {
            return Err("the image was built before");
        }
        build.reach(Phase::Test, now);
        Ok(())
    }

    fn tests_passed(&mut self, number: BuildNumber, by_runner: bool) -> Result<(), Irrelevant> {
        let now = self.now;
        let build = self.in_flight(number)?;
        if build.current_phase() > Some(Phase::Test) {
            return Err("the tests passed before");
        }
        if build.runner_reports && !by_runner {
            return Err("only the runner's own word counts for this build");
        }
        build.reach(Phase::Finalize, now);
        Ok(())
    }

    fn build_skipped(&mut self, number: BuildNumber, reason: &str) -> Result<(), Irrelevant> {
        let build = self.in_flight(number)?;
        if build.current_phase() > Some(Phase::Finalize) {
            return Err("the build is already on its way out");
        }
        build.ending = Some(Ending::Skipped { reason: reason.to_owned() });
        build.settled = true;
        Ok(())
    }

    fn build_failed(&mut self, number: BuildNumber, phase: Phase, cause: &str) -> Result<(), Irrelevant> {
        let now = self.now;
        let build = self.in_flight(number)?;
        if build.current_phase() > Some(Phase::Test) {
            return Err("its image build and tests are over");
        }
        build.reach(phase.min(Phase::Test), now);
        build.fail(cause, now);
        Ok(())
    }

    fn build_ended(&mut self, number: BuildNumber, result: &BuildResult) -> Result<(), Irrelevant> {
        let now = self.now;
        let build = self.lane.builds.get_mut(&number).ok_or("the build is not known here")?;
        if build.settled {
            return Err("the end of this build is known");
        }
        if build.in_flight() {
            let tested = build.current_phase() > Some(Phase::Test);
            match result {
                BuildResult::Succeeded if !tested && build.runner_reports => {
                    build.fail("CodeBuild succeeded, but the runner never reported that the tests passed", now);
                }
                BuildResult::Succeeded => build.reach(Phase::Finalize, now),
                BuildResult::Failed { phase, cause } => {
                    if let (Some(phase), false) = (phase, build.runner_reports) {
                        build.reach((*phase).min(Phase::Finalize), now);
                    }
                    build.fail(cause, now);
                }
            }
        }
        if build.plan.is_none()
            && !self.owes(|action| matches!(action, Action::ReadArtifacts { build } if *build == number))
        {
            self.owe(Action::ReadArtifacts { build: number });
        }
        Ok(())
    }

    // Finalize: the artifacts are read, then the build waits for its turn.

    fn artifacts_read(&mut self, number: BuildNumber, read: &ArtifactsRead) {
        let now = self.now;
        let Some(build) = self.lane.builds.get_mut(&number) else { return };
        build.settled = true;
        for (phase, url) in [(Phase::Build, &read.build_log), (Phase::Test, &read.test_log)] {
            if let (Some(record), Some(url)) = (build.phases.get_mut(&phase), url) {
                record.logs.clone_from(url);
            }
        }
        if build.current_phase() != Some(Phase::Finalize) || !build.in_flight() {
            return;
        }
        match &read.plan {
            _ if read.skipped && !build.runner_reports => {
                build.ending = Some(Ending::Skipped { reason: "the builder had nothing to do".to_owned() });
            }
            Some(Ok(plan)) => build.plan = Some(plan.clone()),
            Some(Err(cause)) => build.fail(cause, now),
            None => build.fail("the build left no artifacts that say what to run", now),
        }
    }

    /// Gives the lane's one turn to the newest build that waits for it, and ends those that came too late.
    fn give_turn(&mut self) {
        let holder = self.lane.builds.values().find(|build| build.has_turn()).map(Build::order);
        let live = self.lane.live.as_ref().map(|live| (live.started, live.build));
        let waiting: Vec<(EpochSeconds, BuildNumber)> =
            self.lane.builds.values().filter(|build| build.waits_for_turn()).map(Build::order).collect();
        let free = holder.is_none() && self.lane.draining.is_none() && self.lane.closed.is_none();
        let next = waiting.iter().max().copied().filter(|next| free && Some(*next) > live);

        let newest = holder.max(live).max(next);
        for order in waiting {
            if let Some((_, by)) = newest.filter(|newest| order < *newest) {
                self.supersede(order.1, by);
            }
        }
        if let Some((_, number)) = next {
            self.begin_release(number);
        }
    }

    fn supersede(&mut self, number: BuildNumber, by: BuildNumber) {
        let now = self.now;
        if let Some(build) = self.lane.builds.get_mut(&number) {
            build.end_phase(PhaseState::Failed, now);
            build.ending = Some(Ending::Superseded { by });
        }
    }

    // Release, Postdeploy, Deploy.

    fn begin_release(&mut self, number: BuildNumber) {
        self.lane.releases += 1;
        let plan = self.lane.builds.get(&number).and_then(|build| build.plan.clone());
        let Some(plan) = plan else { return };
        match plan.release_command.clone() {
            Some(command) => self.begin_task(number, TaskKind::Release, &plan.image, command),
            None => self.after_release(number, &plan),
        }
    }

    fn after_release(&mut self, number: BuildNumber, plan: &ReleasePlan) {
        let first = self.lane.key.pull_request.is_some() && !self.lane.postdeployed;
        match plan.postdeploy_command.clone().filter(|_| first) {
            Some(command) => self.begin_task(number, TaskKind::Postdeploy, &plan.image, command),
            None => self.begin_deploy(number, plan),
        }
    }

    fn begin_task(&mut self, number: BuildNumber, kind: TaskKind, image: &str, command: String) {
        let now = self.now;
        if let Some(build) = self.lane.builds.get_mut(&number) {
            build.end_phase(PhaseState::Succeeded, now);
            build.enter(kind.phase(), now);
        }
        self.ask_for_task(TaskKey { build: number, kind, attempt: 1 }, image.to_owned(), command);
    }

    fn ask_for_task(&mut self, key: TaskKey, image: String, command: String) {
        if let Some(build) = self.lane.builds.get_mut(&key.build) {
            build.task = Some(TaskState { key: key.clone(), requested: false, running: false });
        }
        self.owe(Action::RunTask { task: key, image, command });
    }

    fn begin_deploy(&mut self, number: BuildNumber, plan: &ReleasePlan) {
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

    fn task_running(&mut self, key: &TaskKey, arn: &str, logs: &str) -> Result<(), Irrelevant> {
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

    fn task_ended(&mut self, key: &TaskKey, exit: &TaskExit, logs: &str) -> Result<(), Irrelevant> {
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

    fn services_seen(&mut self, number: BuildNumber, state: &ServicesState) -> Result<(), Irrelevant> {
        if self.owes(|action| matches!(action, Action::UpdateServices { build, .. } if *build == number)) {
            return Err("the services were not asked to change yet");
        }
        let now = self.now;
        let sequence = self.lane.releases;
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
                self.lane.live = Some(Release { sequence, build: number, arn, commit, started, plan, at: now });
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

    // What came of an action, and of time passing.

    fn performed(&mut self, id: ActionId, result: &ActionResult) -> Result<(), Irrelevant> {
        let action = self.lane.owed.remove(&id).ok_or("the action is not owed any more")?;
        let now = self.now;
        let refused = match result {
            ActionResult::Refused { cause } => Some(cause.as_str()),
            ActionResult::Done | ActionResult::Artifacts(_) => None,
        };
        match (action, result) {
            (Action::ReadArtifacts { build }, ActionResult::Artifacts(read)) => self.artifacts_read(build, read),
            (Action::ReadArtifacts { build }, _) => {
                let plan = Some(Err(refused.unwrap_or("the artifacts were not read").to_owned()));
                self.artifacts_read(build, &ArtifactsRead { plan, ..ArtifactsRead::default() });
            }
            (Action::RunTask { task, .. }, _) => {
                if let Ok(build) = self.waiting_for(&task) {
                    match (refused, build.task.as_mut()) {
                        (Some(cause), _) => {
                            build.fail(&format!("the {} task was refused: {cause}", task.kind.phase()), now);
                        }
                        (None, Some(state)) => state.requested = true,
                        (None, None) => {}
                    }
                }
            }
            (Action::UpdateServices { build, .. }, _) => {
                if let (Some(cause), Ok(deploying)) = (refused, self.in_flight(build)) {
                    deploying.fail(&format!("the services could not be updated: {cause}"), now);
                    self.lane.failed_deploy = Some(build);
                }
            }
            (Action::StopTask { .. } | Action::StopBuild { .. } | Action::RemoveReviewApp, _) => {}
        }
        Ok(())
    }

    fn projected(&mut self, builds: &[BuildNumber]) -> Result<(), Irrelevant> {
        let before = self.lane.unprojected.len();
        self.lane.unprojected.retain(|number| !builds.contains(number));
        if self.lane.unprojected.len() == before { Err("the items were known to be written") } else { Ok(()) }
    }

    fn pull_request_closed(&mut self, at: EpochSeconds) -> Result<(), Irrelevant> {
        if self.lane.key.pull_request.is_none() {
            return Err("an app has no pull request to close");
        }
        if self.lane.closed.is_some() {
            return Err("the pull request was closed before");
        }
        if self.lane.builds.values().any(|build| build.started > at) {
            return Err("the pull request was opened again since");
        }
        let now = self.now;
        self.lane.closed = Some(at);
        self.lane.live = None;
        self.lane.failed_deploy = None;
        self.lane.draining = None;
        // Nothing may begin any more; what runs ends with the review app.
        self.drop_owed(|action| {
            matches!(action, Action::RunTask { .. } | Action::UpdateServices { .. } | Action::StopTask { .. })
        });
        let mut stops = Vec::new();
        for build in self.lane.builds.values_mut().filter(|build| build.in_flight()) {
            build.fail("the pull request was closed", now);
            if !build.settled {
                stops.push(Action::StopBuild { build: build.number, arn: build.arn.clone() });
            }
        }
        for stop in stops {
            self.owe(stop);
        }
        self.owe(Action::RemoveReviewApp);
        Ok(())
    }

    fn tick(&mut self) -> Result<(), Irrelevant> {
        let now = self.now;
        let mut due = false;
        if self.lane.draining.as_ref().is_some_and(|(_, since)| now.since(*since) > DRAIN_LIMIT) {
            self.lane.draining = None;
            due = true;
        }
        for number in self.lane.builds.keys().copied().collect::<Vec<_>>() {
            due |= self.tick_build(number);
        }
        if due { Ok(()) } else { Err("nothing is due") }
    }

    /// Ends a build that ran out of time; tells whether it did.
    fn tick_build(&mut self, number: BuildNumber) -> bool {
        let now = self.now;
        let Some(build) = self.lane.builds.get_mut(&number) else { return false };
        let Some(phase) = build.current_phase().filter(|_| build.in_flight()) else {
            // Its end in CodeBuild was never heard of: give up on its logs.
            let ended = build.phases.values().filter_map(|record| record.end).max().unwrap_or(build.started);
            let forsaken = !build.settled && now.since(ended) > time_limit(Phase::Build);
            build.settled |= forsaken;
            return forsaken;
        };
        let began = build.phases.get(&phase).map_or(build.started, |record| record.start);
        // A build that waits for its turn is bounded by the one that has it.
        if build.waits_for_turn() || now.since(began) <= time_limit(phase) {
            return false;
        }
        let minutes = time_limit(phase) / 60;
        build.fail(&format!("the {phase} phase did not end within {minutes} minutes"), now);
        match phase {
            Phase::Build | Phase::Test => {
                let arn = build.arn.clone();
                self.owe(Action::StopBuild { build: number, arn });
            }
            Phase::Release | Phase::Postdeploy => self.drain(number),
            Phase::Deploy => {
                self.lane.failed_deploy = Some(number);
                self.drop_owed(|action| matches!(action, Action::UpdateServices { build, .. } if *build == number));
            }
            Phase::Finalize => {
                build.settled = true;
                self.drop_owed(|action| matches!(action, Action::ReadArtifacts { build } if *build == number));
            }
        }
        true
    }

    /// Stops the task of a build that ran out of time; it holds the turn until it is seen gone.
    fn drain(&mut self, number: BuildNumber) {
        let task = self.lane.builds.get(&number).and_then(|build| build.task.clone());
        let Some(task) = task else { return };
        // One that was never asked for cannot run once the order is withdrawn, unless the order was just being
        // carried out: so it is stopped all the same.
        self.drop_owed(|action| matches!(action, Action::RunTask { task: owed, .. } if *owed == task.key));
        self.lane.draining = Some((task.key.clone(), self.now));
        self.owe(Action::StopTask { task: task.key });
    }

    // Small things.

    fn in_flight(&mut self, number: BuildNumber) -> Result<&mut Build, Irrelevant> {
        let build = self.lane.builds.get_mut(&number).ok_or("the build is not known here")?;
        if build.in_flight() { Ok(build) } else { Err("the build is over") }
    }

    /// Returns the build that waits for exactly this attempt.
    fn waiting_for(&mut self, key: &TaskKey) -> Result<&mut Build, Irrelevant> {
        let build = self.in_flight(key.build)?;
        let waits =
            build.current_phase() == Some(key.kind.phase()) && build.task.as_ref().is_some_and(|task| task.key == *key);
        if waits { Ok(build) } else { Err("nothing waits for this task") }
    }

    fn owe(&mut self, action: Action) {
        let id = self.lane.next_action;
        self.lane.next_action = ActionId(id.0 + 1);
        self.lane.owed.insert(id, action);
    }

    fn owes(&self, wanted: impl Fn(&Action) -> bool) -> bool {
        self.lane.owed.values().any(wanted)
    }

    fn drop_owed(&mut self, unwanted: impl Fn(&Action) -> bool) {
        self.lane.owed.retain(|_, action| !unwanted(action));
    }

    fn note_unprojected(&mut self, before: &Lane) {
        for number in self.lane.builds.keys() {
            if build_record(&self.lane, *number) != build_record(before, *number) {
                self.lane.unprojected.insert(*number);
            }
        }
    }

    /// Forgets the oldest builds, from the lowest number up to the first that still matters.
    fn forget(&mut self) {
        while self.lane.builds.len() > REMEMBERED {
            let Some((number, build)) = self.lane.builds.first_key_value() else { return };
            let number = *number;
            let matters = build.in_flight()
                || !build.settled
                || self.lane.unprojected.contains(&number)
                || self.lane.failed_deploy == Some(number);
            if matters {
                return;
            }
            self.lane.builds.remove(&number);
            self.lane.forgotten = Some(number);
        }
    }
}

impl Build {
    /// Tells whether all that is missing is the lane's turn.
    pub(super) fn waits_for_turn(&self) -> bool {
        self.in_flight() && self.current_phase() == Some(Phase::Finalize) && self.plan.is_some()
    }

    fn enter(&mut self, phase: Phase, now: EpochSeconds) {
        let mut record = PhaseRecord::started(now);
        if phase <= Phase::Test {
            record.arns = vec![self.arn.to_string()];
        }
        self.phases.insert(phase, record);
    }

    fn end_phase(&mut self, state: PhaseState, now: EpochSeconds) {
        if let Some(record) = self.current_phase().and_then(|phase| self.phases.get_mut(&phase)) {
            record.state = state;
            record.end = Some(now.max(record.start));
        }
    }

    /// Ends the phases before `phase` well and begins those up to it; never goes back.
    fn reach(&mut self, phase: Phase, now: EpochSeconds) {
        while let Some(current) = self.current_phase().filter(|current| *current < phase) {
            let next = match current {
                Phase::Build => Phase::Test,
                _ => Phase::Finalize,
            };
            self.end_phase(PhaseState::Succeeded, now);
            self.enter(next, now);
        }
    }

    fn fail(&mut self, cause: &str, now: EpochSeconds) {
        let Some(phase) = self.current_phase() else { return };
        self.end_phase(PhaseState::Failed, now);
        self.ending = Some(Ending::Failed { phase, cause: cause.to_owned() });
    }
}
