//! Task definitions: what a process or task of a release is started from.

use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::launching::{Arguments, Launching};
use super::names::{CONTAINER, family, log_prefix};
use super::{Network, Unfit};
use crate::domain::app_settings::Settings;
use crate::domain::formation::{Formation, REGION_VARIABLES};
use crate::domain::lane::LaneKey;
use crate::domain::launch::{Launch, WEB_PORT, process, shell_command};
use crate::domain::names::ProcessType;
use crate::domain::namespace::Namespace;

/// The tag with the digest of all that a definition is made from; content is compared by it, since registering one again
/// makes another revision (`aws-events` 4.1).
pub(super) const CONTENT_TAG: &str = "packhorse:content";
/// Shells are for people and start from the smallest size; they choose another one when they start it.
const SHELL: &str = "shell";
/// The longest overrides of a task, JSON included (`aws-events` 4.2).
const LONGEST_OVERRIDES: usize = 8192;

/// What a definition is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// A service of this type.
    Service(ProcessType),
    /// Tasks with a command of their own: release, postdeploy, and what runs by the clock (`scheduler`).
    Task(String),
    /// Shells that people start.
    Shell,
}

impl Purpose {
    /// The word in the family, in the log's prefix and in the tag of the process type.
    pub fn word(&self) -> &str {
        match self {
            Self::Service(process) => process.as_str(),
            Self::Task(kind) => kind,
            Self::Shell => SHELL,
        }
    }
}

/// A task definition with one container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TaskDefinition {
    /// Its family.
    pub family: String,
    /// CPU units of a task.
    pub cpu: u32,
    /// MiB of a task.
    pub memory: u32,
    /// `awsvpc` and its like.
    pub network_mode: Option<String>,
    /// `FARGATE`, `EC2`.
    pub compatibilities: Vec<String>,
    /// The role that pulls the image, resolves secrets and writes logs.
    pub execution_role: Option<String>,
    /// The role of the app itself.
    pub task_role: Option<String>,
    /// The processor's architecture, where it was chosen.
    pub architecture: Option<String>,
    /// The image by digest.
    pub image: String,
    /// Replaces the image's entrypoint; empty leaves it.
    pub entrypoint: Vec<String>,
    /// Replaces the image's arguments; empty leaves them.
    pub command: Vec<String>,
    /// Plain variables.
    pub variables: BTreeMap<String, String>,
    /// Variables by the parameter that holds their value, which ECS resolves when a task starts.
    pub secrets: BTreeMap<String, String>,
    /// The port that requests come to.
    pub port: Option<u16>,
    /// Whether every task has an address of its own, so that ports inside and outside are the same.
    pub own_address: bool,
    /// The log group.
    pub log_group: String,
    /// The region of the log group.
    pub log_region: String,
    /// What log streams begin with.
    pub log_prefix: String,
    /// Tags; they are handed on to tasks.
    pub tags: BTreeMap<String, String>,
}

impl TaskDefinition {
    /// The tag that tells this content from another one's.
    pub fn content(&self) -> Option<&str> {
        self.tags.get(CONTENT_TAG).map(String::as_str)
    }

    /// The content that a registered definition was made from, by its tags.
    pub fn content_of(tags: &BTreeMap<String, String>) -> Option<&str> {
        tags.get(CONTENT_TAG).map(String::as_str)
    }
}

