//! `packhorse image rebase` and `inspect` on an image that `pack` built, against the real lifecycle's rebaser.

use std::process::{Command, Output};

use packhorse::image::draft::CREATED;
use packhorse::image::layer::{Compression, LayerEntry, Packer};
use packhorse::image::{
    ImageDraft, ImageReference, ImageSource as _, ImageTarget as _, Platform, RegistryTarget, Repository, SourceImage,
};
use serde_json::Value;

use crate::contract::images::{client, new_repository, run_image};
use crate::support::app::app;
use crate::support::docker::{Broom, docker};
use crate::support::fault_proxy::{FaultProxy, When};
use crate::support::parts;

fn tagged(repository: &Repository, tag: &str) -> ImageReference {
    repository.tagged(tag.parse().unwrap())
}

fn packhorse(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_packhorse")).args(arguments).output().unwrap()
}

fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

async fn read(image: &ImageReference) -> SourceImage {
    client().image(image, &Platform::linux("amd64")).await.unwrap().unwrap()
}

/// Writes a version of the run image under a tag: the one of the test bench with a file on top.
async fn run_image_version(repository: &Repository, tag: &str, version: &str) -> ImageReference {
    let (client, folder) = (client(), tempfile::tempdir().unwrap());
    let base = read(&run_image()).await;
    let target = RegistryTarget::new(client.clone(), repository.clone());
    for (_, layer) in base.layers() {
        target.take_layer(&client, &base, layer).await.unwrap();
    }
    let packer = Packer::new(folder.path(), Compression::Gzip).unwrap();
    let layer = packer.pack([Ok(LayerEntry::file("/run-version", 0o644, version.to_owned()))].into_iter()).unwrap();
    target.put_layer(&layer).await.unwrap();
    let mut draft = ImageDraft::on(&base).unwrap();
    draft.push(layer.diff_id, layer.descriptor, "version");
    draft.config.config.labels.insert("io.buildpacks.base.version".to_owned(), version.to_owned());
    let image = tagged(repository, tag);
    target.finish(&draft.finish(CREATED).unwrap(), std::slice::from_ref(&image)).await.unwrap();
    image
}

