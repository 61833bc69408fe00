//! The stories that the sample events tell, in every order and with copies: a world that agrees with them comes to one end.
//!
//! `scripts/simulate --stories SEQUENCES SEED` does the same at length in the optimised program.

mod events;
mod told;
mod world;

use std::collections::BTreeMap;

use packhorse::domain::aws_event::News;
use packhorse::domain::lane::{Ending, Phase, PhaseState};
use packhorse::domain::names::BuildNumber;

use events::{derived, sample};
use told::{End, end_after};
use world::Truth;

/// One story: what is said, what is true, and how it ends.
pub(crate) struct Story {
    pub(crate) name: &'static str,
    /// What AWS, and we ourselves, say. The same news may be said by several events.
    news: Vec<News>,
    truth: Truth,
    ends_well: fn(&End),
}

/// Every story of the samples.
pub(crate) fn all() -> Vec<Story> {
    let mut stories =
        vec![three_builds(), a_release_and_its_deploy(), changed_settings(), a_rollback(), a_pull_request()];
    stories.extend(failed_release_tasks());
    stories
}

/// Build 42 succeeds, 43 fails in its image build, 44 is stopped: all that CodeBuild says of them. The hint is ours.
fn three_builds() -> Story {
    let [succeeded, failed, stopped] =
        ["codebuild-state-succeeded", "codebuild-state-failed", "codebuild-state-stopped"].map(sample);
    let truth = Truth::of_builds([&succeeded, &failed, &stopped]);
    let hints =
        ["codebuild-phase-build-succeeded", "codebuild-phase-build-failed", "packhorse-phase-change"].map(sample);
    let news = [sample("codebuild-state-in-progress"), succeeded, failed, stopped].into_iter().chain(hints);
    Story {
        name: "three builds",
        news: news.collect(),
        truth,
        ends_well: |end| {
            assert_eq!(end.services, Some(BuildNumber(42)), "{end:#?}");
            assert_eq!(end.endings[&BuildNumber(42)], Some(Ending::Deployed));
            assert!(matches!(&end.endings[&BuildNumber(43)], Some(Ending::Failed { phase: Phase::Build, .. })));
            let stopped = &end.endings[&BuildNumber(44)];
            assert!(matches!(stopped, Some(Ending::Failed { cause, .. }) if cause == "the build was stopped"));
            let phases = |number| &end.builds[&BuildNumber(number)].phases;
            assert!(phases(42).len() == 5 && phases(42).values().all(|phase| phase.state == PhaseState::Succeeded));
            assert_eq!(phases(43).len(), 1);
        },
    }
}

/// Build 42 from its first event to the end of its deploy: all samples that are about it.
fn a_release_and_its_deploy() -> Story {
    let build = sample("codebuild-state-succeeded");
    let truth = Truth::of_builds([&build]);
    let others = [
        "codebuild-state-in-progress",
        "codebuild-phase-build-succeeded",
        "packhorse-phase-change",
        "ecs-task-running",
        "ecs-task-deprovisioning-exit-0",
        "ecs-task-stopped-exit-0",
        "ecs-deployment-in-progress",
        "ecs-deployment-completed",
    ];
    Story {
        name: "a release and its deploy",
        news: std::iter::once(build).chain(others.map(sample)).collect(),
        truth,
        ends_well: |end| {
            assert_eq!(end.endings, BTreeMap::from([(BuildNumber(42), Some(Ending::Deployed))]));
            assert_eq!((end.services, end.tasks.len()), (Some(BuildNumber(42)), 1));
            assert!(!end.builds[&BuildNumber(42)].commit.is_empty(), "no event names it");
        },
    }
}

/// Settings of the app change in five ways while build 42 runs.
fn changed_settings() -> Story {
    let changes = ["config-create", "config-update", "config-delete", "scaling-update", "scheduled-tasks-update"];
    Story {
        name: "changed settings",
        news: changes.map(|change| sample(&format!("ssm-parameter-{change}"))).into(),
        truth: Truth::after_build_42(),
        ends_well: |end| {
            assert_eq!(end.live.as_ref().map(|live| live.build), Some(BuildNumber(42)));
            assert_eq!(end.updates, 1, "one order for all of them");
        },
    }
}

