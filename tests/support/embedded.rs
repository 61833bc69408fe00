//! The program with its embedded engine: an app, a cache, and nothing else but what a test gives it.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use packhorse::image::credentials::Anonymous;
use packhorse::image::{
    Descriptor, Digest, ImageConfig, ImageReference, ImageSource, ImageTarget as _, Layout, Platform, RegistryClient,
    RegistryOptions, RegistryTarget, media_type,
};

use super::docker::{Broom, random_name};
use super::{parts, sandbox};
use crate::cli::Ran;

/// A user and group that no machine has.
const STRANGER: u32 = 24680;

/// An app in a folder of its own, with a home and a cache for the program.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    pub(crate) name: String,
    stranger: bool,
    _broom: Broom,
}

impl Bench {
    /// A copy of the example.
    pub(crate) fn guestbook() -> Self {
        let bench = Self::empty();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guestbook/.");
        assert!(Command::new("cp").arg("-r").arg(example).arg(bench.app()).status().unwrap().success());
        bench
    }

    /// A small app: one process, built in seconds.
    pub(crate) fn small() -> Self {
        let bench = Self::empty();
        bench.write("Procfile", "web: exec sleep 1000\n");
        bench
    }

    fn empty() -> Self {
        let (folder, name) = (tempfile::tempdir().unwrap(), random_name("embedded"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bench = Self { folder, _broom: Broom(name.clone()), name, stranger: false };
        for name in ["app", "cache", "home", "tmp"] {
            fs::create_dir(bench.path(name)).unwrap();
        }
        // Unpacked once for all tests.
        fs::create_dir_all(sandbox::roots()).unwrap();
        symlink(sandbox::roots(), bench.path("cache/roots")).unwrap();
        bench
    }

    /// The program runs as a user without any rights, who has a cache of its own.
    pub(crate) fn of_a_stranger(mut self) -> Self {
        self.stranger = true;
        fs::remove_file(self.path("cache/roots")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_packhorse"), self.path("packhorse")).unwrap();
        for name in ["cache", "home", "tmp"] {
            chown(self.path(name), Some(STRANGER), Some(STRANGER)).unwrap();
        }
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn app(&self) -> PathBuf {
        self.path("app")
    }

    pub(crate) fn write(&self, file: &str, content: &str) {
        let path = self.app().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A buildpack in the app's folder whose build is this script of bash.
    pub(crate) fn with_buildpack(self, name: &str, build: &str) -> Self {
        let about = format!("api = \"0.10\"\n[buildpack]\nid = \"test/{name}\"\nversion = \"1\"\n");
        self.write(&format!("{name}/buildpack.toml"), &about);
        for (program, body) in [("detect", "exit 0"), ("build", build)] {
            let path = format!("{name}/bin/{program}");
            self.write(&path, &format!("#!/bin/bash\nset -e\n{body}\n"));
            fs::set_permissions(self.app().join(path), fs::Permissions::from_mode(0o755)).unwrap();
        }
        self
    }

    /// A name in the registry.
    pub(crate) fn tag(&self, tag: &str) -> String {
        format!("{}/{}:{tag}", parts::registry(), self.name)
    }

    /// The program on a machine without Docker.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = if self.stranger {
            let (id, mut command) = (STRANGER.to_string(), Command::new("setpriv"));
            command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(self.path("packhorse"));
            command
        } else {
            Command::new(env!("CARGO_BIN_EXE_packhorse"))
        };
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("tmp"))
            .env("PACKHORSE_CACHE_DIR", self.path("cache"))
            .env("PACKHORSE_CA_BUNDLE", parts::ca_bundle())
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .current_dir(self.app());
        command
    }

    /// `image build` of the app with the builder of the tests.
    pub(crate) fn image_build(&self, arguments: &[&str]) -> Command {
        let builder = parts::builder();
        let all = [&["image", "build", "--builder", &builder], arguments].concat();
        self.command(&all)
    }

    /// Builds and publishes under a tag, and fails unless that works.
    pub(crate) fn publish(&self, tag: &str, flags: &[&str]) -> Ran {
        let name = self.tag(tag);
        let all = [&["--publish", "--tag", &name], flags].concat();
        let ran = Ran::from(self.image_build(&all).output().unwrap());
        assert_eq!(ran.code, 0, "{ran}");
        ran
    }

    /// Builds and publishes with `pack` under a tag, and fails unless that works.
    pub(crate) fn publish_with_pack(&self, tag: &str, flags: &[&str]) -> Ran {
        let (name, mut command) = (self.tag(tag), self.image_build(&["--engine", "pack", "--trust-builder"]));
        command
            .args(["--publish", "--network", "host", "--tag", &name])
            .args(flags)
            .env("DOCKER_HOST", parts::docker())
            .env("PACKHORSE_PACK", parts::pack())
            .env("PACKHORSE_LIFECYCLE_IMAGE", parts::builder());
        let ran = Ran::from(command.output().unwrap());
        assert_eq!(ran.code, 0, "{ran}");
        ran
    }

    /// What of builds is left on the machine, by path.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let entries = |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries(self.path("cache/builds")).chain(entries(self.path("tmp"))).collect()
    }
}

fn client() -> RegistryClient {
    let options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
    RegistryClient::new(options, Arc::new(Anonymous)).unwrap()
}

/// Reads an image's config from the registry.
pub(crate) async fn config(image: &str) -> ImageConfig {
    client().config(&image.parse::<ImageReference>().unwrap(), &Platform::host()).await.unwrap()
}

/// Reads what an image's manifest says of its layers.
pub(crate) async fn blobs(image: &str) -> Vec<Descriptor> {
    let image = ImageSource::image(&client(), &image.parse().unwrap(), &Platform::host()).await.unwrap().unwrap();
    image.manifest.layers
}

/// Returns the digest of an image's manifest.
pub(crate) async fn digest(image: &str) -> Digest {
    client().resolve(&image.parse().unwrap()).await.unwrap()
}

/// Copies an image of the registry into a folder of OCI's layout.
pub(crate) async fn copy_to_layout(image: &str, folder: &Path) {
    let (client, layout, name) = (client(), Layout::at(folder), image.parse::<ImageReference>().unwrap());
    let image = ImageSource::image(&client, &name, &Platform::host()).await.unwrap().unwrap();
    for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
        layout.take_layer(&client, &image, blob).await.unwrap();
    }
    let raw = client.manifest(&name.repository().at(image.digest.clone())).await.unwrap();
    fs::write(layout.blob_path(&raw.digest), &raw.bytes).unwrap();
    let entry = Descriptor::of(&raw.media_type, &raw.bytes);
    let index = serde_json::json!({ "schemaVersion": 2, "manifests": [entry] });
    fs::write(folder.join("index.json"), index.to_string()).unwrap();
}

