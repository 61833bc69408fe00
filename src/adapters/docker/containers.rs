//! Containers in the daemon.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, EndpointSettings, ExecConfig, HostConfig,
    NetworkingConfig, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, DownloadFromContainerOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder, WaitContainerOptions,
};
use futures_util::TryStreamExt;
use secrecy::ExposeSecret;

use super::engine::{Docker, filters, unless_gone};
use super::failure::sort;
use crate::adapters::lines::Lines;
use crate::ports::container_engine::{ContainerFacts, ContainerSpec, ContainerState, Labels, LineSink, LogRange};
use crate::ports::failure::Failure;

/// The largest file that is copied out of a container.
const LARGEST_FILE: u64 = 16 * 1024 * 1024;

impl Docker {
    pub(super) async fn container_create(&self, container: &ContainerSpec) -> Result<(), Failure> {
        let name = &container.name;
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let created = self.client.create_container(Some(options), body(container)).await;
        created.map_err(|error| made_from(container, error))?;
        // The first network was given at birth; engines before API 1.44 take no more than that one.
        for (network, aliases) in container.networks.iter().skip(1) {
            let request = bollard::models::NetworkConnectRequest {
                container: name.clone(),
                endpoint_config: Some(endpoint(aliases)),
            };
            let joined = self.client.connect_network(network, request).await;
            joined.map_err(|error| {
                sort(format!("join `{name}` to `{network}`"), &format!("the network `{network}`"), error)
            })?;
        }
        Ok(())
    }

    pub(super) async fn container_start(&self, name: &str) -> Result<(), Failure> {
        let started = self.client.start_container(name, None::<StartContainerOptions>).await;
        started.map_err(|error| sort(format!("start the container `{name}`"), &container(name), error))
    }

    pub(super) async fn container_inspect(&self, name: &str) -> Result<Option<ContainerFacts>, Failure> {
        match self.client.inspect_container(name, None::<InspectContainerOptions>).await {
            Ok(found) => Ok(facts(found)),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(sort(format!("inspect the container `{name}`"), &container(name), error)),
        }
    }

    pub(super) async fn container_list(&self, labels: &Labels) -> Result<Vec<ContainerFacts>, Failure> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters(labels)).build();
        let listed = self.client.list_containers(Some(options)).await;
        let listed = listed.map_err(|error| sort("list the containers".to_owned(), "Docker", error))?;
        let mut found = Vec::with_capacity(listed.len());
        for id in listed.into_iter().filter_map(|summary| summary.id) {
            // Gone in between is as good as never listed.
            found.extend(self.container_inspect(&id).await?);
        }
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    pub(super) async fn container_wait(&self, name: &str) -> Result<i64, Failure> {
        let doing = || format!("wait for the container `{name}`");
        let mut answer = std::pin::pin!(self.client.wait_container(name, None::<WaitContainerOptions>));
        match answer.try_next().await {
            Ok(Some(ended)) => Ok(ended.status_code),
            // A code other than 0 comes as an error, with a text only where waiting itself failed.
            Err(Error::DockerContainerWaitError { error, code }) if error.is_empty() => Ok(code),
            Ok(None) => Err(Failure::unavailable(doing(), "Docker closed the connection")),
            Err(error) => Err(sort(doing(), &container(name), error)),
        }
    }

    pub(super) async fn container_logs(&self, name: &str, range: LogRange, sink: &LineSink<'_>) -> Result<(), Failure> {
        let tail = range.tail.map_or_else(|| "all".to_owned(), |count| count.to_string());
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).follow(range.follow).tail(&tail).build();
        let mut log = std::pin::pin!(self.client.logs(name, Some(options)));
        // Each stream has its own line under way.
        let (mut output, mut errors) = (Lines::default(), Lines::default());
        loop {
            match log.try_next().await {
                Ok(Some(LogOutput::StdErr { message })) => errors.push(&message, sink),
                Ok(Some(other)) => output.push(&other.into_bytes(), sink),
                Ok(None) => break,
                Err(error) => return Err(sort(format!("read the log of `{name}`"), &container(name), error)),
            }
        }
        output.finish(sink);
        errors.finish(sink);
        Ok(())
    }

    pub(super) async fn container_exec(&self, name: &str, argv: &[&str]) -> Result<i64, Failure> {
        let sorted = |error| sort(format!("run `{}` in `{name}`", argv.join(" ")), &container(name), error);
        let config = ExecConfig {
            cmd: Some(argv.iter().map(|&part| part.to_owned()).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let id = self.client.create_exec(name, config).await.map_err(sorted)?.id;
        let started = self.client.start_exec(&id, None::<StartExecOptions>).await.map_err(sorted)?;
        if let StartExecResults::Attached { mut output, .. } = started {
            // Its end is the program's end.
            while output.try_next().await.map_err(sorted)?.is_some() {}
        }
        let ended = self.client.inspect_exec(&id).await.map_err(sorted)?;
        Ok(ended.exit_code.unwrap_or(-1))
    }

    pub(super) async fn container_stop(&self, name: &str, grace: Duration) -> Result<(), Failure> {
        let seconds = i32::try_from(grace.as_secs()).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        // Docker answers after the end: the usual time limit of a request would be too short for a long grace period.
        let client = self.client.clone().with_timeout(grace + Duration::from_mins(1));
        let stopped = match client.stop_container(name, Some(options)).await {
            Err(Error::DockerResponseServerError { status_code: 304, .. }) => Ok(()),
            other => unless_gone(other),
        };
        stopped.map_err(|error| sort(format!("stop the container `{name}`"), &container(name), error))
    }

    pub(super) async fn container_remove(&self, name: &str) -> Result<(), Failure> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match unless_gone(self.client.remove_container(name, Some(options)).await) {
            Ok(()) => Ok(()),
            // Somebody else is removing it.
            Err(Error::DockerResponseServerError { status_code: 409, message }) if message.contains("in progress") => {
                Ok(())
            }
            Err(error) => Err(sort(format!("remove the container `{name}`"), &container(name), error)),
        }
    }

    pub(super) async fn container_copy_out(&self, name: &str, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        let doing = || format!("copy `{path}` out of the container `{name}`");
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut stream = std::pin::pin!(self.client.download_from_container(name, Some(options)));
        let mut archive = Vec::new();
        loop {
            match stream.try_next().await {
                Ok(Some(piece)) => archive.extend_from_slice(&piece),
                Ok(None) => break,
                Err(Error::DockerResponseServerError { status_code: 404, message })
                    if !message.contains("No such container") =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(sort(doing(), &container(name), error)),
            }
            if archive.len() as u64 > LARGEST_FILE {
                return Err(Failure::refused(doing(), format!("it is larger than {LARGEST_FILE} bytes")));
            }
        }
        let content = first_file(&archive).map_err(|error| Failure::refused(doing(), error))?;
        Ok(content)
    }
}