/// While build 42 runs, the release tasks of 45 to 48 fail in four ways.
fn failed_release_tasks() -> [Story; 4] {
    let story = |name, number: u64, end: &str, ends_well| {
        let build = |name| derived(name, &[("42.0", &format!("{number}.0")), ("/42\"", &format!("/{number}\""))]);
        let succeeded = build("codebuild-state-succeeded");
        let end = sample(end);
        let truth = Truth::after_build_42().and_builds([&succeeded]).and_task(&end);
        let others = ["codebuild-state-in-progress", "codebuild-phase-build-succeeded"].map(build);
        Story { name, news: others.into_iter().chain([succeeded, end]).collect(), truth, ends_well }
    };
    [
        story("a release command that exits with code 1", 45, "ecs-task-stopped-exit-1", |end| {
            failed_in_release(end, 45, 1, "exited with code 1");
        }),
        story("a release task without its image", 46, "ecs-task-stopped-failed-to-start", |end| {
            failed_in_release(end, 46, 3, "did not run, 3 times");
        }),
        story("a release task without room", 47, "ecs-task-stopped-failed-to-start-no-containers", |end| {
            failed_in_release(end, 47, 3, "did not run, 3 times");
        }),
        story("a release command without memory", 48, "ecs-task-stopped-out-of-memory", |end| {
            failed_in_release(end, 48, 1, "ran out of memory");
        }),
    ]
}

fn failed_in_release(end: &End, number: u64, tasks: usize, why: &str) {
    let ending = &end.endings[&BuildNumber(number)];
    let right = matches!(ending, Some(Ending::Failed { phase: Phase::Release, cause }) if cause.contains(why));
    assert!(right, "{ending:?}");
    let of_build = end.tasks.iter().filter(|task| task.build == BuildNumber(number));
    assert_eq!((of_build.count(), end.services), (tasks, Some(BuildNumber(42))));
    assert_eq!(end.live.as_ref().map(|live| live.build), Some(BuildNumber(42)));
}

/// While build 42 runs, the services of build 49 do not become healthy, and ECS brings them back.
fn a_rollback() -> Story {
    let build = |name| derived(name, &[("42.0", "49.0"), ("/42\"", "/49\"")]);
    let succeeded = build("codebuild-state-succeeded");
    let released = derived("ecs-task-stopped-exit-0", &[("release/42", "release/49")]);
    let truth = Truth::after_build_42().and_builds([&succeeded]).and_broken_services(49);
    let others = ["codebuild-state-in-progress", "codebuild-phase-build-succeeded"].map(build);
    let deployment = ["ecs-deployment-failed", "ecs-deployment-in-progress-rollback", "ecs-deployment-completed"];
    Story {
        name: "a rollback",
        news: others.into_iter().chain([succeeded, released]).chain(deployment.map(sample)).collect(),
        truth,
        ends_well: |end| {
            let ending = &end.endings[&BuildNumber(49)];
            assert!(matches!(ending, Some(Ending::Failed { phase: Phase::Deploy, .. })), "{ending:?}");
            assert_eq!(end.live.as_ref().map(|live| live.build), Some(BuildNumber(42)));
            assert!(end.deploy.as_ref().is_some_and(|deploy| deploy.failed));
        },
    }
}

