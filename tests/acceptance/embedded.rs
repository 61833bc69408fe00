//! The engine `embedded`, as its users start it: the program, a registry, and no Docker unless a test needs one.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use packhorse::image::{Descriptor, media_type};
use rustix::process::{Pid, Signal, kill_process};

use crate::cli::Ran;
#[cfg(feature = "aws")]
use crate::support::aws::Bucket;
use crate::support::docker::{OverTcp, docker};
use crate::support::embedded::{
    Bench, blobs, config, copy_to_layout, layers, lose_a_layer, only_for_arm, start_and_wait_for,
};
use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::parts;
use crate::support::sandbox::processes_with;
#[cfg(feature = "aws")]
use crate::support::step::Steps;

/// How long the remains of a killed build may be seen.
const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
#[ignore = "needs the registry, Docker Engine 26 and pack"]
async fn an_apps_layers_are_those_that_pack_makes_of_it() {
    let bench = Bench::guestbook();
    let first = bench.publish("ours", &["--engine", "embedded"]);
    assert!(first.stderr.contains("Engine embedded: as asked for"), "{first}");
    bench.publish_with_pack("theirs", &[]);
    let (ours, theirs) = (config(&bench.tag("ours")).await, config(&bench.tag("theirs")).await);
    assert_eq!(layers(&ours), layers(&theirs));
    assert_eq!(ours.config.env, theirs.config.env);
    assert_eq!(ours.config.entrypoint, theirs.config.entrypoint);

    // Built again, it is the same image, made of layers that are there.
    let second = bench.publish("ours", &["--engine", "embedded"]);
    assert!(second.stderr.contains("Reusing layer 'packhorse/python:"), "{second}");
    assert!(!second.stderr.contains("Adding layer"), "{second}");
    assert_eq!(second.stdout, first.stdout);
    assert_eq!(bench.left(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
#[ignore = "needs the registry, and root"]
async fn an_ordinary_user_makes_the_same_image_as_root() {
    let root = Bench::small();
    root.publish("root", &["--engine", "embedded"]);
    let stranger = Bench::small().of_a_stranger();
    let ran = stranger.publish("stranger", &["--engine", "embedded"]);
    let (one, other) = (config(&root.tag("root")).await, config(&stranger.tag("stranger")).await);
    assert_eq!(layers(&one), layers(&other), "{ran}");
    assert_eq!(stranger.left(), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
#[ignore = "needs the registry, Docker Engine 26 and pack"]
async fn published_layers_can_be_compressed_with_zstd() {
    let bench = Bench::guestbook();
    let first = bench.publish("zstd", &["--compression", "zstd"]);
    assert_eq!(bench.publish("zstd", &["--compression", "zstd"]).stdout, first.stdout);
    bench.publish("gzip", &[]);
    let (zstd, gzip) = (config(&bench.tag("zstd")).await, config(&bench.tag("gzip")).await);
    assert_eq!(layers(&zstd), layers(&gzip));
    let is_zstd = |blob: &Descriptor| blob.media_type == media_type::OCI_LAYER_ZSTD;
    let (base, own): (Vec<_>, Vec<_>) = blobs(&bench.tag("zstd")).await.into_iter().partition(|blob| !is_zstd(blob));
    assert!(own.len() > 3 && base.len() + own.len() == layers(&zstd).len());
    assert!(!blobs(&bench.tag("gzip")).await.iter().any(is_zstd));
    // It runs, all that looks into images reads it, and `pack` goes on from it.
    docker(&["run", "--rm", "--entrypoint", "launcher", &bench.tag("zstd"), "python3", "-c", "import flask"]);
    let inspected = Ran::from(bench.command(&["image", "inspect", &bench.tag("zstd")]).output().unwrap());
    assert!(inspected.code == 0 && inspected.stdout.contains("web"), "{inspected}");
    let theirs = bench.publish_with_pack("zstd", &[]);
    assert!(theirs.stderr.contains("Reusing layer 'packhorse/python:"), "{theirs}");
    let mut impossible = bench.image_build(&["--engine", "pack", "--publish", "--compression", "zstd"]);
    impossible
        .args(["--tag", &bench.tag("zstd")])
        .env("DOCKER_HOST", parts::docker())
        .env("PACKHORSE_PACK", parts::pack());
    let impossible = Ran::from(impossible.output().unwrap());
    assert!(impossible.code == 4 && impossible.stderr.contains("`embedded`"), "{impossible}");
}

/// Builds inside the builder image: a container with Docker's default profile, and without Docker in it.
fn build_in_place(bench: &Bench, user: &str) -> Ran {
    let mount = |from: &Path, to: &str| format!("{}:{to}:ro", from.display());
    let output = Command::new(parts::docker_cli())
        .args(["run", "--rm", "--network", "host", "--user", user, "--name", &format!("{}-{}", bench.name, &user[..1])])
        .args(["--volume", &mount(Path::new(env!("CARGO_BIN_EXE_packhorse")), "/opt/packhorse")])
        .args(["--volume", &mount(&bench.app(), "/src")])
        .args(["--volume", &mount(Path::new(&parts::ca_bundle()), "/opt/ca.pem")])
        .args(["--env", "PACKHORSE_CA_BUNDLE=/opt/ca.pem", "--entrypoint", "/opt/packhorse", &parts::builder()])
        .args(["image", "build", "/src", "--publish", "--tag", &bench.tag(&format!("in-place-{}", &user[..1]))])
        .args(["--builder", &parts::builder()])
        .output()
        .unwrap();
    Ran::from(output)
}

#[tokio::test]
#[ignore = "needs Docker Engine 26 and the registry"]
async fn inside_a_builder_image_an_app_is_built_in_place_without_any_privilege() {
    let bench = Bench::guestbook();
    bench.publish("sandbox", &["--engine", "embedded"]);
    let in_sandbox = config(&bench.tag("sandbox")).await;
    for user in ["0:0", "1000:1000"] {
        let ran = build_in_place(&bench, user);
        assert_eq!(ran.code, 0, "{ran}");
        assert!(ran.stderr.contains("Engine embedded: there is no Docker"), "{ran}");
        assert!(ran.stderr.contains("Building in place"), "{ran}");
        let in_place = config(&bench.tag(&format!("in-place-{}", &user[..1]))).await;
        assert_eq!(layers(&in_place), layers(&in_sandbox), "as {user}");
    }
}

#[test]
#[ignore = "needs the registry, Docker Engine 26 and pack"]
fn auto_takes_pack_where_it_can_do_what_is_asked_and_says_why() {
    let bench = Bench::small();
    let engine_of = |mut command: Command| {
        let output =
            command.args(["--publish", "--trust-builder", "--network", "host", "--tag", &bench.tag("auto")]).output();
        let ran = Ran::from(output.unwrap());
        assert_eq!(ran.code, 0, "{ran}");
        ran.stderr.lines().find(|line| line.contains("Engine ")).unwrap_or_else(|| panic!("{ran}")).to_owned()
    };
    let with = |pack: &str, flags: &[&str]| {
        let mut command = bench.image_build(flags);
        command.env("DOCKER_HOST", parts::docker()).env("PACKHORSE_PACK", pack);
        command
    };
    assert!(engine_of(with(&parts::pack(), &[])).contains("Engine pack: Docker and `pack` "));
    assert!(engine_of(with("/nonexistent/pack", &[])).contains("Engine embedded: there is Docker, but no `pack`"));
    assert!(engine_of(bench.image_build(&[])).contains("Engine embedded: there is no Docker"));
    // The flag wins over the variable, the variable over the manifest.
    bench.write("apppack.toml", "[build]\nengine = \"embedded\"\n");
    assert!(engine_of(with(&parts::pack(), &[])).contains("Engine embedded: as asked for"));
    let mut by_variable = with(&parts::pack(), &[]);
    by_variable.env("PACKHORSE_ENGINE", "pack");
    assert!(engine_of(by_variable).contains("Engine pack: as asked for"));
    let mut by_flag = with(&parts::pack(), &["--engine", "embedded"]);
    by_flag.env("PACKHORSE_ENGINE", "pack");
    assert!(engine_of(by_flag).contains("Engine embedded: as asked for"));
}

/// The sizes of the archives that an engine was handed.
fn loaded(engine: &FaultProxy) -> Vec<usize> {
    engine.seen(&When::path("POST", "/images/load")).iter().map(|request| request.body.len()).collect()
}

#[tokio::test]
#[ignore = "needs the registry, and Docker Engine 26 and 20.10"]
async fn an_image_that_is_not_published_goes_to_docker_whatever_its_age() {
    for docker_host in [parts::docker(), parts::docker_old()] {
        let bench = Bench::small();
        let way = OverTcp::to(&docker_host).await;
        let engine = FaultProxy::before(&way.host).await;
        let name = format!("{}:1", bench.name);
        let build = async || {
            let mut command = bench.image_build(&["--engine", "embedded", "--tag", &name]);
            command.env("DOCKER_HOST", format!("tcp://{}", engine.host()));
            let ran = tokio::task::spawn_blocking(move || Ran::from(command.output().unwrap())).await.unwrap();
            assert_eq!(ran.code, 0, "{ran}");
            ran
        };
        let of_engine = |arguments: &[&str]| docker(&[&["-H", &docker_host], arguments].concat());
        let first = build().await;
        let told = of_engine(&["image", "inspect", "-f", "{{.Id}} {{.Config.Entrypoint}}", &name]);
        let id = told.split(' ').next().unwrap();
        assert_eq!(first.stdout, format!("{name}  {id}\n"));

        // What the engine has is not handed to it again.
        engine.forget();
        let second = build().await;
        assert!(!second.stderr.contains("Adding layer") && second.stdout == first.stdout, "{second}");
        let lean = loaded(&engine);
        assert!(matches!(lean[..], [size] if size < 100_000), "{lean:?}");
        bench.write("file", "another version");
        engine.forget();
        build().await;
        let one_layer = loaded(&engine);
        assert!(matches!(one_layer[..], [size] if size < 3_000_000), "{one_layer:?}");

        // An engine that misses something after all gets everything.
        engine.forget();
        let body = r#"{"message": "no such layer"}"#.to_owned();
        engine.fail(When::path("POST", "/images/load"), 1, Fault::Answer { status: 500, body });
        build().await;
        let both = loaded(&engine);
        assert!(matches!(both[..], [lean, whole] if whole > 20 * lean), "{both:?}");
        of_engine(&["run", "--rm", "--entrypoint", "/bin/true", &name]);
        of_engine(&["rmi", &name]);
    }
}

#[tokio::test]
#[ignore = "needs the registry, and Docker Engine 26"]
async fn an_engine_that_has_lost_the_image_before_gets_all_layers_that_it_misses() {
    let bench = Bench::small();
    let name = format!("{}:1", bench.name);
    let build = || {
        let mut command = bench.image_build(&["--engine", "embedded", "--tag", &name]);
        let ran = Ran::from(command.env("DOCKER_HOST", parts::docker()).output().unwrap());
        assert_eq!(ran.code, 0, "{ran}");
    };
    build();
    docker(&["rmi", &name]);
    build();
    docker(&["run", "--rm", "--entrypoint", "/bin/true", &name]);
}

#[test]
#[ignore = "needs the registry"]
fn without_docker_an_image_that_is_not_published_lies_in_a_folder() {
    let bench = Bench::small();
    let ran = Ran::from(bench.image_build(&["--tag", "shop:1", "--json"]).output().unwrap());
    assert_eq!(ran.code, 0, "{ran}");
    let result: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let layout = Path::new(result["layout"].as_str().unwrap());
    assert_eq!(layout, bench.path("cache/images/docker.io/library/shop/1"));
    let index: serde_json::Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"][0]["digest"], result["digest"]);
    // Another version takes its place, and its blobs.
    let blobs = || fs::read_dir(layout.join("blobs/sha256")).unwrap().count();
    let before = blobs();
    bench.write("file", "another version");
    let ran = Ran::from(bench.image_build(&["--tag", "shop:1"]).output().unwrap());
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("lies in the OCI layout"), "{ran}");
    assert_eq!(blobs(), before);
}

#[tokio::test]
#[ignore = "needs the registry"]
async fn a_builder_can_lie_in_a_folder_too() {
    let bench = Bench::small();
    let layout = bench.path("builder");
    copy_to_layout(&parts::builder(), &layout).await;
    let builder = format!("oci:{}", layout.display());
    let tag = bench.tag("1");
    let arguments = ["image", "build", "--engine", "embedded", "--builder", &builder, "--publish", "--tag", &tag];
    let ran = Ran::from(bench.command(&arguments).output().unwrap());
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.stderr.contains("Builder oci.localhost/builder@sha256:"), "{ran}");
}

#[test]
#[ignore = "needs the registry"]
fn variables_reach_buildpacks_and_nothing_else() {
    let secret = format!("planted-{:016x}", fastrand::u64(..));
    let build = "echo \"SECRET has ${#SECRET} characters, OF_PROJECT is $OF_PROJECT and SSL_CERT_FILE $(wc -c <$SSL_CERT_FILE)\"\n\
                 echo \"said: $SECRET\"; tr '\\0' ' ' </proc/1/cmdline\n\
                 mkdir -p $CNB_LAYERS_DIR/a && echo 'types = { launch = true, cache = true }' >$CNB_LAYERS_DIR/a.toml && echo x >$CNB_LAYERS_DIR/a/x";
    let bench = Bench::small().with_buildpack("spy", build);
    bench.write(
        "project.toml",
        "[_]\nschema-version = \"0.2\"\n[[io.buildpacks.build.env]]\nname = \"OF_PROJECT\"\nvalue = \"from-project\"\n\
         [[io.buildpacks.build.env]]\nname = \"SECRET\"\nvalue = \"overridden\"\n",
    );
    bench.write("secret.env", &format!("SECRET={secret}\n"));
    let ran = bench.publish("1", &["--engine", "embedded", "--buildpack", "./spy", "--env-file", "secret.env"]);
    let length = secret.len();
    assert!(ran.stderr.contains(&format!("SECRET has {length} characters, OF_PROJECT is from-project")), "{ran}");
    assert!(ran.stderr.contains("said: ***") && !ran.to_string().contains(&secret), "{ran}");
    fs::remove_file(bench.app().join("secret.env")).unwrap();
    for folder in ["cache/layers", "cache/builds", "home", "tmp", "app"] {
        let found = Command::new("grep").args(["-rl", &secret]).arg(bench.path(folder)).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "");
    }
}

/// A layer that is launched only, and taken over unseen from the image before where there is one.
const LAUNCHES: &str = "layer=$CNB_LAYERS_DIR/launched\n\
    [ -e $layer.toml ] || { echo made anew; mkdir $layer; echo one >$layer/file; }\n\
    echo 'types = { launch = true }' >$layer.toml";

/// A layer whose folder is a link to one of the app.
const LINKED: &str = r#"mkdir data
echo kept >data/file
ln -s "$PWD/data" "$CNB_LAYERS_DIR/linked"
echo 'types = { launch = true }' >"$CNB_LAYERS_DIR/linked.toml""#;

#[test]
#[ignore = "needs the registry and Docker Engine 26"]
fn a_layer_behind_a_link_leaves_what_the_link_points_to_alone() {
    let bench = Bench::small().with_buildpack("links", LINKED);
    bench.write("Procfile", "web: exec cat data/file\n");
    bench.publish("1", &["--engine", "embedded", "--buildpack", "./links", "--buildpack", "packhorse/procfile"]);
    assert_eq!(docker(&["run", "--rm", &bench.tag("1")]), "kept\n");
}

#[tokio::test]
#[ignore = "needs the registry"]
async fn layers_that_the_registry_has_lost_are_made_anew() {
    let bench = Bench::small().with_buildpack("launches", LAUNCHES);
    let flags = ["--engine", "embedded", "--buildpack", "./launches", "--network", "own"];
    let first = bench.publish("1", &flags);
    assert!(first.stderr.contains("there is no network `own` without Docker"), "{first}");
    let second = bench.publish("1", &flags);
    assert!(!second.stderr.contains("made anew"), "{second}");
    lose_a_layer(&bench.tag("1"), "Layer: 'launched'").await;
    let third = bench.publish("1", &flags);
    assert!(third.stderr.contains("made anew") && third.stderr.contains("has lost 1 of the layers"), "{third}");
    assert_eq!(third.stdout, first.stdout);
    // One that is made in each build is only made again.
    lose_a_layer(&bench.tag("1"), "Application Layer").await;
    let fourth = bench.publish("1", &flags);
    assert!(!fourth.stderr.contains("made anew"), "{fourth}");
    assert_eq!(fourth.stdout, first.stdout);
}

/// An app whose build says that it has begun and then waits, with a text by which its processes are found.
fn endless(marker: &str) -> Bench {
    Bench::small()
        .with_buildpack("endless", &format!("(exec -a {marker} sleep 1000) & echo begun\nexec -a {marker} sleep 1000"))
}

fn marker() -> String {
    format!("packhorse-test-{:016x}", fastrand::u64(..))
}

#[test]
#[ignore = "needs the registry"]
fn a_build_that_is_interrupted_or_killed_leaves_nothing() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let marker = marker();
        let bench = endless(&marker);
        let tag = bench.tag("1");
        let flags =
            ["--engine", "embedded", "--publish", "--tag", &tag, "--buildpack", "./endless", "--env", "SECRET=x"];
        let mut child = start_and_wait_for(bench.image_build(&flags), "begun");
        while processes_with(&marker).is_empty() {
            std::thread::yield_now();
        }
        kill_process(Pid::from_child(&child), signal).unwrap();
        let status = child.wait().unwrap();
        if signal != Signal::KILL {
            assert_eq!(status.code(), Some(130));
        }
        let began = Instant::now();
        while !processes_with(&marker).is_empty() || !bench.left().is_empty() {
            let (processes, left) = (processes_with(&marker), bench.left());
            assert!(began.elapsed() < DEADLINE, "{signal:?}: {processes:?} {left:?}");
            std::thread::yield_now();
        }
        // What was ended by ourselves is gone when the program is.
        assert!(signal == Signal::KILL || began.elapsed() < Duration::from_secs(1), "{signal:?}");
        assert!(!fs::read_to_string("/proc/self/mounts").unwrap().contains(&bench.name));
        // The next build is none the worse for it.
        bench.publish("2", &["--engine", "embedded"]);
    }
}

