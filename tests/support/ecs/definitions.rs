//! Task definitions: each registration is another revision.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{ACCOUNT, Answer, Refusal, State, client, invalid};

pub(super) struct Definition {
    pub(super) input: Value,
    pub(super) revision: u64,
    pub(super) active: bool,
}

impl Definition {
    pub(super) fn arn(&self) -> String {
        format!("arn:aws:ecs:{ACCOUNT}:task-definition/{}:{}", self.input["family"].as_str().unwrap(), self.revision)
    }

    pub(super) fn described(&self) -> Value {
        let mut described = self.input.clone();
        described.as_object_mut().unwrap().remove("tags");
        described["taskDefinitionArn"] = self.arn().into();
        described["revision"] = self.revision.into();
        described["status"] = if self.active { "ACTIVE" } else { "INACTIVE" }.into();
        described
    }

    pub(super) fn tags(&self) -> BTreeMap<String, String> {
        let tags = self.input["tags"].as_array().into_iter().flatten();
        tags.map(|tag| (tag["key"].as_str().unwrap().to_owned(), tag["value"].as_str().unwrap().to_owned())).collect()
    }
}

impl State {
    pub(super) fn register(&mut self, input: &Value) -> Answer {
        check(input)?;
        let same = self.definitions.iter().filter(|known| known.input["family"] == input["family"]).count();
        let made = Definition { input: input.clone(), revision: u64::try_from(same).unwrap() + 1, active: true };
        let answer = json!({"taskDefinition": made.described(), "tags": input["tags"]});
        self.definitions.push(made);
        Ok(answer)
    }

    pub(super) fn describe_definition(&mut self, input: &Value) -> Answer {
        let found = self.find_definition(input["taskDefinition"].as_str().unwrap());
        let found = found.ok_or_else(|| client("Unable to describe task definition."))?;
        let wanted = input["include"].as_array().is_some_and(|include| include.contains(&"TAGS".into()));
        Ok(
            json!({"taskDefinition": found.described(), "tags": if wanted { found.input["tags"].clone() } else { json!([]) }}),
        )
    }

    pub(super) fn deregister(&mut self, input: &Value) -> Answer {
        let name = input["taskDefinition"].as_str().unwrap();
        if !name.rsplit('/').next().unwrap().contains(':') {
            return Err(invalid("Task definition must have a revision."));
        }
        let index =
            self.definitions.iter().position(|known| known.arn() == name || known.arn().ends_with(&format!("/{name}")));
        let known = index.and_then(|index| self.definitions.get_mut(index));
        let known = known.ok_or_else(|| client("The specified task definition does not exist."))?;
        known.active = false;
        Ok(json!({"taskDefinition": known.described()}))
    }

    /// By ARN, by `family:revision`, or the newest active one of a family.
    pub(super) fn find_definition(&self, name: &str) -> Option<&Definition> {
        let name = name.rsplit('/').next().unwrap();
        match name.split_once(':') {
            Some(_) => self.definitions.iter().find(|known| known.arn().ends_with(&format!("/{name}"))),
            None => self.definitions.iter().rev().find(|known| known.active && known.input["family"] == name),
        }
    }
}

fn check(input: &Value) -> Result<(), Refusal> {
    let plain = |text: &str, more: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    let family = input["family"].as_str().unwrap();
    if family.is_empty() || family.len() > 255 || !plain(family, "-_") {
        return Err(client(
            "Family contains invalid characters when it should only contain lower and uppercase letters, numbers, underscores, and hyphens.",
        ));
    }
    let containers = input["containerDefinitions"].as_array().unwrap();
    if containers.is_empty() {
        return Err(client("Container definitions should not be empty."));
    }
    let fargate = input["requiresCompatibilities"].as_array().is_some_and(|list| list.contains(&"FARGATE".into()));
    if fargate {
        if input["networkMode"] != "awsvpc" {
            return Err(client("Fargate only supports network mode ‘awsvpc’."));
        }
        let number = |name: &str| input[name].as_str().and_then(|text| text.parse::<u32>().ok());
        let (cpu, memory) = (number("cpu"), number("memory"));
        if !cpu.zip(memory).is_some_and(|(cpu, memory)| fargate_size(cpu, memory)) {
            return Err(client(format!(
                "No Fargate configuration exists for given values: {cpu:?} CPU, {memory:?} memory."
            )));
        }
    }
    for container in containers {
        let name = container["name"].as_str().unwrap_or_default();
        if name.is_empty() || !plain(name, "-_") || container["image"].as_str().is_none_or(str::is_empty) {
            return Err(client("Container.name and Container.image should not be null or empty."));
        }
        let mut names = BTreeSet::new();
        for variable in [&container["environment"], &container["secrets"]]
            .into_iter()
            .flat_map(|list| list.as_array().into_iter().flatten())
        {
            if !names.insert(variable["name"].as_str().unwrap_or_default()) {
                return Err(client(format!(
                    "The secret name must be unique and not shared with any new or existing environment variables set on the container, such as '{}'.",
                    variable["name"]
                )));
            }
        }
        let secrets = container["secrets"].as_array().is_some_and(|secrets| !secrets.is_empty());
        let logs = container["logConfiguration"]["logDriver"] == "awslogs";
        if (secrets || fargate && logs) && input["executionRoleArn"].as_str().is_none_or(str::is_empty) {
            return Err(client(
                "Fargate requires task definition to have execution role ARN to support log driver awslogs or secrets.",
            ));
        }
        if logs && fargate && container["logConfiguration"]["options"]["awslogs-stream-prefix"].as_str().is_none() {
            return Err(client("Log driver awslogs requires options: awslogs-stream-prefix"));
        }
        for port in container["portMappings"].as_array().into_iter().flatten() {
            let (inside, outside) = (&port["containerPort"], port["hostPort"].as_i64().unwrap_or(0));
            if input["networkMode"] == "awsvpc" && outside != 0 && inside.as_i64() != Some(outside) {
                return Err(client(
                    "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
                ));
            }
        }
    }
    check_tags(&input["tags"])
}

pub(super) fn check_tags(tags: &Value) -> Result<(), Refusal> {
    let mut keys = BTreeSet::new();
    for tag in tags.as_array().into_iter().flatten() {
        let (key, value) = (tag["key"].as_str().unwrap_or_default(), tag["value"].as_str().unwrap_or_default());
        let plain = |text: &str| text.chars().all(|c| c.is_alphanumeric() || " _.:/=+-@".contains(c));
        if key.is_empty()
            || key.len() > 128
            || value.len() > 256
            || !plain(key)
            || !plain(value)
            || key.starts_with("aws:")
        {
            return Err(invalid(format!("Invalid tag {key}={value}")));
        }
        if !keys.insert(key) {
            return Err(invalid(format!("Duplicate tag key {key}")));
        }
    }
    Ok(())
}

/// The pairs that AWS documents ("Task size" in "Amazon ECS task definition parameters for Fargate").
fn fargate_size(cpu: u32, memory: u32) -> bool {
    let steps =
        |least: u32, most: u32, step: u32| (least..=most).contains(&memory) && (memory - least).is_multiple_of(step);
    match cpu {
        256 => [512, 1024, 2048].contains(&memory),
        512 => steps(1024, 4096, 1024),
        1024 => steps(2048, 8192, 1024),
        2048 => steps(4096, 16_384, 1024),
        4096 => steps(8192, 30_720, 1024),
        8192 => steps(16_384, 61_440, 4096),
        16_384 => steps(32_768, 122_880, 8192),
        _ => false,
    }
}
