//! An account in which the orchestrator runs too: CodeBuild tells of the builds that a test ran, and what goes to the bus is seen.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use async_trait::async_trait;
use aws_sdk_dynamodb::config::Credentials;
use bytes::Bytes;
use packhorse::adapters::aws::{AwsSettings, Clients, DynamoLaneStore, S3Artifacts, SsmParameters};
use packhorse::adapters::docker::place::ContainerPlace;
use packhorse::adapters::local::SystemClock;
use packhorse::adapters::memory::MemoryPlaceRecords;
use packhorse::domain::addons::rules;
use packhorse::domain::lane::{Lane, LaneKey};
use packhorse::domain::manifest::AddonKind;
use packhorse::image::RegistryClient;
use packhorse::image::credentials::Anonymous;
use packhorse::image::registry::RegistryOptions;
use packhorse::ports::artifacts::ArtifactStore;
use packhorse::ports::lane_store::{LaneStore, Version};
use packhorse::ports::parameters::ParameterStore;
use packhorse::ports::routes::Routes;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::contract::app_settings::{ecs_arguments, settings_of};

use super::aws::{Bucket, make_schedule_group, settings};
use super::build_service::BuildService;
use super::client_decoder::{ClientBuild, ClientDeployStatus, check_build, check_deploy_status};
use super::codebuild::{Build, Project, ProjectImage, REGION, Source, StartBuild, Variable};
use super::docker::{Broom, docker, engine, random_name};
use super::dynamodb::Table;
use super::fault_proxy::{FaultProxy, When};
use super::{http, parts};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_packhorse");

/// An account of its own: table, bucket and builds are seen by nobody else.
pub(crate) struct Account {
    pub(crate) app: String,
    pub(crate) bucket: Bucket,
    pub(crate) table: Table,
    pub(crate) runtime: Runtime,
    pub(crate) builds: BuildService,
    /// What stands before moto, and sees what is asked of it.
    pub(crate) moto: FaultProxy,
    /// The app's source.
    pub(crate) source: tempfile::TempDir,
    pub(crate) access_key: String,
    /// Further variables of whatever runs in the account.
    pub(crate) more: BTreeMap<String, String>,
    work: tempfile::TempDir,
    _broom: Broom,
}

impl Account {
    /// Sets up an app without source and without a lane.
    pub(crate) fn new() -> Self {
        let app = random_name("shop");
        let access_key = format!("test{:016x}", fastrand::u64(..));
        let runtime = Runtime::new().unwrap();
        Self {
            bucket: Bucket::make(),
            table: Table::of_account(&access_key),
            builds: runtime.block_on(BuildService::start()),
            moto: runtime.block_on(FaultProxy::before(&parts::moto())),
            source: tempfile::tempdir().unwrap(),
            work: tempfile::tempdir().unwrap(),
            _broom: Broom(app.clone()),
            runtime,
            access_key,
            more: BTreeMap::new(),
            app,
        }
    }

    /// Writes the source of an app that has this test command and this release command, and answers with its folder.
    pub(crate) fn with_small_app(self, test: &str, release: &str) -> Self {
        self.write("Procfile", &format!("web: exec python3 -m http.server $PORT\nrelease: {release}\n"));
        let manifest = serde_json::json!({
            "stack": parts::builder(),
            "environments": { "test": { "scripts": { "test": test } } },
            "scripts": { "postdeploy": "echo seeded" },
        });
        self.write("app.json", &manifest.to_string());
        self
    }