#[test]
#[ignore = "needs the registry"]
fn what_cannot_be_built_is_told_with_its_way_out() {
    let bench = Bench::small();
    let tag = bench.tag("1");
    let told = |builder: &str, more: &[&str]| {
        let flags =
            [&["image", "build", "--engine", "embedded", "--publish", "--tag", &tag, "--builder", builder], more]
                .concat();
        let ran = Ran::from(bench.command(&flags).output().unwrap());
        let registry = parts::registry();
        let text = ran.to_string().replace(&registry, "REGISTRY").replace(&bench.name, "NAME");
        text.replace(&bench.path("").display().to_string(), "/BENCH/")
    };
    let registry = parts::registry();
    let missing = format!("{registry}/no/such:builder");
    let no_builder = format!("{registry}/packhorse/run:debian-12");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("sha256:[0-9a-f]{64}", "DIGEST");
    settings.add_filter(r"in \d+\.\d s", "in TIME");
    settings.add_filter("Unpacking .*\n", "");
    settings.bind(|| {
        insta::assert_snapshot!("builder_missing", told(&missing, &[]));
        insta::assert_snapshot!("no_builder", told(&no_builder, &[]));
        let flags = ["--buildpack", "urn:cnb:builder:no/such"];
        insta::assert_snapshot!("buildpack_missing", told(&parts::builder(), &flags));
        let offline = told(&parts::builder(), &["--network", "none"]);
        assert!(offline.contains("buildpacks have the machine's network, and `none` is asked for"), "{offline}");
        fs::remove_file(bench.app().join("Procfile")).unwrap();
        insta::assert_snapshot!("nothing_detected", told(&parts::builder(), &[]));
    });
}

