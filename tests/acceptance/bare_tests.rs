//! Tests of apps without Docker: the app image that `pack` made, in a sandbox and over the build image.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use packhorse::adapters::bare_tests::{AddonProcesses, BareTestBed, Place};
use packhorse::adapters::process::Stop;
use packhorse::adapters::sandbox::Users;
use packhorse::adapters::sandbox::account::Account;
use packhorse::domain::manifest::AddonKind;
use packhorse::image::credentials::Anonymous;
use packhorse::image::{RegistryClient, RegistryOptions};
use packhorse::ports::test_bed::{AddonRequest, TestBed, TestBedError, TestEnvironment, TestRun};

use crate::contract::test_bed::{self, Bench as _};
use crate::support::heard::Heard;
use crate::support::parts;
use crate::support::sandbox::{again_as_user, again_in_the_builder_with, processes_with, program};
use crate::support::tested_app::{IMAGE, image, tests_of};

/// The path in which programs are looked for.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A bed and what belongs to it.
struct Bench {
    bed: BareTestBed,
    stop: Stop,
    image: String,
    base: tempfile::TempDir,
    place: Place,
    user: Option<(u32, u32)>,
    is_sandbox: bool,
}

impl Bench {
    async fn in_a_sandbox() -> Self {
        let users = Users::of_process();
        // PostgreSQL refuses to be root.
        let user = (users == Users::All).then_some((65534, 65534));
        Self::of(Place::Sandbox(users), user).await
    }

    async fn in_place() -> Self {
        let account = Account::of_variables(|name| std::env::var(name).ok(), Path::new("/")).unwrap();
        let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let user = is_root.then_some((account.uid, account.gid));
        Self::of(Place::BuildImage(account), user).await
    }

    async fn of(place: Place, user: Option<(u32, u32)>) -> Self {
        let (base, stop) = (tempfile::tempdir().unwrap(), Stop::default());
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bed = bed(&place, base.path(), PATH, user, &stop);
        let is_sandbox = matches!(place, Place::Sandbox(_));
        Self { bed, stop, image: image().await, base, place, user, is_sandbox }
    }

    /// Another bed of the same machine, as a later command has it.
    fn another(&self, path: &str) -> BareTestBed {
        bed(&self.place, self.base.path(), path, self.user, &Stop::default())
    }
}

impl test_bed::Bench for Bench {
    fn bed(&self) -> &dyn TestBed {
        &self.bed
    }

    fn stop(&self) -> &Stop {
        &self.stop
    }

    fn run(&self, command: &str) -> TestRun {
        tests_of("shop:6b0e7c1a", &self.image, command)
    }
}

fn bed(place: &Place, base: &Path, path: &str, user: Option<(u32, u32)>, stop: &Stop) -> BareTestBed {
    let options = RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider()));
    let registry = RegistryClient::new(options, Arc::new(Anonymous)).unwrap();
    let addons = AddonProcesses::new(base, path, user);
    BareTestBed::new(place.clone(), program(), Arc::new(registry), addons, stop.clone())
}

