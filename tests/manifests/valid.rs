//! Manifests that are right, in full.

use packhorse::domain::manifest::{AddonKind, AppPackToml, ImageProcesses, Procfile, ProjectToml, SourceFile};

fn file(name: &str) -> SourceFile {
    let path = format!("{}/tests/manifests/valid/{name}", env!("CARGO_MANIFEST_DIR"));
    SourceFile::decode(name, &std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn every_key_of_apppack_toml_is_read() {
    let read = AppPackToml::read(&file("apppack-dockerfile.toml")).unwrap();
    assert_eq!(read.warnings, []);
    let config = read.value;
    assert_eq!(config.dockerfile.unwrap().value, "docker/Dockerfile");
    assert_eq!(config.test_command.unwrap(), "cargo test -- --include-ignored");
    assert_eq!(config.test_env["URL"], "postgres://a:b@db/x?y=z");
    assert_eq!(config.test_timeout.unwrap().as_secs(), 900);
    assert_eq!(config.addon_images[&AddonKind::Postgres], "postgres:16");
    assert_eq!(config.release_command.unwrap(), "./migrate");
    assert_eq!(config.initialize_command.unwrap(), "./seed");
    assert_eq!(config.pre_destroy_command.unwrap(), "./wipe");
    assert_eq!(config.services.len(), 2);
}

#[test]
fn an_empty_apppack_toml_is_an_empty_configuration() {
    for text in ["", "\n# nothing\n", "[build]\n[services]\n[test]\nenv = []\ncommand = \"\"\n"] {
        let read = AppPackToml::read(&SourceFile::new("apppack.toml", text)).unwrap();
        assert_eq!(read.warnings, []);
        assert_eq!(read.value, AppPackToml::default());
    }
}

/// W25: a file that a builder has rewritten is refused as the user's own, but can be read as what it is.
#[test]
fn an_effective_file_of_a_buildpack_build_can_be_read_as_such() {
    let text = "[build]\nsystem = \"buildpack\"\n[services.web]\ncommand = \"gunicorn app\"\n";
    let file = SourceFile::new("apppack.toml", text);
    assert!(AppPackToml::read(&file).is_err());
    let read = AppPackToml::read_effective(&file).unwrap().value;
    assert_eq!(read.services[&"web".parse().unwrap()], "gunicorn app");
}

/// W16, W17: the lifecycle's own key, strings and arrays as commands, arguments, working directories.
#[test]
fn the_processes_of_an_image_become_services_and_a_release_command() {
    let read = ImageProcesses::read(&file("metadata.toml")).unwrap();
    assert_eq!(read.warnings, []);
    let services = read.value.services();
    assert_eq!(services.len(), 1, "rake of heroku/ruby is no service");
    assert_eq!(services[&"web".parse().unwrap()], "bash -c 'exec puma -p $PORT' --x");
    let release = read.value.release_command().unwrap();
    assert_eq!(release, "bash -c 'cd /workspace/db || exit; ./migrate'");
    assert_eq!(read.value.default.as_deref(), Some("web"));
}

#[test]
fn rake_of_another_buildpack_is_a_service() {
    let text = "[[processes]]\ntype = \"rake\"\ncommand = [\"rake\"]\nbuildpack-id = \"me/ruby\"\n";
    let read = ImageProcesses::read(&SourceFile::new("metadata.toml", text)).unwrap().value;
    assert_eq!(read.services().len(), 1);
}

#[test]
fn of_two_release_processes_the_last_counts_with_a_warning() {
    let text =
        "[[processes]]\ntype = \"release\"\ncommand = [\"a\"]\n[[processes]]\ntype = \"release\"\ncommand = [\"b\"]\n";
    let read = ImageProcesses::read(&SourceFile::new("metadata.toml", text)).unwrap();
    assert_eq!(read.value.release_command().as_deref(), Some("b"));
    assert_eq!(read.warnings.len(), 1);
}

#[test]
fn a_procfile_gives_its_processes_in_order() {
    let read = Procfile::read(&file("Procfile")).unwrap();
    assert_eq!(read.warnings, []);
    let types: Vec<_> = read.value.processes.iter().map(|(process, _)| process.value.as_str()).collect();
    assert_eq!(types, ["web", "worker", "release"]);
    assert_eq!(read.value.command("web"), Some("gunicorn app --bind :$PORT"));
}

#[test]
fn a_procfile_without_web_is_a_warning() {
    let read = Procfile::read(&SourceFile::new("Procfile", "worker: ./work\n")).unwrap();
    assert_eq!(read.warnings[0].message, "there is no `web` process");
}

#[test]
fn a_project_descriptor_is_read_by_its_version() {
    let read = ProjectToml::read(&file("project.toml")).unwrap();
    assert_eq!(read.warnings, []);
    assert_eq!(read.value.group.len(), 2);
    assert_eq!(read.value.exclude, ["docs", "*.md"]);
    assert_eq!(read.value.build_env["BP_X"], "1");
    let first = "[project]\nid = \"x\"\n[build]\nexclude = [\"a\"]\n[[build.buildpacks]]\nid = \"b/c\"\n[[build.env]]\nname = \"A\"\nvalue = \"1\"\n";
    let read = ProjectToml::read(&SourceFile::new("project.toml", first)).unwrap();
    assert_eq!(read.warnings, []);
    assert_eq!((read.value.group.len(), read.value.exclude.len(), read.value.build_env.len()), (1, 1, 1));
}
