//! `packhorse image build`, as its users start it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::app::app;
use crate::support::docker::{Broom, docker, random_name};
use crate::support::parts;

const PROCFILE: &str = "web: exec sleep 1000\n";

fn image_build(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
    command
        .args(["image", "build"])
        .args(arguments)
        .current_dir(folder)
        .env("DOCKER_HOST", parts::docker())
        .env("PACKHORSE_PACK", parts::pack())
        .env("PACKHORSE_BUILD_NETWORK", "host")
        .env("PACKHORSE_LIFECYCLE_IMAGE", parts::builder());
    command
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect()
}

/// A buildpack that tells of a variable without its value, since values are hidden.
fn spy(app: &Path) {
    let bin = app.join("spy/bin");
    fs::create_dir_all(&bin).unwrap();
    let about = "api = \"0.10\"\n[buildpack]\nid = \"test/spy\"\nversion = \"1\"\n[[targets]]\nos = \"linux\"\n";
    fs::write(app.join("spy/buildpack.toml"), about).unwrap();
    let build = "echo \"CERTIFICATE has $(printf %s \"$CERTIFICATE\" | wc -l) line ends and ${#CERTIFICATE} characters\"\n\
                 echo \"GREETING says $GREETING\"; echo \"SHELL_ONE is ${#SHELL_ONE} long\"\n\
                 printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"true\"]\\n' >\"$CNB_LAYERS_DIR/launch.toml\"";
    for (name, body) in [("detect", "exit 0"), ("build", build)] {
        fs::write(bin.join(name), format!("#!/bin/bash\nset -e\n{body}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn an_image_stays_with_docker_under_its_name_and_its_phases_are_told() {
    let name = random_name("ph-image");
    let (app, _broom) = (app(PROCFILE), Broom(name.clone()));
    let tag = format!("{name}:1");
    let output = image_build(app.path(), &["--tag", &tag, "--builder", &parts::builder_local()]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    // The result alone is on stdout: the name, and what it names.
    let id = docker(&["image", "inspect", "-f", "{{.Id}}", &tag]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{tag}  {id}"));
    let told = String::from_utf8(output.stderr).unwrap();
    for phase in ["analyze", "detect", "restore", "build", "export"] {
        assert!(told.contains(&format!("==> {phase}\n")) && told.contains(&format!("    {phase} done")), "{told}");
    }
}

#[test]
#[ignore = "needs Docker Engine 26, pack and the registry"]
fn a_published_image_is_told_as_json_and_nothing_else_is() {
    let name = random_name("ph-image");
    let (app, _broom) = (app(PROCFILE), Broom(name.clone()));
    let tag = format!("{}/{name}:1", parts::registry());
    let flags = ["--tag", &tag, "--publish", "--trust-builder", "--builder", &parts::builder(), "--json"];
    let output = image_build(app.path(), &flags).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let lines = lines(&output);
    assert_eq!(lines[0]["format"], 1);
    let result = lines.last().unwrap();
    assert_eq!((&result["type"], &result["published"]), (&"result".into(), &true.into()));
    docker(&["pull", "-q", &tag]);
    let digests = docker(&["image", "inspect", "-f", "{{join .RepoDigests \" \"}}", &tag]);
    assert!(digests.contains(result["digest"].as_str().unwrap()), "{digests} {result}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn variables_of_files_and_flags_arrive_with_all_their_lines() {
    let name = random_name("ph-image");
    let (app, _broom) = (app(PROCFILE), Broom(name.clone()));
    spy(app.path());
    let files = [
        ("one.env", "CERTIFICATE=\"-----BEGIN-----\nabc=\n-----END-----\n\"\nGREETING=first\n"),
        ("two.env", "GREETING='hello'\n"),
    ];
    for (file, text) in files {
        fs::write(app.path().join(file), text).unwrap();
    }
    let flags = ["--buildpack", "./spy", "--env-file", "one.env", "--env-file", "two.env", "--env", "SHELL_ONE"];
    let more = ["--tag", &name, "--builder", &parts::builder_local(), "--trust-builder"];
    let output = image_build(app.path(), &[&flags[..], &more[..]].concat()).env("SHELL_ONE", "12345").output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    for words in ["CERTIFICATE has 3 line ends and 35 characters", "GREETING says ", "SHELL_ONE is 5 long"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("abc=") && !said.contains("GREETING says first"), "{said}");
}

#[test]
#[ignore = "needs Docker Engine 26 and pack"]
fn a_failed_build_ends_with_1_its_step_and_its_last_lines() {
    let name = random_name("ph-image");
    let (app, _broom) = (app(PROCFILE), Broom(name.clone()));
    fs::write(app.path().join("requirements.txt"), "!!! no requirement\n").unwrap();
    let flags = ["--tag", &name, "--builder", &parts::builder_local(), "--json"];
    let output = image_build(app.path(), &flags).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let last = lines(&output).pop().unwrap();
    assert_eq!((&last["type"], &last["exit_code"]), (&"error".into(), &1.into()));
    assert!(last["message"].as_str().unwrap().contains("in its `build` step"), "{last}");
    let output =
        image_build(app.path(), &["--quiet", "--tag", &name, "--builder", &parts::builder_local()]).output().unwrap();
    assert!(said(&output).contains("Invalid requirement: '!!! no requirement'"), "{}", said(&output));
    assert_eq!(docker(&["images", "-q", &name]), "");
}

#[test]
#[ignore = "needs Docker Engine 20.10 and pack"]
fn a_daemon_too_old_to_keep_an_image_is_refused_before_anything_is_built() {
    let app = app(PROCFILE);
    let flags = ["--engine", "pack", "--tag", "ph-image-old", "--builder", &parts::builder_local()];
    let output = image_build(app.path(), &flags).env("DOCKER_HOST", parts::docker_old()).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(4), "{said}");
    for words in ["speaks API 1.41", "needs 1.44 (Docker Engine 25)", "publish the image to a registry instead"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("==> "), "{said}");
}

#[test]
#[ignore = "needs Docker Engine 20.10, pack and the registry"]
fn a_daemon_too_old_to_keep_an_image_can_publish_one() {
    let (app, name) = (app(PROCFILE), random_name("ph-image"));
    let tag = format!("{}/{name}:1", parts::registry());
    let flags = ["--tag", &tag, "--publish", "--trust-builder", "--builder", &parts::builder()];
    let output = image_build(app.path(), &flags).env("DOCKER_HOST", parts::docker_old()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}
