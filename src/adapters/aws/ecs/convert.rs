//! Plain values to the SDK's and back.

use std::collections::BTreeMap;

use aws_sdk_ecs::types::{
    AssignPublicIp, AwsVpcConfiguration, CapacityProviderStrategyItem, Compatibility, ContainerDefinition,
    CpuArchitecture, DeploymentCircuitBreaker, DeploymentConfiguration, DeploymentRolloutState, KeyValuePair,
    LaunchType, LinuxParameters, LoadBalancer, LogConfiguration, LogDriver, NetworkConfiguration, NetworkMode,
    PortMapping, RuntimePlatform, Secret, Service, Tag, Task,
};
use aws_smithy_types::error::operation::BuildError;

use crate::domain::ecs::{
    CONTAINER, ContainerFacts, Deployment, Launch, Launching, Network, Provider, Rollout, ServiceFacts, Target,
    TaskDefinition, TaskFacts,
};
use crate::domain::names::EpochSeconds;
use crate::ports::failure::Failure;

/// Old processes run until new ones do; twice the number may run meanwhile.
const HEALTHY_PERCENT: [i32; 2] = [100, 200];

fn incomplete(error: BuildError) -> Failure {
    Failure::refused("write a request to ECS", error)
}

pub(super) fn tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

pub(super) fn tag_map(tags: &[Tag]) -> BTreeMap<String, String> {
    let pair = |tag: &Tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned()));
    tags.iter().filter_map(pair).collect()
}

pub(super) fn container(definition: &TaskDefinition) -> Result<ContainerDefinition, Failure> {
    let secret = |(name, parameter): (&String, &String)| Secret::builder().name(name).value_from(parameter).build();
    let secrets = definition.secrets.iter().map(secret).collect::<Result<Vec<_>, _>>().map_err(incomplete)?;
    let variable = |(name, value): (&String, &String)| KeyValuePair::builder().name(name).value(value).build();
    let log = LogConfiguration::builder()
        .log_driver(LogDriver::Awslogs)
        .options("awslogs-group", &definition.log_group)
        .options("awslogs-region", &definition.log_region)
        .options("awslogs-stream-prefix", &definition.log_prefix)
        .build()
        .map_err(incomplete)?;
    let some = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let port = definition.port.map(|port| {
        let inside = i32::from(port);
        // On a shared address the host chooses a free port.
        let outside = if definition.own_address { inside } else { 0 };
        vec![PortMapping::builder().container_port(inside).host_port(outside).build()]
    });
    Ok(ContainerDefinition::builder()
        .name(CONTAINER)
        .image(&definition.image)
        .essential(true)
        .set_entry_point(some(&definition.entrypoint))
        .set_command(some(&definition.command))
        .set_environment(Some(definition.variables.iter().map(variable).collect()))
        .set_secrets(Some(secrets))
        .set_port_mappings(port)
        .memory_reservation(i32::try_from(definition.memory).unwrap_or(i32::MAX))
        .linux_parameters(LinuxParameters::builder().init_process_enabled(true).build())
        .log_configuration(log)
        .build())
}

pub(super) fn network_mode(definition: &TaskDefinition) -> Option<NetworkMode> {
    definition.network_mode.as_deref().map(NetworkMode::from)
}

pub(super) fn compatibilities(definition: &TaskDefinition) -> Option<Vec<Compatibility>> {
    let all: Vec<_> = definition.compatibilities.iter().map(|name| Compatibility::from(name.as_str())).collect();
    (!all.is_empty()).then_some(all)
}

pub(super) fn platform(definition: &TaskDefinition) -> Option<RuntimePlatform> {
    let architecture = CpuArchitecture::from(definition.architecture.as_deref()?);
    Some(RuntimePlatform::builder().cpu_architecture(architecture).build())
}

pub(super) fn launch_type(launching: &Launching) -> Option<LaunchType> {
    match &launching.launch {
        Launch::Type(name) => Some(LaunchType::from(name.as_str())),
        Launch::Unsaid | Launch::Providers(_) => None,
    }
}

pub(super) fn providers(launching: &Launching) -> Result<Option<Vec<CapacityProviderStrategyItem>>, Failure> {
    let Launch::Providers(providers) = &launching.launch else { return Ok(None) };
    let item = |provider: &Provider| {
        let Provider { name, weight, base } = provider;
        CapacityProviderStrategyItem::builder().capacity_provider(name).weight(*weight).base(*base).build()
    };
    Ok(Some(providers.iter().map(item).collect::<Result<_, _>>().map_err(incomplete)?))
}

