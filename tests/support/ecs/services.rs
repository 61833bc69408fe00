//! Services and their deployments: each look brings a deployment a step further.

use serde_json::{Value, json};

use super::definitions::check_tags;
use super::tasks::{FakeTask, check_definition, check_launch};
use super::{ACCOUNT, Answer, CLUSTER, DeployScript, Refusal, State, TaskScript, client, invalid};

pub(super) struct FakeService {
    name: String,
    input: Value,
    status: &'static str,
    deployments: Vec<Value>,
    /// What the next look still sees.
    stale: Option<Value>,
    events: Vec<Value>,
    script: DeployScript,
    /// Whether any deployment ever came to its end.
    completed: Option<String>,
    looks: usize,
    begun: usize,
}

impl FakeService {
    pub(super) fn described(&self) -> Value {
        let mut service = json!({
            "serviceName": self.name, "serviceArn": format!("arn:aws:ecs:{ACCOUNT}:service/prod/{}", self.name), "clusterArn": CLUSTER,
            "status": self.status, "deployments": self.deployments, "events": self.events, "pendingCount": 0,
            "runningCount": self.input["desiredCount"], "schedulingStrategy": "REPLICA", "createdAt": 1_767_225_600,
        });
        for name in [
            "taskDefinition",
            "desiredCount",
            "launchType",
            "capacityProviderStrategy",
            "platformVersion",
            "networkConfiguration",
            "loadBalancers",
            "deploymentConfiguration",
            "healthCheckGracePeriodSeconds",
            "enableExecuteCommand",
            "propagateTags",
        ] {
            if !self.input[name].is_null() {
                service[name] = self.input[name].clone();
            }
        }
        if service["platformVersion"].is_null() {
            service["platformVersion"] = "LATEST".into();
        }
        service
    }

    pub(super) fn begun(&self) -> usize {
        self.begun
    }

    pub(super) fn set_desired(&mut self, desired: i64) {
        self.input["desiredCount"] = desired.into();
    }

    fn begin(&mut self, id: u64, definition: &str, now: f64) {
        for deployment in &mut self.deployments {
            deployment["status"] = "ACTIVE".into();
        }
        self.looks = 0;
        self.begun += 1;
        let desired = &self.input["desiredCount"];
        self.deployments.insert(0, json!({
            "id": format!("ecs-svc/{id:019}"), "status": "PRIMARY", "taskDefinition": definition, "desiredCount": desired,
            "runningCount": 0, "pendingCount": desired, "failedTasks": 0, "createdAt": now, "updatedAt": now,
            "rolloutState": "IN_PROGRESS", "rolloutStateReason": "ECS deployment in progress.",
        }));
        self.input["taskDefinition"] = definition.into();
    }
}

impl State {
    fn service_of(&mut self, input: &Value) -> Result<&mut FakeService, Refusal> {
        let name = input["service"].as_str().unwrap().rsplit('/').next().unwrap();
        match self.services.get_mut(name) {
            None => Err(Refusal("ServiceNotFoundException", "Service not found.".to_owned())),
            Some(service) => Ok(service),
        }
    }

    fn script_of(&mut self, name: &str) -> DeployScript {
        self.deploy_scripts.get_mut(name).and_then(std::collections::VecDeque::pop_front).unwrap_or(DeployScript::Works)
    }

