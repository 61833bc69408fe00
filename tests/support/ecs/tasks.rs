//! Tasks: each look brings one a step further, and a stopped one is forgotten after an hour.

use serde_json::{Value, json};

use super::definitions::check_tags;
use super::{ACCOUNT, Answer, CLUSTER, Refusal, State, TaskScript, client, invalid};
use crate::support::http;

const HOUR: f64 = 3600.0;

pub(super) struct FakeTask {
    pub(super) id: String,
    pub(super) definition: String,
    pub(super) input: Value,
    pub(super) tags: Value,
    pub(super) script: TaskScript,
    pub(super) step: usize,
    pub(super) hidden: usize,
    pub(super) started: f64,
    pub(super) stopped: Option<f64>,
    pub(super) stop_code: Option<&'static str>,
    pub(super) reason: String,
    pub(super) group: String,
    pub(super) log_written: bool,
    pub(super) container: Value,
}

impl FakeTask {
    pub(super) fn family(&self) -> &str {
        self.definition.rsplit('/').next().unwrap().split(':').next().unwrap()
    }

    fn arn(&self) -> String {
        format!("arn:aws:ecs:{ACCOUNT}:task/prod/{}", self.id)
    }

    fn status(&self) -> &'static str {
        match (&self.script, self.step) {
            (_, _) if self.stop_code == Some("UserInitiated") => "STOPPED",
            (_, 0) => "PROVISIONING",
            (TaskScript::FailsToStart(_), _) => "STOPPED",
            (_, 1) | (TaskScript::Stays, _) => "RUNNING",
            (_, 2) => "DEPROVISIONING",
            _ => "STOPPED",
        }
    }

    fn described(&self, with_tags: bool) -> Value {
        let status = self.status();
        let ended = matches!(status, "DEPROVISIONING" | "STOPPED");
        let mut container =
            json!({"name": self.container["name"], "image": self.container["image"], "lastStatus": status});
        let mut task = json!({
            "taskArn": self.arn(), "taskDefinitionArn": self.definition, "clusterArn": CLUSTER, "lastStatus": status,
            "desiredStatus": if ended { "STOPPED" } else { "RUNNING" }, "createdAt": self.started, "cpu": "512", "memory": "1024",
            "group": self.group, "version": self.step + 1, "overrides": self.input["overrides"],
        });
        if let Some(starter) = self.input["startedBy"].as_str() {
            task["startedBy"] = starter.into();
        }
        let ran = self.step >= 1 && !matches!(self.script, TaskScript::FailsToStart(_));
        if ran {
            task["startedAt"] = self.started.into();
        }
        if ended {
            let (code, exit, reason, said) = match &self.script {
                _ if self.stop_code == Some("UserInitiated") => {
                    ("UserInitiated", ran.then_some(143), self.reason.as_str(), "")
                }
                TaskScript::Exits(code, _) => {
                    ("EssentialContainerExited", Some(*code), "Essential container in task exited", "")
                }
                TaskScript::OutOfMemory => (
                    "EssentialContainerExited",
                    Some(137),
                    "Essential container in task exited",
                    "OutOfMemoryError: Container killed due to memory usage",
                ),
                TaskScript::FailsToStart(reason) => ("TaskFailedToStart", None, *reason, *reason),
                TaskScript::Interrupted => ("SpotInterruption", Some(143), "Your Spot Task was interrupted.", ""),
                TaskScript::Stays | TaskScript::NoRoom => unreachable!(),
            };
            task["stopCode"] = code.into();
            task["stoppedReason"] = reason.into();
            if let Some(exit) = exit {
                container["exitCode"] = exit.into();
            }
            if !said.is_empty() {
                container["reason"] = said.into();
            }
            if let Some(stopped) = self.stopped {
                task["executionStoppedAt"] = stopped.into();
                if status == "STOPPED" {
                    task["stoppedAt"] = stopped.into();
                }
            }
        }
        // A task for which there was no room has no containers.
        let empty = matches!(self.script, TaskScript::FailsToStart(reason) if reason.contains("Capacity"));
        task["containers"] = if empty { json!([]) } else { json!([container]) };
        task["tags"] = if with_tags { self.tags.clone() } else { json!([]) };
        task
    }
}

