//! A sandbox over the real builder, and the tests run again as somebody else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt as _};
use packhorse::adapters::sandbox::account::Account;
use packhorse::adapters::sandbox::rootfs::{Owners, RootStore, Rootfs};
use packhorse::adapters::sandbox::{Sandbox, Shared, Users, Workplace};
use packhorse::image::credentials::Anonymous;
use packhorse::image::source::{BlobStream, ImageError};
use packhorse::image::{Descriptor, ImageReference, ImageSource, Platform, SourceImage};
use packhorse::image::{RegistryClient, RegistryError, RegistryOptions, media_type};
use packhorse::lifecycle::{Executor as _, Exit, Program};

use super::docker::docker;
use super::parts;

/// Where the tests find the program when they run as somebody else, or somewhere else.
const PROGRAM: &str = "PACKHORSE_TEST_PROGRAM";
/// Where root filesystems are kept between tests.
const ROOTS: &str = "PACKHORSE_TEST_ROOTS";
/// A user and group that no machine has.
const STRANGER: &str = "24680";

/// The program under test.
pub(crate) fn program() -> PathBuf {
    std::env::var_os(PROGRAM).map_or_else(|| env!("CARGO_BIN_EXE_packhorse").into(), PathBuf::from)
}

/// Images of a registry without logins.
struct Registry(RegistryClient);

#[async_trait]
impl ImageSource for Registry {
    async fn image(&self, image: &ImageReference, platform: &Platform) -> Result<Option<SourceImage>, ImageError> {
        let (digest, manifest) = match self.0.image_manifest(image, platform).await {
            Err(RegistryError::NotFound { .. }) => return Ok(None),
            result => result?,
        };
        let config = self.0.config(image, platform).await?;
        let media_type = media_type::OCI_MANIFEST.to_owned();
        Ok(Some(SourceImage { reference: image.clone(), digest, media_type, manifest, config }))
    }

    async fn blob(&self, image: &SourceImage, blob: &Descriptor) -> Result<BlobStream, ImageError> {
        let blob = self.0.blob(image.reference.repository(), blob).await?;
        Ok(stream::try_unfold(blob, |mut blob| async { Ok(blob.chunk().await?.map(|bytes| (bytes, blob))) }).boxed())
    }
}

/// Where root filesystems of builders are kept between tests.
pub(crate) fn roots() -> PathBuf {
    std::env::var_os(ROOTS).map_or_else(
        || Path::new(&std::env::var_os("HOME").unwrap()).join(".cache/packhorse/parts/roots"),
        PathBuf::from,
    )
}

/// The root filesystem of the builder that the tests have.
pub(crate) async fn rootfs() -> Rootfs {
    let folder = roots();
    let owners = if Users::of_process() == Users::All { Owners::Kept } else { Owners::Own };
    let options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
    let registry = Registry(RegistryClient::new(options, Arc::new(Anonymous)).unwrap());
    RootStore::new(folder, owners).get(&registry, &parts::builder().parse().unwrap(), &|_| {}).await.unwrap()
}

/// A sandbox with folders of its own.
pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) folders: tempfile::TempDir,
}

impl Bench {
    /// Over the builder's root filesystem, with what this user can have.
    pub(crate) async fn over_builder() -> Self {
        let rootfs = rootfs().await;
        let account = Account::of_image(&rootfs.config, &rootfs.folder).unwrap();
        let folders = tempfile::tempdir().unwrap();
        let mut shared = Vec::new();
        for (name, inside, writable) in [
            ("app", "/workspace", true),
            ("layers", "/layers", true),
            ("tmp", "/tmp", true),
            ("platform", "/platform", false),
        ] {
            let host = folders.path().join(name);
            fs::create_dir(&host).unwrap();
            fs::set_permissions(&host, fs::Permissions::from_mode(0o777)).unwrap();
            shared.push(Shared { host, inside: inside.into(), writable });
        }
        let sandbox = Sandbox::over(program(), &rootfs.folder, account, Users::of_process(), &shared);
        Self { sandbox, folders }
    }

    /// Where packhorse itself runs.
    pub(crate) fn in_place(uid: u32, gid: u32) -> Self {
        let account = Account { uid, gid, name: String::new(), home: PathBuf::new() };
        Self { sandbox: Sandbox::in_place(program(), &account), folders: tempfile::tempdir().unwrap() }
    }

