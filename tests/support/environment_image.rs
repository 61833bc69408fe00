//! The environment image of an unprivileged CodeBuild project, made by the house's own recipe.
#![allow(dead_code, reason = "not every build of the tests uses it")]

use std::path::Path;
use std::process::Command;

use super::docker::{Broom, random_name};
use super::parts;

/// An image, removed with its tag.
pub(crate) struct EnvironmentImage {
    pub(crate) name: String,
    _broom: Broom,
}

impl EnvironmentImage {
    /// Puts the program into the builder of the tests, with these packages.
    pub(crate) fn with(packages: &str) -> Self {
        let repository = random_name("ph-unprivileged");
        let name = format!("{repository}:1");
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("images/unprivileged/build"))
            .args(["--builder", &parts::builder(), "--tag", &name, "--packages", packages])
            .args(["--program", env!("CARGO_BIN_EXE_packhorse")])
            // The package mirror answers on the machine's own network only.
            .args(["--docker-arg", "--network=host"])
            .env("DOCKER", parts::docker_cli())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { name, _broom: Broom(repository) }
    }

    /// With the add-ons of tests.
    pub(crate) fn with_databases() -> Self {
        Self::with("postgresql redis-server")
    }
}