/// Makes the definition for a purpose.
///
/// # Errors
/// Refuses sizes and arguments that ECS does not take.
pub fn task_definition(
    lane: &LaneKey,
    settings: &Settings,
    launching: &Launching,
    formation: &Formation,
    region: &str,
    purpose: &Purpose,
) -> Result<TaskDefinition, Unfit> {
    let word = purpose.word();
    let size = formation.scaling.of(word).size;
    launching.check_size(word, size)?;
    let arguments = Arguments { path: "task_definition_args", map: &settings.task_definition };
    let platform = arguments.map("runtimePlatform")?;
    let web = matches!(purpose, Purpose::Service(process) if process.is_web());
    let Launch { entrypoint, arguments: command } = launch(formation, purpose);
    let network_mode = arguments.text("networkMode")?.or_else(|| launching.fargate.then(|| "awsvpc".to_owned()));
    let mut variables = BTreeMap::from([("APPPACK_APPNAME".to_owned(), lane.app.to_string())]);
    if !formation.sets_region() {
        variables.extend(REGION_VARIABLES.map(|name| (name.to_owned(), region.to_owned())));
    }
    let mut secrets: BTreeMap<String, String> =
        formation.config.iter().map(|variable| (variable.name.clone(), variable.parameter.clone())).collect();
    // A name is there once: what the app configures counts, but requests come to the port that is told.
    variables.retain(|name, _| !secrets.contains_key(name));
    if web {
        secrets.remove("PORT");
        variables.insert("PORT".to_owned(), WEB_PORT.to_string());
    }
    let mut definition = TaskDefinition {
        family: family(lane, word),
        cpu: size.cpu,
        memory: size.memory,
        own_address: network_mode.as_deref() == Some("awsvpc"),
        network_mode,
        compatibilities: arguments.texts("requiresCompatibilities")?.into_iter().collect(),
        execution_role: arguments.text("executionRoleArn")?,
        task_role: arguments.text("taskRoleArn")?,
        architecture: platform.map(|platform| platform.text("cpuArchitecture")).transpose()?.flatten(),
        image: formation.plan.image.clone(),
        entrypoint,
        command,
        variables,
        secrets,
        port: web.then_some(WEB_PORT),
        log_group: settings.log_group.clone(),
        log_region: region.to_owned(),
        log_prefix: log_prefix(lane, word),
        tags: tags(lane, formation, purpose),
    };
    let content = content(&definition, formation);
    definition.tags.insert(CONTENT_TAG.to_owned(), content);
    Ok(definition)
}

/// How the container starts. A task's command comes with each task.
fn launch(formation: &Formation, purpose: &Purpose) -> Launch {
    let launcher = formation.plan.launcher;
    match purpose {
        // Every service of a buildpack app is a process of its image (`data-contract` 7.1).
        Purpose::Service(name) if launcher => process(name.as_str()),
        Purpose::Service(name) => {
            let command = formation.plan.services.get(name).map_or("", |service| &service.command);
            shell_command(command, false)
        }
        // Clients start shells with a script as the one argument of the launcher, or with `/bin/sh -c`.
        Purpose::Task(_) | Purpose::Shell => Launch {
            entrypoint: if launcher || *purpose != Purpose::Shell {
                shell_command("", launcher).entrypoint
            } else {
                Vec::new()
            },
            arguments: Vec::new(),
        },
    }
}

/// The tags that clients find tasks by (`data-contract` 5.3).
fn tags(lane: &LaneKey, formation: &Formation, purpose: &Purpose) -> BTreeMap<String, String> {
    let namespace = Namespace::default();
    let mut tags = BTreeMap::from([
        (namespace.tag("appName"), lane.app.to_string()),
        (namespace.tag("processType"), purpose.word().to_owned()),
        (namespace.tag("buildNumber"), formation.build.to_string()),
    ]);
    if let Some(pr) = lane.pull_request {
        tags.insert(namespace.tag("reviewApp"), pr.source_version());
    }
    if !formation.commit.is_empty() {
        tags.insert("packhorse:commit".to_owned(), formation.commit.clone());
    }
    if *purpose == Purpose::Shell {
        let system = if formation.plan.launcher { "buildpacks" } else { "dockerfile" };
        tags.insert(namespace.tag("buildSystem"), system.to_owned());
    }
    tags
}

/// A digest of the definition and of the versions of the variables that it refers to: a changed value makes another
/// revision, so that services restart.
fn content(definition: &TaskDefinition, formation: &Formation) -> String {
    let versions: BTreeMap<&str, &str> =
        formation.config.iter().map(|variable| (variable.name.as_str(), variable.version.as_str())).collect();
    // Equal values give equal texts: the fields have a fixed order and all maps are sorted.
    let text = serde_json::to_string(&(definition, versions)).unwrap_or_default();
    hex::encode(Sha256::digest(text))
}

