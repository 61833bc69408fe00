//! Images made by the real `pack` with the real lifecycle.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use packhorse::adapters::docker::{ContainerTestBed, Docker};
use packhorse::adapters::pack::{PackBuilder, PackSettings};
use packhorse::adapters::process::Stop;
use packhorse::image::credentials::Anonymous;
use packhorse::image::registry::{RegistryClient, RegistryOptions};
use packhorse::ports::image_builder::{BuildOutput, Cache, ImageBuildError, ImageBuilder};
use packhorse::ports::image_store::ImageStore;
use packhorse::ports::test_bed::{TestBed, TestRun};

use crate::support::app::{Lines, app, local, published};
use crate::support::docker::{Broom, docker, engine, old_engine, random_name};
use crate::support::parts;

const PROCFILE: &str = "web: exec sleep 1000\nworker: exec sleep 1000\n";

fn settings() -> PackSettings {
    PackSettings { program: parts::pack().into(), ..PackSettings::default() }
}

fn pack(docker: Docker) -> PackBuilder {
    PackBuilder::new(settings(), docker, Some(Arc::new(registry())))
}

fn registry() -> RegistryClient {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    RegistryClient::new(RegistryOptions::new(provider), Arc::new(Anonymous)).unwrap()
}

fn name() -> (String, Broom) {
    let name = random_name("ph-pack");
    (name.clone(), Broom(name))
}

#[tokio::test]
#[ignore = "needs Docker Engine 26 and 20.10, pack and the registry"]
async fn both_engines_publish_the_very_same_image() {
    let (name, _broom) = name();
    let app = app(PROCFILE);
    let mut digests = Vec::new();
    for docker in [engine().await, old_engine().await] {
        let order = published(app.path(), &name);
        let output = Lines::default();
        let built = pack(docker).build(&order, &output).await;
        let built = built.unwrap_or_else(|error| panic!("{error}\n{}", output.text()));
        assert_eq!(built.image, order.image);
        let there = registry().resolve(&order.image.parse().unwrap()).await.unwrap();
        assert_eq!(there.as_str(), built.digest);
        assert!(output.text().contains("===> EXPORTING"));
        digests.push(built.digest);
    }
    assert_eq!(digests[0], digests[1]);
}

#[tokio::test]
#[ignore = "needs Docker Engine 26 and pack"]
async fn an_image_stays_with_a_daemon_that_can_take_it_and_runs_its_command_once() {
    let (name, _broom) = name();
    let app = app(PROCFILE);
    fs::write(app.path().join(".profile"), "export FROM_PROFILE=yes\n").unwrap();
    let engine = engine().await;
    let built = pack(engine.clone()).build(&local(app.path(), &name), &Lines::default()).await.unwrap();
    let id = docker(&["image", "inspect", "-f", "{{.Id}}", &built.image]);
    assert_eq!(id.trim(), built.digest);
    let metadata = engine.build_metadata(&built.image.parse().unwrap()).await.unwrap().unwrap();
    assert!(metadata.contains("type = \"worker\""), "{metadata}");

    let bed = ContainerTestBed::new(Arc::new(engine), Stop::default());
    let output = Lines::default();
    let run = TestRun {
        build_id: name.clone(),
        image: built.digest,
        command: r#"echo "a  b"; echo '$HOME'; echo "$FROM_PROFILE $GREETING""#.to_owned(),
        launcher: true,
        env: BTreeMap::from([("GREETING".to_owned(), "it's \"me\"".into())]),
        limit: std::time::Duration::from_mins(1),
    };
    assert_eq!(bed.run(&run, &output).await.unwrap(), 0);
    assert_eq!(output.text(), "a  b\n$HOME\nyes it's \"me\"");
}