    /// Runs a script.
    pub(crate) async fn script(&self, text: &str) -> (Exit, String) {
        let mut output = Vec::new();
        let exit = self.sandbox.run(&bash(text), &mut |bytes| output.extend_from_slice(bytes)).await.unwrap();
        (exit, String::from_utf8(output).unwrap())
    }

    /// Runs a script that must succeed.
    pub(crate) async fn output(&self, text: &str) -> String {
        let (exit, output) = self.script(text).await;
        assert_eq!(exit, Exit::Exited(0), "{output}");
        output
    }

    /// Runs any program.
    pub(crate) async fn start(&self, argv: &[&str], folder: &str) -> io::Result<Exit> {
        let mut program = bash("");
        program.argv = argv.iter().map(OsString::from).collect();
        program.working_dir = folder.into();
        self.sandbox.run(&program, &mut |_| {}).await
    }
}

/// A script for bash with a small environment.
pub(crate) fn bash(text: &str) -> Program {
    let env = [("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"), ("GIVEN", "yes")];
    Program {
        argv: ["/bin/bash", "-c", text].map(OsString::from).to_vec(),
        env: env.map(|(name, value)| (name.into(), value.into())).into_iter().collect::<BTreeMap<_, _>>(),
        working_dir: "/".into(),
    }
}

/// A build's folders over the builder, below a cache folder.
pub(crate) async fn workplace(cache: &Path) -> Workplace {
    let rootfs = rootfs().await;
    let account = Account::of_image(&rootfs.config, &rootfs.folder).unwrap();
    Workplace::over(&rootfs, account, &program(), cache, Users::of_process()).unwrap()
}

/// The numbers of processes whose command line holds this text.
pub(crate) fn processes_with(text: &str) -> Vec<String> {
    let has = |folder: &Path| {
        fs::read(folder.join("cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(text))
    };
    let folders = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    folders.filter(|folder| has(folder)).map(|folder| folder.display().to_string()).collect()
}

/// Runs a test again inside the builder image, in a container with the default profile, as this user.
pub(crate) fn again_in_the_builder(user: &str, test: &str) {
    again_in_the_builder_with(user, test, &[]);
}

/// The same with more flags for Docker.
pub(crate) fn again_in_the_builder_with(user: &str, test: &str, flags: &[&str]) {
    let top = tempfile::tempdir().unwrap();
    fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(std::env::current_exe().unwrap(), top.path().join("tests")).unwrap();
    fs::copy(program(), top.path().join("packhorse")).unwrap();
    let run = ["run", "--rm"].iter().chain(flags).copied();
    let inside = [
        "--user",
        user,
        "--entrypoint",
        "/under-test/tests",
        "--volume",
        &format!("{}:/under-test:ro", top.path().display()),
        "--env",
        &format!("{PROGRAM}=/under-test/packhorse"),
        "--env",
        "SANDBOX_TEST_IN_BUILDER=1",
        &parts::builder_local(),
        "--include-ignored",
        "--nocapture",
        "--exact",
        test,
    ];
    let output = docker(&run.chain(inside).collect::<Vec<_>>());
    assert!(output.contains("test result: ok. 1 passed"), "{output}");
}

/// Runs some of these tests again as a user without any rights, from copies that this user can read.
pub(crate) fn again_as_a_stranger(filter: &str) {
    again_as_user(STRANGER, filter);
}

/// The same as this user, whose group has the same number.
pub(crate) fn again_as_user(user: &str, filter: &str) {
    let top = tempfile::tempdir().unwrap();
    let open = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    open(top.path());
    let (tests, packhorse, temporary) =
        (top.path().join("tests"), top.path().join("packhorse"), top.path().join("tmp"));
    fs::copy(std::env::current_exe().unwrap(), &tests).unwrap();
    fs::copy(program(), &packhorse).unwrap();
    fs::create_dir(&temporary).unwrap();
    open(&temporary);
    let output = Command::new("setpriv")
        .args(["--reuid", user, "--regid", user, "--clear-groups"])
        .arg(&tests)
        .args(["--include-ignored", filter])
        .env(PROGRAM, &packhorse)
        .env(ROOTS, temporary.join("roots"))
        .env("HOME", &temporary)
        .env("TMPDIR", &temporary)
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test result: ok. ") && !text.contains("ok. 0 passed"), "{text}");
}
