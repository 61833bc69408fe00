//! Docker in tests: connections, random names, and a broom.

use std::process::{Command, Stdio};
use std::sync::Arc;

use packhorse::adapters::docker::{Docker, DockerAddress};
use packhorse::image::credentials::Anonymous;

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

/// Removes whatever begins with a random name: containers, networks and images, also when the test failed.
pub(crate) struct Broom(pub(crate) String);

impl Drop for Broom {
    fn drop(&mut self) {
        let script = r#"
            for c in $("$0" ps -aq --filter "name=$1"); do "$0" rm -f -v "$c"; done
            for n in $("$0" network ls -q --filter "name=$1"); do "$0" network rm "$n"; done
            "$0" images --format '{{.Repository}}:{{.Tag}}' | grep -F "$1" | while read -r i; do "$0" rmi "$i"; done"#;
        let _ = Command::new("/bin/bash")
            .args(["-c", script, &parts::docker_cli(), &self.0])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}
