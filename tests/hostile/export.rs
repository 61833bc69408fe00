//! Builds that are killed or run out of disk space while they make an image, and the builds after them.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use packhorse::image::credentials::Anonymous;
use packhorse::image::{
    Digest, ImageReference, ImageSource, Layout, Platform, RegistryClient, RegistryOptions, RegistryTarget,
};
use packhorse::lifecycle::exit::ExitCode;
use packhorse::ports::failure::chain;

use crate::support::made_build::MadeBuild;
use crate::support::small_disk::SmallDisk;
#[cfg(feature = "aws")]
use crate::support::{
    crash::{Crash, Point},
    docker::random_name,
    parts,
};

/// More steps than a build has.
const MANY: usize = 200;

fn name() -> ImageReference {
    "app:1".parse().unwrap()
}

fn client() -> RegistryClient {
    let options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
    RegistryClient::new(options, Arc::new(Anonymous)).unwrap()
}

/// `build_for_a_test_of_kills` in a process of its own.
fn build_command(folder: &Path) -> Command {
    let name = "hostile::export::build_for_a_test_of_kills";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", name, "--include-ignored", "--nocapture"]).env("MADE_BUILD_FOLDER", folder);
    command
}

fn build(folder: &Path, killed_at: Option<usize>) -> Output {
    let mut command = build_command(folder);
    if let Some(step) = killed_at {
        command.env("MADE_BUILD_KILLED_AT", step.to_string());
    }
    command.output().unwrap()
}

/// Not a test by itself: what the tests of kills run in a process of its own.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a folder, which the tests of kills make"]
async fn build_for_a_test_of_kills() {
    let Ok(folder) = std::env::var("MADE_BUILD_FOLDER") else { return };
    let folder = Path::new(&folder);
    let mut build = MadeBuild::below(folder);
    if let Ok(step) = std::env::var("MADE_BUILD_KILLED_AT") {
        build = build.killed_at(step.parse().unwrap());
    }
    let exported = if let Ok(image) = std::env::var("MADE_BUILD_IMAGE") {
        let (image, client) = (image.parse::<ImageReference>().unwrap(), client());
        let target = RegistryTarget::new(client.clone(), image.repository().clone());
        build.run(&target, &client, &image).await.unwrap()
    } else {
        let layout = Layout::at(folder.join("image"));
        build.run(&layout, &layout, &name()).await.unwrap()
    };
    println!("digest {} after {} steps", exported.digest, build.steps());
}

