//! One story per cause, told to the real orchestrator.

use packhorse::domain::lane::{BuildResult, Event, ServicesState};
use packhorse::domain::names::{BuildNumber, EpochSeconds};
use packhorse::ports::place::{Loss, TaskStatus};
use serde_json::json;

use super::Fixture;
use super::house::{House, arn};
use crate::cli::assert_file;

/// Runs a story in a house of its own and holds what it leaves behind against its fixture.
macro_rules! stories {
    ($($name:ident = $fixture:literal, $build:literal, $pull_request:expr, |$house:ident| $story:block)+) => {$(
        #[tokio::test]
        async fn $name() {
            let $house = House::new(stringify!($name), $pull_request).await;
            $story
            let fixture: Fixture = $house.fixture($build).await;
            let text = serde_json::to_string_pretty(&fixture).unwrap() + "\n";
            assert_file(concat!("tests/fixtures/why/", $fixture, ".json"), &text);
        }
    )+};
}

fn failed(cause: &str) -> BuildResult {
    BuildResult::Failed { phase: None, cause: cause.to_owned() }
}

fn exited(code: i64, log: &str) -> TaskStatus {
    TaskStatus::Exited { code, reason: None, log: Some(log.as_bytes().to_vec()) }
}

fn never_ran(reason: &str) -> TaskStatus {
    TaskStatus::Gone { end: Loss::NeverRan, reason: reason.to_owned() }
}

/// What CodeBuild says of the end of build 7, with the phases that it went through.
fn codebuild(status: &str, phase: &str, context: &str) -> serde_json::Value {
    json!({
        "source": "aws.codebuild", "detail-type": "CodeBuild Build State Change", "resources": [],
        "detail": {
            "build-status": status, "project-name": "shop", "build-id": arn(7).as_str(),
            "additional-information": {
                "build-number": 7.0, "build-start-time": "Jan 1, 2026 12:00:00 AM", "source-version": "main",
                "artifact": {}, "environment": { "environment-variables": [] }, "logs": {},
                "phases": [
                    { "phase-type": "SUBMITTED", "phase-status": "SUCCEEDED", "phase-context": [] },
                    { "phase-type": phase, "phase-status": status, "phase-context": [context] },
                ],
            },
        },
    })
}

/// What ECS says of the end of the release task of build 7.
fn task(stop_code: &str, stopped_reason: &str, container: &serde_json::Value) -> serde_json::Value {
    json!({
        "source": "aws.ecs", "detail-type": "ECS Task State Change", "resources": [],
        "detail": {
            "taskArn": "arn:aws:ecs:us-east-1:111122223333:task/prod/aaaa1111", "lastStatus": "STOPPED",
            "startedBy": "packhorse/shop/release/7-1", "stopCode": stop_code, "stoppedReason": stopped_reason,
            "containers": [container],
        },
    })
}