    pub(super) fn create_service(&mut self, input: &Value) -> Answer {
        Self::check_cluster(input)?;
        check_launch(input)?;
        check_tags(&input["tags"])?;
        let name = input["serviceName"].as_str().unwrap().to_owned();
        if name.is_empty() || name.len() > 255 || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) {
            return Err(invalid("Invalid service name."));
        }
        if input["clientToken"].as_str().is_some_and(|token| token.len() > 36) {
            return Err(invalid("Invalid client token."));
        }
        match self.services.get(&name).map(|known| known.status) {
            Some("ACTIVE") => return Err(invalid("Creation of service was not idempotent.")),
            Some("DRAINING") => return Err(invalid("Unable to Start a service that is still Draining.")),
            _ => {}
        }
        let grace = !input["healthCheckGracePeriodSeconds"].is_null();
        if grace && input["loadBalancers"].as_array().is_none_or(Vec::is_empty) {
            return Err(invalid(
                "Health check grace period is only valid for services configured to use load balancers",
            ));
        }
        let definition = self.find_definition(input["taskDefinition"].as_str().unwrap_or_default());
        let definition = definition.ok_or_else(|| client("TaskDefinition not found."))?;
        check_definition(input, &definition.input)?;
        for balancer in input["loadBalancers"].as_array().into_iter().flatten() {
            let containers = definition.input["containerDefinitions"].as_array().unwrap();
            let port = |container: &Value| {
                container["name"] == balancer["containerName"]
                    && container["portMappings"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .any(|port| port["containerPort"] == balancer["containerPort"])
            };
            if !containers.iter().any(port) {
                return Err(invalid("The container does not exist in the task definition, or has no such port."));
            }
        }
        let arn = definition.arn();
        let (id, now, script) = (self.number(), self.now(), self.script_of(&name));
        let mut input = input.clone();
        if input["desiredCount"].is_null() {
            input["desiredCount"] = 0.into();
        }
        let mut service = FakeService {
            name: name.clone(),
            input,
            status: "ACTIVE",
            deployments: Vec::new(),
            stale: None,
            events: Vec::new(),
            script,
            completed: None,
            looks: 0,
            begun: 0,
        };
        service.begin(id, &arn, now);
        service.stale = Some(Value::Null);
        let answer = json!({"service": service.described()});
        self.services.insert(name, service);
        Ok(answer)
    }