/// Gives an image a name under which it is for arm64 only.
pub(crate) async fn only_for_arm(image: &str, name: &str) {
    let (client, from, to) =
        (client(), image.parse::<ImageReference>().unwrap(), name.parse::<ImageReference>().unwrap());
    let image = ImageSource::image(&client, &from, &Platform::host()).await.unwrap().unwrap();
    let target = RegistryTarget::new(client.clone(), to.repository().clone());
    for blob in image.manifest.layers.iter().chain([&image.manifest.config]) {
        target.take_layer(&client, &image, blob).await.unwrap();
    }
    let raw = client.manifest(&from.repository().at(image.digest.clone())).await.unwrap();
    let mut entry = Descriptor::of(&raw.media_type, &raw.bytes);
    client.put_manifest(&to.repository().at(raw.digest), &raw.media_type, raw.bytes).await.unwrap();
    entry.platform = Some(Platform::linux("arm64"));
    let index = serde_json::json!({ "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [entry] });
    client.put_manifest(&to, media_type::OCI_INDEX, index.to_string().into()).await.unwrap();
}

/// Takes the layer of this history away from the registry, though its image has it.
pub(crate) async fn lose_a_layer(image: &str, created_by: &str) {
    let name = image.parse::<ImageReference>().unwrap();
    let image = ImageSource::image(&client(), &name, &Platform::host()).await.unwrap().unwrap();
    let history = layers(&image.config);
    let (_, (_, blob)) =
        history.iter().zip(image.layers()).find(|((_, made_by), _)| made_by.starts_with(created_by)).unwrap();
    let url = format!("http://{}/v2/{}/blobs/{}", name.registry(), name.repository().path(), blob.digest);
    assert!(Command::new("curl").args(["-sf", "-X", "DELETE", &url]).status().unwrap().success());
}

/// Each layer's digest with what history says of it, to be compared as a whole.
pub(crate) fn layers(config: &ImageConfig) -> Vec<(String, String)> {
    let history = config.history.iter().filter(|step| !step.empty_layer).map(|step| step.created_by.clone());
    config.rootfs.diff_ids.iter().map(ToString::to_string).zip(history).collect()
}

/// Starts a command and waits until it says something.
pub(crate) fn start_and_wait_for(mut command: Command, words: &str) -> Child {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    loop {
        let before = said.len();
        let read = lines.read_line(&mut said).unwrap();
        assert!(read > 0, "it ended: {:?}\n{said}", child.wait());
        if said[before..].contains(words) {
            break;
        }
    }
    // Whoever writes to a pipe that nobody reads is ended by that.
    std::thread::spawn(move || lines.lines().for_each(drop));
    child
}
