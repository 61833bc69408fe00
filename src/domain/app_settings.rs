//! What an app's stacks have made for it: the items `settings` and `CONFIG#ecs` (`data-contract` 1.4, 1.5).

use serde_json::{Map, Value};

use super::formation::Size;

/// Why an app's scheduled tasks are not started.
pub const NO_SCHEDULE_ROLE: &str =
    "the app's settings name no role to start them in (`orchestrator.events_role_arn` of the item `settings`)";

/// The settings of an app, or of a review app with those of its pipeline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// The ARN of the ECS cluster.
    pub cluster: String,
    /// The log group of all the app's processes.
    pub log_group: String,
    /// The target group of the web process: the review app's own, else the app's.
    pub target_group: Option<String>,
    /// The host names under which the app answers, the first one first.
    pub domains: Vec<String>,
    /// The CodeBuild project.
    pub codebuild_project: Option<String>,
    /// The role to act in for this app.
    pub role: Option<Role>,
    /// The role in which EventBridge Scheduler starts tasks, as the app's stack or `orchestrator adopt` wrote it.
    pub schedule_role: Option<String>,
    /// Arguments of every `RunTask`, in the API's spelling.
    pub run_task: Map<String, Value>,
    /// Arguments of every `RegisterTaskDefinition`, in the API's spelling.
    pub task_definition: Map<String, Value>,
}

/// A role to assume.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Role {
    /// Its ARN.
    pub arn: String,
    /// The id that its trust asks for.
    pub external_id: Option<String>,
}

/// Why settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}` {problem}")]
pub struct SettingsError {
    entry: String,
    problem: &'static str,
}

impl SettingsError {
    /// Names an entry and what is wrong with it.
    pub fn new(entry: impl Into<String>, problem: &'static str) -> Self {
        Self { entry: entry.into(), problem }
    }
}

impl Settings {
    /// Reads the payloads of `settings`, of a review app's own `settings`, and of `CONFIG#ecs`.
    ///
    /// # Errors
    /// Names the first entry that is missing or of another type.
    pub fn read(settings: &Value, review_app: Option<&Value>, ecs: Option<&Value>) -> Result<Self, SettingsError> {
        let arguments = |name: &str| match ecs.map(|ecs| &ecs[name]) {
            None | Some(Value::Null) => Ok(Map::new()),
            Some(Value::Object(arguments)) => Ok(arguments.clone()),
            Some(_) => Err(SettingsError::new(name, "is not a map")),
        };
        // A review app's stack has its own target group and host names (`stacks` 2.5).
        let own = review_app.unwrap_or(settings);
        Ok(Self {
            cluster: text(settings, "/cluster/arn")?.ok_or_else(|| SettingsError::new("cluster.arn", "is missing"))?,
            log_group: text(settings, "/log_group/name")?
                .ok_or_else(|| SettingsError::new("log_group.name", "is missing"))?,
            target_group: text(own, "/target_group/arn")?,
            domains: texts(own, "/domains", "domains")?,
            codebuild_project: text(settings, "/codebuild_project/name")?,
            role: text(settings, "/orchestrator/role_arn")?
                .map(|arn| Ok(Role { arn, external_id: text(settings, "/orchestrator/external_id")? }))
                .transpose()?,
            schedule_role: text(settings, "/orchestrator/events_role_arn")?,
            run_task: arguments("run_task_args")?,
            task_definition: arguments("task_definition_args")?,
        })
    }

    /// The size of a process that nobody gave one.
    pub fn usual_size(&self) -> Size {
        let number = |name: &str| match self.task_definition.get(name) {
            Some(Value::String(text)) => text.parse().ok(),
            Some(Value::Number(number)) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
            _ => None,
        };
        let usual = Size::default();
        Size { cpu: number("cpu").unwrap_or(usual.cpu), memory: number("memory").unwrap_or(usual.memory) }
    }
}

fn entry(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}

/// A text that is not empty.
fn text(value: &Value, pointer: &str) -> Result<Option<String>, SettingsError> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(SettingsError::new(entry(pointer), "is not text")),
    }
}

fn texts(value: &Value, pointer: &str, name: &str) -> Result<Vec<String>, SettingsError> {
    match value.pointer(pointer) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) => list
            .iter()
            .map(|text| text.as_str().map(str::to_owned).ok_or_else(|| SettingsError::new(name, "has other than text")))
            .collect(),
        Some(_) => Err(SettingsError::new(name, "is not a list")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn app() -> Value {
        json!({
            "cluster": {"arn": "arn:aws:ecs:us-east-1:111122223333:cluster/prod", "name": "prod"},
            "target_group": {"arn": "arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/shop/2c3d"},
            "log_group": {"name": "/apppack/apps/shop"}, "domains": ["shop.example.com"],
            "codebuild_project": {"name": "shop"},
            "orchestrator": {"role_arn": "arn:aws:iam::111122223333:role/apppack-app-shop", "external_id": "x1"},
        })
    }

    #[test]
    fn a_review_app_has_its_own_hosts_and_targets_in_its_pipelines_cluster() {
        let own = json!({"domains": ["pr1-shop.example.com"], "target_group": {"arn": "arn:own"}});
        let settings = Settings::read(&app(), Some(&own), None).unwrap();
        assert_eq!(settings.domains, ["pr1-shop.example.com"]);
        assert_eq!(settings.target_group.as_deref(), Some("arn:own"));
        assert_eq!(settings.log_group, "/apppack/apps/shop");
        let none = Settings::read(&app(), Some(&json!({})), None).unwrap();
        assert_eq!(none.target_group, None, "requests to a review app never go to its pipeline");
    }

    #[test]
    fn the_usual_size_is_that_of_the_task_definitions() {
        let ecs = json!({"task_definition_args": {"cpu": "256", "memory": 512}});
        assert_eq!(Settings::read(&app(), None, Some(&ecs)).unwrap().usual_size(), Size { cpu: 256, memory: 512 });
        assert_eq!(Settings::read(&app(), None, None).unwrap().usual_size(), Size { cpu: 512, memory: 1024 });
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut settings = app();
        settings["cluster"]["arn"] = json!(1);
        assert_eq!(Settings::read(&settings, None, None).unwrap_err().to_string(), "`cluster.arn` is not text");
        assert_eq!(Settings::read(&json!({}), None, None).unwrap_err().to_string(), "`cluster.arn` is missing");
        let ecs = json!({"run_task_args": []});
        assert_eq!(Settings::read(&app(), None, Some(&ecs)).unwrap_err().to_string(), "`run_task_args` is not a map");
    }
}
