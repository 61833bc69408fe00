//! Every sample, and what is like it.

use super::*;
use crate::domain::lane::{BuildResult, Phase, TaskExit, TaskKey, TaskKind};
use crate::domain::names::{BuildNumber, EpochSeconds};

fn text(name: &str) -> String {
    let path = format!("{}/tests/fixtures/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn sample(name: &str) -> Result<News, EventError> {
    read(&text(name))
}

fn addressed(name: &str) -> Addressed {
    match sample(name).unwrap() {
        News::Lane(addressed) => addressed,
        other => panic!("{name}: {other:?}"),
    }
}

/// The sample with another detail.
fn changed(name: &str, change: impl FnOnce(&mut Value)) -> Result<News, EventError> {
    let mut event: Value = serde_json::from_str(&text(name)).unwrap();
    change(&mut event);
    read(&event.to_string())
}

fn the_end(news: Result<News, EventError>) -> Option<TaskExit> {
    let News::Lane(Addressed { events, .. }) = news.unwrap() else { panic!("not about a lane") };
    events.into_iter().find_map(|event| match event {
        Event::TaskEnded { exit, .. } => Some(exit),
        _ => None,
    })
}

#[test]
fn every_sample_is_read_or_left_alone_for_a_reason() {
    let folder = format!("{}/tests/fixtures/events", env!("CARGO_MANIFEST_DIR"));
    let mut read_ones = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        let name = name.strip_suffix(".json").unwrap();
        match sample(name) {
            Ok(_) => read_ones += 1,
            Err(error) => {
                let left_alone = ["ecr-image-push", "ecs-task-stopped-scheduled", "ecs-task-stopped-service-replaced"];
                // The batch is no event itself: its records are.
                assert_eq!(error.is_garbage(), name == "lambda-sqs-batch", "{name}: {error}");
                assert!(error.is_garbage() || left_alone.contains(&name), "{name}: {error}");
            }
        }
    }
    assert_eq!(read_ones, 27);
}

#[test]
fn the_first_event_of_a_build_has_no_number_of_its_own() {
    let first = addressed("codebuild-state-in-progress");
    assert_eq!(first.lane.to_string(), "demo-python");
    let [Event::BuildStarted { number, started, logs, outputs, .. }] = &first.events[..] else { panic!("{first:?}") };
    assert_eq!(outputs.bucket, "apppack-demo-python-artifacts-111122223333");
    assert!(outputs.repository.ends_with("/demo-python"), "{outputs:?}");
    assert_eq!(*number, BuildNumber(42));
    assert_eq!(*started, EpochSeconds(1_773_482_405));
    assert_eq!(logs, "cloudwatch:///aws/codebuild/demo-python#3f6c1d2e-8b74-4c51-9a0d-6e2f7b9c4d10");
}

#[test]
fn a_failed_build_names_its_first_failed_phase_and_the_reason() {
    let failed = addressed("codebuild-state-failed");
    let Some(Event::BuildEnded { result: BuildResult::Failed { phase, cause }, .. }) = failed.events.last() else {
        panic!("{failed:?}")
    };
    assert_eq!(*phase, Some(Phase::Build));
    assert!(cause.contains("exit status"), "{cause}");
}

#[test]
fn each_way_in_which_codebuild_ends_a_build_is_said_in_words() {
    let cause = |status: &str| {
        let news = changed("codebuild-state-stopped", |event| event["detail"]["build-status"] = status.into());
        let News::Lane(Addressed { events, .. }) = news.unwrap() else { panic!("{status}") };
        events.into_iter().find_map(|event| match event {
            Event::BuildEnded { result: BuildResult::Failed { cause, .. }, .. } => Some(cause),
            _ => None,
        })
    };
    assert_eq!(cause("STOPPED").unwrap(), "the build was stopped");
    assert_eq!(cause("TIMED_OUT").unwrap(), "the build took longer than its CodeBuild project allows");
    assert!(cause("FAULT").unwrap().starts_with("CodeBuild itself failed"));
    assert!(cause("FAILED").is_some());
    assert_eq!(cause("SOME_NEW_WORD"), None, "the sweep asks for what an event cannot tell");
}

