//! Which manifest rules where they speak of the same thing (contract 7).

use packhorse::domain::catalogue::Catalogue;
use packhorse::domain::manifest::{
    AddonKind, AppPlan, BuildSystem, Effective, ImageProcesses, ManifestFiles, Resolved, SourceFile, resolve,
};

fn files(apppack_toml: Option<&str>, app_json: Option<&str>) -> ManifestFiles {
    ManifestFiles {
        apppack_toml: apppack_toml.map(|text| SourceFile::new("apppack.toml", text)),
        app_json: app_json.map(|text| SourceFile::new("app.json", text)),
        dockerfile_exists: true,
        ..ManifestFiles::default()
    }
}

fn resolved(apppack_toml: Option<&str>, app_json: Option<&str>) -> Resolved {
    resolve(&files(apppack_toml, app_json), &Catalogue::shipped().unwrap()).unwrap()
}

fn plan(apppack_toml: Option<&str>, app_json: Option<&str>) -> AppPlan {
    resolved(apppack_toml, app_json).plan
}

fn warnings(resolved: &Resolved) -> Vec<&str> {
    resolved.warnings.iter().flat_map(|file| &file.list).map(|problem| problem.message.as_str()).collect()
}

const DOCKERFILE: &str = "[build]\nsystem = \"dockerfile\"\n[services.web]\ncommand = \"./serve\"\n";

#[test]
fn an_app_without_manifests_is_built_by_the_default_builder() {
    let plan = plan(None, None);
    assert_eq!(plan.system, BuildSystem::Buildpack);
    let builder = plan.builder.unwrap();
    assert_eq!(builder.builder, "heroku/builder:22");
    assert_eq!(builder.run_image.as_deref(), Some("heroku/heroku:22-cnb"));
    assert_eq!(builder.reason.to_string(), "the default");
    assert_eq!(plan.buildpacks, [""; 0]);
    assert_eq!(plan.test, None);
}

#[test]
fn app_json_alone_gives_everything() {
    let text = include_str!("valid/app.json");
    let found = resolved(None, Some(text));
    assert_eq!(warnings(&found), ["`CI` is always `true` in tests"]);
    let plan = found.plan;
    assert_eq!(plan.builder.as_ref().unwrap().builder, "heroku/builder:24");
    assert_eq!(plan.buildpacks, ["urn:cnb:builder:heroku/python", "https://example.com/bp.tgz"]);
    assert_eq!(plan.postdeploy_command.as_deref(), Some("./seed"));
    assert_eq!(plan.pre_destroy_command.as_deref(), Some("./wipe"));
    let tested = plan.test.as_ref().unwrap();
    assert_eq!(tested.command, "python -m pytest");
    assert_eq!(tested.env["MODE"], "test");
    assert_eq!(plan.test_addons, [AddonKind::Postgres, AddonKind::Redis].into());
    assert_eq!(plan.addons, [AddonKind::Postgres, AddonKind::Redis].into());
    assert!(plan.env["SECRET_KEY"].generated);
    assert_eq!(plan.formation[&"web".parse().unwrap()].quantity, Some(2));
}

/// W46: what app.json says about `CI` never wins, what apppack.toml says does.
#[test]
fn ci_is_true_unless_apppack_toml_says_otherwise() {
    let json = r#"{"environments": {"test": {"scripts": {"test": "t"}, "env": {"CI": "0", "A": "1"}}}}"#;
    assert_eq!(plan(None, Some(json)).test.unwrap().env, pairs(&[("A", "1"), ("CI", "true")]));
    let beside = plan(Some("[test]\nenv = [\"B=2\"]\n"), Some(json));
    assert_eq!(beside.test.unwrap().env, pairs(&[("A", "1"), ("B", "2"), ("CI", "true")]));
    let own = plan(Some("[test]\ncommand = \"t\"\nenv = [\"CI=0\"]\n"), Some(json));
    assert_eq!(own.test.unwrap().env, pairs(&[("CI", "0")]));
}

