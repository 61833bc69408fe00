//! The rendered buildspecs, and what they do where Docker is, comes up, or does not.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::{Bench, assert_file};
use crate::support::codebuild::{Build, Project, Source, StartBuild};

const GOLDENS: [(&str, &[&str]); 5] = [
    ("default", &[]),
    ("as-apppack-builder", &["--program", "/usr/local/bin/apppack-builder"]),
    ("embedded", &["--engine", "embedded"]),
    ("unprivileged", &["--unprivileged"]),
    (
        "pinned",
        &[
            "--program",
            "/opt/packhorse",
            "--require-version",
            "0.1.0",
            "--engine",
            "pack",
            "--registry-mirror",
            "https://mirror.example.com",
        ],
    ),
];

#[test]
fn each_golden_is_what_the_program_prints_and_passes_its_own_check() {
    for (name, flags) in GOLDENS {
        let bench = Bench::new();
        let printed = bench.run(&[&["buildspec"], flags].concat()).stdout;
        assert_file(&format!("buildspec/golden/{name}.yml"), &printed);
        bench.write("buildspec.yml", &printed);
        let checked = bench.run(&[&["buildspec", "--check", "buildspec.yml"], flags].concat());
        assert_eq!(checked.code, 0, "{name}: {checked}");
    }
}

#[test]
fn a_buildspec_that_differs_is_told_place_by_place_with_1() {
    let bench = Bench::new();
    let printed = bench.run(&["buildspec", "--unprivileged"]).stdout;
    bench.write(
        "buildspec.yml",
        &printed.replace("codebuild build", "codebuild build || true").replace("    - test.log\n", ""),
    );
    let ran = bench.run(&["buildspec", "--unprivileged", "--check", "buildspec.yml"]);
    assert_eq!(ran.code, 1, "{ran}");
    insta::assert_snapshot!(ran.to_string());
}

#[test]
fn an_engine_that_needs_docker_is_refused_for_an_unprivileged_project() {
    let bench = Bench::new();
    let ran = bench.run(&["buildspec", "--unprivileged", "--engine", "pack"]);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.stderr.contains("only the engine `embedded` needs no Docker"), "{ran}");
    assert_eq!(bench.run(&["buildspec", "--unprivileged", "--registry-mirror", "https://m.example.com"]).code, 2);
}

#[test]
fn a_program_name_that_a_shell_would_take_apart_is_refused() {
    assert_eq!(Bench::new().run(&["buildspec", "--program", "a; reboot"]).code, 2);
}

/// Runs the default buildspec with these programs in its image.
fn run(programs: &[(&str, &str)]) -> Build {
    run_buildspec(Bench::new().run(&["buildspec"]).stdout, programs)
}

/// Runs a buildspec with these programs in its image.
fn run_buildspec(buildspec: String, programs: &[(&str, &str)]) -> Build {
    let bench = Bench::new();
    let bin = bench.path("bin");
    std::fs::create_dir(&bin).unwrap();
    for (name, script) in programs {
        std::fs::write(bin.join(name), format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(bin.join(name), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let image = [("PATH", path), ("TMPDIR", bench.folder.path().display().to_string())];
    let project = Project {
        name: "shop".to_owned(),
        buildspec,
        variables: Vec::new(),
        bucket: "shop-artifacts".to_owned(),
        image: image.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<BTreeMap<_, _>>(),
        container: None,
    };
    std::fs::create_dir(bench.path("app")).unwrap();
    project.run_with_artifacts_in(&StartBuild::of(7, Source::of(bench.path("app"))), &bench.path("bucket"))
}

const PACKHORSE: (&str, &str) = (
    "packhorse",
    "echo \"packhorse $*\"; [ \"$2\" != build ] || for f in build.log test.log apppack.toml commit.txt; do : > $f; done",
);

fn calls(build: &Build) -> Vec<&str> {
    build.log.iter().map(String::as_str).filter(|line| line.starts_with("packhorse ")).collect()
}

#[test]
fn where_docker_runs_each_phase_is_one_call() {
    let build = run(&[("docker", "exit 0"), ("dockerd", "echo not wanted; exit 1"), PACKHORSE]);
    assert_eq!(
        calls(&build),
        ["packhorse codebuild prebuild", "packhorse codebuild build", "packhorse codebuild postbuild"]
    );
    assert_eq!(build.status, "SUCCEEDED", "{:#?}", build.log);
    assert_eq!(build.artifacts, ["7/build.log", "7/test.log", "7/apppack.toml", "7/commit.txt"]);
}

#[test]
fn a_program_of_another_version_than_the_wanted_one_ends_the_build_before_it_begins() {
    let bench = Bench::new();
    let program = env!("CARGO_BIN_EXE_packhorse");
    let build = |version: &str| {
        let buildspec = bench.run(&["buildspec", "--program", program, "--require-version", version]).stdout;
        run_buildspec(buildspec, &[("docker", "exit 0")])
    };
    let wrong = build("9.9.9");
    assert_eq!((wrong.phase("INSTALL"), wrong.phase("PRE_BUILD")), (Some("FAILED"), None), "{:#?}", wrong.log);
    let own = concat!("packhorse ", env!("CARGO_PKG_VERSION"));
    assert!(wrong.log.iter().any(|line| line == own), "{:#?}", wrong.log);
    assert!(wrong.log.iter().any(|line| line == "packhorse 9.9.9 is wanted"), "{:#?}", wrong.log);
    let right = build(env!("CARGO_PKG_VERSION"));
    assert_eq!(right.phase("INSTALL"), Some("SUCCEEDED"), "{:#?}", right.log);
    assert!(right.phase("PRE_BUILD").is_some());
}

#[test]
fn docker_is_started_and_awaited() {
    let docker = "[ -e \"$TMPDIR/up\" ]";
    let dockerd = "sleep 0.3; touch \"$TMPDIR/up\"; exec sleep 1000";
    let build = run(&[("docker", docker), ("dockerd", dockerd), PACKHORSE]);
    assert_eq!(build.status, "SUCCEEDED", "{:#?}", build.log);
}

#[test]
fn a_daemon_that_does_not_come_up_fails_the_install_phase_with_its_log() {
    let build = run(&[("docker", "exit 1"), ("dockerd", "echo 'failed to mount overlay'; exit 1"), PACKHORSE]);
    assert_eq!((build.phase("INSTALL"), build.phase("PRE_BUILD")), (Some("FAILED"), None));
    assert!(build.log.iter().any(|line| line == "failed to mount overlay"), "{:#?}", build.log);
    assert!(calls(&build).is_empty());
}
