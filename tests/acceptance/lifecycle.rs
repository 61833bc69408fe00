//! The embedded lifecycle beside the Go one: same layers, same config, same labels.

use crate::support::creator::{Bench, assert_same_image};

async fn same_from_both(bench: &Bench) {
    let theirs = bench.theirs().await;
    let ours = bench.ours(None).await.unwrap();
    assert_same_image(&ours, &theirs);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn slices_labels_and_processes_are_those_of_the_go_lifecycle() {
    let bench = Bench::new(&["slices"])
        .with_file("a.txt", "4")
        .with_file("a/c.txt", "1")
        .with_file("a/d.bin", "2")
        .with_file("a-b/e", "3")
        .with_file("app.py", "print(1)\n")
        .with_file("static/css/s.css", "p {}\n");
    same_from_both(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn launch_layers_with_odd_files_are_those_of_the_go_lifecycle() {
    same_from_both(&Bench::new(&["exec-d"]).with_file("file", "x")).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn buildpacks_see_the_same_environment() {
    let bench = Bench::new(&["env-suffixes show-env newest-env clear-env"])
        .with_variable("USER_SET", "line one\nline two\n")
        .with_variable("PATH", "/user/bin")
        .with_variable("KEPT", "of the user")
        .with_build_config("OPERATOR", "of the operator")
        .with_build_config("USER_SET", "not used")
        .with_build_config("LIST.append", "by the operator")
        .with_build_config("LIST.delim", "; ");
    same_from_both(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn bills_of_materials_are_those_of_the_go_lifecycle() {
    same_from_both(&Bench::new(&["sbom"])).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn nested_orders_and_plans_lead_to_the_same_buildpacks() {
    let bench = Bench::new(&["absent nested", "?absent nested ?show-env requirer ?absent"]);
    same_from_both(&bench).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn processes_of_older_apis_are_those_of_the_go_lifecycle() {
    same_from_both(&Bench::new(&["old-processes oldest-processes"])).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn second_build_finds_what_the_first_left_whichever_lifecycle_did_it() {
    let bench = Bench::new(&["reuse sbom"]).with_file("file", "x");
    let first = bench.theirs().await;
    assert_same_image(&bench.ours(None).await.unwrap(), &first);

    // Ours after theirs, from their image and their cache.
    bench.hand_their_cache_to_us();
    let ours = bench.ours(Some("theirs")).await.unwrap();
    let theirs = bench.theirs().await;
    assert_same_image(&ours, &theirs);
    let lines = |said: &str, word: &str| {
        let mut lines: Vec<_> = said.lines().filter(|line| line.contains(word)).map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    for word in ["Restoring ", "Reus", "found ", "Adding layer", "Removing "] {
        let mut their_lines = lines(&theirs.said, word);
        // The Go lifecycle copies a cached layer that it has just linked once more.
        their_lines.retain(|line| !line.contains("cache layer"));
        let mut our_lines = lines(&ours.said, word);
        our_lines.retain(|line| !line.contains("cache layer"));
        assert_eq!(our_lines, their_lines, "{}\n{}", theirs.said, ours.said);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn cache_image_is_read_by_either_lifecycle_whichever_wrote_it() {
    let bench = Bench::new(&["reuse sbom"]).with_file("file", "x").with_cache_image();
    let restored = |said: &str| {
        let lines = said.lines().filter(|line| line.contains("Restoring data for") || line.contains("found "));
        let mut lines: Vec<_> = lines.map(ToOwned::to_owned).collect();
        lines.sort();
        lines
    };
    bench.theirs().await;
    let by_theirs = bench.cache_image().await;

    // Ours reads theirs, and writes its own in that place.
    let ours = bench.ours(Some("theirs")).await.unwrap();
    assert!(restored(&ours.said).len() > 4 && !ours.said.contains("Skipping"), "{}", ours.said);
    let by_ours = bench.cache_image().await;
    assert_eq!(by_ours.1, by_theirs.1);

    // Theirs reads ours.
    let theirs = bench.theirs().await;
    assert_same_image(&ours, &theirs);
    assert_eq!(restored(&theirs.said), restored(&ours.said), "{}", theirs.said);
    assert!(!theirs.said.contains("Skipping restore"), "{}", theirs.said);
    assert_eq!(bench.cache_image().await, by_ours, "what theirs writes after ours is the same");

    // And ours reads its own.
    let again = bench.ours(Some("theirs")).await.unwrap();
    assert_eq!(restored(&again.said), restored(&theirs.said), "{}", again.said);
}