fn digest_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text.split("digest ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

/// The image in a folder, each blob of which was read and is what its digest says.
async fn sound_image(folder: &Path) -> Option<Digest> {
    let layout = Layout::at(folder.join("image"));
    let image = layout.image(&name(), &Platform::host()).await.unwrap()?;
    for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
        let bytes = fs::read(layout.blob_path(&blob.digest)).unwrap();
        assert_eq!(Digest::of(&bytes), blob.digest);
    }
    Some(image.digest)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a minute: builds a hundred times"]
async fn build_killed_at_any_step_leaves_a_whole_image_or_none_and_the_next_one_is_right() {
    let undisturbed = tempfile::tempdir().unwrap();
    let (first, second) = (digest_of(&build(undisturbed.path(), None)), digest_of(&build(undisturbed.path(), None)));
    assert_eq!(first, second, "a build with cache and image before is the same");
    let mut whole = 0;
    for step in 1.. {
        assert!(step < MANY, "the build never ended");
        let folder = tempfile::tempdir().unwrap();
        let killed = build(folder.path(), Some(step));
        if killed.status.signal() != Some(9) {
            assert_eq!(digest_of(&killed), first);
            assert!(step > 20 && whole > 0, "{step} steps, {whole} after the image was named");
            return;
        }
        let left = sound_image(folder.path()).await.map(|digest| digest.to_string());
        whole += usize::from(left.is_some());
        assert!(left.is_none_or(|digest| digest == first), "killed at step {step}");
        assert_eq!(digest_of(&build(folder.path(), None)), first, "killed at step {step}");
        assert_eq!(sound_image(folder.path()).await.map(|digest| digest.to_string()).as_ref(), Some(&first));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a minute: builds a hundred times"]
async fn build_killed_over_an_image_leaves_that_one() {
    let folder = tempfile::tempdir().unwrap();
    let before = digest_of(&build(folder.path(), None));
    let (mut changed, mut kept) = (None, 0);
    for step in 1..MANY {
        // Another app than the one of the image before.
        fs::write(folder.path().join("app/new"), "new\n").unwrap();
        let killed = build(folder.path(), Some(step));
        let now = sound_image(folder.path()).await.unwrap().to_string();
        if killed.status.signal() != Some(9) {
            assert_eq!(digest_of(&killed), now);
            assert_ne!(now, before);
            assert!(kept > 20, "{kept}");
            return;
        }
        if now == before {
            assert_eq!(changed, None, "the image went back at step {step}");
            kept += 1;
        } else {
            assert_eq!(changed.get_or_insert_with(|| now.clone()), &now, "at step {step}");
        }
    }
    panic!("the build never ended");
}

/// The same with a registry, killed before and after each request that changes something there: uploads, mounts, manifest and name.
#[cfg(feature = "aws")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a registry"]
async fn build_killed_at_any_request_to_the_registry_is_made_good_by_the_next_one() {
    let crash = Crash::default().of_blobs();
    let registry = crash.before(&parts::registry()).await;
    let mut first = None;
    for point in Point::all() {
        let folder = tempfile::tempdir().unwrap();
        let repository = format!("test/{}", random_name("killed"));
        let build = |point| {
            let mut command = build_command(folder.path());
            command.env("MADE_BUILD_IMAGE", format!("{registry}/{repository}:1"));
            tokio::task::block_in_place(|| crash.run(command, point))
        };
        let name: ImageReference = format!("{}/{repository}:1", parts::registry()).parse().unwrap();
        let named =
            async || client().image(&name, &Platform::host()).await.unwrap().map(|image| image.digest.to_string());
        let killed = build(Some(point));
        let at = format!("{point:?} of {:#?}", killed.writes);
        if !killed.killed {
            assert_eq!(Some(digest_of(&killed.output)), first);
            assert!(point.write > 15, "{at}");
            return;
        }
        let left = named().await;
        let again = digest_of(&build(None).output);
        assert_eq!(first.get_or_insert_with(|| again.clone()), &again, "{at}");
        assert!(left.is_none() || left == first, "{at}");
        assert_eq!(named().await, first, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount a small disk"]
async fn full_disk_fails_the_export_in_words_and_names_nothing() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), SmallDisk::new());
    let mut build = MadeBuild::below(folder.path());
    build.blobs = disk.path().to_owned();
    let layout = Layout::at(folder.path().join("image"));
    let error = build.run(&layout, &layout, &name()).await.unwrap_err();
    let words = chain(&error);
    assert_eq!(error.exit_code(), ExitCode::Export, "{words}");
    for word in ["failed to export", "No space left on device", &disk.path().display().to_string()] {
        assert!(words.contains(word), "`{word}` is missing: {words}");
    }
    assert_eq!(sound_image(folder.path()).await, None);
    assert_eq!(disk.files("layer-"), "");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount a small disk"]
async fn full_disk_under_the_image_fails_the_export_in_words() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), SmallDisk::new());
    let layout = Layout::at(disk.path().join("image"));
    let error = MadeBuild::below(folder.path()).run(&layout, &layout, &name()).await.unwrap_err();
    let words = chain(&error);
    assert_eq!(error.exit_code(), ExitCode::Export, "{words}");
    assert!(words.contains("No space left on device") && words.contains("blobs/sha256"), "{words}");
    assert!(!disk.path().join("image/index.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs root, to mount a small disk"]
async fn full_disk_under_the_cache_costs_the_cache_and_not_the_image() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), SmallDisk::new());
    let mut build = MadeBuild::below(folder.path());
    build.cache = disk.path().join("cache");
    let layout = Layout::at(folder.path().join("image"));
    let exported = build.run(&layout, &layout, &name()).await.unwrap();
    assert_eq!(sound_image(folder.path()).await.as_ref(), Some(&exported.digest));
    // What little was kept is no harm to the next build.
    let mut again = MadeBuild::below(folder.path());
    again.cache = build.cache;
    assert_eq!(again.run(&layout, &layout, &name()).await.unwrap().digest, exported.digest);
    assert_eq!(sound_image(folder.path()).await, Some(exported.digest));
}