#[test]
fn a_phase_that_was_stopped_says_so_as_the_build_does() {
    let news = changed("codebuild-phase-build-failed", |event| {
        event["detail"]["completed-phase-status"] = "STOPPED".into();
    });
    let News::Lane(Addressed { events, .. }) = news.unwrap() else { panic!() };
    assert!(matches!(&events[1], Event::BuildFailed { cause, .. } if cause == "the build was stopped"), "{events:?}");
}

#[test]
fn a_pull_request_belongs_to_its_review_apps_lane() {
    assert_eq!(addressed("codebuild-state-succeeded-pull-request").lane.pull_request, Some("12".parse().unwrap()));
}

#[test]
fn builds_of_projects_that_are_no_apps_are_left_alone() {
    for (path, value) in [("project-name", "no_app"), ("project-name", "")] {
        let error = changed("codebuild-state-succeeded", |event| {
            event["detail"][path] = value.into();
            event["detail"]["additional-information"]["environment"]["environment-variables"] = Value::Array(vec![]);
        });
        assert!(!error.unwrap_err().is_garbage());
    }
    let main_branch = changed("codebuild-state-succeeded-pull-request", |event| {
        event["detail"]["additional-information"]["source-version"] = "main".into();
    });
    assert!(!main_branch.unwrap_err().is_garbage());
}

#[test]
fn our_own_event_is_only_a_hint() {
    assert_eq!(addressed("packhorse-phase-change").events, []);
}

#[test]
fn newer_date_formatters_are_understood() {
    assert_eq!(read_time("Mar 4, 2026 1:00:05\u{202f}PM"), read_time("Mar 4, 2026 1:00:05 PM"));
    assert!(read_time("Mar 4, 2026 1:00:05 PM").is_some());
    assert_eq!(read_time("yesterday"), None);
}

#[test]
fn the_exit_code_counts_before_the_task_is_stopped() {
    for name in ["ecs-task-deprovisioning-exit-0", "ecs-task-stopped-exit-0"] {
        let told = addressed(name);
        assert_eq!(told.lane.to_string(), "demo-python");
        let task = TaskKey { build: BuildNumber(42), kind: TaskKind::Release, attempt: 1 };
        let exit = TaskExit::Code { code: 0, reason: None };
        assert_eq!(told.events, [Event::TaskEnded { task, exit, logs: String::new() }], "{name}");
    }
    let running = addressed("ecs-task-running");
    assert!(running.look && running.events.is_empty(), "where its log is has to be asked for");
}

#[test]
fn each_end_of_a_task_is_told_apart() {
    let exit = |name| the_end(sample(name)).unwrap();
    assert_eq!(exit("ecs-task-stopped-exit-1"), TaskExit::Code { code: 1, reason: None });
    let TaskExit::Code { code: 137, reason: Some(reason) } = exit("ecs-task-stopped-out-of-memory") else { panic!() };
    assert_eq!(reason, "it ran out of memory");
    for name in ["ecs-task-stopped-failed-to-start", "ecs-task-stopped-failed-to-start-no-containers"] {
        let TaskExit::NoCode { reason } = exit(name) else { panic!("{name}") };
        assert!(reason.starts_with("it did not start: C"), "{reason}");
    }
    let in_stopped_reason = changed("ecs-task-stopped-out-of-memory", |event| {
        event["detail"]["containers"][0]["reason"] = Value::Null;
        event["detail"]["stoppedReason"] = "OutOfMemoryError: Container killed due to memory usage".into();
    });
    assert!(matches!(the_end(in_stopped_reason), Some(TaskExit::Code { code: 137, reason: Some(_) })));
}

#[test]
fn a_task_whose_host_was_taken_away_may_be_tried_again_once_it_is_stopped() {
    let end = |stop_code: &str, status: &str| {
        the_end(changed("ecs-task-stopped-exit-0", |event| {
            event["detail"]["stopCode"] = stop_code.into();
            event["detail"]["lastStatus"] = status.into();
            event["detail"]["containers"][0]["exitCode"] = 143.into();
        }))
    };
    for code in ["SpotInterruption", "TerminationNotice"] {
        assert!(matches!(end(code, "STOPPED"), Some(TaskExit::NoCode { .. })), "{code}");
        assert_eq!(end(code, "DEPROVISIONING"), None, "{code}: it may still run");
    }
    assert!(matches!(end("UserInitiated", "DEPROVISIONING"), Some(TaskExit::Stopped { .. })));
    assert!(matches!(end("InfrastructureHealth", "STOPPED"), Some(TaskExit::NoCode { .. })));
}

