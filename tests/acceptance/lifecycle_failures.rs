//! Builds that fail, with the Go lifecycle and with ours: same exit code, same line that says why.

use crate::support::creator::{Bench, Failed};

/// An app whose buildpack runs this as `bin/build`.
fn building(script: &str) -> Bench {
    Bench::new(&["scripted"]).with_file("build.sh", script)
}

/// An app whose buildpack runs this as `bin/detect`.
fn detecting(script: &str) -> Bench {
    Bench::new(&["scripted"]).with_file("detect.sh", script)
}

/// A bench with a buildpack that has this description and programs that do nothing.
fn described(description: &str) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("bin")).unwrap();
    std::fs::write(folder.path().join("buildpack.toml"), description).unwrap();
    for program in ["detect", "build"] {
        std::os::unix::fs::symlink("/bin/true", folder.path().join("bin").join(program)).unwrap();
    }
    Bench::new(&["described"]).with_buildpack("described", folder.path())
}

fn of_api(api: &str) -> Bench {
    described(&format!("api = \"{api}\"\n[buildpack]\nid = \"test/described\"\nversion = \"1.0.0\"\n"))
}

async fn both(bench: &Bench) -> (Failed, Failed) {
    let theirs = match bench.theirs_after("theirs").await {
        Ok(built) => panic!("the Go lifecycle built it: {}", built.said),
        Err(failed) => failed,
    };
    match bench.ours(None).await {
        Ok(built) => panic!("ours built it: {}\n{theirs:?}", built.said),
        Err(ours) => (ours, theirs),
    }
}

/// How much of the line that says why a build failed is the same.
#[derive(Clone, Copy, PartialEq)]
enum Words {
    /// Ours has the reason that the Go lifecycle gives, and may say more, such as which buildpack it was.
    Same,
    /// Ours says it in its own words, as parsers do; the exit code tells the phase.
    Own,
}

use Words::{Own, Same};

impl Words {
    fn are_right(self, ours: &str, theirs: &str) -> bool {
        let (ours, theirs) = (ours.to_lowercase(), theirs.to_lowercase());
        let (phase, reason) = theirs.split_once(": ").unwrap_or((&theirs, ""));
        match self {
            // Where the phase is no part of it, all of it is the reason.
            Self::Same if phase.starts_with("failed to set") => ours.contains(&theirs["failed to ".len()..]),
            Self::Same => ours.starts_with(phase) && ours.contains(reason) && !reason.is_empty(),
            Self::Own => ours.starts_with("failed to "),
        }
    }
}

/// Fails where exit codes or the lines that say why differ.
async fn fail_the_same(cases: Vec<(&str, Bench, i32, Words)>) {
    let mut different = Vec::new();
    for (what, bench, code, words) in cases {
        let (ours, theirs) = both(&bench).await;
        if (ours.code, theirs.code) != (code, code) || !words.are_right(&ours.error, &theirs.error) {
            let (one, other) = ((ours.code, &ours.error), (theirs.code, &theirs.error));
            different.push(format!("{what}\nours:   {one:?}\ntheirs: {other:?}\n{}\n", theirs.said));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn detection_fails_as_with_the_go_lifecycle() {
    fail_the_same(vec![
        ("nobody wants the app", detecting("exit 100"), 20, Same),
        ("a buildpack fails", detecting("exit 3"), 21, Same),
        ("a buildpack is killed", detecting("kill -9 $$"), 21, Same),
        ("a plan that is no TOML", detecting("echo 'provides = {' >\"$2\""), 21, Same),
        ("a plan with an old version", detecting("printf '[[requires]]\\nname = \"a\"\\nversion = \"1\"\\n' >\"$2\""), 21, Same),
        ("a need that nobody meets", detecting("printf '[[requires]]\\nname = \"a\"\\n' >\"$2\""), 20, Same),
        ("something that nobody needs", detecting("printf '[[provides]]\\nname = \"a\"\\n' >\"$2\""), 20, Same),
        ("a buildpack that is missing", Bench::new(&["missing"]), 1, Own),
        ("an API that is too old", of_api("0.6"), 12, Same),
        ("an API that is too new", of_api("0.13"), 12, Same),
        ("another platform", described("api = \"0.10\"\n[buildpack]\nid = \"test/described\"\nversion = \"1.0.0\"\n[[targets]]\nos = \"windows\"\n"), 21, Same),
        ("no order", Bench::new(&[]), 20, Same),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn builds_fail_as_with_the_go_lifecycle() {
    let process =
        |fields: &str| building(&format!("printf '[[processes]]\\n{fields}\\n' >\"$CNB_LAYERS_DIR/launch.toml\""));
    fail_the_same(vec![
        ("a buildpack fails", building("exit 7"), 51, Same),
        ("a buildpack is killed", building("kill -9 $$"), 51, Same),
        ("launch.toml that is no TOML", building("echo '[[' >\"$CNB_LAYERS_DIR/launch.toml\""), 52, Own),
        ("build.toml that is no TOML", building("echo '[[' >\"$CNB_LAYERS_DIR/build.toml\""), 52, Own),
        ("a process that says direct", process("type = \"web\"\\ncommand = [\"a\"]\\ndirect = true"), 52, Same),
        ("two default processes", process("type = \"web\"\\ncommand = [\"a\"]\\ndefault = true\\n[[processes]]\\ntype = \"b\"\\ncommand = [\"b\"]\\ndefault = true"), 52, Same),
        ("a layer's file that is no TOML", building("mkdir \"$CNB_LAYERS_DIR/a\"; echo '[[' >\"$CNB_LAYERS_DIR/a.toml\""), 52, Own),
        ("something unmet that it was not asked for", building("printf '[[unmet]]\\nname = \"a\"\\n' >\"$CNB_LAYERS_DIR/build.toml\""), 52, Same),
        ("a bill of materials that was not announced", building("echo {} >\"$CNB_LAYERS_DIR/launch.sbom.cdx.json\""), 52, Own),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn exports_fail_as_with_the_go_lifecycle() {
    fail_the_same(vec![
        (
            "a layer to be cached without contents",
            building("printf '[types]\\nlaunch = true\\ncache = true\\n' >\"$CNB_LAYERS_DIR/a.toml\""),
            62,
            Same,
        ),
        (
            "a layer to be used again that never was",
            building("printf '[types]\\nlaunch = true\\n' >\"$CNB_LAYERS_DIR/a.toml\""),
            62,
            Same,
        ),
        (
            "a process type that is a path",
            building("printf '[[processes]]\\ntype = \"a/b\"\\ncommand = [\"a\"]\\n' >\"$CNB_LAYERS_DIR/launch.toml\""),
            62,
            Own,
        ),
        (
            "a pattern that is none",
            building("printf '[[slices]]\\npaths = [\"[\"]\\n' >\"$CNB_LAYERS_DIR/launch.toml\""),
            62,
            Own,
        ),
    ])
    .await;
}

/// The Go creator looks whether extensions want the app; ours does not run any, and says so before it runs anything.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn builder_with_extensions_is_refused_in_words() {
    let order = "[[order]]\n[[order.group]]\nid = \"test/scripted\"\nversion = \"1.0.0\"\n\
                 [[order-extensions]]\n[[order-extensions.group]]\nid = \"test/ext\"\nversion = \"1.0.0\"\n";
    let failed = Bench::new(&["scripted"]).with_builder_file("order.toml", order).ours(None).await.err().unwrap();
    assert_eq!(failed.code, 22);
    assert_eq!(
        failed.error,
        "failed to detect: detected order contains extensions which is not supported by the creator"
    );
}