/// The first build of pull request 12's review app, whose settings change meanwhile.
fn a_pull_request() -> Story {
    let build = sample("codebuild-state-succeeded-pull-request");
    let truth = Truth::of_builds([&build]);
    let task = |kind: &str| {
        let of_review_app = format!("packhorse/demo-pipeline/pr-12/{kind}/7");
        derived("ecs-task-stopped-exit-0", &[("packhorse/demo-python/release/42", &of_review_app)])
    };
    let hint =
        [("\"app\": \"demo-python\"", "\"app\": \"demo-pipeline\", \"pr\": \"12\""), ("\"build\": 42", "\"build\": 7")];
    let service = [("prod/demo-python-web", "prod/demo-pipeline-pr12-web")];
    Story {
        name: "a pull request",
        news: vec![
            build,
            sample("ssm-parameter-review-app-config-create"),
            task("release"),
            task("postdeploy"),
            derived("packhorse-phase-change", &hint),
            derived("ecs-deployment-in-progress", &service),
            derived("ecs-deployment-completed", &service),
        ],
        truth,
        ends_well: |end| {
            assert_eq!(end.endings, BTreeMap::from([(BuildNumber(7), Some(Ending::Deployed))]));
            assert_eq!((end.services, end.tasks.len()), (Some(BuildNumber(7)), 2));
            assert_eq!(end.builds[&BuildNumber(7)].pr_number, "12");
        },
    }
}

impl Story {
    /// Tells it in every order, or in as many as `most`, spread over all of them; then `sequences` times with events that are
    /// lost, come again, and in any order. Returns how many times it was told.
    fn tell(&self, most: usize, sequences: usize, seed: u64, threads: usize) -> Result<usize, String> {
        let in_order: Vec<usize> = (0..self.news.len()).collect();
        let expected = end_after(&self.truth, &self.news, &in_order, false)?;
        (self.ends_well)(&expected);
        let orders = events::Orders::of(&self.news);
        let step = orders.clone().count().div_ceil(most.max(1));
        let told = |order: &[usize], search: bool| {
            let end = end_after(&self.truth, &self.news, order, search)?;
            // Settings that change before a deploy need no order of their own, and who searches may give one more.
            let end = End { updates: expected.updates, ..end };
            if end == expected {
                return Ok(());
            }
            let order: Vec<_> = order.iter().map(|index| &self.news[*index]).collect();
            Err(format!("{}: another end after {order:#?}\n{end:#?}\n{expected:#?}", self.name))
        };
        let worker = |thread: usize| {
            let mut count = 0;
            for order in orders.clone().step_by(step).skip(thread).step_by(threads) {
                told(&order, false)?;
                count += 1;
            }
            for sequence in (thread..sequences).step_by(threads) {
                let mut rng = fastrand::Rng::with_seed(seed + sequence as u64);
                // 10 % are lost, and found by a search.
                let copies = |index: usize| std::iter::repeat_n(index, [0, 1, 1, 1, 1, 1, 2, 2, 2, 3][rng.usize(..10)]);
                let mut order: Vec<usize> = in_order.iter().copied().flat_map(copies).collect();
                rng.shuffle(&mut order);
                told(&order, true)?;
                count += 1;
            }
            Ok(count)
        };
        let counts: Vec<Result<usize, String>> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || worker(thread))).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|_| Err("a story panicked".to_owned())))
                .collect()
        });
        counts.into_iter().sum()
    }
}

/// Tells every story in each order, or in as many as `most`, and `sequences` times at random; says how often.
pub(crate) fn tell_all(most: usize, sequences: usize, seed: u64, threads: usize) -> Result<usize, String> {
    all().iter().map(|story| story.tell(most, sequences, seed, threads)).sum()
}

#[test]
fn the_stories_of_the_samples_come_to_one_end_in_any_order() {
    let sequences = std::env::var("PACKHORSE_STORY_SEQUENCES").ok().and_then(|text| text.parse().ok()).unwrap_or(100);
    let seed = fastrand::u64(..1 << 40);
    println!("seeds from {seed}");
    tell_all(10 * sequences, sequences, seed, 2).unwrap_or_else(|broken| panic!("{broken}"));
}

#[test]
fn all_orders_of_the_samples_are_as_many_as_there_are() {
    let orders = |story: &Story| events::Orders::of(&story.news).count();
    // Seven different events; nine of which twice two say the same; five that all say the same.
    assert_eq!(orders(&three_builds()), 5040);
    assert_eq!(orders(&a_release_and_its_deploy()), 362_880 / 4);
    assert_eq!(orders(&changed_settings()), 1);
}