#[tokio::test]
#[ignore = "needs Docker Engine 20.10 and pack"]
async fn an_old_daemon_that_cannot_take_an_image_is_told_in_words() {
    let (name, _broom) = name();
    let app = app(PROCFILE);
    let refusal = pack(old_engine().await).build(&local(app.path(), &name), &Lines::default()).await.unwrap_err();
    let text = refusal.to_string();
    assert!(text.starts_with("pack cannot build here: ") && text.contains("speaks API 1.41"), "{text}");
    assert!(text.contains("publish the image to a registry instead"), "{text}");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26 and pack"]
async fn a_missing_pack_and_a_failing_buildpack_are_told_apart() {
    let (name, _broom) = name();
    let app = app("web without a colon\n");
    let engine = engine().await;
    let missing = PackSettings { program: "packhorse-has-no-such-pack".into(), ..PackSettings::default() };
    let refusal =
        PackBuilder::new(missing, engine.clone(), None).build(&local(app.path(), &name), &Lines::default()).await;
    assert!(matches!(refusal, Err(ImageBuildError::NotPossible { reason, .. }) if reason.contains("PACKHORSE_PACK")));

    let output = Lines::default();
    let failure = pack(engine.clone()).build(&local(app.path(), &name), &output).await.unwrap_err();
    assert_eq!(failure.to_string(), "the image build failed in its `build` step (exit code 51)");
    assert!(output.text().contains("Procfile:1"), "{}", output.text());

    fs::remove_file(app.path().join("Procfile")).unwrap();
    fs::write(app.path().join("README"), "nothing to build").unwrap();
    let failure = pack(engine).build(&local(app.path(), &name), &Lines::default()).await.unwrap_err();
    assert!(matches!(failure, ImageBuildError::Failed { step, .. } if step == "detect"));
}

#[tokio::test]
#[ignore = "needs Docker Engine 26, pack and the registry"]
async fn a_builder_that_is_not_trusted_never_sees_the_registry() {
    let (name, _broom) = name();
    let app = app(PROCFILE);
    let mut order = published(app.path(), &name);
    order.trust_builder = false;
    order.env.insert("TOKEN".to_owned(), "s3cret-token".into());
    let settings = PackSettings { lifecycle_image: Some(parts::builder()), ..settings() };
    let output = Lines::default();
    let built = PackBuilder::new(settings, engine().await, None).build(&order, &output).await;
    let built = built.unwrap_or_else(|error| panic!("{error}\n{}", output.text()));
    assert!(output.text().contains("[exporter]"), "{}", output.text());
    assert!(built.digest.starts_with("sha256:"));
}

#[tokio::test]
#[ignore = "needs Docker Engine 26, pack and the registry"]
async fn git_is_no_part_of_the_image_so_one_commit_has_one_digest() {
    let (name, _broom) = name();
    let app = app(PROCFILE);
    let git = app.path().join(".git");
    fs::create_dir(&git).unwrap();
    fs::write(app.path().join("debug.log"), "noise").unwrap();
    let mut digests = Vec::new();
    for round in ["one", "two"] {
        fs::write(git.join("index"), round).unwrap();
        let mut order = published(app.path(), &name);
        order.exclude = vec!["*.log".to_owned()];
        digests.push(pack(engine().await).build(&order, &Lines::default()).await.unwrap().digest);
    }
    assert_eq!(digests[0], digests[1]);
    let (image, registry) = (format!("{}/{name}:candidate-1", parts::registry()), parts::registry());
    assert!(image.starts_with(&registry));
    docker(&["pull", "-q", &image]);
    let listing = docker(&["run", "--rm", "--entrypoint", "ls", &image, "-A", "/workspace"]);
    assert_eq!(listing.trim(), "Procfile");
}

#[tokio::test]
#[ignore = "needs Docker Engine 26, pack and the registry"]
async fn a_cache_that_is_not_there_yet_begins_as_its_fallback_and_a_missing_one_fails_nothing() {
    let (name, _broom) = name();
    let app = app(PROCFILE);
    let reference = |tag: &str| format!("{}/{name}:{tag}", parts::registry());
    let mut order = published(app.path(), &name);
    order.cache = Cache::Image { image: reference("cache-main"), fallback: Some(reference("cache-none")) };
    order.previous_image = Some(reference("latest"));
    pack(engine().await).build(&order, &Lines::default()).await.unwrap();
    let main = registry().resolve(&reference("cache-main").parse().unwrap()).await.ok();

    order.cache = Cache::Image { image: reference("cache-branch"), fallback: Some(reference("cache-main")) };
    pack(engine().await).build(&order, &Lines::default()).await.unwrap();
    assert_eq!(registry().resolve(&reference("cache-branch").parse().unwrap()).await.ok().is_some(), main.is_some());
}

/// Watches which programs begin, in this machine's namespaces and the engine's, until dropped.
struct Watch {
    seen: Arc<std::sync::Mutex<Vec<u8>>>,
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn begin() -> Self {
        let (seen, stop) =
            (Arc::<std::sync::Mutex<Vec<u8>>>::default(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let (lines, ended) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ended.load(std::sync::atomic::Ordering::Relaxed) {
                for process in fs::read_dir("/proc").unwrap().flatten() {
                    if let Ok(line) = fs::read(process.path().join("cmdline")) {
                        let mut lines = lines.lock().unwrap();
                        lines.extend(line);
                        lines.push(b'\n');
                    }
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    fn end(mut self) -> String {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }
}

#[tokio::test]
#[ignore = "needs Docker Engine 26 and pack"]
async fn a_secret_reaches_the_buildpacks_and_stays_nowhere() {
    let (name, _broom) = name();
    // What a buildpack says of its variables is hidden; that it knew the value shows in the length.
    let app = app(PROCFILE);
    let buildpack = app.path().join("spy");
    fs::create_dir_all(buildpack.join("bin")).unwrap();
    fs::write(
        buildpack.join("buildpack.toml"),
        "api = \"0.10\"\n[buildpack]\nid = \"test/spy\"\nversion = \"1\"\n[[targets]]\nos = \"linux\"\n",
    )
    .unwrap();
    script(&buildpack.join("bin/detect"), "exit 0");
    script(
        &buildpack.join("bin/build"),
        "echo \"length ${#PLANTED}, lines $(printf '%s' \"$PLANTED\" | grep -c '')\"; echo \"says $PLANTED\"; env | sort; \
         printf '[[processes]]\\ntype = \"web\"\\ncommand = [\"true\"]\\n' >\"$CNB_LAYERS_DIR/launch.toml\"",
    );
    let secret = format!("planted-{:016x}\nsecond-{:016x}", fastrand::u64(..), fastrand::u64(..));
    let mut order = local(app.path(), &name);
    order.buildpacks = vec![buildpack.display().to_string()];
    order.exclude = vec!["spy".to_owned()];
    order.env.insert("PLANTED".to_owned(), secret.clone().into());
    order.ca_bundle = Some(parts::ca_bundle().into());
    order.verbose = true;
    let settings = PackSettings { lifecycle_image: Some(parts::builder()), ..settings() };
    let (output, watch) = (Lines::default(), Watch::begin());
    let built = PackBuilder::new(settings, engine().await, None).build(&order, &output).await;
    let commands = watch.end();
    let built = built.unwrap_or_else(|error| panic!("{error}\n{}", output.text()));
    let text = output.text();
    assert!(text.contains(&format!("length {}, lines 2", secret.len())), "{text}");
    assert!(text.contains("says ***") && text.contains("SSL_CERT_FILE=/packhorse/ca-certificates.crt"), "{text}");
    assert!(commands.contains("\0--descriptor\0"), "pack itself was not seen");
    let inspected = docker(&["image", "inspect", &built.image]);
    let history = docker(&["history", "--no-trunc", &built.image]);
    let saved = tempfile::NamedTempFile::new().unwrap();
    docker(&["save", "-o", saved.path().to_str().unwrap(), &built.image]);
    for line in secret.lines() {
        for (place, content) in
            [("output", &text), ("commands", &commands), ("config", &inspected), ("history", &history)]
        {
            assert!(!content.contains(line), "the {place} has it");
        }
        let found = Command::new("grep").args(["-c", "-a", "-F", line]).arg(saved.path()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), "0", "a layer has it");
        for folder in ["/dev/shm", "/tmp"] {
            let found =
                Command::new("grep").args(["-rlaF", "--exclude-dir=bash_jobs*", line, folder]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&found.stdout), "", "a file has it");
        }
    }
}

fn script(path: &Path, body: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, format!("#!/bin/bash\nset -e\n{body}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Interrupts a build in its middle.
struct StopAt(Stop);

impl BuildOutput for StopAt {
    fn line(&self, line: &str) {
        if line.contains("===> DETECTING") {
            self.0.gently.cancel();
        }
    }
}

#[tokio::test]
#[ignore = "needs Docker Engine 26 and pack"]
async fn an_interrupted_build_leaves_no_container_and_no_image() {
    let (name, _broom) = name();
    let app = app(PROCFILE);
    let stop = Stop::default();
    let settings = PackSettings { stop: stop.clone(), ..settings() };
    let result = PackBuilder::new(settings, engine().await, None).build(&local(app.path(), &name), &StopAt(stop)).await;
    assert!(matches!(result, Err(ImageBuildError::Interrupted)), "{result:?}");
    assert_eq!(docker(&["images", "-q", &name]), "");
}