/// What a task runs instead of its definition's command: as arguments, and as JSON in the API's spelling.
///
/// # Errors
/// Refuses a command that is longer than ECS takes.
pub fn overrides(launcher: bool, command: &str) -> Result<(Vec<String>, String), Unfit> {
    let arguments = shell_command(command, launcher).arguments;
    let (name, command) = (CONTAINER, &arguments);
    let text = serde_json::json!({ "containerOverrides": [{ "name": name, "command": command }] }).to_string();
    if text.chars().count() > LONGEST_OVERRIDES {
        return Err(Unfit::Command { limit: LONGEST_OVERRIDES });
    }
    Ok((arguments, text))
}

impl Network {
    /// Tells whether nothing is said.
    pub fn is_empty(&self) -> bool {
        self.subnets.is_empty() && self.security_groups.is_empty()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::formation::{ConfigName, Scaling};
    use crate::domain::lane::{ReleasePlan, Service};
    use crate::domain::names::BuildNumber;

    pub(crate) fn formation() -> Formation {
        let service = |command: &str| Service { command: command.to_owned(), arn: String::new() };
        Formation {
            build: BuildNumber(42),
            commit: "9f8e7d6c".to_owned(),
            plan: ReleasePlan {
                sequence: 7,
                image: "registry.test/shop@sha256:00".to_owned(),
                launcher: true,
                release_command: Some("migrate".to_owned()),
                postdeploy_command: None,
                pre_destroy_command: None,
                services: BTreeMap::from([
                    ("web".parse().unwrap(), service("gunicorn shop.wsgi")),
                    ("worker".parse().unwrap(), service("celery worker")),
                ]),
            },
            config: vec![variable("DATABASE_URL", "1")],
            scaling: Scaling::default(),
            scheduled_tasks: Vec::new(),
        }
    }

    fn variable(name: &str, version: &str) -> ConfigName {
        let parameter = format!("/apppack/apps/shop/config/{name}");
        ConfigName { name: name.to_owned(), parameter, version: version.to_owned() }
    }

    pub(crate) fn settings() -> Settings {
        let map = |value: serde_json::Value| value.as_object().unwrap().clone();
        Settings {
            cluster: "arn:aws:ecs:us-east-1:111122223333:cluster/prod".to_owned(),
            log_group: "/apppack/apps/shop".to_owned(),
            target_group: Some("arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/shop/2c3d".to_owned()),
            run_task: map(json!({"launchType": "FARGATE", "networkConfiguration": {"awsvpcConfiguration": {
                "subnets": ["subnet-a"], "securityGroups": ["sg-a"]}}})),
            task_definition: map(json!({"networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
                "executionRoleArn": "arn:exec", "taskRoleArn": "arn:task"})),
            ..Settings::default()
        }
    }

    fn lane() -> LaneKey {
        LaneKey::app("shop".parse().unwrap())
    }

    fn made(formation: &Formation, purpose: &Purpose) -> TaskDefinition {
        let (settings, lane) = (settings(), lane());
        let launching = Launching::read(&settings).unwrap();
        task_definition(&lane, &settings, &launching, formation, "us-east-1", purpose).unwrap()
    }

    fn web() -> Purpose {
        Purpose::Service("web".parse().unwrap())
    }

    #[test]
    fn a_web_process_gets_its_port_its_variables_by_reference_and_its_region() {
        let made = made(&formation(), &web());
        assert_eq!((made.family.as_str(), made.log_prefix.as_str(), made.port), ("shop-web", "web", Some(8080)));
        assert_eq!(made.entrypoint, ["/cnb/process/web"]);
        assert_eq!(
            made.secrets,
            BTreeMap::from([("DATABASE_URL".into(), "/apppack/apps/shop/config/DATABASE_URL".into())])
        );
        let variables = [
            ("APPPACK_APPNAME", "shop"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_REGION", "us-east-1"),
            ("PORT", "8080"),
        ];
        assert_eq!(made.variables, variables.map(|(name, value)| (name.into(), value.into())).into());
        let tags: Vec<(&str, &str)> = made.tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            tags[..3],
            [("apppack:appName", "shop"), ("apppack:buildNumber", "42"), ("apppack:processType", "web")]
        );
    }

    #[test]
    fn an_app_that_sets_one_region_variable_gets_neither() {
        for name in REGION_VARIABLES {
            let formation = Formation { config: vec![variable(name, "1")], ..formation() };
            let made = made(&formation, &Purpose::Service("worker".parse().unwrap()));
            assert_eq!(made.variables.keys().collect::<Vec<_>>(), ["APPPACK_APPNAME"]);
            assert_eq!(made.secrets.keys().collect::<Vec<_>>(), [name]);
        }
    }

    #[test]
    fn no_variable_is_there_twice() {
        let formation =
            Formation { config: vec![variable("APPPACK_APPNAME", "1"), variable("PORT", "1")], ..formation() };
        let made = made(&formation, &web());
        assert!(made.secrets.keys().all(|name| !made.variables.contains_key(name)), "{made:?}");
        assert_eq!(made.variables["PORT"], "8080");
    }

    #[test]
    fn content_differs_where_something_that_a_task_starts_from_does() {
        let content = |formation: &Formation| made(formation, &web()).content().unwrap().to_owned();
        let usual = formation();
        assert_eq!(content(&usual), content(&usual.clone()));
        let changed = Formation { config: vec![variable("DATABASE_URL", "2")], ..usual.clone() };
        assert_ne!(content(&usual), content(&changed), "a changed value restarts the services");
        let plan = ReleasePlan { image: "registry.test/shop@sha256:01".to_owned(), ..usual.plan.clone() };
        assert_ne!(content(&usual), content(&Formation { plan, ..usual.clone() }));
        let scaling =
            Scaling::default().with(r#"{"web":{"cpu":256,"memory":512,"min_processes":1,"max_processes":1}}"#).unwrap();
        assert_ne!(content(&usual), content(&Formation { scaling, ..usual.clone() }));
        let plan = ReleasePlan { sequence: 8, ..usual.plan.clone() };
        assert_eq!(content(&usual), content(&Formation { plan, ..usual.clone() }), "its turn is no part of it");
        let scaling = Scaling::default()
            .with(r#"{"web":{"cpu":512,"memory":1024,"min_processes":3,"max_processes":3}}"#)
            .unwrap();
        assert_eq!(content(&usual), content(&Formation { scaling, ..usual }), "their number is no part of one");
    }

    #[test]
    fn a_shell_starts_as_clients_expect() {
        let shell = made(&formation(), &Purpose::Shell);
        assert_eq!(
            (shell.family.as_str(), shell.entrypoint.as_slice()),
            ("shop-shell", ["/cnb/lifecycle/launcher".to_owned()].as_slice())
        );
        assert_eq!(shell.tags["apppack:buildSystem"], "buildpacks");
        let plan = ReleasePlan { launcher: false, ..formation().plan };
        let shell = made(&Formation { plan, ..formation() }, &Purpose::Shell);
        assert!(shell.entrypoint.is_empty());
        assert_eq!(shell.tags["apppack:buildSystem"], "dockerfile");
    }

    #[test]
    fn a_tasks_command_is_one_argument_of_the_launcher_or_of_a_shell() {
        assert_eq!(overrides(true, "echo 1").unwrap().0, ["exec /bin/sh -c 'echo 1'"]);
        let plan = ReleasePlan { launcher: false, ..formation().plan };
        let simple = Formation { plan, ..formation() };
        assert_eq!(made(&simple, &Purpose::Task("release".to_owned())).entrypoint, ["/bin/sh", "-c"]);
        assert_eq!(overrides(false, "echo 1").unwrap().0, ["echo 1"]);
        assert!(overrides(false, &"x".repeat(9000)).is_err());
    }

    #[test]
    fn a_review_apps_tasks_say_which_one_it_is() {
        let lane = LaneKey { app: "storefront".parse().unwrap(), pull_request: Some("123".parse().unwrap()) };
        let (settings, formation) = (settings(), formation());
        let launching = Launching::read(&settings).unwrap();
        let made = task_definition(&lane, &settings, &launching, &formation, "us-east-1", &web()).unwrap();
        assert_eq!(
            (made.tags["apppack:appName"].as_str(), made.tags["apppack:reviewApp"].as_str()),
            ("storefront", "pr/123")
        );
        assert_eq!((made.family.as_str(), made.log_prefix.as_str()), ("storefront-pr123-web", "pr123-web"));
    }
}
