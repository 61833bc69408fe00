//! An account with one app, and the builds of its CodeBuild project: real engine, pack and registry, stand-ins of AWS.
#![cfg(feature = "aws")]
#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use aws_sdk_dynamodb::config::Credentials;
use packhorse::adapters::aws::{AwsSettings, Clients, DynamoLaneStore};
use packhorse::domain::lane::{Lane, LaneKey};
use packhorse::ports::lane_store::{LaneStore as _, Version};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sha2::Digest as _;

use super::aws::{self, Bucket};
use super::codebuild::{Build, Project, Source, StartBuild, Variable};
use super::docker::{Broom, docker, random_name};
use super::dynamodb::Table;
use super::http;
use super::parts;

/// An account of its own: table, bucket, repository, and a build image's programs and variables.
pub(crate) struct Account {
    /// The app, which names repository and project too.
    pub(crate) app: String,
    /// What the build image and the project put into the environment.
    pub(crate) environment: BTreeMap<String, String>,
    bucket: Bucket,
    _table: Table,
    work: tempfile::TempDir,
    _broom: Broom,
}

impl Drop for Account {
    fn drop(&mut self) {
        // By name: equal apps have equal images, and another test may use this one under its own name.
        let script = r#"
            "$0" images --digests --format '{{.Repository}}@{{.Digest}}' "$1" | xargs -r "$0" rmi
            shift; "$0" volume rm "$@""#;
        let repository = &self.environment["DOCKER_REPO"];
        let caches = self.all_tags().into_keys().filter(|tag| tag.starts_with("cache-"));
        let volumes = caches.map(|tag| {
            let name = hex::encode(sha2::Sha256::digest(format!("{repository}:{tag}")));
            format!("packhorse-{}-launch", &name[..16])
        });
        let _ = Command::new("/bin/bash")
            .args(["-c", script, &parts::docker_cli(), repository])
            .args(volumes)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

impl Account {
    /// Makes one in which packhorse's orchestrator looks after the app: builds are recorded.
    pub(crate) async fn new() -> Self {
        let account = Self::without_lane();
        let key = account.environment["AWS_ACCESS_KEY_ID"].clone();
        let settings = AwsSettings {
            credentials: Some(Credentials::new(key, "test", None, None, "tests")),
            ..aws::settings(&parts::dynamodb())
        };
        let lanes = DynamoLaneStore::new(Clients::load(&settings).await.unwrap().dynamodb(), "apppack");
        lanes.commit(Version(0), &Lane::new(LaneKey::app(account.app.parse().unwrap()))).await.unwrap();
        account
    }

    /// Makes one that packhorse's orchestrator does not know.
    pub(crate) fn without_lane() -> Self {
        let app = random_name("shop");
        let repository = format!("{}/{app}", parts::registry());
        let access_key: String = std::iter::repeat_with(fastrand::alphanumeric).take(20).collect();
        let (bucket, work) = (Bucket::make(), tempfile::tempdir().unwrap());
        let bin = work.path().join("bin");
        for folder in ["bin", "home", "tmp"] {
            std::fs::create_dir(work.path().join(folder)).unwrap();
        }
        for name in ["packhorse", "apppack-builder"] {
            symlink(env!("CARGO_BIN_EXE_packhorse"), bin.join(name)).unwrap();
        }
        symlink(parts::docker_cli(), bin.join("docker")).unwrap();
        let environment = [
            ("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display())),
            ("HOME", work.path().join("home").display().to_string()),
            ("TMPDIR", work.path().join("tmp").display().to_string()),
            ("DOCKER_HOST", parts::docker()),
            ("PACKHORSE_PACK", parts::pack()),
            ("PACKHORSE_BUILD_NETWORK", "host".to_owned()),
            ("PACKHORSE_CA_BUNDLE", parts::ca_bundle()),
            ("PACKHORSE_TRUST_BUILDER", "1".to_owned()),
            ("AWS_ENDPOINT_URL", parts::moto()),
            ("AWS_ENDPOINT_URL_DYNAMODB", parts::dynamodb()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("APPNAME", app.clone()),
            ("ARTIFACT_BUCKET", bucket.name.clone()),
            ("DOCKER_REPO", repository),
        ];
        Self {
            environment: environment.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            bucket,
            _table: Table::of_account(&access_key),
            work,
            _broom: Broom(app.clone()),
            app,
        }
    }

    /// Sets a variable of the project.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Removes one.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// A folder below the account's own.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Runs a build by the buildspec that `packhorse buildspec` prints.
    pub(crate) fn build(&self, number: u64, app: &Path) -> Build {
        self.build_with(number, app, "packhorse", |_| {})
    }

    /// The same with a program of another name, or changed.
    pub(crate) fn build_with(
        &self,
        number: u64,
        app: &Path,
        program: &str,
        change: impl FnOnce(&mut StartBuild),
    ) -> Build {
        let rendered = self.run(&["buildspec", "--program", program]);
        assert!(rendered.status.success(), "{rendered:?}");
        let given = ["APPNAME", "ARTIFACT_BUCKET", "DOCKER_REPO"];
        let (variables, image) = self.environment.clone().into_iter().partition(|(name, _)| given.contains(&&**name));
        let variables: BTreeMap<String, String> = variables;
        let project = Project {
            name: self.app.clone(),
            buildspec: String::from_utf8(rendered.stdout).unwrap(),
            variables: variables.iter().map(|(name, value)| Variable::plain(name, value)).collect(),
            bucket: self.bucket.name.clone(),
            image,
            container: None,
        };
        let mut start = StartBuild::of(number, Source::of(app));
        change(&mut start);
        project.run(&start, &mut |key, content| {
            let (path, content) = (format!("/{}/{key}", self.bucket.name), String::from_utf8(content).unwrap());
            let answer = http::ask(&parts::moto(), "s3", "PUT", &path, &[], &content);
            if answer.status == 200 { Ok(()) } else { Err(format!("{answer:?}")) }
        })
    }

    /// The program with the environment of the account, in its home.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
        command.args(arguments).env_clear().envs(&self.environment).current_dir(self.path("home"));
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// A step of a build outside the stand-in; `build` names the build.
    pub(crate) fn step(&self, verb: &str, build: (&str, &str), source: &Path) -> Command {
        let mut command = self.command(&["codebuild", verb]);
        command
            .env("CODEBUILD_BUILD_ID", build.0)
            .env("CODEBUILD_BUILD_NUMBER", build.1)
            .env("CODEBUILD_SRC_DIR", source)
            .env("CODEBUILD_SOURCE_VERSION", "main")
            .env("CODEBUILD_START_TIME", "1767225600000")
            .current_dir(source);
        if !build.0.starts_with("external-") {
            command.env("CODEBUILD_BUILD_ARN", format!("arn:aws:codebuild:us-east-1:111122223333:build/{}", build.0));
        }
        command
    }

    /// The result of a program that prints JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?} {said}"))
    }

    /// What clients read of a build.
    pub(crate) fn record(&self, number: u64) -> Value {
        self.json(&["build", "status", &number.to_string(), "--app", &self.app, "--json"])
    }

    /// An artifact of a build, or nothing.
    pub(crate) fn artifact(&self, key: &str) -> Option<String> {
        let answer = http::ask(&parts::moto(), "s3", "GET", &format!("/{}/{key}", self.bucket.name), &[], "");
        (answer.status == 200).then_some(answer.body)
    }

    /// `{n}/build.json`.
    pub(crate) fn metadata(&self, label: &str) -> Value {
        serde_json::from_str(&self.artifact(&format!("{label}/build.json")).expect("no build.json")).unwrap()
    }

    /// Stores a config variable of the app.
    pub(crate) fn configure(&self, name: &str, value: &str) {
        let name = format!("/apppack/apps/{}/config/{name}", self.app);
        let input = serde_json::json!({"Name": name, "Value": value, "Type": "SecureString", "Overwrite": true});
        http::call(&parts::moto(), "ssm", "AmazonSSM.PutParameter", &input).unwrap();
    }

    /// The tags by which releases find an image, without those of candidates and caches; each with the digest that it names.
    pub(crate) fn tags(&self) -> BTreeMap<String, String> {
        let mut tags = self.all_tags();
        tags.retain(|tag, _| !tag.starts_with("candidate-") && !tag.starts_with("cache-"));
        tags
    }

    /// Every tag of the repository.
    pub(crate) fn all_tags(&self) -> BTreeMap<String, String> {
        let registry = format!("http://{}", parts::registry());
        let listed = http::ask(&registry, "s3", "GET", &format!("/v2/{}/tags/list", self.app), &[], "").body;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let tags = listed["tags"].as_array().cloned().unwrap_or_default();
        let tags = tags.into_iter().map(|tag| tag.as_str().unwrap().to_owned());
        tags.map(|tag| (tag.clone(), hex::encode(sha2::Sha256::digest(self.manifest(&tag))))).collect()
    }

    /// The manifest that a tag names.
    pub(crate) fn manifest(&self, tag: &str) -> String {
        let registry = format!("http://{}", parts::registry());
        let types = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json";
        let path = format!("/v2/{}/manifests/{tag}", self.app);
        http::ask(&registry, "s3", "GET", &path, &[("Accept", types)], "").body
    }

    /// The containers and networks of the app's builds that are still there.
    pub(crate) fn left_with_docker(&self) -> String {
        let filter = format!("name={}", self.app);
        docker(&["ps", "-aq", "--filter", &filter]) + &docker(&["network", "ls", "-q", "--filter", &filter])
    }
}

/// A started program whose output is read line by line.
pub(crate) struct Started {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    read: String,
}

impl Started {
    pub(crate) fn new(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, read: String::new() }
    }

    /// Reads until a line has this in it.
    pub(crate) fn until(&mut self, part: &str) {
        let mut line = String::new();
        while !line.contains(part) {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "{part} never came:\n{}", self.read);
            self.read.push_str(&line);
        }
    }

    /// Asks it to end, as CodeBuild does first.
    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end; returns the exit code and all it printed.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        self.lines.read_to_string(&mut self.read).unwrap();
        (self.child.wait().unwrap().code(), self.read)
    }
}
