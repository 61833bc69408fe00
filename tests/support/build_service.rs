//! A stand-in for CodeBuild's API: tells of the builds that a test ran, as `BatchGetBuilds` does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::codebuild::Build;
use super::lying_server::{Asked, LyingServer, Reply};

/// Knows the builds that it was told of; ends with its drop.
pub(crate) struct BuildService {
    server: LyingServer,
    builds: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl BuildService {
    pub(crate) async fn start() -> Self {
        let builds = Arc::new(Mutex::new(BTreeMap::new()));
        let known = Arc::clone(&builds);
        let server = LyingServer::start(move |asked| {
            let input: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
            let mut known = known.lock().unwrap();
            let reply = |status: u16, answer: &Value| {
                Reply::new(status).header("content-type", "application/x-amz-json-1.1").body(answer.to_string())
            };
            match asked.target.as_deref().and_then(|target| target.split('.').nth(1)) {
                Some("BatchGetBuilds") => {
                    let ids = input["ids"].as_array().unwrap();
                    let (found, missing): (Vec<&Value>, Vec<&Value>) =
                        ids.iter().partition(|id| known.contains_key(id.as_str().unwrap()));
                    let found: Vec<&Value> = found.iter().map(|id| &known[id.as_str().unwrap()]).collect();
                    reply(200, &json!({ "builds": found, "buildsNotFound": missing }))
                }
                Some("ListBuildsForProject") => {
                    let mut own: Vec<&Value> =
                        known.values().filter(|build| build["projectName"] == input["projectName"]).collect();
                    if own.is_empty() {
                        let missing = json!({ "__type": "ResourceNotFoundException", "message": "no such project" });
                        return reply(400, &missing);
                    }
                    own.sort_by_key(|build| build["buildNumber"].as_u64());
                    if input["sortOrder"] != "ASCENDING" {
                        own.reverse();
                    }
                    let ids: Vec<&Value> = own.iter().take(100).map(|build| &build["id"]).collect();
                    reply(200, &json!({ "ids": ids }))
                }
                Some("StartBuild") => {
                    let own = known.values().filter(|build| build["projectName"] == input["projectName"]);
                    let Some(newest) = own.max_by_key(|build| build["buildNumber"].as_u64()).cloned() else {
                        let missing = json!({ "__type": "ResourceNotFoundException", "message": "no such project" });
                        return reply(400, &missing);
                    };
                    let begun = begun_after(&newest);
                    known.insert(begun["id"].as_str().unwrap().to_owned(), begun.clone());
                    reply(200, &json!({ "build": begun }))
                }
                // What has ended stays as it is.
                Some("StopBuild") => match known.get(input["id"].as_str().unwrap_or_default()) {
                    Some(build) => reply(200, &json!({ "build": build })),
                    None => {
                        reply(400, &json!({ "__type": "ResourceNotFoundException", "message": "Build does not exist" }))
                    }
                },
                other => panic!("{other:?} is not played here"),
            }
        })
        .await;
        Self { server, builds }
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    /// All requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.server.asked()
    }

    /// Remembers a build that is described as `BatchGetBuilds` does.
    pub(crate) fn remember_described(&self, build: Value) {
        self.builds.lock().unwrap().insert(build["id"].as_str().unwrap().to_owned(), build);
    }

    /// Remembers a build, as CodeBuild does.
    pub(crate) fn remember(&self, build: &Build) {
        self.builds.lock().unwrap().insert(build.id.clone(), build.described());
    }

    /// Remembers the same build under another number, with `-{number}` at the end of its id.
    pub(crate) fn remember_as(&self, build: &Build, number: u64) {
        let mut described = build.described();
        let id = format!("{}-{number}", build.id);
        described["arn"] = format!("{}-{number}", build.arn).into();
        described["buildNumber"] = number.into();
        described["id"] = id.clone().into();
        self.builds.lock().unwrap().insert(id, described);
    }
}

/// The next build of a project, as CodeBuild describes it when it has just begun.
fn begun_after(newest: &Value) -> Value {
    let number = newest["buildNumber"].as_u64().unwrap() + 1;
    let mut begun = newest.clone();
    for name in ["id", "arn"] {
        begun[name] = format!("{}-{number}", newest[name].as_str().unwrap()).into();
    }
    begun["buildNumber"] = number.into();
    begun["buildStatus"] = "IN_PROGRESS".into();
    begun["buildComplete"] = false.into();
    begun["currentPhase"] = "QUEUED".into();
    for name in ["endTime", "phases", "logs"] {
        begun.as_object_mut().unwrap().remove(name);
    }
    begun
}