    /// Copies the example, with the builder of the tests.
    pub(crate) fn with_guestbook(self) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/guestbook/.");
        let copied = Command::new("cp").arg("-r").arg(example).arg(self.source.path()).status().unwrap();
        assert!(copied.success());
        let manifest = fs::read_to_string(self.source.path().join("app.json")).unwrap();
        let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
        manifest["stack"] = parts::builder().into();
        self.write("app.json", &manifest.to_string());
        self
    }

    /// Makes the lane of the app, or of a review app: from now on packhorse looks after it.
    pub(crate) fn adopted(self, pull_request: Option<u32>) -> Self {
        let lane = Lane::new(self.lane(pull_request));
        self.with_lane(&lane)
    }

    /// Stores a lane that is not there yet.
    pub(crate) fn with_lane(self, lane: &Lane) -> Self {
        self.runtime.block_on(async {
            let store = DynamoLaneStore::new(self.clients(&parts::dynamodb()).await.dynamodb(), "apppack");
            store.commit(Version(0), lane).await.unwrap();
        });
        self
    }

    /// The key of its lane.
    pub(crate) fn lane(&self, pull_request: Option<u32>) -> LaneKey {
        LaneKey {
            app: self.app.parse().unwrap(),
            pull_request: pull_request.map(|number| number.to_string().parse().unwrap()),
        }
    }

    /// The lane as it is stored.
    pub(crate) fn stored_lane(&self, pull_request: Option<u32>) -> Lane {
        let key = self.lane(pull_request);
        self.runtime.block_on(async {
            let store = DynamoLaneStore::new(self.clients(&parts::dynamodb()).await.dynamodb(), "apppack");
            store.load(&key).await.unwrap().unwrap().lane
        })
    }

    pub(crate) fn write(&self, file: &str, content: &str) {
        fs::write(self.source.path().join(file), content).unwrap();
    }

    /// The environment of whatever runs in the account.
    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let programs = Path::new(PROGRAM).parent().unwrap().display().to_string();
        let pairs = [
            ("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap())),
            ("DOCKER_HOST", parts::docker()),
            ("PACKHORSE_PACK", parts::pack()),
            ("PACKHORSE_TRUST_BUILDER", "1".to_owned()),
            ("PACKHORSE_BUILD_NETWORK", "host".to_owned()),
            ("PACKHORSE_CA_BUNDLE", parts::ca_bundle()),
            ("AWS_ENDPOINT_URL", self.moto.url()),
            ("AWS_ENDPOINT_URL_DYNAMODB", parts::dynamodb()),
            ("AWS_ENDPOINT_URL_CODEBUILD", self.builds.url()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", self.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
            ("HOME", self.work.path().display().to_string()),
            ("TMPDIR", self.work.path().display().to_string()),
        ];
        let mut all: BTreeMap<String, String> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        all.extend(self.more.clone());
        all
    }

    /// Writes what an app's stacks write, and makes the log group and the group of schedules.
    pub(crate) fn write_settings(&self) {
        let partition = format!("APP#{}", self.app);
        let mut settings = settings_of(&self.app);
        settings["orchestrator"]["events_role_arn"] = "arn:aws:iam::111122223333:role/shop-events".into();
        self.table.put_value(&partition, "settings", &settings);
        self.table.put_value(&partition, "CONFIG#ecs", &ecs_arguments());
        let group = serde_json::json!({"logGroupName": settings["log_group"]["name"]});
        http::call(&parts::moto(), "logs", "Logs_20140328.CreateLogGroup", &group).unwrap();
        make_schedule_group();
    }

    /// The app's project, with the buildspec that the program renders.
    pub(crate) fn project(&self) -> Project {
        let buildspec = Command::new(PROGRAM).arg("buildspec").output().unwrap();
        assert!(buildspec.status.success(), "{buildspec:?}");
        Project {
            name: self.app.clone(),
            buildspec: String::from_utf8(buildspec.stdout).unwrap(),
            variables: vec![
                Variable::plain("APPNAME", &self.app),
                Variable::plain("ARTIFACT_BUCKET", &self.bucket.name),
                Variable::plain("DOCKER_REPO", &self.repository()),
            ],
            bucket: self.bucket.name.clone(),
            image: self.environment(),
            container: None,
        }
    }

    /// The project without privileges: its builds run in a container of this image, and there is no Docker.
    pub(crate) fn unprivileged_project(&self, image: &str) -> Project {
        let buildspec = Command::new(PROGRAM).args(["buildspec", "--unprivileged"]).output().unwrap();
        assert!(buildspec.status.success(), "{buildspec:?}");
        let mut project = Project { buildspec: String::from_utf8(buildspec.stdout).unwrap(), ..self.project() };
        // All else comes from the image.
        project.image.retain(|name, _| name.starts_with("AWS_") || name == "PACKHORSE_CA_BUNDLE");
        let mounts = vec![parts::ca_bundle().into()];
        project.container = Some(ProjectImage { image: image.to_owned(), mounts });
        project
    }

    /// The repository of the app's images.
    pub(crate) fn repository(&self) -> String {
        format!("{}/{}", parts::registry(), self.app)
    }

    /// Builds the app as CodeBuild would.
    pub(crate) fn build(&self, number: u64) -> Build {
        self.start(&self.project(), &StartBuild::of(number, Source::of(self.source.path())))
    }

    /// Runs a build as CodeBuild would, with its artifacts in the bucket.
    pub(crate) fn start(&self, project: &Project, start: &StartBuild) -> Build {
        let artifacts = self.artifact_store();
        let build = project.run(start, &mut |key, content| {
            self.runtime.block_on(artifacts.put(key, Bytes::from(content))).map_err(|failure| failure.to_string())
        });
        self.builds.remember(&build);
        build
    }

    /// Runs the program in the account.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(PROGRAM).args(arguments).env_clear().envs(self.environment()).output().unwrap()
    }

    /// Writes an event to a file.
    pub(crate) fn event(&self, event: &Value) -> PathBuf {
        let file = self.work.path().join(format!("event-{:08x}.json", fastrand::u32(..)));
        fs::write(&file, event.to_string()).unwrap();
        file
    }

    /// Hands an event to the orchestrator.
    pub(crate) fn handle(&self, event: &Value, more: &[&str]) -> Output {
        let file = self.event(event).display().to_string();
        self.run(&[&["orchestrator", "handle", &file, "--place", "docker"], more].concat())
    }

    /// Hands the last event of a build to the orchestrator, which stays until nothing is in flight.
    pub(crate) fn follow_end_of(&self, build: &Build) -> Output {
        self.handle(build.events().last().unwrap(), &["--follow"])
    }

    /// The item of a build as an existing client reads it, held against every rule of the contract.
    pub(crate) fn seen(&self, partition: &str, number: u64) -> Option<ClientBuild> {
        let item = self.item(partition, &format!("BUILD#{number:010}"))?;
        Some(check_build(&item).unwrap_or_else(|broken| panic!("{broken:#?} in {item:#}")))
    }

    /// The item of the app's build.
    pub(crate) fn app_build(&self, number: u64) -> Option<ClientBuild> {
        self.seen(&format!("APP#{}", self.app), number)
    }

    /// The item of the most recent deploy.
    pub(crate) fn deploy_status(&self, sort_key: &str) -> Option<ClientDeployStatus> {
        let item = self.item(&format!("APP#{}", self.app), sort_key)?;
        Some(check_deploy_status(&item).unwrap_or_else(|broken| panic!("{broken:#?} in {item:#}")))
    }

    /// An item as the service sends it.
    pub(crate) fn item(&self, partition: &str, sort_key: &str) -> Option<Value> {
        self.table.raw(partition, sort_key)
    }

    fn artifact_store(&self) -> S3Artifacts {
        let clients = self.runtime.block_on(self.clients(&parts::moto()));
        S3Artifacts::new(clients.s3(), &self.bucket.name)
    }

    /// An object of the bucket as text.
    pub(crate) fn artifact(&self, key: &str) -> Option<String> {
        let found = self.runtime.block_on(self.artifact_store().get(key)).unwrap();
        found.map(|content| String::from_utf8(content.to_vec()).unwrap())
    }

    /// Copies an object.
    pub(crate) fn copy_artifact(&self, from: &str, to: &str) {
        let content = self.artifact(from).unwrap();
        let answer = http::ask(&parts::moto(), "s3", "PUT", &format!("/{}/{to}", self.bucket.name), &[], &content);
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// The digest that a tag names.
    pub(crate) fn digest(&self, tag: &str) -> Option<String> {
        let image = format!("{}:{tag}", self.repository()).parse().unwrap();
        let registry = RegistryClient::new(
            RegistryOptions::new(Arc::new(rustls::crypto::ring::default_provider())),
            Arc::new(Anonymous),
        )
        .unwrap();
        self.runtime.block_on(registry.resolve(&image)).ok().map(|digest| digest.to_string())
    }

    /// Removes an object.
    pub(crate) fn forget(&self, key: &str) {
        let answer = http::ask(&parts::moto(), "s3", "DELETE", &format!("/{}/{key}", self.bucket.name), &[], "");
        assert_eq!(answer.status, 204, "{answer:?}");
    }

    /// The keys of all objects, sorted.
    pub(crate) fn artifacts(&self) -> Vec<String> {
        let listed = http::ask(&parts::moto(), "s3", "GET", &format!("/{}", self.bucket.name), &[], "").body;
        let keys = listed.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
        let mut keys: Vec<String> = keys.map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// The tags of the app's repository, sorted.
    pub(crate) fn tags(&self) -> Vec<String> {
        let registry = format!("http://{}", parts::registry());
        let answer = http::ask(&registry, "registry", "GET", &format!("/v2/{}/tags/list", self.app), &[], "");
        let list: Value = serde_json::from_str(&answer.body).unwrap();
        let mut tags: Vec<String> =
            list["tags"].as_array().into_iter().flatten().map(|tag| tag.as_str().unwrap().to_owned()).collect();
        tags.sort();
        tags
    }

    /// Sets a parameter.
    pub(crate) fn set_parameter(&self, name: &str, value: &str) {
        self.runtime.block_on(async {
            let store = SsmParameters::new(self.clients(&parts::moto()).await.ssm());
            store.put(name, value).await.unwrap();
        });
    }

    /// A parameter's value.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        self.runtime
            .block_on(async { SsmParameters::new(self.clients(&parts::moto()).await.ssm()).get(name).await.unwrap() })
    }

    /// The details of the phase events that went to the bus, in order.
    pub(crate) fn phase_events(&self) -> Vec<Value> {
        let details = self.moto.seen(&When::target("PutEvents")).into_iter().flat_map(|request| {
            let input: Value = serde_json::from_slice(&request.body).unwrap();
            let entries = input["Entries"].as_array().unwrap().clone();
            entries.into_iter().map(|entry| {
                assert_eq!(
                    (&entry["Source"], &entry["DetailType"]),
                    (&"packhorse".into(), &"Packhorse Phase Change".into())
                );
                serde_json::from_str(entry["Detail"].as_str().unwrap()).unwrap()
            })
        });
        details.collect()
    }

    /// Starts databases for the app and stores how they are reached, as its stacks do.
    pub(crate) fn with_databases(self) -> Self {
        let addons: BTreeMap<AddonKind, String> =
            AddonKind::ALL.into_iter().map(|kind| (kind, rules(kind).image.to_owned())).collect();
        let variables = self.runtime.block_on(async {
            let parameters = Arc::new(SsmParameters::new(self.clients(&parts::moto()).await.ssm()));
            let (engine, clock) = (Arc::new(engine().await), Arc::new(SystemClock));
            let records = Arc::new(MemoryPlaceRecords::default());
            let place = ContainerPlace::new(engine, parameters, records, clock, Arc::new(Nobody), REGION).unwrap();
            place.ensure_addons(&self.lane(None), &addons).await.unwrap()
        });
        for (name, value) in variables {
            self.set_parameter(&format!("/apppack/apps/{}/config/{name}", self.app), &value);
        }
        self
    }

    /// The containers in a role that run, by name.
    pub(crate) fn running(&self, role: &str) -> Vec<String> {
        self.containers(role, &["ps"])
    }

    /// The containers in a role, by name.
    pub(crate) fn all(&self, role: &str) -> Vec<String> {
        self.containers(role, &["ps", "-a"])
    }

    fn containers(&self, role: &str, command: &[&str]) -> Vec<String> {
        let (role, name) = (format!("label=packhorse.role={role}"), format!("name={}", self.app));
        let filters = ["--filter", &role, "--filter", &name, "--format", "{{.Names}}"];
        let mut names: Vec<String> =
            docker(&[command, &filters].concat()).split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// What the app's web process answers.
    pub(crate) fn page(&self) -> String {
        let web = self.running("service").into_iter().find(|name| name.contains("-web-")).unwrap();
        let address = docker(&["port", &web, "8080"]);
        let answer = http::ask(&format!("http://{}", address.trim()), "web", "GET", "/", &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    async fn clients(&self, endpoint: &str) -> Clients {
        let credentials = Some(Credentials::new(&self.access_key, "test", None, None, "tests"));
        Clients::load(&AwsSettings { credentials, ..settings(endpoint) }).await.unwrap()
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let group = serde_json::json!({"logGroupName": format!("/apppack/apps/{}", self.app)});
        let _ = http::call(&parts::moto(), "logs", "Logs_20140328.DeleteLogGroup", &group);
        let path = serde_json::json!({ "Path": format!("/apppack/apps/{}", self.app), "Recursive": true });
        let found = http::call(&parts::moto(), "ssm", "AmazonSSM.GetParametersByPath", &path).unwrap_or_default();
        for parameter in found["Parameters"].as_array().into_iter().flatten() {
            let name = serde_json::json!({ "Name": parameter["Name"] });
            let _ = http::call(&parts::moto(), "ssm", "AmazonSSM.DeleteParameter", &name);
        }
    }
}

/// The states of a build's phases, in order.
pub(crate) fn states(build: &ClientBuild) -> [&str; 6] {
    build.phases.each_ref().map(|phase| phase.state.as_str())
}

/// The same end of a build of CodeBuild, for another number.
pub(crate) fn renumbered(event: &Value, number: u64) -> Value {
    let mut event = event.clone();
    let detail = &mut event["detail"];
    let arn = detail["build-id"].as_str().unwrap().to_owned();
    detail["build-id"] = format!("{arn}-{number}").into();
    let information = &mut detail["additional-information"];
    information["build-number"] = number.into();
    let location = information["artifact"]["location"].as_str().unwrap();
    let (bucket, _) = location.rsplit_once('/').unwrap();
    information["artifact"]["location"] = format!("{bucket}/{number}").into();
    event
}

/// Nobody stands before the web process.
struct Nobody;

#[async_trait]
impl Routes for Nobody {
    async fn point_to(&self, _: &LaneKey, _: &[SocketAddr]) {}
}