pub(super) fn network(launching: &Launching) -> Result<Option<NetworkConfiguration>, Failure> {
    let Some(network) = &launching.network else { return Ok(None) };
    let public = if network.public { AssignPublicIp::Enabled } else { AssignPublicIp::Disabled };
    let vpc = AwsVpcConfiguration::builder()
        .set_subnets(Some(network.subnets.iter().cloned().collect()))
        .set_security_groups(Some(network.security_groups.iter().cloned().collect()))
        .assign_public_ip(public)
        .build()
        .map_err(incomplete)?;
    Ok(Some(NetworkConfiguration::builder().awsvpc_configuration(vpc).build()))
}

pub(super) fn load_balancer(target: &Target) -> LoadBalancer {
    LoadBalancer::builder()
        .target_group_arn(&target.group)
        .container_name(CONTAINER)
        .container_port(target.port)
        .build()
}

/// A deployment that fails is undone.
pub(super) fn deployment() -> DeploymentConfiguration {
    let [least, most] = HEALTHY_PERCENT;
    DeploymentConfiguration::builder()
        .minimum_healthy_percent(least)
        .maximum_percent(most)
        .deployment_circuit_breaker(DeploymentCircuitBreaker::builder().enable(true).rollback(true).build())
        .build()
}

pub(super) fn service_facts(service: &Service) -> ServiceFacts {
    let breaker = service.deployment_configuration().and_then(DeploymentConfiguration::deployment_circuit_breaker);
    let target = |balancer: &LoadBalancer| {
        Some(Target {
            group: balancer.target_group_arn()?.to_owned(),
            port: balancer.container_port().unwrap_or_default(),
        })
    };
    ServiceFacts {
        active: service.status() == Some("ACTIVE"),
        draining: service.status() == Some("DRAINING"),
        definition: service.task_definition().unwrap_or_default().to_owned(),
        desired: service.desired_count(),
        launching: Launching {
            launch: launch(service),
            platform_version: service.platform_version().map(str::to_owned),
            network: service.network_configuration().and_then(network_facts),
            execute_command: service.enable_execute_command(),
            fargate: false,
        },
        targets: service.load_balancers().iter().filter_map(target).collect(),
        grace: service.health_check_grace_period_seconds().unwrap_or_default(),
        breaker: breaker.is_some_and(|breaker| breaker.enable() && breaker.rollback()),
        deployments: service.deployments().iter().map(deployment_facts).collect(),
        events: service.events().iter().filter_map(|event| event.message().map(str::to_owned)).collect(),
    }
}

fn launch(service: &Service) -> Launch {
    let provider = |item: &CapacityProviderStrategyItem| Provider {
        name: item.capacity_provider().to_owned(),
        weight: item.weight(),
        base: item.base(),
    };
    if !service.capacity_provider_strategy().is_empty() {
        return Launch::Providers(service.capacity_provider_strategy().iter().map(provider).collect());
    }
    service.launch_type().map_or(Launch::Unsaid, |launch_type| Launch::Type(launch_type.as_str().to_owned()))
}

fn network_facts(network: &NetworkConfiguration) -> Option<Network> {
    let vpc = network.awsvpc_configuration()?;
    Some(Network {
        subnets: vpc.subnets().iter().cloned().collect(),
        security_groups: vpc.security_groups().iter().cloned().collect(),
        public: vpc.assign_public_ip() == Some(&AssignPublicIp::Enabled),
    })
}

fn deployment_facts(deployment: &aws_sdk_ecs::types::Deployment) -> Deployment {
    let rollout = |state: &DeploymentRolloutState| match state {
        DeploymentRolloutState::Completed => Rollout::Completed,
        DeploymentRolloutState::Failed => Rollout::Failed,
        _ => Rollout::InProgress,
    };
    let updated = deployment.updated_at().map_or(0, aws_sdk_ecs::primitives::DateTime::secs);
    Deployment {
        id: deployment.id().unwrap_or_default().to_owned(),
        primary: deployment.status() == Some("PRIMARY"),
        definition: deployment.task_definition().unwrap_or_default().to_owned(),
        rollout: deployment.rollout_state().map(rollout),
        reason: deployment.rollout_state_reason().unwrap_or_default().to_owned(),
        desired: deployment.desired_count(),
        running: deployment.running_count(),
        updated: EpochSeconds(u64::try_from(updated).unwrap_or_default()),
    }
}

pub(super) fn task_facts(task: &Task) -> TaskFacts {
    let containers = task.containers().iter().map(|container| ContainerFacts {
        name: container.name().unwrap_or_default().to_owned(),
        exit_code: container.exit_code().map(i64::from),
        reason: container.reason().map(str::to_owned),
    });
    TaskFacts {
        last_status: task.last_status().unwrap_or_default().to_owned(),
        stop_code: task.stop_code().map(|code| code.as_str().to_owned()),
        stopped_reason: task.stopped_reason().map(str::to_owned),
        ran: task.started_at().is_some(),
        containers: containers.collect(),
    }
}