fn pairs(list: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn an_empty_test_command_leaves_the_test_to_app_json() {
    let json = r#"{"environments": {"test": {"scripts": {"test": "from json"}}}}"#;
    let toml = "[test]\ncommand = \"\"\n";
    assert_eq!(plan(Some(toml), Some(json)).test.unwrap().command, "from json");
    assert_eq!(plan(Some("[test]\ncommand = \"own\"\n"), Some(json)).test.unwrap().command, "own");
}

/// W15: `build.buildpacks` counts; without it those of app.json.
#[test]
fn the_buildpacks_of_apppack_toml_are_used() {
    let json = r#"{"stack": "heroku-24", "buildpacks": [{"url": "heroku/ruby"}]}"#;
    let own = plan(Some("[build]\nbuildpacks = [\"heroku/nodejs\", \"heroku/python\"]\n"), Some(json));
    assert_eq!(own.buildpacks, ["urn:cnb:builder:heroku/nodejs", "urn:cnb:builder:heroku/python"]);
    assert_eq!(own.builder.unwrap().reason.to_string(), "`stack` in app.json");
    assert_eq!(plan(Some(""), Some(json)).buildpacks, ["urn:cnb:builder:heroku/ruby"]);
}

/// W19: every stack of the catalogue, by its name or by its builder, and any other builder image as it is.
#[test]
fn a_stack_means_its_builder_and_run_image() {
    for (stack, builder, run_image) in [
        ("heroku-24", "heroku/builder:24", Some("heroku/heroku:24")),
        ("heroku/builder:24", "heroku/builder:24", Some("heroku/heroku:24")),
        ("debian-12", "packhorse/builder:debian-12", Some("packhorse/run:debian-12")),
        ("registry.example.com:5000/my/builder:1", "registry.example.com:5000/my/builder:1", None),
    ] {
        let json = format!(r#"{{"stack": "{stack}"}}"#);
        let toml = format!("[build]\nbuilder = \"{stack}\"\n");
        for plan in [plan(None, Some(&json)), plan(Some(&toml), None)] {
            let choice = plan.builder.unwrap();
            assert_eq!((choice.builder.as_str(), choice.run_image.as_deref()), (builder, run_image), "{stack}");
        }
    }
    let packhorse = r#"{"stack": "debian-12", "buildpacks": [{"url": "packhorse/python"}]}"#;
    assert_eq!(plan(None, Some(packhorse)).buildpacks, ["urn:cnb:builder:packhorse/python"]);
}

/// W21: an app with a Dockerfile does not fail for keys of app.json that it does not use.
#[test]
fn app_json_keys_that_do_not_count_never_fail_a_dockerfile_app() {
    let json = r#"{
        "stack": "heroku-18",
        "buildpacks": [{"url": "https://github.com/heroku/heroku-buildpack-python"}],
        "env": {"A": {"value": "1"}, "B": 5},
        "addons": [{"plan": "heroku-redis:mini"}, 7],
        "formation": {"web": {"quantity": "two"}},
        "environments": {"test": {"addons": [{"plan": "heroku-redis:in-dyno"}]}}
    }"#;
    let resolved = resolved(Some(DOCKERFILE), Some(json));
    assert_eq!(resolved.plan.system, BuildSystem::Dockerfile);
    assert_eq!(resolved.plan.builder, None);
    assert_eq!(resolved.plan.test_addons, [AddonKind::Redis].into());
    assert!(warnings(&resolved).contains(&"`formation.web.quantity` must be a whole number"));
    let wrong = r#"{"environments": {"test": {"addons": [7]}}}"#;
    assert!(resolve(&files(Some(DOCKERFILE), Some(wrong)), &Catalogue::shipped().unwrap()).is_err());
}

#[test]
fn an_unknown_test_addon_is_left_out_with_a_warning() {
    let json = r#"{"environments": {"test": {"addons": ["heroku-postgresql:mini", "papertrail"]}}}"#;
    let resolved = resolved(None, Some(json));
    assert!(resolved.plan.test_addons.is_empty());
    assert_eq!(
        warnings(&resolved),
        [
            "the add-on `heroku-postgresql:mini` is not started for tests",
            "the add-on `papertrail` is not started for tests"
        ]
    );
}

#[test]
fn unknown_keys_only_warn() {
    let json = r#"{"nmae": "x", "features": {}, "scripts": {"postdeploi": "x"}}"#;
    let toml = "[test]\ncomand = \"x\"\n[tests]\n";
    let resolved = resolved(Some(toml), Some(json));
    assert_eq!(
        warnings(&resolved),
        ["unknown key `test.comand`", "unknown key `tests`", "unknown key `nmae`", "unknown key `scripts.postdeploi`"]
    );
}

#[test]
fn heroku_s_object_forms_are_taken_in_tests_too() {
    let json = r#"{"environments": {"test": {"scripts": {"test": "t"}, "env": {
        "A": {"value": "1"}, "B": {"generator": "secret"}, "C": {"required": false}, "D": {"description": "x"}}}}}"#;
    let resolved = resolved(None, Some(json));
    assert_eq!(warnings(&resolved), ["`environments.test.env.D` is required but has no value"]);
    let test = resolved.plan.test.unwrap();
    assert_eq!(test.env, pairs(&[("A", "1"), ("CI", "true")]));
    assert_eq!(test.generate, ["B".to_owned()].into());
}

