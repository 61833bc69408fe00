//! Builds of an image that was made before: what surrounds the image build can go wrong quickly.
#![cfg(feature = "aws")]
#![allow(dead_code, reason = "each test uses its own part")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::account::Account;
use super::fault_proxy::FaultProxy;
use super::http;
use super::parts;
use crate::cli::Ran;

/// A config variable of every build; nothing may print it.
pub(crate) const SECRET: &str = "planted-0e1f2a3b4c5d";

fn source(below: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir_in(below).unwrap();
    fs::write(folder.path().join("Procfile"), "web: exec sleep 1000\n").unwrap();
    fs::write(folder.path().join("app.json"), json!({"stack": parts::builder()}).to_string()).unwrap();
    folder
}

/// An image in a repository whose `latest` is another one, and a `pack` that has made it already.
pub(crate) struct Made {
    pub(crate) account: Account,
    pub(crate) digest: String,
    pub(crate) layers: Vec<String>,
    pack: PathBuf,
}

impl Made {
    pub(crate) fn new() -> Arc<Self> {
        let (account, app) = (Account::without_lane(), source(&std::env::temp_dir()));
        let id = format!("{}:6b0e7c1a", account.app);
        for verb in ["prebuild", "build"] {
            let ran = Ran::from(account.step(verb, (&id, "1"), app.path()).output().unwrap());
            assert_eq!(ran.code, 0, "{ran}");
        }
        let digest = account.metadata("1")["image"]["digest"].as_str().unwrap().to_owned();
        let manifest = account.manifest(&digest);
        let read: Value = serde_json::from_str(&manifest).unwrap();
        let layers = read["layers"].as_array().unwrap().iter();
        let layers = layers.map(|layer| layer["digest"].as_str().unwrap().to_owned()).collect();
        let (registry, path) =
            (format!("http://{}", parts::registry()), format!("/v2/{}/manifests/latest", account.app));
        let kind = [("Content-Type", read["mediaType"].as_str().unwrap())];
        let put = http::ask(&registry, "s3", "PUT", &path, &kind, &format!("{manifest}\n"));
        assert_eq!(put.status, 201, "{put:?}");
        let pack = account.path("bin/pack");
        let script = format!(
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do\n  [ \"$1\" != --report-output-dir ] || printf '[image]\\ndigest = \
             \"{digest}\"\\n' >\"$2/report.toml\"\n  shift\ndone\n"
        );
        fs::write(&pack, script).unwrap();
        fs::set_permissions(&pack, fs::Permissions::from_mode(0o755)).unwrap();
        Arc::new(Self { account, digest, layers, pack })
    }
}

/// A build of that image, whose registry may misbehave.
pub(crate) struct Attempt {
    pub(crate) account: Account,
    pub(crate) proxy: FaultProxy,
    pub(crate) source: tempfile::TempDir,
    pub(crate) number: u64,
    pub(crate) commit: String,
}

impl Attempt {
    pub(crate) async fn of(made: &Made, number: u64) -> Self {
        Self::below(made, number, &std::env::temp_dir()).await
    }

    /// The same with its source in a folder below this one.
    pub(crate) async fn below(made: &Made, number: u64, folder: &Path) -> Self {
        let proxy = FaultProxy::before(&parts::registry()).await;
        let account = Account::new()
            .await
            .with("DOCKER_REPO", &format!("{}/{}", proxy.host(), made.account.app))
            .with("PACKHORSE_PACK", &made.pack.display().to_string());
        account.configure("TOKEN", SECRET);
        let commit = format!("{:032x}{number:08x}", fastrand::u128(..));
        Self { account, proxy, source: source(folder), number, commit }
    }

    pub(crate) fn run(&self, verb: &str) -> Ran {
        let (id, number) = (format!("{}:6b0e7c1a", self.account.app), self.number.to_string());
        let mut step = self.account.step(verb, (&id, &number), self.source.path());
        Ran::from(step.env("CODEBUILD_RESOLVED_SOURCE_VERSION", &self.commit).output().unwrap())
    }

    /// Returns what `build` or `postbuild` said between its markers.
    pub(crate) fn told(ran: &Ran) -> &str {
        let told = ["build", "test"].iter().find_map(|phase| {
            let marks = ["start", "end"].map(|end| format!("#*#*#*#*#*# apppack-{phase}-{end} #*#*#*#*#*#\n"));
            Some(ran.stdout.split_once(&marks[0])?.1.split_once(&marks[1])?.0)
        });
        told.unwrap_or_else(|| panic!("no markers: {ran}"))
    }

    pub(crate) fn succeeds(&self, verb: &str) {
        let ran = self.run(verb);
        assert_eq!(ran.code, 0, "{ran}");
    }
}
