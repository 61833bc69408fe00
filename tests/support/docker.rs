//! Docker in tests: connections, random names, and a broom.

use std::process::{Command, Stdio};
use std::sync::Arc;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use packhorse::adapters::docker::{Docker, DockerAddress};
use packhorse::image::credentials::Anonymous;
use packhorse::ports::container_engine::{
    ApiVersion, ContainerEngine, ContainerFacts, ContainerSpec, ImageFacts, Labels, LineSink, LogRange,
};
use packhorse::ports::failure::Failure;
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinHandle;

use super::parts;

/// A small image with a shell.
pub(crate) const SHELL_IMAGE: &str = "packhorse/run:debian-12";

/// Connects to Engine 26.
pub(crate) async fn engine() -> Docker {
    Docker::connect_to(DockerAddress::parse(&parts::docker()).unwrap(), Arc::new(Anonymous)).await.unwrap()
}

/// Connects to Engine 20.10.
pub(crate) async fn old_engine() -> Docker {
    Docker::connect_to(DockerAddress::parse(&parts::docker_old()).unwrap(), Arc::new(Anonymous)).await.unwrap()
}

/// A name that no other test has.
pub(crate) fn random_name(prefix: &str) -> String {
    format!("{prefix}-{:08x}", fastrand::u32(..))
}

/// Runs Docker's own client against Engine 26 and returns what it prints.
pub(crate) fn docker(args: &[&str]) -> String {
    let output = Command::new(parts::docker_cli()).args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A way to an engine over TCP. Ends with its drop.
pub(crate) struct OverTcp {
    /// Its host and port.
    pub(crate) host: String,
    task: JoinHandle<()>,
}

impl OverTcp {
    /// The way to the engine at a socket, `unix://…`.
    pub(crate) async fn to(engine: &str) -> Self {
        let socket = engine.strip_prefix("unix://").unwrap().to_owned();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let task = tokio::spawn(async move {
            while let Ok((mut caller, _)) = listener.accept().await {
                let mut engine = UnixStream::connect(&socket).await.unwrap();
                // A caller may hang up in the middle.
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut caller, &mut engine).await });
            }
        });
        Self { host, task }
    }
}

impl Drop for OverTcp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Removes whatever begins with a random name: containers, networks, volumes and images, also when the test failed.
pub(crate) struct Broom(pub(crate) String);

impl Drop for Broom {
    fn drop(&mut self) {
        let script = r#"
            for c in $("$0" ps -aq --filter "name=$1"); do "$0" rm -f -v "$c"; done
            for n in $("$0" network ls -q --filter "name=$1"); do "$0" network rm "$n"; done
            for v in $("$0" volume ls -q --filter "name=$1"); do "$0" volume rm "$v"; done
            "$0" images --format '{{.Repository}}:{{.Tag}}' | grep -F "$1" | while read -r i; do "$0" rmi "$i"; done
            "$0" images --digests --format '{{.Repository}}@{{.Digest}}' | grep -F "$1" |
                while read -r i; do "$0" rmi "$i"; done"#;
        let _ = Command::new("/bin/bash")
            .args(["-c", script, &parts::docker_cli(), &self.0])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// An engine that lacks `docker-init`, as where distributions package it apart: containers with an init process are made,
/// and do not start. In all else the real engine.
pub(crate) struct WithoutInit {
    engine: Docker,
    with_init: Mutex<BTreeSet<String>>,
}

impl WithoutInit {
    pub(crate) fn new(engine: Docker) -> Self {
        Self { engine, with_init: Mutex::default() }
    }
}

#[async_trait]
impl ContainerEngine for WithoutInit {
    async fn create(&self, container: &ContainerSpec) -> Result<(), Failure> {
        self.engine.create(container).await?;
        if container.init {
            self.with_init.lock().unwrap().insert(container.name.clone());
        }
        Ok(())
    }

    async fn start(&self, name: &str) -> Result<(), Failure> {
        if self.with_init.lock().unwrap().contains(name) {
            // The words of Docker Engine, which come as its internal error.
            let cause = "exec: \"docker-init\": executable file not found in $PATH";
            return Err(Failure::unavailable(format!("start the container `{name}`"), cause));
        }
        self.engine.start(name).await
    }

    async fn remove(&self, name: &str) -> Result<(), Failure> {
        self.with_init.lock().unwrap().remove(name);
        self.engine.remove(name).await
    }

    fn api_version(&self) -> ApiVersion {
        self.engine.api_version()
    }

    async fn create_network(&self, name: &str, labels: &Labels) -> Result<(), Failure> {
        self.engine.create_network(name, labels).await
    }

    async fn networks(&self, labels: &Labels) -> Result<Vec<String>, Failure> {
        self.engine.networks(labels).await
    }

    async fn clear_network(&self, name: &str) -> Result<(), Failure> {
        self.engine.clear_network(name).await
    }

    async fn remove_network(&self, name: &str) -> Result<(), Failure> {
        self.engine.remove_network(name).await
    }

    async fn ensure_image(&self, image: &str) -> Result<(), Failure> {
        self.engine.ensure_image(image).await
    }

    async fn image(&self, image: &str) -> Result<ImageFacts, Failure> {
        self.engine.image(image).await
    }

    async fn tag_image(&self, image: &str, name: &str) -> Result<(), Failure> {
        self.engine.tag_image(image, name).await
    }

    async fn untag_image(&self, name: &str) -> Result<bool, Failure> {
        self.engine.untag_image(name).await
    }

    async fn image_names(&self, repository: &str) -> Result<Vec<String>, Failure> {
        self.engine.image_names(repository).await
    }

    async fn remove_volume(&self, name: &str) -> Result<(), Failure> {
        self.engine.remove_volume(name).await
    }

    async fn container(&self, name: &str) -> Result<Option<ContainerFacts>, Failure> {
        self.engine.container(name).await
    }

    async fn containers(&self, labels: &Labels) -> Result<Vec<ContainerFacts>, Failure> {
        self.engine.containers(labels).await
    }

    async fn wait(&self, name: &str) -> Result<i64, Failure> {
        self.engine.wait(name).await
    }

    async fn logs(&self, name: &str, range: LogRange, sink: &LineSink<'_>) -> Result<(), Failure> {
        self.engine.logs(name, range, sink).await
    }

    async fn exec(&self, name: &str, argv: &[&str]) -> Result<i64, Failure> {
        self.engine.exec(name, argv).await
    }

    async fn stop(&self, name: &str, grace: Duration) -> Result<(), Failure> {
        self.engine.stop(name, grace).await
    }

    async fn copy_out(&self, name: &str, path: &str) -> Result<Option<Vec<u8>>, Failure> {
        self.engine.copy_out(name, path).await
    }
}
