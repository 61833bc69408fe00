//! Every folder of `malformed/` is an app whose manifests are wrong; what a user is told is a snapshot of it.

use std::collections::BTreeMap;
use std::path::Path;

use packhorse::domain::catalogue::Catalogue;
use packhorse::domain::manifest::{
    ImageProcesses, ManifestError, ManifestFiles, Problems, Procfile, SourceFile, resolve,
};
use packhorse::ui::diagnostics::draw_manifest_error;

/// Reads the manifests of one folder the way they are read in a build, and returns why that failed.
fn refusal(folder: &Path) -> ManifestError {
    let mut files: BTreeMap<String, SourceFile> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        match SourceFile::decode(&name, &std::fs::read(entry.path()).unwrap()) {
            Ok(file) => files.insert(name, file),
            Err(problems) => return problems.into(),
        };
    }
    // Outside a build, where a buildpack decides, the two are read for themselves.
    let alone = |problems: Problems| ManifestError::from(problems);
    if let Some(file) = files.get("metadata.toml") {
        return alone(ImageProcesses::read(file).unwrap_err());
    }
    if let Some(file) = files.get("Procfile") {
        return alone(Procfile::read(file).unwrap_err());
    }
    let found = ManifestFiles {
        apppack_toml: files.get("apppack.toml").cloned(),
        app_json: files.get("app.json").cloned(),
        procfile: None,
        project_toml: files.get("project.toml").cloned(),
        dockerfile_exists: files.contains_key("Dockerfile"),
    };
    resolve(&found, &Catalogue::shipped().unwrap()).expect_err("this app's manifests are to be refused")
}

#[test]
fn every_malformed_manifest_is_refused_with_its_place_and_a_way_out() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests/malformed");
    let mut cases: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(cases.len() >= 40, "{} cases", cases.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        for folder in cases {
            let name = folder.file_name().unwrap().to_str().unwrap().to_owned();
            let error = refusal(&folder);
            assert!(error.files.iter().all(Problems::has_errors), "{name} lists a file without an error");
            insta::assert_snapshot!(name.clone(), draw_manifest_error(&error, false));
        }
    });
}

#[test]
fn the_place_shown_is_the_place_drawn() {
    let text = "{\r\n\t\"name\": \"🐎ü\", \"stack\": 1\r\n}\r\n";
    let files = ManifestFiles { app_json: Some(SourceFile::new("app.json", text)), ..ManifestFiles::default() };
    let error = resolve(&files, &Catalogue::shipped().unwrap()).unwrap_err();
    let drawn = draw_manifest_error(&error, false);
    let shown = error.to_string();
    assert!(shown.starts_with("app.json:2:25: "), "{shown}");
    assert!(drawn.contains("--> app.json:2:25"), "{drawn}");
}