fn container(name: &str) -> String {
    format!("the container `{name}`")
}

fn made_from(container: &ContainerSpec, error: Error) -> Failure {
    let name = &container.name;
    let what = match &error {
        Error::DockerResponseServerError { status_code: 404, message } if message.contains("image") => {
            return Failure::NotFound { what: format!("the image `{}`", container.image) };
        }
        _ => format!("the container `{name}`"),
    };
    sort(format!("make the container `{name}` from `{}`", container.image), &what, error)
}

fn endpoint(aliases: &[String]) -> EndpointSettings {
    EndpointSettings { aliases: Some(aliases.to_vec()), ..EndpointSettings::default() }
}

fn body(container: &ContainerSpec) -> ContainerCreateBody {
    let first = container.networks.iter().next();
    let mut host = HostConfig {
        network_mode: first.map(|(network, _)| network.clone()),
        init: container.init.then_some(true),
        memory: container.memory.map(|mib| i64::from(mib) * 1024 * 1024),
        ..HostConfig::default()
    };
    let binds = container.mounts.iter().map(|(from, to)| format!("{}:{to}:ro", from.display()));
    host.binds = Some(binds.collect());
    host.tmpfs = Some(container.in_memory.iter().map(|folder| (folder.clone(), String::new())).collect());
    let port = container.publish.map(|port| format!("{port}/tcp"));
    if let Some(port) = &port {
        let binding = PortBinding { host_ip: Some(Ipv4Addr::LOCALHOST.to_string()), host_port: Some(String::new()) };
        host.port_bindings = Some(HashMap::from([(port.clone(), Some(vec![binding]))]));
    }
    let env = container.env.iter().map(|(key, value)| format!("{key}={}", value.expose_secret()));
    ContainerCreateBody {
        image: Some(container.image.clone()),
        entrypoint: container.entrypoint.clone(),
        cmd: container.command.clone(),
        env: Some(env.collect()),
        labels: Some(container.labels.clone().into_iter().collect()),
        exposed_ports: port.map(|port| vec![port]),
        host_config: Some(host),
        networking_config: first.map(|(network, aliases)| NetworkingConfig {
            endpoints_config: Some(HashMap::from([(network.clone(), endpoint(aliases))])),
        }),
        ..ContainerCreateBody::default()
    }
}

/// Reads Docker's answer; nothing where the container is on its way out.
fn facts(found: ContainerInspectResponse) -> Option<ContainerFacts> {
    let state = found.state.unwrap_or_default();
    let error = state.error.unwrap_or_default();
    let out_of_memory = state.oom_killed == Some(true);
    let state = match state.status {
        Some(ContainerStateStatusEnum::CREATED) => ContainerState::Created { error },
        Some(ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD) => {
            ContainerState::Exited { code: state.exit_code.unwrap_or(-1) }
        }
        Some(ContainerStateStatusEnum::REMOVING) => return None,
        _ => ContainerState::Running,
    };
    let bindings = found.network_settings.and_then(|network| network.ports).unwrap_or_default();
    let published: BTreeMap<u16, SocketAddr> = bindings
        .into_iter()
        .filter_map(|(port, bindings)| {
            let inside = port.strip_suffix("/tcp")?.parse().ok()?;
            let binding = bindings?.into_iter().next()?;
            let address: IpAddr = binding.host_ip?.parse().ok()?;
            Some((inside, SocketAddr::new(address, binding.host_port?.parse().ok()?)))
        })
        .collect();
    Some(ContainerFacts {
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        state,
        out_of_memory,
        labels: found.config.and_then(|config| config.labels).unwrap_or_default().into_iter().collect(),
        published,
    })
}

fn first_file(archive: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            return Ok(Some(content));
        }
    }
    Ok(None)
}