stories! {
    a_build_that_is_deployed = "deployed", 7, None, |house| {
        house.deploy(7).await;
        house.services(ServicesState::Steady);
        house.later(20).await;
    }
    a_build_whose_place_was_taken = "replaced", 7, None, |house| {
        house.services(ServicesState::Steady);
        house.deploy(7).await;
        house.later(20).await;
        house.deploy(8).await;
        house.later(20).await;
    }
    a_build_that_a_newer_one_overtook = "superseded", 7, None, |house| {
        house.test(7).await;
        house.later(10).await;
        house.services(ServicesState::Steady);
        house.deploy(8).await;
        house.later(20).await;
        house.leave_all(7, false).await;
        house.end(7, BuildResult::Succeeded).await;
    }
    a_pull_request_without_a_review_app = "skipped", 7, Some(12), |house| {
        house.begin(7, true).await;
        let reason = "pull request 12 has no review app".to_owned();
        house.tell(&[Event::BuildSkipped { number: BuildNumber(7), reason }]).await;
    }
    a_pull_request_that_is_closed = "pull-request-closed", 7, Some(12), |house| {
        house.begin(7, true).await;
        house.later(30).await;
        house.tell(&[Event::PullRequestClosed { at: EpochSeconds(1_767_225_630) }]).await;
    }
    a_build_that_somebody_stopped = "build-stopped", 7, None, |house| {
        house.hear(codebuild("STOPPED", "BUILD", "")).await;
    }
    a_build_that_took_too_long = "build-timed-out", 7, None, |house| {
        house.hear(codebuild("TIMED_OUT", "BUILD", "")).await;
    }
    a_build_without_source = "source-missing", 7, None, |house| {
        let context = "CLIENT_ERROR: authentication required for primary source and source version main";
        house.hear(codebuild("FAILED", "DOWNLOAD_SOURCE", context)).await;
    }
    a_build_whose_command_failed = "failed", 7, None, |house| {
        let context = "COMMAND_EXECUTION_ERROR: Error while executing command: make assets. Reason: exit status 2";
        house.hear(codebuild("FAILED", "PRE_BUILD", context)).await;
    }
    a_build_of_a_runner_that_was_killed = "build-stopped--while-testing", 7, None, |house| {
        house.begin(7, true).await;
        house.tell(&[Event::ImageBuilt { number: BuildNumber(7) }]).await;
        house.end(7, failed("the build was stopped")).await;
    }
    a_runner_that_never_said_that_tests_passed = "runner-silent", 7, None, |house| {
        house.begin(7, true).await;
        house.end(7, BuildResult::Succeeded).await;
    }
    a_build_that_never_ended = "deadline", 7, None, |house| {
        house.begin(7, true).await;
        house.later(11 * 3600).await;
    }
    a_build_without_artifacts = "artifacts-missing", 7, None, |house| {
        house.test(7).await;
        house.end(7, BuildResult::Succeeded).await;
    }
    a_build_with_damaged_artifacts = "artifacts-unreadable", 7, None, |house| {
        house.test(7).await;
        house.leave_all(7, false).await;
        house.leave("7/build.json", "{").await;
        house.end(7, BuildResult::Succeeded).await;
    }
    a_build_with_nothing_to_run = "no-process-to-run", 7, None, |house| {
        house.test(7).await;
        house.leave_all(7, false).await;
        house.leave("7/apppack.toml", "[deploy]\nrelease_command = \"migrate\"\n").await;
        house.end(7, BuildResult::Succeeded).await;
    }
    a_release_command_that_failed = "command-failed", 7, None, |house| {
        house.every_task(exited(3, "something went wrong\n"));
        house.release(7).await;
        house.later(20).await;
    }
    a_release_command_that_is_not_there = "command-not-found", 7, None, |house| {
        house.every_task(exited(127, "bash: migrate: command not found\n"));
        house.release(7).await;
        house.later(20).await;
    }
    a_release_command_without_its_variable = "variable-missing", 7, None, |house| {
        house.every_task(exited(1, "Traceback (most recent call last):\nKeyError: 'DATABASE_URL'\n"));
        house.release(7).await;
        house.later(20).await;
    }
    a_release_command_without_its_database = "database-unreachable", 7, None, |house| {
        house.every_task(exited(1, "psycopg2.OperationalError: could not translate host name \"db\" to address\n"));
        house.release(7).await;
        house.later(20).await;
    }
    a_release_command_without_a_module = "module-missing", 7, None, |house| {
        house.every_task(exited(1, "ModuleNotFoundError: No module named 'django'\n"));
        house.release(7).await;
        house.later(20).await;
    }
    a_release_task_that_ran_out_of_memory = "out-of-memory", 7, None, |house| {
        house.release(7).await;
        let container = json!({ "name": "app", "exitCode": 137, "reason": "OutOfMemoryError: Container killed due to memory usage" });
        house.hear(task("EssentialContainerExited", "Essential container in task exited", &container)).await;
    }
    a_release_task_that_somebody_stopped = "task-stopped", 7, None, |house| {
        house.release(7).await;
        let container = json!({ "name": "app", "exitCode": 143 });
        house.hear(task("UserInitiated", "Task stopped by user", &container)).await;
    }
    a_release_task_without_its_image = "task-without-image", 7, None, |house| {
        house.every_task(never_ran("CannotPullContainerError: pull image manifest has been retried 5 time(s): not found"));
        house.release(7).await;
        for _ in 0..4 {
            house.later(20).await;
        }
    }
    a_release_task_without_a_secret = "task-without-secrets", 7, None, |house| {
        house.every_task(never_ran("ResourceInitializationError: unable to pull secrets or registry auth: invalid ssm parameters: /apppack/apps/shop/config/KEY"));
        house.release(7).await;
        for _ in 0..4 {
            house.later(20).await;
        }
    }
    a_release_task_without_room = "no-capacity", 7, None, |house| {
        house.every_task(never_ran("Capacity is unavailable at this time. Please try again later"));
        house.release(7).await;
        for _ in 0..4 {
            house.later(20).await;
        }
    }
    a_release_task_whose_host_goes_away = "host-taken-away", 7, None, |house| {
        house.every_task(TaskStatus::Gone { end: Loss::Interrupted, reason: "Your Spot Task was interrupted".to_owned() });
        house.release(7).await;
        for _ in 0..4 {
            house.later(20).await;
        }
    }
    a_release_task_of_which_nobody_knows = "outcome-unknown", 7, None, |house| {
        house.every_task(TaskStatus::Unknown);
        house.release(7).await;
        house.later(20).await;
        house.later(600).await;
    }
    a_release_task_that_is_refused = "task-refused", 7, None, |house| {
        house.refuse_tasks("InvalidParameterException: The subnet ID 'subnet-1' does not exist");
        house.release(7).await;
    }
    services_that_are_refused = "services-refused", 7, None, |house| {
        house.refuse_services("InvalidParameterException: The target group does not have an associated load balancer");
        house.deploy(7).await;
    }
    a_first_deploy_that_fails = "first-deploy-failed", 7, None, |house| {
        house.services(ServicesState::Failed { cause: "the deployment of web did not become stable".to_owned() });
        house.deploy(7).await;
        house.later(20).await;
    }
    a_deploy_that_is_taken_back = "rolled-back", 8, None, |house| {
        house.services(ServicesState::Steady);
        house.deploy(7).await;
        house.later(20).await;
        house.services(ServicesState::Failed { cause: "the deployment of web did not become stable".to_owned() });
        house.deploy(8).await;
        house.later(20).await;
    }
    a_build_that_waits_in_codebuilds_queue = "queued", 7, None, |house| {
        house.begin(7, false).await;
        house.later(600).await;
    }
    a_build_that_makes_its_image = "building", 7, None, |house| {
        house.begin(7, true).await;
        house.later(60).await;
    }
    a_build_that_is_tested = "testing", 7, None, |house| {
        house.begin(7, true).await;
        house.tell(&[Event::ImageBuilt { number: BuildNumber(7) }]).await;
        house.later(60).await;
    }
    a_build_whose_end_is_awaited = "artifacts-awaited", 7, None, |house| {
        house.test(7).await;
        house.later(30).await;
    }
    a_build_that_waits_for_its_turn = "waits-for-turn", 8, None, |house| {
        house.release(7).await;
        house.later(20).await;
        house.release(8).await;
    }
    a_release_task_that_has_not_started = "task-starts", 7, None, |house| {
        house.release(7).await;
        house.later(40).await;
    }
    a_release_command_that_runs = "task-runs", 7, None, |house| {
        let (arn, logs) = ("arn:aws:ecs:us-east-1:111122223333:task/prod/aaaa1111", "cloudwatch:///apppack/apps/shop#release/app/aaaa1111");
        house.every_task(TaskStatus::Running { arn: arn.to_owned(), logs: logs.to_owned() });
        house.release(7).await;
        house.later(200).await;
    }
    a_build_whose_services_change = "deploying", 7, None, |house| {
        house.deploy(7).await;
        house.later(90).await;
    }
    an_order_that_cannot_be_given = "held-up", 7, None, |house| {
        house.be_down();
        house.release(7).await;
        house.later(30).await;
    }
}
