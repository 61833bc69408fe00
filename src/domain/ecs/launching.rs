//! Where and how tasks are launched: the arguments of every `RunTask` that the app's stacks have written (`data-contract`
//! 1.5).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::Unfit;
use crate::domain::app_settings::Settings;
use crate::domain::formation::Size;

/// How tasks are launched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Launching {
    /// On what.
    pub launch: Launch,
    /// The version of the Fargate platform, where one was chosen.
    pub platform_version: Option<String>,
    /// The network of tasks that have an address of their own.
    pub network: Option<Network>,
    /// Whether people may start a shell inside.
    pub execute_command: bool,
    /// Whether only sizes of Fargate are possible.
    pub fargate: bool,
}

/// On what tasks are launched. A launch type and capacity providers exclude each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Launch {
    /// As the cluster is set up.
    #[default]
    Unsaid,
    /// A launch type, such as `FARGATE`.
    Type(String),
    /// Capacity providers, such as `FARGATE_SPOT`.
    Providers(Vec<Provider>),
}

/// A share of tasks for one capacity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: i32,
    /// How many tasks it gets first.
    pub base: i32,
}

/// The network of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Subnets.
    pub subnets: BTreeSet<String>,
    /// Security groups.
    pub security_groups: BTreeSet<String>,
    /// Whether tasks get a public address.
    pub public: bool,
}

impl Launching {
    /// Reads the settings.
    ///
    /// # Errors
    /// Names an argument of another type than the API takes, and a launch type beside capacity providers.
    pub fn read(settings: &Settings) -> Result<Self, Unfit> {
        let arguments = Arguments { path: "run_task_args", map: &settings.run_task };
        let providers = arguments.list("capacityProviderStrategy")?;
        let launch = match (arguments.text("launchType")?, providers.is_empty()) {
            (Some(_), false) => {
                let problem = "cannot be there together with `capacityProviderStrategy`";
                return Err(Unfit::Argument { entry: "run_task_args.launchType".to_owned(), problem });
            }
            (Some(launch_type), true) => Launch::Type(launch_type),
            (None, false) => Launch::Providers(providers.into_iter().map(provider).collect::<Result<_, _>>()?),
            (None, true) => Launch::Unsaid,
        };
        let network = match arguments.map("networkConfiguration")?.map(|map| map.map("awsvpcConfiguration")) {
            Some(Ok(Some(network))) => Some(Network {
                subnets: network.texts("subnets")?,
                security_groups: network.texts("securityGroups")?,
                public: network.text("assignPublicIp")?.as_deref() == Some("ENABLED"),
            }),
            Some(Err(unfit)) => return Err(unfit),
            _ => None,
        };
        let definition = Arguments { path: "task_definition_args", map: &settings.task_definition };
        let fargate = definition.texts("requiresCompatibilities")?.contains("FARGATE")
            || match &launch {
                Launch::Unsaid => false,
                Launch::Type(name) => name == "FARGATE",
                Launch::Providers(providers) => providers.iter().any(|provider| provider.name.starts_with("FARGATE")),
            };
        Ok(Self {
            launch,
            platform_version: arguments.text("platformVersion")?,
            network,
            execute_command: arguments.flag("enableExecuteCommand")?,
            fargate,
        })
    }

    /// Checks a size against what Fargate has (`data-contract` 5.5).
    ///
    /// # Errors
    /// Says which sizes there are instead.
    pub fn check_size(&self, process: &str, size: Size) -> Result<(), Unfit> {
        let Size { cpu, memory } = size;
        let unfit = |allowed: String| Err(Unfit::Size { process: process.to_owned(), cpu, memory, allowed });
        if !self.fargate {
            return Ok(());
        }
        let (least, most, step) = match cpu {
            256 if memory == 512 => return Ok(()),
            256 => (1024, 2048, 1024),
            512 => (1024, 4096, 1024),
            1024 => (2048, 8192, 1024),
            2048 => (4096, 16_384, 1024),
            4096 => (8192, 30_720, 1024),
            8192 => (16_384, 61_440, 4096),
            16_384 => (32_768, 122_880, 8192),
            _ => return unfit("CPU units are 256, 512, 1024, 2048, 4096, 8192 or 16384".to_owned()),
        };
        if (least..=most).contains(&memory) && memory.is_multiple_of(step) {
            return Ok(());
        }
        let least = if cpu == 256 { 512 } else { least };
        unfit(format!("use {least} to {most} MiB in steps of {step} MiB"))
    }
}

fn provider(arguments: Arguments<'_>) -> Result<Provider, Unfit> {
    let name = arguments.text("capacityProvider")?.ok_or_else(|| arguments.unfit("capacityProvider", "is missing"))?;
    Ok(Provider { name, weight: arguments.number("weight")?, base: arguments.number("base")? })
}

/// Arguments in the API's spelling, in which case does not count (`data-contract` 1.5).
#[derive(Clone, Copy)]
pub(super) struct Arguments<'a> {
    pub(super) path: &'static str,
    pub(super) map: &'a Map<String, Value>,
}