#[test]
fn a_procfile_gives_advice_but_never_fails_a_build() {
    let mut files = files(None, None);
    files.procfile = Some(SourceFile::new("Procfile", "what is this\n"));
    let resolved = resolve(&files, &Catalogue::shipped().unwrap()).unwrap();
    assert_eq!(warnings(&resolved), ["a line must be `type: command`"]);
}

#[test]
fn the_builder_of_project_toml_does_not_count_and_that_is_said() {
    let mut files = files(None, None);
    files.project_toml = Some(SourceFile::new("project.toml", include_str!("valid/project.toml")));
    let resolved = resolve(&files, &Catalogue::shipped().unwrap()).unwrap();
    assert_eq!(resolved.plan.builder.as_ref().unwrap().builder, "heroku/builder:22");
    assert_eq!(warnings(&resolved), ["the builder of project.toml is not used, but `heroku/builder:22`"]);
    assert_eq!(resolved.plan.project.group.len(), 2);
}

#[test]
fn the_effective_file_takes_services_and_release_from_the_image() {
    let plan = plan(None, Some(include_str!("valid/app.json")));
    let metadata = SourceFile::new("metadata.toml", include_str!("valid/metadata.toml"));
    let image = ImageProcesses::read(&metadata).unwrap().value;
    insta::assert_snapshot!(Effective::of(&plan, Some(&image)).render(), @r#"
    # Written by packhorse: the effective configuration of one build.

    [build]
    system = "buildpack"
    builder = "heroku/builder:24"
    buildpacks = ["urn:cnb:builder:heroku/python", "https://example.com/bp.tgz"]

    [test]
    command = "python -m pytest"
    env = ["MODE=test"]

    [deploy]
    release_command = "bash -c 'cd /workspace/db || exit; ./migrate'"

    [review_app]
    initialize_command = "./seed"
    pre_destroy_command = "./wipe"

    [services.web]
    command = "bash -c 'exec puma -p $PORT' --x"
    "#);
    let without = Effective::of(&plan, None);
    assert!(without.services.is_empty());
    assert_eq!(without.release_command, None);
}

#[test]
fn the_effective_file_of_a_dockerfile_app_is_what_its_user_wrote() {
    let toml =
        format!("{DOCKERFILE}[deploy]\nrelease_command = \"./migrate\"\n[test]\ncommand = \"t\"\nenv = [\"CI=0\"]\n");
    insta::assert_snapshot!(Effective::of(&plan(Some(&toml), None), None).render(), @r#"
    # Written by packhorse: the effective configuration of one build.

    [build]
    system = "dockerfile"

    [test]
    command = "t"
    env = ["CI=0"]

    [deploy]
    release_command = "./migrate"

    [services.web]
    command = "./serve"
    "#);
}