#[test]
fn only_a_command_that_ended_by_itself_with_0_succeeded() {
    let end =
        |change: fn(&mut Value)| the_end(changed("ecs-task-stopped-exit-0", |event| change(&mut event["detail"])));
    let cancelled = end(|task| task["stopCode"] = "UserInitiated".into());
    assert!(matches!(cancelled, Some(TaskExit::Stopped { .. })));
    let new_word = end(|task| task["stopCode"] = "SomeNewWord".into());
    assert!(matches!(new_word, Some(TaskExit::Stopped { .. })));
    let silent = end(|task| _ = task.as_object_mut().unwrap().remove("stopCode"));
    assert!(matches!(silent, Some(TaskExit::Stopped { .. })));
    let no_code = end(|task| _ = task["containers"][0].as_object_mut().unwrap().remove("exitCode"));
    assert!(matches!(no_code, Some(TaskExit::NoCode { .. })));
    let empty = end(|task| task["containers"] = Value::Array(vec![]));
    assert!(matches!(empty, Some(TaskExit::NoCode { .. })));
    let new_status = end(|task| task["lastStatus"] = "SOME_NEW_STATUS".into());
    assert_eq!(new_status, None);
}

#[test]
fn tasks_of_services_schedules_and_checks_are_left_alone() {
    for name in ["ecs-task-stopped-service-replaced", "ecs-task-stopped-scheduled"] {
        let error = sample(name).unwrap_err();
        assert!(matches!(error, EventError::Irrelevant { .. }), "{name}: {error}");
    }
    for started_by in
        ["events-rule/apppack-validate-6b0e7c1a", "apppack-cli/shell/a@b", "", "packhorse/", "packhorse/x/y/z"]
    {
        let error = changed("ecs-task-running", |event| event["detail"]["startedBy"] = started_by.into()).unwrap_err();
        assert!(!error.is_garbage(), "{started_by}: {error}");
    }
}

#[test]
fn a_deployment_is_a_reason_to_look_whatever_it_says() {
    for name in ["completed", "failed", "in-progress", "in-progress-rollback"] {
        let News::Service(news) = sample(&format!("ecs-deployment-{name}")).unwrap() else { panic!("{name}") };
        assert!(news.arn.ends_with("service/prod/demo-python-web"));
        assert!(news.lanes.contains(&LaneKey::app("demo-python".parse().unwrap())));
    }
}

#[test]
fn changed_parameters_are_settings_of_a_lane_or_lists_of_people() {
    for name in ["config-create", "config-update", "config-delete", "scaling-update", "scheduled-tasks-update"] {
        let told = addressed(&format!("ssm-parameter-{name}"));
        assert_eq!((told.lane.to_string().as_str(), &told.events[..]), ("demo-python", &[Event::SettingsChanged][..]));
    }
    let review_app = addressed("ssm-parameter-review-app-config-create");
    assert_eq!(review_app.lane.to_string(), "demo-pipeline:12");
    let users = sample("ssm-parameter-users-update").unwrap();
    assert_eq!(users, News::Access(AccessList::Users("demo-python".parse().unwrap())));
    assert_eq!(sample("ssm-parameter-administrators-update").unwrap(), News::Access(AccessList::Administrators));
    let named = |name: &str| changed("ssm-parameter-scaling-update", |event| event["detail"]["name"] = name.into());
    let pipeline = News::Pipeline("demo-pipeline".parse().unwrap());
    assert_eq!(named("/apppack/pipelines/demo-pipeline/config/DEBUG").unwrap(), pipeline);
    for other in ["/apppack/redis/x/auth-token", "/other/apps/shop/config/A", "/apppack/apps/a_b/scaling", "plain", "/"]
    {
        assert!(!named(other).unwrap_err().is_garbage(), "{other}");
    }
    let labelled = changed("ssm-parameter-scaling-update", |event| {
        event["detail"]["operation"] = "LabelParameterVersion".into();
    });
    assert!(!labelled.unwrap_err().is_garbage());
}

