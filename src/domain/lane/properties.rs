//! The rules of the lane, each over random lanes and events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::domain::activity::Happened;
use crate::domain::names::{BuildNumber, EpochSeconds};

/// A recipe for an event, turned into one that may fit the lane at hand.
#[derive(Debug, Clone)]
struct Draw {
    kind: u8,
    build: u64,
    flag: bool,
    seconds: u64,
}

fn draws(length: usize) -> impl Strategy<Value = Vec<Draw>> {
    let one = (0..32u8, 1..5u64, any::<bool>(), prop_oneof![99 => 0..120u64, 1 => 0..40_000u64])
        .prop_map(|(kind, build, flag, seconds)| Draw { kind, build, flag, seconds });
    prop::collection::vec(one, 1..length)
}

fn lanes() -> impl Strategy<Value = Lane> {
    any::<bool>().prop_map(|review_app| {
        let pull_request = review_app.then(|| "12".parse().unwrap());
        Lane::new(LaneKey { app: "shop".parse().unwrap(), pull_request })
    })
}

fn plan(number: BuildNumber) -> ReleasePlan {
    let service = Service { command: "serve".to_owned(), arn: "service/shop-web".to_owned() };
    ReleasePlan {
        sequence: 0,
        image: format!("shop@sha256:{number}"),
        launcher: true,
        release_command: (!number.0.is_multiple_of(3)).then(|| "migrate".to_owned()),
        postdeploy_command: number.0.is_multiple_of(2).then(|| "seed".to_owned()),
        pre_destroy_command: number.0.is_multiple_of(2).then(|| "drop".to_owned()),
        services: BTreeMap::from([("web".parse().unwrap(), service)]),
    }
}