    pub(super) fn update_service(&mut self, input: &Value) -> Answer {
        Self::check_cluster(input)?;
        check_launch(input)?;
        let (id, now) = (self.number(), self.now());
        let definition = match input["taskDefinition"].as_str() {
            None => None,
            Some(name) => {
                let found = self.find_definition(name).ok_or_else(|| client("TaskDefinition not found."))?;
                if !found.active {
                    return Err(client("TaskDefinition is inactive"));
                }
                Some(found.arn())
            }
        };
        let name = input["service"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let status = self.service_of(input)?.status;
        if status != "ACTIVE" {
            return Err(Refusal("ServiceNotActiveException", "Service was not ACTIVE.".to_owned()));
        }
        let starts =
            definition.is_some() || ["networkConfiguration", "loadBalancers"].iter().any(|name| !input[name].is_null());
        let same = definition.as_ref().is_some_and(|arn| self.services[&name].input["taskDefinition"] == **arn);
        let begins = input["forceNewDeployment"] == true || starts && !same;
        let script = if begins { Some(self.script_of(&name)) } else { None };
        let service = self.service_of(input)?;
        let before = service.described();
        for (key, value) in input.as_object().unwrap() {
            if !matches!(key.as_str(), "cluster" | "service" | "taskDefinition" | "forceNewDeployment")
                && !value.is_null()
            {
                service.input[key] = value.clone();
            }
        }
        let arn = definition.unwrap_or_else(|| service.input["taskDefinition"].as_str().unwrap().to_owned());
        if let Some(script) = script {
            service.script = script;
            service.begin(id, &arn, now);
        }
        service.stale = Some(before);
        Ok(json!({"service": service.described()}))
    }

    pub(super) fn describe_services(&mut self, input: &Value) -> Answer {
        Self::check_cluster(input)?;
        let names = input["services"].as_array().unwrap();
        if names.is_empty() || names.len() > 10 {
            return Err(invalid("Services cannot be empty or more than 10."));
        }
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for asked in names {
            let name = asked.as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            let ended = match self.services.get_mut(&name) {
                None => None,
                Some(service) => match service.stale.take() {
                    Some(Value::Null) => None,
                    Some(before) => {
                        found.push(before);
                        continue;
                    }
                    None => {
                        let ended = service.advance();
                        found.push(service.described());
                        Some(ended)
                    }
                },
            };
            match ended {
                None => missing
                    .push(json!({"arn": format!("arn:aws:ecs:{ACCOUNT}:service/prod/{name}"), "reason": "MISSING"})),
                Some(Some(definition)) => self.crash(&name, &definition),
                Some(None) => {}
            }
        }
        Ok(json!({"services": found, "failures": missing}))
    }

    /// Leaves a stopped task of a deployment that failed.
    fn crash(&mut self, service: &str, definition: &str) {
        let container = self.find_definition(definition).unwrap().input["containerDefinitions"][0].clone();
        let now = self.now();
        let task = FakeTask {
            id: format!("{:032x}", self.number()),
            definition: definition.to_owned(),
            input: json!({"startedBy": "ecs-svc/0000000000000000001"}),
            tags: json!([]),
            script: TaskScript::Exits(1, ""),
            step: 3,
            hidden: 0,
            started: now,
            stopped: Some(now),
            stop_code: None,
            reason: String::new(),
            group: format!("service:{service}"),
            log_written: true,
            container,
        };
        self.tasks.push(task);
    }

    pub(super) fn delete_service(&mut self, input: &Value) -> Answer {
        Self::check_cluster(input)?;
        let service = self.service_of(input)?;
        if service.input["desiredCount"].as_i64().unwrap() > 0 && input["force"] != true {
            return Err(invalid("The service cannot be stopped while it is scaled above 0."));
        }
        service.status = "INACTIVE";
        service.deployments.clear();
        service.stale = None;
        Ok(json!({"service": service.described()}))
    }
}

impl FakeService {
    /// Brings the newest deployment a step further; tells the definition whose tasks crashed.
    fn advance(&mut self) -> Option<String> {
        self.looks += 1;
        let primary = self.deployments.first_mut()?;
        let definition = primary["taskDefinition"].as_str().unwrap().to_owned();
        if primary["rolloutState"] == "COMPLETED" || self.looks < 2 {
            return None;
        }
        match self.script {
            DeployScript::Hangs => None,
            DeployScript::Works => {
                primary["rolloutState"] = "COMPLETED".into();
                primary["rolloutStateReason"] =
                    format!("ECS deployment {} completed.", primary["id"].as_str().unwrap()).into();
                primary["runningCount"] = self.input["desiredCount"].clone();
                primary["pendingCount"] = 0.into();
                self.deployments.truncate(1);
                self.completed = Some(definition);
                None
            }
            DeployScript::Fails => {
                let breaker = &self.input["deploymentConfiguration"]["deploymentCircuitBreaker"];
                if breaker["enable"] != true {
                    return None;
                }
                let id = primary["id"].as_str().unwrap().to_owned();
                primary["rolloutState"] = "FAILED".into();
                primary["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start.".into();
                primary["failedTasks"] = 3.into();
                self.events.insert(0, json!({
                    "id": format!("event-{id}"), "createdAt": 1_767_225_600,
                    "message": format!("(service {}) (deployment {id}) deployment failed: tasks failed to start.", self.name),
                }));
                if let Some(before) = self.completed.clone().filter(|_| breaker["rollback"] == true) {
                    // The release before is brought back, and is complete at the next look.
                    let mut failed = self.deployments.remove(0);
                    failed["status"] = "ACTIVE".into();
                    let mut restored =
                        self.deployments.iter().find(|known| known["taskDefinition"] == before).cloned().unwrap();
                    restored["status"] = "PRIMARY".into();
                    restored["rolloutState"] = "IN_PROGRESS".into();
                    restored["rolloutStateReason"] = format!(
                        "ECS deployment circuit breaker: rolling back to deploymentId {}.",
                        restored["id"].as_str().unwrap()
                    )
                    .into();
                    self.deployments = vec![restored, failed];
                    self.input["taskDefinition"] = before.into();
                    self.script = DeployScript::Works;
                }
                Some(definition)
            }
        }
    }
}
