//! The engine `embedded` with buildpacks that its builder does not have: images that `pack` made of them, and those of the registry.

use std::process::Command;

use crate::cli::Ran;
use crate::support::embedded::{Bench, config, digest, layers};
use crate::support::lying_server::{LyingServer, Reply};
use crate::support::parts;

/// Makes a layer that is launched, and a process.
const GREETS: &str = r#"mkdir "$CNB_LAYERS_DIR/greeting" && echo hello >"$CNB_LAYERS_DIR/greeting/text"
echo 'types = { launch = true }' >"$CNB_LAYERS_DIR/greeting.toml"
printf '[[processes]]\ntype = "greet"\ncommand = ["cat"]\nargs = ["/layers/test_greets/greeting/text"]\n' >"$CNB_LAYERS_DIR/launch.toml""#;

/// A bench with the image of a composite buildpack, `test/both`, which `pack` has made.
fn packaged() -> Bench {
    let bench = Bench::small().with_buildpack("greets", GREETS).with_buildpack("waits", "echo waiting");
    bench.write(
        "both/buildpack.toml",
        "api = \"0.10\"\n[buildpack]\nid = \"test/both\"\nversion = \"2.0.0\"\n\
         [[order]]\n[[order.group]]\nid = \"test/greets\"\nversion = \"1\"\n[[order.group]]\nid = \"test/waits\"\nversion = \"1\"\n",
    );
    bench.write(
        "both/package.toml",
        "[buildpack]\nuri = \".\"\n[[dependencies]]\nuri = \"../greets\"\n[[dependencies]]\nuri = \"../waits\"\n",
    );
    let made = Command::new(parts::pack())
        .args(["buildpack", "package", &bench.tag("both"), "--config", "both/package.toml", "--publish"])
        .args(["--target", "linux/amd64"])
        .current_dir(bench.app())
        .env("DOCKER_HOST", parts::docker())
        .env("PACK_HOME", bench.path("home"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    bench
}

#[tokio::test]
#[ignore = "needs the registry, Docker Engine 26 and pack"]
async fn an_image_of_buildpacks_makes_the_layers_that_it_makes_with_pack() {
    let bench = packaged();
    let (plain, marked) = (bench.tag("both"), format!("docker://{}", bench.tag("both")));
    let ours = |buildpack: &str| {
        bench.publish("ours", &["--engine", "embedded", "--buildpack", buildpack, "--buildpack", "packhorse/procfile"])
    };
    let first = ours(&marked);
    assert!(first.stderr.contains("Adding layer 'test/greets:greeting'"), "{first}");
    // `pack` takes no port behind the mark.
    bench.publish_with_pack("theirs", &["--buildpack", &plain, "--buildpack", "packhorse/procfile"]);
    let (one, other) = (config(&bench.tag("ours")).await, config(&bench.tag("theirs")).await);
    assert_eq!(layers(&one), layers(&other));
    assert_eq!(one.label("io.buildpacks.build.metadata"), other.label("io.buildpacks.build.metadata"));
    // Its files are there for the next build, and it needs no mark.
    let second = ours(&plain);
    assert!(!second.stderr.contains(&format!("Unpacking {}/{}", parts::registry(), bench.name)), "{second}");
    assert_eq!(second.stdout, first.stdout);
    let builder = format!("docker://{}", parts::builder());
    let refused = bench.image_build(&["--publish", "--tag", &bench.tag("none"), "--buildpack", &builder]).output();
    let refused = Ran::from(refused.unwrap());
    assert!(refused.code == 4 && refused.stderr.contains("io.buildpacks.buildpackage.metadata"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the registry, Docker Engine 26 and pack"]
async fn buildpacks_of_the_registry_are_found_by_its_index() {
    let bench = packaged();
    let image = format!("{}/{}@{}", parts::registry(), bench.name, digest(&bench.tag("both")).await);
    let line = |version: &str, image: &str| {
        serde_json::json!({ "ns": "test", "name": "both", "version": version, "yanked": false, "addr": image })
            .to_string()
    };
    let index = [line("1.0.0", "example.com/older:1"), line("2.0.0", &image)].join("\n");
    let registry = LyingServer::start(move |asked| match asked.path.as_str() {
        "/index/bo/th/test_both" => Reply::new(200).body(index.clone()),
        _ => Reply::new(404),
    })
    .await;
    let build = |buildpack: &str| {
        let mut command = bench.image_build(&["--engine", "embedded", "--publish", "--tag", &bench.tag("found")]);
        command.args(["--buildpack", buildpack, "--buildpack", "packhorse/procfile"]);
        command.env("PACKHORSE_BUILDPACK_REGISTRY", format!("http://{}/index/", registry.address));
        Ran::from(command.output().unwrap())
    };
    for buildpack in ["test/both", "urn:cnb:registry:test/both@2.0.0"] {
        let ran = build(buildpack);
        assert_eq!(ran.code, 0, "{ran}");
        assert!(ran.stderr.contains(&format!("Buildpack {buildpack} is {image}")), "{ran}");
    }
    let missing = build("test/none");
    assert!(missing.code == 4, "{missing}");
    for words in ["neither the builder nor the registry has the buildpack `test/none`", "packhorse/procfile"] {
        assert!(missing.stderr.contains(words), "{missing}");
    }
    let older = build("test/both@3.0.0");
    assert!(older.code == 4 && older.stderr.contains("it has 1.0.0, 2.0.0"), "{older}");
}
