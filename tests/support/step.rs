//! The steps of the runner as a build in CodeBuild runs them: the program itself, with the environment of a build.
#![allow(dead_code, reason = "each build of the tests uses its own part")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::http;
use super::lanes::random_name;
use super::parts;
use crate::cli::Ran;

/// An app of one process that every stack can build.
pub(crate) const PROCFILE: &str = "web: exec sleep 1000\n";

/// One build of one app: its source, its folder for temporary files, its environment.
pub(crate) struct Steps {
    pub(crate) app: String,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) source: PathBuf,
    pub(crate) temporary: PathBuf,
    folder: tempfile::TempDir,
}

impl Steps {
    /// A build of a standard app that has a `Procfile`. AWS is moto; there is no lane.
    pub(crate) fn new() -> Self {
        Self::named(&random_name("shop"))
    }

    /// A build of this app.
    pub(crate) fn named(app: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [source, temporary, home] = ["source", "tmp", "home"].map(|name| folder.path().join(name));
        for made in [&source, &temporary, &home] {
            fs::create_dir(made).unwrap();
        }
        fs::write(source.join("Procfile"), PROCFILE).unwrap();
        let uuid = format!("{:032x}", fastrand::u128(..));
        let build_id = format!("{app}:{uuid}");
        let pairs = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", home.display().to_string()),
            ("TMPDIR", temporary.display().to_string()),
            ("DOCKER_HOST", parts::docker()),
            ("AWS_ENDPOINT_URL", parts::moto()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "test".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("APPNAME", app.to_owned()),
            ("DOCKER_REPO", format!("{}/{app}", parts::registry())),
            ("CODEBUILD_BUILD_ID", build_id.clone()),
            ("CODEBUILD_BUILD_ARN", format!("arn:aws:codebuild:us-east-1:111122223333:build/{build_id}")),
            ("CODEBUILD_BUILD_NUMBER", "7".to_owned()),
            ("CODEBUILD_BUILD_SUCCEEDING", "1".to_owned()),
            ("CODEBUILD_RESOLVED_SOURCE_VERSION", "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432".to_owned()),
            ("CODEBUILD_SOURCE_VERSION", "main".to_owned()),
            ("CODEBUILD_START_TIME", "1767225600000".to_owned()),
            ("CODEBUILD_SRC_DIR", source.display().to_string()),
        ];
        let environment = pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { app: app.to_owned(), environment, source, temporary, folder }
    }

    /// Makes it a build of a pipeline's pull request.
    pub(crate) fn of_pull_request(mut self, number: u32) -> Self {
        self.set("PIPELINE", "1");
        self.set("CODEBUILD_SOURCE_VERSION", &format!("pr/{number}"));
        self
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Writes a file of the source.
    pub(crate) fn write(&self, name: &str, content: &str) {
        fs::write(self.source.join(name), content).unwrap();
    }

    /// Returns the content of a file of the source, or nothing when it is not there.
    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.source.join(name)).ok()
    }

    /// Tells whether the commands that follow are to do nothing.
    pub(crate) fn is_marked_skipped(&self) -> bool {
        self.source.join(format!(".apppack-skip-build-{}", self.environment["CODEBUILD_BUILD_ID"])).exists()
    }

    /// The folder below which everything of the build lies.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_packhorse"));
        command.args(["codebuild", verb]).env_clear().envs(&self.environment).current_dir(&self.source);
        command
    }

    /// Runs a step to its end.
    pub(crate) fn run(&self, verb: &str) -> Ran {
        Ran::from(self.command(verb).output().unwrap())
    }
}

/// Parameters in moto, as they lie there.
pub(crate) struct Parameter(pub(crate) String);

impl Parameter {
    /// The status of a review app.
    pub(crate) fn of_review_app(pipeline: &str, number: u32) -> Self {
        Self(format!("/apppack/pipelines/{pipeline}/review-apps/pr/{number}"))
    }

    pub(crate) fn put(&self, value: &str) {
        self.put_as("String", value);
    }

    pub(crate) fn put_secret(&self, value: &str) {
        self.put_as("SecureString", value);
    }

    fn put_as(&self, kind: &str, value: &str) {
        let input = serde_json::json!({"Name": self.0, "Value": value, "Type": kind, "Overwrite": true});
        http::call(&parts::moto(), "ssm", "AmazonSSM.PutParameter", &input).unwrap();
    }

    /// Returns type, version and value, or nothing when there is no such parameter.
    pub(crate) fn get(&self) -> Option<(String, u64, String)> {
        let input = serde_json::json!({"Name": self.0});
        let found = http::call(&parts::moto(), "ssm", "AmazonSSM.GetParameter", &input).ok()?;
        let parameter = &found["Parameter"];
        let text = |name: &str| parameter[name].as_str().unwrap().to_owned();
        Some((text("Type"), parameter["Version"].as_u64().unwrap(), text("Value")))
    }
}
