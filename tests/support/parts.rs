//! Where the real parts of the tests are; `scripts/parts start` starts them.
#![allow(dead_code, reason = "each accessor serves tests of its own")]

/// Socket of Docker Engine 26, as `unix:///…`.
pub(crate) fn docker() -> String {
    part("PACKHORSE_TEST_DOCKER")
}

/// Socket of Docker Engine 20.10, as `unix:///…`.
pub(crate) fn docker_old() -> String {
    part("PACKHORSE_TEST_DOCKER_OLD")
}

/// Path of a `docker` client as old as Engine 26.
pub(crate) fn docker_cli() -> String {
    part("PACKHORSE_TEST_DOCKER_CLI")
}

/// Path of the real `pack`.
pub(crate) fn pack() -> String {
    part("PACKHORSE_TEST_PACK")
}

/// Folder with the programs of the Go lifecycle.
pub(crate) fn lifecycle() -> String {
    part("PACKHORSE_TEST_LIFECYCLE")
}

/// Folder with a buildpack that was compiled with libcnb.
pub(crate) fn libcnb_buildpack() -> String {
    part("PACKHORSE_TEST_LIBCNB_BUILDPACK")
}

/// Host and port of a real registry, plain HTTP, delete enabled.
pub(crate) fn registry() -> String {
    part("PACKHORSE_TEST_REGISTRY")
}

/// URL of DynamoDB Local.
pub(crate) fn dynamodb() -> String {
    part("PACKHORSE_TEST_DYNAMODB")
}

/// URL of the moto server.
pub(crate) fn moto() -> String {
    part("PACKHORSE_TEST_MOTO")
}

/// Builder image in the registry.
pub(crate) fn builder() -> String {
    part("PACKHORSE_TEST_BUILDER")
}

/// Builder image in Docker Engine 26.
pub(crate) fn builder_local() -> String {
    part("PACKHORSE_TEST_BUILDER_LOCAL")
}

/// The machine's CA bundle.
pub(crate) fn ca_bundle() -> String {
    part("PACKHORSE_TEST_CA_BUNDLE")
}

fn part(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; start the parts: scripts/parts start"))
}