impl State {
    pub(super) fn run_task(&mut self, input: &Value) -> Answer {
        Self::check_cluster(input)?;
        check_launch(input)?;
        check_tags(&input["tags"])?;
        let count = input["count"].as_i64().unwrap_or(1);
        if !(1..=10).contains(&count) {
            return Err(invalid("Count must be between 1 and 10."));
        }
        if input["propagateTags"] == "SERVICE" {
            return Err(invalid("propagateTags=SERVICE is not supported for RunTask."));
        }
        let starter = input["startedBy"].as_str().unwrap_or_default();
        if starter.len() > 128 || !starter.chars().all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c)) {
            return Err(invalid("startedBy is invalid."));
        }
        if input["overrides"].to_string().len() > 8192 {
            return Err(invalid("Overrides length must not exceed 8192."));
        }
        let definition = self.find_definition(input["taskDefinition"].as_str().unwrap());
        let definition = definition.ok_or_else(|| client("TaskDefinition not found."))?;
        if !definition.active {
            return Err(client("TaskDefinition is inactive"));
        }
        check_definition(input, &definition.input)?;
        let (arn, known, tags) =
            (definition.arn(), definition.input["containerDefinitions"].clone(), definition.input["tags"].clone());
        for container in input["overrides"]["containerOverrides"].as_array().into_iter().flatten() {
            if !known.as_array().unwrap().iter().any(|known| known["name"] == container["name"]) {
                return Err(invalid(format!(
                    "Override for container named {} is not a container in the TaskDefinition.",
                    container["name"]
                )));
            }
        }
        if let Some(token) = input["clientToken"].as_str() {
            if token.len() > 64 || !token.chars().all(|c| ('!'..='~').contains(&c)) {
                return Err(invalid("Invalid client token."));
            }
            if let Some((earlier, id)) = self.tokens.get(token) {
                if earlier != input {
                    return Err(Refusal(
                        "ConflictException",
                        "The request with this client token is for another task.".to_owned(),
                    ));
                }
                let task = self.tasks.iter().find(|task| task.id == *id).unwrap();
                return Ok(json!({"tasks": [task.described(true)], "failures": []}));
            }
        }
        let family = arn.rsplit('/').next().unwrap().split(':').next().unwrap().to_owned();
        let script = self.task_scripts.get_mut(&family).and_then(std::collections::VecDeque::pop_front);
        let script = script.unwrap_or(TaskScript::Exits(0, ""));
        if script == TaskScript::NoRoom {
            return Ok(
                json!({"tasks": [], "failures": [{"arn": CLUSTER, "reason": "RESOURCE:MEMORY", "detail": "no machine has room"}]}),
            );
        }
        let tags = if input["propagateTags"] == "TASK_DEFINITION" { tags } else { json!([]) };
        let task = FakeTask {
            id: format!("{:032x}", self.number()),
            definition: arn,
            input: input.clone(),
            tags,
            script,
            step: 0,
            hidden: self.lag,
            started: self.now(),
            stopped: None,
            stop_code: None,
            reason: String::new(),
            group: format!("family:{family}"),
            log_written: false,
            container: known[0].clone(),
        };
        if let Some(token) = input["clientToken"].as_str() {
            self.tokens.insert(token.to_owned(), (input.clone(), task.id.clone()));
        }
        let answer = json!({"tasks": [task.described(true)], "failures": []});
        self.tasks.push(task);
        Ok(answer)
    }

    pub(super) fn describe_tasks(&mut self, input: &Value) -> Answer {
        Self::check_cluster(input)?;
        let arns = input["tasks"].as_array().unwrap();
        if arns.is_empty() || arns.len() > 100 {
            return Err(invalid("Tasks cannot be empty or more than 100."));
        }
        let with_tags = input["include"].as_array().is_some_and(|include| include.contains(&"TAGS".into()));
        let (now, logs) = (self.now(), self.logs.clone());
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for arn in arns {
            let known = self.tasks.iter_mut().find(|task| *arn == *task.arn());
            match known.filter(|task| task.stopped.is_none_or(|stopped| now - stopped < HOUR)) {
                Some(task) if task.hidden == 0 => {
                    task.step += 1;
                    if task.stopped.is_none() && matches!(task.status(), "DEPROVISIONING" | "STOPPED") {
                        task.stopped = Some(now);
                    }
                    write_log(task, logs.as_deref());
                    found.push(task.described(with_tags));
                }
                Some(task) => {
                    task.hidden -= 1;
                    missing.push(json!({"arn": arn, "reason": "MISSING"}));
                }
                None => missing.push(json!({"arn": arn, "reason": "MISSING"})),
            }
        }
        Ok(json!({"tasks": found, "failures": missing}))
    }

    pub(super) fn list_tasks(&mut self, input: &Value) -> Answer {
        Self::check_cluster(input)?;
        let filters = ["family", "serviceName", "containerInstance", "launchType", "desiredStatus"];
        if !input["startedBy"].is_null() && filters.iter().any(|filter| !input[filter].is_null()) {
            return Err(invalid("startedBy cannot be used with another filter."));
        }
        if input["maxResults"].as_i64().is_some_and(|most| !(1..=100).contains(&most)) {
            return Err(invalid("maxResults must be between 1 and 100."));
        }
        let now = self.now();
        let wanted = input["desiredStatus"].as_str().unwrap_or("RUNNING");
        let fits = |task: &&FakeTask| {
            let stopped = matches!(task.status(), "DEPROVISIONING" | "STOPPED");
            task.hidden == 0
                && task.stopped.is_none_or(|stopped| now - stopped < HOUR)
                && (wanted == "STOPPED") == stopped
                && input["startedBy"].as_str().is_none_or(|starter| task.input["startedBy"] == starter)
                && input["family"].as_str().is_none_or(|family| task.family() == family)
                && input["serviceName"].as_str().is_none_or(|service| task.group == format!("service:{service}"))
        };
        let found: Vec<String> = self.tasks.iter().filter(fits).map(FakeTask::arn).collect();
        for task in &mut self.tasks {
            task.hidden = task.hidden.saturating_sub(1);
        }
        Ok(json!({"taskArns": found}))
    }

    pub(super) fn stop_task(&mut self, input: &Value) -> Answer {
        Self::check_cluster(input)?;
        let (now, name) = (self.now(), input["task"].as_str().unwrap());
        let known = self.tasks.iter_mut().find(|task| task.arn() == name || task.id == name);
        let known = known.filter(|task| task.stopped.is_none_or(|stopped| now - stopped < HOUR));
        let task = known.ok_or_else(|| invalid("The referenced task was not found."))?;
        if task.stopped.is_none() {
            task.stop_code = Some("UserInitiated");
            input["reason"].as_str().unwrap_or_default().clone_into(&mut task.reason);
            task.stopped = Some(now);
        }
        // So does AWS.
        task.tags = json!([]);
        Ok(json!({"task": task.described(true)}))
    }
}

