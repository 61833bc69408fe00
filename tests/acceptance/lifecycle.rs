//! The embedded lifecycle beside the Go one: same layers, same config, same labels.

use crate::support::creator::{Bench, Built, assert_same_image};
use crate::support::parts;

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

/// Builds twice with each, handing images and caches over: theirs, then ours and theirs after it; then theirs and ours after ours.
async fn second_builds_are_the_same(bench: &Bench) {
    let first = bench.theirs().await;
    assert_same_image(&bench.ours(None).await.unwrap(), &first);

    bench.hand_their_cache_to_us();
    let ours = bench.ours(Some("theirs")).await.unwrap();
    let theirs = bench.theirs().await;
    assert_same_image(&ours, &theirs);
    assert_said_the_same_of_layers(&ours, &theirs);

    bench.hand_our_cache_to_them();
    let theirs = bench.theirs_after("ours").await.unwrap();
    let ours = bench.ours(Some("ours")).await.unwrap();
    assert_same_image(&ours, &theirs);
    assert_said_the_same_of_layers(&ours, &theirs);
}

fn assert_said_the_same_of_layers(ours: &Built, theirs: &Built) {
    let lines = |built: &Built, word: &str| {
        // The Go lifecycle copies a cached layer that it has just linked once more.
        let told = built.said.lines().filter(|line| line.contains(word) && !line.contains("cache layer"));
        // Of images the names differ.
        let told = told.map(|line| line.split(" from image ").next().unwrap_or_default().to_owned());
        let mut lines: Vec<_> = told.collect();
        lines.sort();
        lines
    };
    for word in ["Restoring ", "Reus", "found ", "restored", "made", "Adding layer", "Removing "] {
        assert_eq!(lines(ours, word), lines(theirs, word), "{}\n{}", theirs.said, ours.said);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn second_build_finds_what_the_first_left_whichever_lifecycle_did_it() {
    second_builds_are_the_same(&Bench::new(&["reuse sbom"]).with_file("file", "x")).await;
}

fn compiled() -> Bench {
    Bench::new(&["libcnb"])
        .with_buildpack("libcnb", parts::libcnb_buildpack())
        .with_file("compiled", "")
        .with_variable("USER_SET", "by the user")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26, the registry and a buildpack compiled with libcnb"]
async fn buildpack_compiled_with_libcnb_finds_its_layers_whichever_lifecycle_made_them() {
    let bench = compiled();
    second_builds_are_the_same(&bench).await;
    let ours = bench.ours(Some("ours")).await.unwrap();
    assert!(ours.said.contains("runtime: restored"), "{}", ours.said);
}

/// Benches whose images have processes.
fn runnable() -> Vec<Bench> {
    vec![
        Bench::new(&["slices"]).with_file("a.txt", "4").with_file("static/s.css", "p {}\n"),
        Bench::new(&["exec-d"]),
        Bench::new(&["absent nested", "?absent nested requirer ?absent"]),
        Bench::new(&["old-processes oldest-processes"])
            .with_file(".profile", "export VALUE=\"$VALUE and of the app\"\n"),
        Bench::new(&["exec-d old-processes"]),
        compiled(),
    ]
}

/// Fails unless each process does the same in a container of either image: by default and by its link, with and without arguments, and
/// a command of the user.
fn assert_run_the_same(ours: &Built, theirs: &Built) {
    for built in [ours, theirs] {
        Bench::pull(built);
    }
    let same = |options: &[&str], arguments: &[&str]| {
        let (ours, theirs) = (Bench::run(ours, options, arguments), Bench::run(theirs, options, arguments));
        assert_eq!(ours, theirs, "{options:?} {arguments:?}");
        theirs
    };
    let mut printed = 0;
    let kinds = theirs.process_types();
    for kind in &kinds {
        let link = format!("/cnb/process/{kind}");
        let (code, lines) = same(&["--entrypoint", &link], &[]);
        assert_ne!(code, Some(82), "{kind}: {lines:?}");
        printed += lines.len();
        same(&["--entrypoint", &link], &["an argument", "$HOME"]);
    }
    assert!(printed > 0 || kinds == ["web"], "{kinds:?}");
    same(&[], &[]);
    let launcher = ["--entrypoint", "/cnb/lifecycle/launcher"];
    assert_eq!(same(&launcher, &["env; pwd; id"]).0, Some(0));
    assert_eq!(same(&launcher, &["--", "env"]).0, Some(0));
    assert_eq!(same(&launcher, &[]).0, Some(82));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26, the registry and a buildpack compiled with libcnb"]
async fn processes_run_in_containers_of_both_images() {
    for bench in runnable() {
        let (theirs, ours) = (bench.theirs().await, bench.ours(None).await.unwrap());
        assert_same_image(&ours, &theirs);
        assert_run_the_same(&ours, &theirs);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26, the registry and a buildpack compiled with libcnb"]
async fn builder_without_a_launcher_gets_ours_which_runs_the_same() {
    for bench in runnable() {
        let bench = bench.without_launcher();
        let (theirs, ours) = (bench.theirs().await, bench.ours(None).await.unwrap());
        let layers = |built: &Built| {
            let names = built.config.history.iter().map(|step| step.created_by.clone());
            names.zip(built.config.rootfs.diff_ids.clone()).collect::<Vec<_>>()
        };
        let pairs: Vec<_> =
            layers(&ours).into_iter().zip(layers(&theirs)).filter(|(one, other)| one != other).collect();
        let names: Vec<_> = pairs.iter().map(|((one, _), (other, _))| (one.as_str(), other.as_str())).collect();
        assert_eq!(names, [("Buildpacks Application Launcher", "Buildpacks Application Launcher")]);
        assert_run_the_same(&ours, &theirs);
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