/// What places without Docker promise.
async fn promises(bench: &Bench) {
    let lines = bench.lines("id -u; echo $HOME; grep NoNewPrivs /proc/self/status | tr -d '\\t'").await;
    let (uid, home) = if bench.is_sandbox { ("1001", "/home/app") } else { ("1000", "/home/cnb") };
    assert_eq!(lines, [uid, home, "NoNewPrivs:1"]);
    let unknown = TestRun { image: format!("{}/ph-nobody:1", parts::registry()), ..bench.run("true") };
    let refused = bench.bed.run(&unknown, &Heard::default()).await.unwrap_err();
    assert!(format!("{refused:?}").contains("NoImage"), "{refused:?}");
    test_bed::promises(bench).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack and the registry"]
async fn the_app_images_own_files_are_tested_in_a_sandbox() {
    let bench = Bench::in_a_sandbox().await;
    assert_eq!(bench.bed.environment(), TestEnvironment::AppImageInSandbox);
    promises(&bench).await;
}

/// What [`the_app_image_is_tested_over_the_build_image_without_any_privilege`] runs in its container.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs to run inside of a builder image"]
async fn tests_in_place() {
    if std::env::var_os(IMAGE).is_none() {
        return;
    }
    let bench = Bench::in_place().await;
    assert_eq!(bench.bed.environment(), TestEnvironment::BuildImage);
    fs::write("/workspace/of_somebody", "").unwrap();
    let refused = bench.bed.run(&bench.run("true"), &Heard::default()).await.unwrap_err();
    assert!(format!("{refused:?}").contains("`/workspace` is not empty"), "{refused:?}");
    fs::remove_file("/workspace/of_somebody").unwrap();
    promises(&bench).await;
    let left = ["/layers", "/workspace"].map(|folder| fs::read_dir(folder).unwrap().count());
    assert_eq!(left, [0, 0]);
    let request = [AddonRequest { kind: AddonKind::Postgres, image: None }];
    let refused = bench.another(PATH).start("shop:1", &request).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        "the add-on `postgres` cannot be had here: there is no Docker, so it would be a process of this machine, and the program \
         `postgres` is not there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Docker Engine 26, pack and the registry"]
async fn the_app_image_is_tested_over_the_build_image_without_any_privilege() {
    let image = format!("{IMAGE}={}", image().await);
    let registry = format!("PACKHORSE_TEST_REGISTRY={}", parts::registry());
    for user in ["0:0", "1000:1000"] {
        let flags = ["--network", "host", "--env", &image, "--env", &registry];
        again_in_the_builder_with(user, "acceptance::bare_tests::tests_in_place", &flags);
    }
}

/// What an ordinary user can have too.
mod every_user {
    use super::*;

    fn both() -> Vec<AddonRequest> {
        AddonKind::ALL.map(|kind| AddonRequest { kind, image: None }).to_vec()
    }

    fn ports(variables: &BTreeMap<String, String>) -> Vec<u16> {
        let port = |url: &String| url.rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
        variables.values().map(port).collect()
    }

    fn answers(port: u16) -> bool {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    }

    fn bench() -> Bench {
        // No test of these reads the image.
        let users = Users::of_process();
        let user = (users == Users::All).then_some((65534, 65534));
        let (base, stop, place) = (tempfile::tempdir().unwrap(), Stop::default(), Place::Sandbox(users));
        fs::set_permissions(base.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let bed = bed(&place, base.path(), PATH, user, &stop);
        Bench { bed, stop, image: String::new(), base, place, user, is_sandbox: true }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL and Redis as programs"]
    async fn add_ons_are_processes_that_answer_and_are_found_again_by_their_build() {
        let bench = bench();
        let variables = bench.bed.start("shop:1", &both()).await.unwrap();
        assert!(variables["DATABASE_URL"].starts_with("postgres://postgres:"), "{variables:?}");
        let asked = Command::new("psql").args([&variables["DATABASE_URL"], "-Atc", "select 40 + 2"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&asked.stdout), "42\n", "{asked:?}");
        let asked = Command::new("redis-cli").args(["-u", &variables["REDIS_URL"], "ping"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&asked.stdout), "PONG\n", "{asked:?}");
        let ports_before = ports(&variables);
        let unknown = Command::new("redis-cli").args(["-p", &ports_before[1].to_string(), "ping"]).output().unwrap();
        assert!(String::from_utf8_lossy(&unknown.stdout).contains("NOAUTH"), "{unknown:?}");

        // An attempt that was killed left them; the next one begins anew, and another build has its own.
        let later = bench.another(PATH);
        let again = later.start("shop:1", &both()).await.unwrap();
        let other = later.start("shop:2", &both()).await.unwrap();
        assert!(ports(&again).into_iter().chain(ports(&other)).all(answers));
        assert!(!ports_before.iter().any(|port| !ports(&again).contains(port) && answers(*port)));
        later.remove("shop:2").await.unwrap();
        assert!(ports(&again).into_iter().all(answers) && !ports(&other).into_iter().any(answers));
        bench.bed.remove("shop:1").await.unwrap();
        bench.bed.remove("shop:1").await.unwrap();
        assert!(!ports(&again).into_iter().any(answers));
        let base = bench.base.path();
        assert_eq!(fs::read_dir(base).unwrap().count(), 0);
        assert_eq!(processes_with(base.to_str().unwrap()), Vec::<String>::new());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL and Redis as programs"]
    async fn an_add_on_that_cannot_be_had_is_named_before_any_is_started() {
        let bench = bench();
        let refused = bench.another("/nowhere").start("shop:1", &both()).await.unwrap_err();
        assert!(matches!(refused, TestBedError::NoAddon { kind: AddonKind::Redis, .. }), "{refused:?}");
        let image = Some("postgis/postgis:16".to_owned());
        let request = [AddonRequest { kind: AddonKind::Postgres, image }];
        let refused = bench.bed.start("shop:1", &request).await.unwrap_err().to_string();
        assert!(refused.ends_with("it is to be the image `postgis/postgis:16`, and there is no Docker"), "{refused}");
        assert_eq!(fs::read_dir(bench.base.path()).unwrap().count(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs PostgreSQL and Redis as programs"]
    async fn an_add_on_that_dies_is_noticed_at_once_with_its_last_words() {
        let bench = bench();
        let bin = bench.base.path().join("bin");
        fs::create_dir(&bin).unwrap();
        for name in ["redis-server", "redis-cli"] {
            fs::write(bin.join(name), "#!/bin/sh\necho no room left; exit 3\n").unwrap();
            fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let request = [AddonRequest { kind: AddonKind::Redis, image: None }];
        let refused = bench.another(bin.to_str().unwrap()).start("shop:1", &request).await.unwrap_err().to_string();
        assert!(refused.contains("the add-on `redis` did not start"), "{refused}");
        assert!(refused.ends_with("/redis-server` ended; its last lines:\nno room left"), "{refused}");
        assert_eq!(fs::read_dir(bench.base.path()).unwrap().count(), 1);
    }
}

#[test]
#[ignore = "needs PostgreSQL and Redis as programs, and root"]
fn add_ons_of_an_ordinary_user_are_processes_too() {
    // PostgreSQL wants a user that has a name.
    again_as_user("65534", "acceptance::bare_tests::every_user::");
}
