//! The environment image of a CodeBuild project.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::docker::{Broom, docker, random_name};
use crate::support::parts;

const PROGRAM: &str = env!("CARGO_BIN_EXE_packhorse");

/// Makes the image on the Debian base of the tests and returns its name by digest.
fn made(name: &str) -> String {
    let tag = format!("{}/{name}:1", parts::registry());
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("images/codebuild/build"))
        .args(["--base", "packhorse/build:debian-12", "--tag", &tag, "--program", PROGRAM, "--push"])
        // The package mirror answers on the machine's own network only.
        .args(["--docker-arg", "--network=host"])
        .env("DOCKER", parts::docker_cli())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    printed.lines().last().expect("the name by digest").to_owned()
}

/// Runs a shell script in the image.
fn run(image: &str, flags: &[&str], script: &str) -> Output {
    let mut child = Command::new(parts::docker_cli())
        .args([&["run", "--rm", "-i"], flags, &[image, "sh", "-s"]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The commands of the install phase, with the version that the program must have.
fn install_phase(version: &str) -> String {
    let printed = Command::new(PROGRAM).args(["buildspec", "--require-version", version]).output().unwrap();
    let buildspec: serde_yaml::Value = serde_yaml::from_slice(&printed.stdout).unwrap();
    let commands = buildspec["phases"]["install"]["commands"].as_sequence().unwrap();
    let lines: Vec<&str> = commands.iter().map(|command| command.as_str().unwrap().trim_end()).collect();
    lines.join(" || exit 1\n") + " || exit 1\n"
}

#[test]
#[ignore = "needs Docker Engine 26, pack, the lifecycle and the registry"]
fn the_codebuild_image_has_all_that_a_build_needs_and_its_install_phase_starts_docker() {
    let name = random_name("ph-codebuild");
    let _broom = Broom(name.clone());
    let image = made(&name);
    assert!(image.starts_with(&format!("{}/{name}@sha256:", parts::registry())), "{image}");

    // Read back by digest, as a project names it; without any network.
    docker(&["pull", "-q", &image]);
    let versions = "packhorse --version && apppack-builder --version && pack version && /cnb/lifecycle/lifecycle -version \
                    && docker --version && git --version \
                    && cd / && sha256sum --check --strict --quiet /usr/local/share/packhorse/SHA256SUMS && echo unchanged";
    let ran = run(&image, &["--network", "none"], versions);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    let own = concat!("packhorse ", env!("CARGO_PKG_VERSION"));
    assert_eq!(text.lines().take(2).collect::<Vec<_>>(), [own, own]);
    assert!(text.ends_with("unchanged\n"), "{text}");

    // A project whose image carries another packhorse is told so before anything else happens.
    let wrong = run(&image, &[], &install_phase("99.0.0"));
    let told = String::from_utf8_lossy(&wrong.stdout).into_owned();
    assert!(!wrong.status.success() && told.contains("packhorse 99.0.0 is wanted"), "{told}");

    // As in CodeBuild: privileged, and no Docker there yet.
    let script = format!("{}packhorse doctor --json", install_phase(env!("CARGO_PKG_VERSION")));
    let ran = run(&image, &["--privileged"], &script);
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(ran.status.success(), "{text}{}", String::from_utf8_lossy(&ran.stderr));
    let found: serde_json::Value = serde_json::from_str(&text[text.find('{').expect("a document")..]).unwrap();
    let verdict = |name: &str| {
        let check = found["checks"].as_array().unwrap().iter().find(|check| check["name"] == name);
        check.unwrap_or_else(|| panic!("{name}: {text}"))["verdict"].clone()
    };
    for name in ["pack", "git", "disk"] {
        assert_eq!(verdict(name), "ok", "{text}");
    }
    // The engine of the base: Debian 12 has one that is good for publishing.
    assert_ne!(verdict("docker"), "fail", "{text}");
}