/// Builds an app with the real `pack`, on this run image.
fn build_with_pack(image: &ImageReference, run_image: &ImageReference) {
    let app = app("web: cat /run-version\n");
    let output = Command::new(parts::pack())
        .args(["build", &image.to_string(), "--publish", "--trust-builder", "--network", "host", "--no-color"])
        .args(["--docker-host", &parts::docker(), "--pull-policy", "if-not-present"])
        .args(["--builder", &parts::builder(), "--run-image", &run_image.to_string()])
        .arg("--path")
        .arg(app.path())
        .env("DOCKER_HOST", parts::docker())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Runs the real rebaser.
fn rebaser(image: &ImageReference, arguments: &[&str]) -> Output {
    let tools = std::path::Path::new(&parts::pack()).parent().unwrap().parent().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    Command::new(tools.join("lifecycle/lifecycle/rebaser"))
        .args(arguments)
        .arg("-report")
        .arg(folder.path().join("report.toml"))
        .arg(image.to_string())
        .env("CNB_PLATFORM_API", "0.15")
        .output()
        .unwrap()
}

async fn copy(from: &ImageReference, to: &ImageReference) {
    client().tag(from, to.tag().unwrap()).await.unwrap();
}

/// What must not differ: layers, how it runs, and labels as the values they hold.
fn compared(image: &SourceImage) -> Value {
    let mut config: Value = serde_json::from_slice(&image.config.to_json().unwrap()).unwrap();
    let labels = config["config"]["Labels"].as_object_mut().unwrap();
    for value in labels.values_mut() {
        if let Ok(read) = serde_json::from_str::<Value>(value.as_str().unwrap()) {
            *value = read;
        }
    }
    serde_json::json!({ "config": config["config"], "rootfs": config["rootfs"], "os": config["os"],
        "architecture": config["architecture"], "created": config["created"] })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26, pack, the lifecycle and a registry"]
async fn rebased_image_is_that_of_the_real_rebaser_and_runs() {
    let (run_repository, repository) = (new_repository(), new_repository());
    let _broom = Broom(repository.path().to_owned());
    let stable = run_image_version(&run_repository, "stable", "1").await;
    let built = tagged(&repository, "built");
    build_with_pack(&built, &stable);
    assert_eq!(docker(&["run", "--rm", &built.to_string()]), "1");

    // The run image has been patched under its name.
    run_image_version(&run_repository, "stable", "2").await;
    let (ours, theirs) = (tagged(&repository, "ours"), tagged(&repository, "theirs"));
    copy(&built, &theirs).await;
    succeeded(&rebaser(&theirs, &[]));
    let said = succeeded(&packhorse(&["image", "rebase", &built.to_string(), "--tag", &ours.to_string()]));
    let our_image = read(&ours).await;
    assert_eq!(compared(&our_image), compared(&read(&theirs).await));
    assert!(said.contains(our_image.digest.as_str()), "{said}");
    assert_eq!(docker(&["run", "--rm", &ours.to_string()]), "2");

    // Another version under a name of its own: the Go rebaser wants force, and then does the same.
    let third = run_image_version(&run_repository, "v3", "3").await.to_string();
    let (ours, theirs) = (tagged(&repository, "ours-3"), tagged(&repository, "theirs-3"));
    copy(&built, &theirs).await;
    assert!(!rebaser(&theirs, &["-run-image", &third]).status.success());
    succeeded(&rebaser(&theirs, &["-run-image", &third, "-force"]));
    let onto_third = ["image", "rebase", &built.to_string(), "--run-image", &third, "--tag", &ours.to_string()];
    succeeded(&packhorse(&onto_third));
    let our_image = read(&ours).await;
    assert_eq!(compared(&our_image), compared(&read(&theirs).await));
    assert_eq!(docker(&["run", "--rm", &ours.to_string()]), "3");
    let again = packhorse(&["image", "rebase", &ours.to_string()]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("already"), "{again:?}");
    assert_eq!(read(&ours).await.digest, our_image.digest);

    inspected(&built, &ours);
    another_run_image_wants_force(&built).await;
    no_layer_is_read(&built, &stable).await;
}

/// A run image of another repository was not meant for the app.
async fn another_run_image_wants_force(built: &ImageReference) {
    let (ours, theirs) = (tagged(built.repository(), "ours-4"), tagged(built.repository(), "theirs-4"));
    copy(built, &theirs).await;
    let other = run_image().to_string();
    let onto = ["image", "rebase", &built.to_string(), "--run-image", &other, "--tag", &ours.to_string()];
    let refused = packhorse(&onto);
    assert_eq!(refused.status.code(), Some(2));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("is not a version or mirror of") && said.contains("--force"), "{said}");
    succeeded(&packhorse(&[&onto[..], &["--force"]].concat()));
    succeeded(&rebaser(&theirs, &["-run-image", &other, "-force"]));
    assert_eq!(compared(&read(&ours).await), compared(&read(&theirs).await));
}

/// Rebases through a proxy that sees what is asked of the registry: of blobs, only the two configs.
async fn no_layer_is_read(app: &ImageReference, run_image: &ImageReference) {
    let proxy = FaultProxy::before(&format!("http://{}", parts::registry())).await;
    let through = |image: &ImageReference| image.to_string().replace(&parts::registry(), &proxy.host());
    let (from, onto) = (through(app), through(run_image));
    let tag = from.replace(":built", ":through");
    succeeded(&packhorse(&["image", "rebase", &from, "--run-image", &onto, "--tag", &tag, "--force"]));
    let configs = [read(app).await.manifest.config.digest, read(run_image).await.manifest.config.digest];
    for seen in proxy.seen(&When::default()) {
        let is_config = configs.iter().any(|config| seen.path.ends_with(config.as_str()));
        assert!(seen.method != "GET" || !seen.path.contains("/blobs/") || is_config, "{} {}", seen.method, seen.path);
    }
}

/// Shows both and what differs.
fn inspected(built: &ImageReference, rebased: &ImageReference) {
    let told = succeeded(&packhorse(&["image", "inspect", &built.to_string()]));
    for words in ["Processes\n  web  ", "Buildpacks\n", "run image  ", "  app\n", "  launcher\n"] {
        assert!(told.contains(words), "{words:?} is missing in:\n{told}");
    }
    let json: Value =
        serde_json::from_str(&succeeded(&packhorse(&["image", "inspect", &built.to_string(), "--json"]))).unwrap();
    assert_eq!(json["processes"][0]["type"], "web");
    assert_eq!(json["platform"], "linux/amd64");
    assert!(json["layers"].as_array().unwrap().iter().all(|layer| layer["name"] != ""), "{json}");
    let pair = [&built.to_string(), &rebased.to_string()];
    let changed = succeeded(&packhorse(&["image", "inspect", pair[0], pair[1]]));
    assert!(changed.contains("~ run image: ") && changed.contains("~ layer run image 2: "), "{changed}");
    assert!(changed.contains("~ label io.buildpacks.base.version: 1 -> 3"), "{changed}");
    assert!(!changed.contains("process") && !changed.contains("layer app"), "{changed}");
    let same = succeeded(&packhorse(&["image", "inspect", pair[0], pair[0]]));
    assert_eq!(same, "nothing differs\n");
}