/// Turns a draw into an event: one about what the lane waits for where there is such a thing, else any.
fn event(lane: &Lane, draw: &Draw, now: EpochSeconds) -> Event {
    let number = BuildNumber(draw.build);
    let cause = || "it broke".to_owned();
    let task = lane.builds.get(&number).and_then(|build| build.task.clone()).map(|task| task.key);
    let last = lane.removal.as_ref().and_then(|removal| match &removal.step {
        RemovalStep::PreDestroy { task, .. } => Some(task.key.clone()),
        _ => None,
    });
    let task = last.or(task).unwrap_or(TaskKey { build: number, kind: TaskKind::Release, attempt: 1 });
    match draw.kind {
        0 | 1 => Event::BuildStarted {
            number,
            arn: format!("arn:aws:codebuild:us-east-1:111122223333:build/shop:{number}").parse().unwrap(),
            commit: String::new(),
            started: EpochSeconds(1000 + draw.build * 10),
            logs: "cloudwatch://group#stream".to_owned(),
            outputs: Outputs::default(),
            by_runner: draw.flag,
        },
        2 => Event::ImageBuilt { number },
        3 | 4 => Event::TestsPassed { number, by_runner: draw.flag },
        5 if draw.seconds.is_multiple_of(5) => Event::BuildSkipped { number, reason: cause() },
        6 if draw.seconds.is_multiple_of(3) => {
            Event::BuildFailed { number, phase: if draw.flag { Phase::Test } else { Phase::Build }, cause: cause() }
        }
        7 | 8 => Event::BuildEnded { number, result: BuildResult::Succeeded },
        9 if draw.seconds.is_multiple_of(3) => {
            Event::BuildEnded { number, result: BuildResult::Failed { phase: None, cause: cause() } }
        }
        10 => Event::TaskRunning { task, arn: "task/1".to_owned(), logs: String::new() },
        11 | 12 => {
            let exit = match draw.seconds % 12 {
                0 => TaskExit::Code { code: 1, reason: None },
                1 => TaskExit::NoCode { reason: cause() },
                2 => TaskExit::Unknown,
                3 if draw.flag => TaskExit::Stopped { reason: cause() },
                _ => TaskExit::Code { code: 0, reason: None },
            };
            Event::TaskEnded { task, exit, logs: String::new() }
        }
        13 => {
            let (number, sequence) = order(lane).unwrap_or((number, draw.seconds));
            let steady = draw.flag || draw.seconds.is_multiple_of(3);
            let state = if steady { ServicesState::Steady } else { ServicesState::Failed { cause: cause() } };
            Event::ServicesSeen { number, sequence, state }
        }
        14 if draw.seconds.is_multiple_of(19) => {
            // Now, or between the starts of two builds, so that it may be opened again.
            Event::PullRequestClosed { at: if draw.flag { now } else { EpochSeconds(1005 + draw.build * 10) } }
        }
        14 => Event::Tick,
        24 => Event::SettingsChanged,
        25 if draw.seconds.is_multiple_of(4) => {
            let older = lane.builds.values().find(|build| build.ending == Some(Ending::Deployed));
            let Some(older) = older else { return Event::Tick };
            let (arn, plan) = (older.arn.clone(), older.plan.clone().unwrap_or_default());
            let release = Release {
                build: older.number,
                arn,
                commit: String::new(),
                started: now,
                plan,
                at: now,
                sizes: Sizes::new(),
            };
            Event::RollbackRequested { release: Box::new(release) }
        }
        26 if draw.seconds.is_multiple_of(7) => {
            let superseding = [Superseding::Finish, Superseding::Cancel, Superseding::ReplacePending];
            let superseding = superseding[usize::try_from(draw.build).unwrap() % 3];
            let minutes = BTreeMap::from([(Phase::Deploy, draw.build)]);
            Event::PolicySet { policy: Policy { superseding, minutes } }
        }
        27 | 28 if lane.removal.is_some() => {
            let gone = draw.flag || draw.kind == 27;
            let state = if gone { ReviewAppState::Gone } else { ReviewAppState::Failed { cause: cause() } };
            Event::ReviewAppSeen { state }
        }
        _ => match lane.owed.first_key_value() {
            Some((id, Action::ReadArtifacts { build })) => {
                let read = ArtifactsRead { plan: Some(Ok(plan(*build))), ..ArtifactsRead::default() };
                Event::Performed { action: *id, result: ActionResult::Artifacts(Box::new(read)) }
            }
            Some((id, _)) if draw.seconds.is_multiple_of(23) => {
                Event::Performed { action: *id, result: ActionResult::Refused { cause: cause() } }
            }
            Some((id, Action::UpdateServices { .. })) => {
                Event::Performed { action: *id, result: ActionResult::Ordered(Sizes::new()) }
            }
            Some((id, _)) => Event::Performed { action: *id, result: ActionResult::Done },
            None if draw.flag => awaited(lane).unwrap_or_else(|| projected(lane)),
            None => projected(lane),
        },
    }
}

/// The order to the services whose end the lane waits for.
fn order(lane: &Lane) -> Option<(BuildNumber, u64)> {
    let deploys = |build: &&std::sync::Arc<Build>| build.in_flight() && build.current_phase() == Some(Phase::Deploy);
    let build = lane.builds.values().find(deploys);
    let build = build.and_then(|build| Some((build.number, build.plan.as_ref()?.sequence)));
    let rollback = lane.rollback.as_ref().filter(|rollback| rollback.deploying.is_some());
    let rollback = rollback.map(|rollback| (rollback.release.build, rollback.release.plan.sequence));
    build.or(rollback).or(lane.live.as_ref().map(|live| (live.build, live.plan.sequence)))
}