#[test]
#[ignore = "needs Docker Engine 26 and the registry"]
fn where_the_kernel_allows_no_sandbox_the_way_out_is_told() {
    let bench = Bench::small();
    let mount = |from: &Path, to: &str| format!("{}:{to}:ro", from.display());
    // A container with Docker's default profile, and no builder image.
    let run_image = format!("{}/packhorse/run:debian-12", parts::registry());
    let output = Command::new(parts::docker_cli())
        .args(["run", "--rm", "--network", "host", "--user", "0:0", "--name", &bench.name])
        .args(["--volume", &mount(Path::new(env!("CARGO_BIN_EXE_packhorse")), "/opt/packhorse")])
        .args(["--volume", &mount(&bench.app(), "/src"), "--entrypoint", "/opt/packhorse", &run_image])
        .args(["image", "build", "/src", "--engine", "embedded", "--publish", "--tag", &bench.tag("1")])
        .args(["--builder", &parts::builder()])
        .output()
        .unwrap();
    insta::assert_snapshot!("no_sandbox", Ran::from(output).to_string());
}

#[tokio::test]
#[ignore = "needs the registry"]
async fn a_builder_for_other_machines_only_is_told_from_one_that_is_missing() {
    let bench = Bench::small();
    let builder = bench.tag("elsewhere");
    only_for_arm(&parts::builder(), &builder).await;
    let flags =
        ["image", "build", "--engine", "embedded", "--publish", "--tag", &bench.tag("1"), "--builder", &builder];
    let ran = Ran::from(bench.command(&flags).output().unwrap());
    let told = ran.to_string().replace(&parts::registry(), "REGISTRY").replace(&bench.name, "NAME");
    insta::assert_snapshot!("builder_for_others", told);
}

#[cfg(feature = "aws")]
#[test]
#[ignore = "needs the registry and moto"]
fn a_build_in_codebuild_needs_no_docker() {
    let (bench, bucket) = (Bench::small(), Bucket::make());
    let steps = Steps::named(&bench.name)
        .with("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        .with("PACKHORSE_CACHE_DIR", &bench.path("cache").display().to_string())
        .with("APPPACK_DEBUG", "1")
        .with("ARTIFACT_BUCKET", &bucket.name);
    steps.write("app.json", &serde_json::json!({ "stack": parts::builder() }).to_string());
    for verb in ["prebuild", "build"] {
        let ran = steps.run(verb);
        assert_eq!(ran.code, 0, "{verb}: {ran}");
    }
    let log = steps.read("build.log").unwrap();
    for words in ["(embedded)", "Engine embedded: there is no Docker", "===> EXPORTING", "*** Images (sha256:"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    assert!(steps.read("metadata.toml").unwrap().contains("type = \"web\""));
    assert_eq!(bench.left(), Vec::<std::path::PathBuf>::new());
}
