//! An app whose tests are run.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::time::Duration;

use packhorse::ports::test_bed::TestRun;
use tokio::sync::OnceCell;

use super::app::app;
use super::docker::random_name;
use super::parts;

/// Names the image where a test runs again somewhere else.
pub(crate) const IMAGE: &str = "BARE_TEST_IMAGE";

/// An app image in the registry, made once for all tests of a run.
pub(crate) async fn image() -> String {
    static MADE: OnceCell<String> = OnceCell::const_new();
    if let Ok(image) = std::env::var(IMAGE) {
        return image;
    }
    MADE.get_or_init(|| async {
        let app = app("web: exec sleep 1000\n");
        fs::write(app.path().join(".profile"), "export FROM_PROFILE=yes\n").unwrap();
        let name = format!("{}/{}", parts::registry(), random_name("ph-bare"));
        let output = Command::new(env!("CARGO_BIN_EXE_packhorse"))
            .args(["image", "build", "--engine", "pack", "--publish", "--json", "--tag", &format!("{name}:1")])
            .args(["--builder", &parts::builder()])
            .current_dir(app.path())
            .env("DOCKER_HOST", parts::docker())
            .env("PACKHORSE_PACK", parts::pack())
            .env("PACKHORSE_BUILD_NETWORK", "host")
            .env("PACKHORSE_LIFECYCLE_IMAGE", parts::builder())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let result: serde_json::Value = serde_json::from_str(text.lines().next_back().unwrap()).unwrap();
        format!("{name}@{}", result["digest"].as_str().unwrap())
    })
    .await
    .clone()
}

/// A run of the app's tests, whose variable `GIVEN` has two lines.
pub(crate) fn tests_of(build_id: &str, image: &str, command: &str) -> TestRun {
    TestRun {
        build_id: build_id.to_owned(),
        image: image.to_owned(),
        command: command.to_owned(),
        launcher: true,
        env: BTreeMap::from([("GIVEN".to_owned(), "two\nlines".into())]),
        limit: Duration::from_mins(1),
    }
}