impl<'a> Arguments<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        let found = self.map.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value).filter(|value| !value.is_null())
    }

    fn unfit(&self, name: &str, problem: &'static str) -> Unfit {
        Unfit::Argument { entry: format!("{}.{name}", self.path), problem }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Unfit> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.unfit(name, "is not text")),
        }
    }

    pub(super) fn number(&self, name: &str) -> Result<i32, Unfit> {
        match self.get(name) {
            None => Ok(0),
            Some(value) => {
                let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
                number.ok_or_else(|| self.unfit(name, "is not a whole number"))
            }
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Unfit> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().ok_or_else(|| self.unfit(name, "is not true or false")),
        }
    }

    pub(super) fn map(&self, name: &str) -> Result<Option<Arguments<'a>>, Unfit> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Arguments { path: self.path, map })),
            Some(_) => Err(self.unfit(name, "is not a map")),
        }
    }

    fn list(&self, name: &str) -> Result<Vec<Arguments<'a>>, Unfit> {
        let problem = || self.unfit(name, "is not a list of maps");
        let list = match self.get(name) {
            None => return Ok(Vec::new()),
            Some(value) => value.as_array().ok_or_else(problem)?,
        };
        list.iter()
            .map(|value| Ok(Arguments { path: self.path, map: value.as_object().ok_or_else(problem)? }))
            .collect()
    }

    pub(super) fn texts(&self, name: &str) -> Result<BTreeSet<String>, Unfit> {
        let problem = || self.unfit(name, "is not a list of texts");
        let list = match self.get(name) {
            None => return Ok(BTreeSet::new()),
            Some(value) => value.as_array().ok_or_else(problem)?,
        };
        list.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(problem)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(run_task: Value) -> Settings {
        let Value::Object(run_task) = run_task else { unreachable!() };
        Settings { run_task, ..Settings::default() }
    }

    #[test]
    fn arguments_are_read_as_clients_decode_them() {
        let read = Launching::read(&settings(json!({
            "LaunchType": "FARGATE", "enableExecuteCommand": true, "count": 1,
            "networkConfiguration": {"awsvpcConfiguration": {
                "subnets": ["b", "a"], "securityGroups": ["sg"], "assignPublicIp": "ENABLED"}},
        })))
        .unwrap();
        assert_eq!(read.launch, Launch::Type("FARGATE".to_owned()));
        assert!(read.execute_command && read.fargate);
        let network = read.network.unwrap();
        assert_eq!((network.subnets.len(), network.public), (2, true));
    }

    #[test]
    fn spot_machines_are_capacity_providers() {
        let read = Launching::read(&settings(json!({
            "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 3}, {"capacityProvider": "FARGATE", "base": 1}],
        })))
        .unwrap();
        let Launch::Providers(providers) = &read.launch else { panic!("{read:?}") };
        assert_eq!((providers[0].weight, providers[1].base), (3, 1));
        assert!(read.fargate);
    }

    #[test]
    fn what_the_api_would_refuse_is_refused_here() {
        for (arguments, said) in [
            (json!({"launchType": 1}), "`run_task_args.launchType` of `CONFIG#ecs` is not text"),
            (
                json!({"launchType": "EC2", "capacityProviderStrategy": [{"capacityProvider": "x"}]}),
                "`run_task_args.launchType` of `CONFIG#ecs` cannot be there together with `capacityProviderStrategy`",
            ),
            (
                json!({"networkConfiguration": {"awsvpcConfiguration": {"subnets": "a"}}}),
                "`run_task_args.subnets` of `CONFIG#ecs` is not a list of texts",
            ),
        ] {
            assert_eq!(Launching::read(&settings(arguments)).unwrap_err().to_string(), said);
        }
    }

    #[test]
    fn fargate_has_some_sizes_only() {
        let fargate = Launching { fargate: true, ..Launching::default() };
        for (cpu, memory) in [(256, 512), (256, 2048), (512, 1024), (4096, 30_720), (8192, 16_384), (16_384, 122_880)] {
            assert_eq!(fargate.check_size("web", Size { cpu, memory }), Ok(()), "{cpu} {memory}");
        }
        for (cpu, memory) in
            [(256, 768), (256, 4096), (512, 512), (512, 1536), (300, 512), (8192, 18_432), (16_384, 131_072)]
        {
            assert!(fargate.check_size("web", Size { cpu, memory }).is_err(), "{cpu} {memory}");
            assert_eq!(
                Launching::default().check_size("web", Size { cpu, memory }),
                Ok(()),
                "machines of one's own take any"
            );
        }
        assert_eq!(
            fargate.check_size("web", Size { cpu: 512, memory: 512 }).unwrap_err().to_string(),
            "Fargate has no size of 512 CPU units with 512 MiB for `web`: use 1024 to 4096 MiB in steps of 1024 MiB"
        );
    }
}
