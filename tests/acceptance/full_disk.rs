//! Builds that run out of disk space, in the folder for temporary files or in that of the source.
#![cfg(feature = "aws")]

use std::fs;
use std::sync::Arc;

use crate::support::made_image::{Attempt, Made, SECRET};
use crate::support::small_disk::SmallDisk;

const FULL: [&str; 2] = ["No space left on device", "free disk space"];

/// Lets the disk be full when `verb` begins; returns what that said between its markers.
fn fails_full(attempt: &Attempt, disk: &SmallDisk, verb: &str, words: &[&str]) {
    disk.fill();
    let ran = attempt.run(verb);
    assert_eq!(ran.code, 1, "{ran}");
    let told = Attempt::told(&ran);
    for word in words.iter().chain(&FULL) {
        assert!(told.contains(word), "`{word}` is missing: {ran}");
    }
    assert!(!ran.to_string().contains(SECRET), "{ran}");
    for unfinished in ["packhorse-unfinished", ".new"] {
        assert_eq!(disk.files(unfinished), "", "{ran}");
    }
}

fn tags(made: &Made) -> Vec<String> {
    made.account.tags().into_keys().collect()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_full_folder_for_temporary_files_fails_the_build_where_clients_look() {
    let made = tokio::task::spawn_blocking(Made::new).await.unwrap();
    for (number, verb) in [(101, "prebuild"), (102, "build"), (103, "postbuild")] {
        let disk = SmallDisk::new();
        let mut attempt = Attempt::of(&made, number).await;
        attempt.account.environment.insert("TMPDIR".to_owned(), disk.path().display().to_string());
        let made = Arc::clone(&made);
        tokio::task::spawn_blocking(move || {
            if verb == "prebuild" {
                disk.fill();
                let ran = attempt.run("prebuild");
                assert_eq!(ran.code, 0, "{ran}");
                assert!(FULL.iter().all(|word| ran.stderr.contains(word)), "{ran}");
                assert_eq!(attempt.account.record(number)["build"]["state"], "failed", "{ran}");
                disk.free();
                fails_full(&attempt, &disk, "build", &["could not "]);
            } else {
                attempt.succeeds("prebuild");
                if verb == "postbuild" {
                    attempt.succeeds("build");
                }
                fails_full(&attempt, &disk, verb, &["could not write `", "/state.json`"]);
            }
            let source = attempt.source.path();
            if verb != "postbuild" {
                let log = fs::read_to_string(source.join("build.log")).unwrap();
                assert!(FULL.iter().all(|word| log.contains(word)), "{log}");
            }
            let after = attempt.run("postbuild");
            assert!(format!("{after}").contains("Nothing to test"), "{after}");
            assert_eq!(tags(&made), ["latest"], "{verb}");
            // A `build` that cannot even keep its log tells nobody; the sweep finds its end with CodeBuild.
            let (phase, state) = match verb {
                "prebuild" => ("build", "failed"),
                "build" => ("build", "started"),
                _ => ("test", "failed"),
            };
            assert_eq!(attempt.account.record(number)[phase]["state"], state, "{verb}");
        })
        .await
        .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn a_full_disk_with_the_source_on_it_fails_the_build_and_moves_no_tag() {
    let made = tokio::task::spawn_blocking(Made::new).await.unwrap();
    let cases = [(201, "build", "metadata.toml", "build"), (202, "postbuild", "test.log", "test")];
    for (number, verb, file, phase) in cases {
        let disk = SmallDisk::new();
        let attempt = Attempt::below(&made, number, disk.path()).await;
        let made = Arc::clone(&made);
        tokio::task::spawn_blocking(move || {
            attempt.succeeds("prebuild");
            if verb == "postbuild" {
                attempt.succeeds("build");
            }
            fails_full(&attempt, &disk, verb, &["could not write `", &format!("/{file}`")]);
            assert_eq!(attempt.account.record(number)[phase]["state"], "failed");
            assert_eq!(tags(&made), ["latest"]);
            let cause = attempt.account.metadata(&number.to_string())["failure"].as_str().unwrap().to_owned();
            assert!(cause.contains(file) && cause.contains(FULL[0]), "{cause}");
        })
        .await
        .unwrap();
    }
}
