//! The rules of the lane, each over random lanes and events.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
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
    let one = (0..24u8, 1..5u64, any::<bool>(), prop_oneof![99 => 0..120u64, 1 => 0..40_000u64])
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
        services: BTreeMap::from([("web".parse().unwrap(), service)]),
    }
}

/// Turns a draw into an event: one about what the lane waits for where there is such a thing, else any.
fn event(lane: &Lane, draw: &Draw, now: EpochSeconds) -> Event {
    let number = BuildNumber(draw.build);
    let cause = || "it broke".to_owned();
    let task = lane.builds.get(&number).and_then(|build| build.task.clone()).map(|task| task.key);
    let task = task.unwrap_or(TaskKey { build: number, kind: TaskKind::Release, attempt: 1 });
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
                0 => TaskExit::Code(1),
                1 => TaskExit::NoCode { reason: cause() },
                2 => TaskExit::Unknown,
                _ => TaskExit::Code(0),
            };
            Event::TaskEnded { task, exit, logs: String::new() }
        }
        13 if draw.flag || draw.seconds.is_multiple_of(3) => {
            Event::ServicesSeen { number, state: ServicesState::Steady }
        }
        13 => Event::ServicesSeen { number, state: ServicesState::Failed { cause: cause() } },
        14 if draw.seconds.is_multiple_of(19) => Event::PullRequestClosed { at: now },
        14 => Event::Tick,
        _ => match lane.owed.first_key_value() {
            Some((id, Action::ReadArtifacts { build })) => {
                let read = ArtifactsRead { plan: Some(Ok(plan(*build))), ..ArtifactsRead::default() };
                Event::Performed { action: *id, result: ActionResult::Artifacts(Box::new(read)) }
            }
            Some((id, _)) if draw.seconds.is_multiple_of(23) => {
                Event::Performed { action: *id, result: ActionResult::Refused { cause: cause() } }
            }
            Some((id, _)) => Event::Performed { action: *id, result: ActionResult::Done },
            None => Event::Projected { builds: lane.unprojected.clone() },
        },
    }
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
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

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
        walk(lane, &draws, |_, event, after| {
            let turns = after.builds.values().filter(|build| build.has_turn()).count();
            assert!(turns <= 1, "{event:?}");
            assert!(turns == 0 || after.draining.is_none(), "{event:?}: a turn was given while a task may still run");
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
                let newly = tested(build) && !before.builds.get(number).is_some_and(tested);
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
                assert!(after.owed.values().any(|action| *action == Action::RemoveReviewApp));
            }
            if after.closed.is_some() {
                let begins = |action: &Action| matches!(action, Action::RunTask { .. } | Action::UpdateServices { .. });
                assert!(!after.owed.values().any(begins), "{event:?}");
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
                assert!(matches!(event, Event::Tick), "{event:?} made {:?}", changes(after, &again, 0));
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
            let unprojected = lane.unprojected.clone();
            let mut events = vec![Event::Tick, Event::Projected { builds: unprojected }];
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
        let all = Event::Projected { builds: lane.unprojected.clone() };
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
        let (lane, draws) = (lanes(), draws(160)).new_tree(&mut runner).unwrap().current();
        let end = walk(lane, &draws, |_, _, after| {
            for build in after.builds.values() {
                *seen.entry(format!("{:?}", build.current_phase())).or_default() += 1;
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
    ];
    for place in wanted {
        assert!(seen.get(place).is_some_and(|times| *times >= 20), "{place} is hardly ever reached: {seen:#?}");
    }
}