/// What the lane waits for goes well.
fn awaited(lane: &Lane) -> Option<Event> {
    let of_build = |build: &Build| build.task.clone().filter(|_| build.in_flight());
    let last = lane.removal.as_ref().and_then(|removal| match &removal.step {
        RemovalStep::PreDestroy { task, .. } => Some(task.clone()),
        _ => None,
    });
    if let Some(task) = last.or_else(|| lane.builds.values().find_map(|build| of_build(build))) {
        let exit = TaskExit::Code { code: 0, reason: None };
        return Some(Event::TaskEnded { task: task.key, exit, logs: String::new() });
    }
    let (number, sequence) = order(lane)?;
    let waits = lane.holder().is_some() || lane.converging.is_some();
    waits.then_some(Event::ServicesSeen { number, sequence, state: ServicesState::Steady })
}

/// All items of the lane are written, and everything is told.
fn projected(lane: &Lane) -> Event {
    let told = lane.untold.last().map_or(0, |entry| entry.step);
    Event::Projected { builds: lane.unprojected.clone(), deploy: lane.unprojected_deploy, told }
}

/// Walks a lane through the draws and shows every step that changed it.
fn walk(mut lane: Lane, draws: &[Draw], mut step: impl FnMut(&Lane, &Event, &Lane)) -> Lane {
    let mut now = EpochSeconds(2000);
    for draw in draws {
        now = now.plus(draw.seconds);
        let event = event(&lane, draw, now);
        if let Decision::Changed(next) = decide(&lane, &event, now) {
            step(&lane, &event, &next);
            lane = *next;
        }
    }
    lane
}