/// A task's output, where the `awslogs` driver puts it.
fn write_log(task: &mut FakeTask, logs: Option<&str>) {
    let TaskScript::Exits(_, text) = task.script else { return };
    let Some(endpoint) = logs.filter(|_| !task.log_written && task.step >= 2) else { return };
    task.log_written = true;
    let options = &task.container["logConfiguration"]["options"];
    let stream = format!(
        "{}/{}/{}",
        options["awslogs-stream-prefix"].as_str().unwrap(),
        task.container["name"].as_str().unwrap(),
        task.id
    );
    let names = json!({"logGroupName": options["awslogs-group"], "logStreamName": stream});
    http::call(endpoint, "logs", "Logs_20140328.CreateLogStream", &names).unwrap();
    let mut put = names;
    let at = u64::try_from(std::time::Duration::from_secs_f64(task.started).as_millis()).unwrap();
    put["logEvents"] = text.lines().map(|line| json!({"timestamp": at, "message": line})).collect();
    if !text.is_empty() {
        http::call(endpoint, "logs", "Logs_20140328.PutLogEvents", &put).unwrap();
    }
}

/// What holds for whatever launches tasks.
pub(super) fn check_launch(input: &Value) -> Result<(), Refusal> {
    let providers = input["capacityProviderStrategy"].as_array().is_some_and(|list| !list.is_empty());
    if providers && !input["launchType"].is_null() {
        return Err(invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.",
        ));
    }
    if input["launchType"] == "FARGATE_SPOT" {
        return Err(invalid("FARGATE_SPOT is a capacity provider."));
    }
    Ok(())
}

/// What must fit together of a request and its task definition.
pub(super) fn check_definition(input: &Value, definition: &Value) -> Result<(), Refusal> {
    let vpc = &input["networkConfiguration"]["awsvpcConfiguration"];
    let own_address = definition["networkMode"] == "awsvpc";
    if own_address && vpc["subnets"].as_array().is_none_or(Vec::is_empty) {
        return Err(invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified."));
    }
    if !own_address && !vpc.is_null() {
        return Err(invalid("Network Configuration is not valid for the given networkMode of this task definition."));
    }
    let fargate = definition["requiresCompatibilities"].as_array().is_some_and(|list| list.contains(&"FARGATE".into()));
    if input["launchType"] == "FARGATE" && !fargate {
        return Err(invalid("Task definition does not support launch_type FARGATE."));
    }
    Ok(())
}