#[test]
fn unknown_fields_pass() {
    for name in
        ["codebuild-state-succeeded", "ecs-task-stopped-exit-0", "ecs-deployment-failed", "ssm-parameter-config-create"]
    {
        let with_more = changed(name, |event| {
            event["something-new"] = serde_json::json!({ "a": [1] });
            event["detail"]["somethingNew"] = serde_json::json!([null]);
        });
        assert_eq!(with_more, sample(name), "{name}");
    }
}

#[test]
fn what_is_not_used_is_named_and_garbage_has_a_reason() {
    let text = r#"{"source":"aws.ecr","detail-type":"ECR Image Action","detail":{}}"#;
    let unused = read(text).unwrap_err();
    assert_eq!(unused.to_string(), "events of `aws.ecr` with detail-type `ECR Image Action` are not used");
    assert!(!unused.is_garbage());
    let build = |detail: &str| {
        read(&format!(r#"{{"source":"aws.codebuild","detail-type":"CodeBuild Build State Change","detail":{detail}}}"#))
    };
    let no_time = r#"{"build-id":"arn:aws:codebuild:us-east-1:1:build/a:b","project-name":"a",
        "additional-information":{"build-number":1,"build-start-time":"then"}}"#;
    for garbage in [read("{}"), read(""), read("[1]"), read("\"text\""), build("{}"), build("7"), build(no_time)] {
        let error = garbage.unwrap_err();
        assert!(error.is_garbage() && !error.to_string().is_empty(), "{error}");
    }
    let no_service = changed("ecs-deployment-failed", |event| event["resources"] = Value::Array(vec![]));
    assert!(no_service.unwrap_err().is_garbage());
}

#[test]
fn a_batch_of_a_queue_is_as_many_events() {
    let Delivery::Events(records) = deliveries(&text("lambda-sqs-batch")).unwrap() else { panic!() };
    let told: Vec<_> = records.iter().map(|record| read(&record.body).unwrap()).collect();
    assert_eq!(records[0].message_id.as_deref(), Some("582d28ae-151e-45e6-8602-91b6c42de95c"));
    assert_eq!(told[0], sample("ecs-task-stopped-exit-0").unwrap());
    assert_eq!(told[1], sample("ssm-parameter-scaling-update").unwrap());
}

#[test]
fn an_event_may_come_without_a_queue_and_a_schedule_asks_for_a_sweep() {
    let direct = text("ecs-task-running");
    let expected = Delivery::Events(vec![Record { message_id: None, body: direct.clone() }]);
    assert_eq!(deliveries(&direct).unwrap(), expected);
    let tick = |rule: &str| {
        let resource = format!("arn:aws:events:us-east-1:111122223333:rule/{rule}");
        serde_json::json!({"source": "aws.events", "detail-type": "Scheduled Event", "resources": [resource], "detail": {}})
            .to_string()
    };
    assert_eq!(deliveries(&tick("apppack-sweep")).unwrap(), Delivery::Sweep);
    let check = tick("apppack-validate-6b0e7c1a");
    assert_ne!(deliveries(&check).unwrap(), Delivery::Sweep, "a client only checks a cron expression");
    assert!(!read(&check).unwrap_err().is_garbage());
}

#[test]
fn a_poisoned_record_does_not_spoil_its_batch() {
    let batch = r#"{"Records":[{"messageId":"a","body":"{"},{"messageId":"b"},{"body":{"source":"x"}},{"messageId":"","body":"1"}]}"#;
    let Delivery::Events(records) = deliveries(batch).unwrap() else { panic!() };
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| read(&record.body).is_err_and(|error| error.is_garbage())));
    assert_eq!(records[3].message_id, None, "an empty name would make the queue send the whole batch again");
    for garbage in ["", "7", "[]", r#"{"Records":7}"#] {
        assert!(deliveries(garbage).unwrap_err().is_garbage(), "{garbage}");
    }
}