fn rank(state: Option<PhaseState>) -> u8 {
    match state {
        None => 0,
        Some(PhaseState::Started) => 1,
        Some(PhaseState::Succeeded | PhaseState::Failed) => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn phases_only_move_forward(lane in lanes(), draws in draws(120)) {
        walk(lane, &draws, |before, event, after| {
            for (number, build) in &after.builds {
                let earlier = before.builds.get(number);
                let started = build.phases.values().filter(|record| record.state == PhaseState::Started).count();
                assert!(started <= 1, "{event:?}: two phases of {number} run");
                for phase in Phase::ALL {
                    let was = earlier.and_then(|build| build.phases.get(&phase));
                    let is = build.phases.get(&phase);
                    let (was_state, is_state) = (was.map(|record| record.state), is.map(|record| record.state));
                    assert!(rank(was_state) <= rank(is_state), "{event:?}: {phase} of {number} went back");
                    assert!(rank(was_state) < 2 || was_state == is_state, "{event:?}: {phase} of {number} ended twice");
                    assert!(was.is_none_or(|record| record.end.is_none() || is.is_some_and(|is| is.end == record.end)));
                }
            }
        });
    }

    #[test]
    fn at_most_one_build_releases_or_deploys(lane in lanes(), draws in draws(120)) {
        walk(lane, &draws, |before, event, after| {
            let turns = after.builds.values().filter(|build| build.has_turn()).count();
            assert!(turns <= 1, "{event:?}");
            assert!(turns == 0 || after.draining.is_none(), "{event:?}: a turn was given while a task may still run");
            if let (Some((task, _)), None, Event::Tick) = (&before.draining, &after.draining, event) {
                let stop = Action::StopTask { task: task.clone() };
                assert!(!before.owed.values().any(|action| *action == stop), "a task that was never told to stop is thought gone");
            }
        });
    }

    #[test]
    fn an_older_build_never_deploys_over_a_newer_one(lane in lanes(), draws in draws(160)) {
        walk(lane, &draws, |before, event, after| {
            if let (Some(was), Some(is)) = (&before.live, &after.live) {
                assert!((was.started, was.build) <= (is.started, is.build), "{event:?}");
                assert!(was.plan.sequence <= is.plan.sequence, "{event:?}");
            }
        });
    }

    #[test]
    fn nothing_deploys_whose_tests_have_not_succeeded(lane in lanes(), draws in draws(120)) {
        walk(lane, &draws, |_, event, after| {
            for build in after.builds.values() {
                let tested = build.phases.get(&Phase::Test).is_some_and(|record| record.state == PhaseState::Succeeded);
                let beyond = [Phase::Release, Phase::Postdeploy, Phase::Deploy];
                assert!(tested || !beyond.iter().any(|phase| build.phases.contains_key(phase)), "{event:?}");
            }
        });
    }

    #[test]
    fn only_the_runner_says_that_tests_passed_where_a_runner_reports(lane in lanes(), draws in draws(120)) {
        walk(lane, &draws, |before, event, after| {
            for (number, build) in &after.builds {
                let tested = |build: &Build| build.current_phase() > Some(Phase::Test);
                let newly = tested(build) && !before.builds.get(number).is_some_and(|build| tested(build));
                if newly && before.builds.get(number).is_some_and(|build| build.runner_reports) {
                    let by_the_runner = matches!(event, Event::TestsPassed { by_runner: true, .. });
                    assert!(by_the_runner, "{event:?} made the tests of {number} pass");
                }
            }
        });
    }

    #[test]
    fn another_attempt_begins_only_after_the_one_before_ended_without_a_code(lane in lanes(), draws in draws(160)) {
        let mut asked: BTreeSet<TaskKey> = BTreeSet::new();
        walk(lane, &draws, |before, event, after| {
            for action in after.owed.iter().filter(|(id, _)| !before.owed.contains_key(id)).map(|(_, action)| action) {
                let Action::RunTask { task, .. } = action else { continue };
                assert!(asked.insert(task.clone()), "{event:?}: {task} was ordered twice");
                let earlier = TaskKey { attempt: task.attempt - 1, ..task.clone() };
                let gone = matches!(event, Event::TaskEnded { task, exit: TaskExit::NoCode { .. }, .. } if *task == earlier);
                assert!(task.attempt == 1 || gone, "{event:?}: {task} began too early");
            }
        });
    }

    #[test]
    fn a_failed_release_stops_the_deploy(lane in lanes(), draws in draws(120)) {
        walk(lane, &draws, |_, event, after| {
            for build in after.builds.values() {
                let failed = build.phases.iter().find(|(_, record)| record.state == PhaseState::Failed);
                if let Some((failed, _)) = failed {
                    assert!(build.phases.keys().all(|phase| phase <= failed), "{event:?}");
                    assert!(!build.in_flight(), "{event:?}");
                }
            }
        });
    }

    #[test]
    fn a_closed_pull_request_ends_its_builds_and_removes_the_review_app(lane in lanes(), draws in draws(120)) {
        walk(lane, &draws, |before, event, after| {
            if before.closed.is_none() && after.closed.is_some() {
                assert!(after.builds.values().all(|build| !build.in_flight()));
                assert!(after.removal.is_some());
            }
            if after.closed.is_some() {
                let begins = |action: &Action| match action {
                    Action::RunTask { task, .. } => task.kind != TaskKind::PreDestroy,
                    Action::UpdateServices { .. } => true,
                    _ => false,
                };
                assert!(!after.owed.values().any(begins), "{event:?}");
            }
        });
    }

    #[test]
    fn a_build_from_before_a_close_never_begins_after_it(lane in lanes(), draws in draws(160)) {
        let mut last = None;
        walk(lane, &draws, |before, event, after| {
            assert!(last <= after.last_closed(), "{event:?}: a close was forgotten");
            last = after.last_closed();
            let late = |build: &Build| build.in_flight() && Some(build.started) <= last;
            assert!(!after.builds.values().any(|build| late(build)), "{event:?}: {last:?} is closed");
            let again = after.rollback.as_ref().filter(|again| before.rollback.as_ref() != Some(*again));
            let again = again.and_then(|again| after.builds.get(&again.release.build));
            assert!(again.is_none_or(|build| Some(build.started) > last), "{event:?}: {last:?} is closed");
            if before.closed.is_some() && after.closed.is_none() {
                assert!(matches!(event, Event::BuildStarted { started, .. } if Some(*started) > last), "{event:?}");
            }
        });
    }

    #[test]
    fn a_review_app_is_removed_only_after_its_last_command_and_nothing_begins_meanwhile(lane in lanes(), draws in draws(160)) {
        walk(lane, &draws, |before, event, after| {
            let removes = |lane: &Lane| lane.owed.values().any(|action| matches!(action, Action::RemoveReviewApp { .. }));
            if !removes(before) && removes(after) {
                assert!(after.draining.is_none(), "{event:?}: a task may still run");
                let step = after.removal.as_ref().map(|removal| &removal.step);
                assert_eq!(step, Some(&RemovalStep::Removing), "{event:?}");
                let last = before.removal.as_ref().and_then(|removal| removal.last_command.as_ref());
                let waited = before.removal.as_ref().is_none_or(|removal| removal.step != RemovalStep::Waiting);
                assert!(last.is_none() || waited, "{event:?}: the last command was left out");
            }
            let began = |lane: &Lane| lane.holder();
            assert!(after.removal.is_none() || before.removal.is_none() || began(before) == began(after), "{event:?}");
        });
    }

    #[test]
    fn every_order_to_the_services_or_to_remove_them_is_newer_than_the_one_before(lane in lanes(), draws in draws(200)) {
        let mut newest = 0;
        walk(lane, &draws, |before, event, after| {
            for action in after.owed.iter().filter(|(id, _)| !before.owed.contains_key(id)).map(|(_, action)| action) {
                let sequence = match action {
                    Action::UpdateServices { plan, .. } => plan.sequence,
                    Action::RemoveReviewApp { sequence } => *sequence,
                    _ => continue,
                };
                assert!(sequence > newest, "{event:?}");
                newest = sequence;
            }
        });
    }

    #[test]
    fn changed_settings_are_followed_by_an_order_and_none_is_lost(lane in lanes(), draws in draws(160)) {
        let mut lane = lane;
        let mut now = EpochSeconds(2000);
        let mut since = None;
        let step = |lane: &mut Lane, event: &Event, now: EpochSeconds, ordered: &mut u64| {
            if let Decision::Changed(next) = decide(lane, event, now) {
                let new = next.owed.iter().filter(|(id, action)| {
                    !lane.owed.contains_key(id) && matches!(action, Action::UpdateServices { .. })
                });
                if let Some((id, _)) = new.max_by_key(|(id, _)| **id) {
                    *ordered = id.0;
                }
                *lane = *next;
            }
        };
        let mut ordered = 0;
        for draw in &draws {
            now = now.plus(draw.seconds);
            let event = event(&lane, draw, now);
            if event == Event::SettingsChanged && lane.closed.is_none() && (lane.live.is_some() || lane.holder().is_some()) {
                since = Some(lane.next_action.0);
            }
            step(&mut lane, &event, now, &mut ordered);
            if lane.live.is_none() && lane.holder().is_none() {
                since = None;
            }
        }
        for _ in 0..200 {
            now = now.plus(3600);
            let owed = lane.owed.keys().next().copied();
            for event in [Some(Event::Tick), owed.map(|action| Event::Performed { action, result: ActionResult::Done })]
                .into_iter().flatten() {
                step(&mut lane, &event, now, &mut ordered);
            }
        }
        if let (Some(since), true) = (since, lane.live.is_some()) {
            assert!(ordered >= since, "an order for the settings that changed before action {since} never came: {ordered}");
        }
    }

    #[test]
    fn builds_that_are_overtaken_are_stopped_as_the_owner_chose(lane in lanes(), draws in draws(120), pending in any::<bool>()) {
        let mut lane = lane;
        lane.policy.superseding = if pending { Superseding::ReplacePending } else { Superseding::Cancel };
        let draws: Vec<_> = draws.into_iter().filter(|draw| draw.kind != 26).collect();
        walk(lane, &draws, |before, event, after| {
            let building = after.builds.values().filter(|build| build.in_flight() && build.current_phase() < Some(Phase::Finalize));
            assert!(building.count() <= if pending { 2 } else { 1 }, "{event:?}");
            for (number, build) in &after.builds {
                let was = before.builds.get(number);
                let superseded = matches!(build.ending, Some(Ending::Superseded { .. }));
                if superseded && was.is_none_or(|was| was.in_flight()) {
                    assert!(was.is_none_or(|was| !was.has_turn()), "{event:?}: {number} was stopped although it had the turn");
                    let stops = |action: &Action| matches!(action, Action::StopBuild { build, .. } if build == number);
                    let waited = was.is_some_and(|was| was.current_phase() == Some(Phase::Finalize))
                        || !build.phases.contains_key(&Phase::Finalize);
                    assert!(waited && (build.phases.contains_key(&Phase::Finalize) || after.owed.values().any(stops)), "{event:?}");
                }
            }
        });
    }

    #[test]
    fn every_wait_has_a_deadline_and_something_happens_at_it(lane in lanes(), draws in draws(120)) {
        walk(lane, &draws, |_, event, after| {
            let waits = after.builds.values().any(|build| build.in_flight() || !build.settled)
                || after.draining.is_some() || after.removal.is_some() || after.converging.is_some();
            assert!(!waits || after.next_due().is_some(), "{event:?}: {after:#?}");
            if let Some(due) = after.next_due().filter(|_| after.owed.is_empty()) {
                assert!(matches!(decide(after, &Event::Tick, due), Decision::Changed(_)), "{event:?} {due:?}: {after:#?}");
                let before = EpochSeconds(due.0.saturating_sub(1));
                assert!(matches!(decide(after, &Event::Tick, before), Decision::Ignored(_)), "{event:?} {due:?}");
            }
        });
    }

    #[test]
    fn each_end_is_told_once_with_its_reason(lane in lanes(), draws in draws(120)) {
        let mut told: BTreeMap<BuildNumber, Ending> = BTreeMap::new();
        walk(lane, &draws, |before, _, after| {
            for entry in after.untold.iter().filter(|entry| !before.untold.contains(entry)) {
                assert_eq!(entry.step, after.steps);
                if let Happened::Ended { build, ending, .. } = &entry.what {
                    assert!(told.insert(*build, ending.clone()).is_none(), "the end of {build} was told twice");
                }
            }
            for (number, build) in &after.builds {
                assert_eq!(build.ending.as_ref(), told.get(number));
            }
        });
    }

    #[test]
    fn an_event_that_comes_again_changes_nothing(lane in lanes(), draws in draws(80)) {
        walk(lane, &draws, |_, event, after| {
            // The same moment, as a copy would at the earliest arrive.
            let now = after.builds.values().flat_map(|build| build.phases.values())
                .filter_map(|record| record.end).max().unwrap_or(EpochSeconds(0));
            if let Decision::Changed(again) = decide(after, event, now) {
                assert!(matches!(event, Event::Tick | Event::SettingsChanged), "{event:?} made {:?}", changes(after, &again, 0));
            }
        });
    }

    #[test]
    fn clients_never_see_a_phase_that_ended_without_an_end(lane in lanes(), draws in draws(120)) {
        walk(lane, &draws, |_, event, after| {
            for number in after.builds.keys() {
                let Some(record) = build_record(after, *number) else { continue };
                assert!(record.phases.get(&Phase::Build).is_some_and(|build| !build.arns.is_empty()), "{event:?}");
                for (phase, record) in &record.phases {
                    assert_eq!(record.end.is_some(), record.state != PhaseState::Started, "{event:?}: {phase}");
                    assert!(record.end.is_none_or(|end| end >= record.start), "{event:?}: {phase}");
                }
                let deploy = record.phases.get(&Phase::Deploy);
                assert!(deploy.is_none_or(|deploy| (1..=10).contains(&deploy.arns.len())), "{event:?}");
            }
        });
    }

    #[test]
    fn every_build_ends_once_its_deadlines_have_passed(lane in lanes(), draws in draws(80)) {
        let mut lane = walk(lane, &draws, |_, _, _| {});
        let mut now = EpochSeconds(100_000_000);
        // Nothing is ever heard again but that actions were done: time alone must end it.
        for _ in 0..200 {
            now = now.plus(3600);
            let owed = lane.owed.keys().next().copied();
            let mut events = vec![Event::Tick, projected(&lane)];
            events.extend(owed.map(|action| Event::Performed { action, result: ActionResult::Done }));
            for event in events {
                if let Decision::Changed(next) = decide(&lane, &event, now) {
                    lane = *next;
                }
            }
        }
        assert!(!lane.is_active(), "{lane:#?}");
    }

    #[test]
    fn a_stored_lane_reads_back_as_it_was(lane in lanes(), draws in draws(80)) {
        let lane = walk(lane, &draws, |_, _, _| {});
        let text = serde_json::to_string(&lane).unwrap();
        assert_eq!(serde_json::from_str::<Lane>(&text).unwrap(), lane);
    }
}

#[test]
fn a_lane_remembers_only_the_newest_ended_builds() {
    let mut lane = Lane::new(LaneKey::app("shop".parse().unwrap()));
    for number in 1..=30 {
        let draws = [0, 5].map(|kind| Draw { kind, build: number, flag: true, seconds: 0 });
        lane = walk(lane, &draws, |_, _, _| {});
        let all = projected(&lane);
        if let Decision::Changed(next) = decide(&lane, &all, EpochSeconds(9)) {
            lane = *next;
        }
    }
    assert!(lane.builds.len() <= 11, "{}", lane.builds.len());
    assert!(lane.forgotten >= Some(BuildNumber(19)));
    let copy = event(&lane, &Draw { kind: 0, build: 3, flag: true, seconds: 0 }, EpochSeconds(9));
    assert_eq!(decide(&lane, &copy, EpochSeconds(9)), Decision::Ignored("the build is over and forgotten"));
}

#[test]
fn the_random_walks_go_everywhere() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..2000 {
        let (lane, draws) = (lanes(), draws(240)).new_tree(&mut runner).unwrap().current();
        let end = walk(lane, &draws, |_, _, after| {
            for build in after.builds.values() {
                *seen.entry(format!("{:?}", build.current_phase())).or_default() += 1;
            }
            let removal = after.removal.as_ref().map(|removal| &removal.step);
            let there = [
                ("a last command", matches!(removal, Some(RemovalStep::PreDestroy { .. }))),
                ("a removal", removal == Some(&RemovalStep::Removing)),
                ("settings to follow", after.converging.is_some()),
                ("a pull request that was opened again", after.closed.is_none() && after.closed_before.is_some()),
                ("a rollback", after.rollback.as_ref().is_some_and(|rollback| rollback.deploying.is_some())),
            ];
            for (name, _) in there.iter().filter(|(_, there)| *there) {
                *seen.entry((*name).to_owned()).or_default() += 1;
            }
        });
        for build in end.builds.values() {
            let kind = match &build.ending {
                Some(Ending::Failed { phase, .. }) => format!("failed in {phase}"),
                Some(Ending::Superseded { .. }) => "superseded".to_owned(),
                other => format!("{other:?}").chars().take(14).collect(),
            };
            *seen.entry(kind).or_default() += 1;
        }
    }
    let wanted = [
        "Some(Release)",
        "Some(Postdeploy)",
        "Some(Deploy)",
        "Some(Deployed)",
        "superseded",
        "failed in build",
        "failed in test",
        "failed in finalize",
        "failed in release",
        "failed in postdeploy",
        "failed in deploy",
        "a last command",
        "a removal",
        "a pull request that was opened again",
        "settings to follow",
        "a rollback",
    ];
    for place in wanted {
        assert!(seen.get(place).is_some_and(|times| *times >= 20), "{place} is hardly ever reached: {seen:#?}");
    }
}
