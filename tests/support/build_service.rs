//! A stand-in for CodeBuild's API: tells of the builds that a test ran, as `BatchGetBuilds` does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::codebuild::Build;
use super::lying_server::{LyingServer, Reply};

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
            let known = known.lock().unwrap();
            let answer = match input["ids"].as_array() {
                Some(ids) => {
                    let (found, missing): (Vec<&Value>, Vec<&Value>) =
                        ids.iter().partition(|id| known.contains_key(id.as_str().unwrap()));
                    let found: Vec<&Value> = found.iter().map(|id| &known[id.as_str().unwrap()]).collect();
                    json!({ "builds": found, "buildsNotFound": missing })
                }
                // StopBuild: what has ended stays as it is.
                None => json!({ "build": known.get(input["id"].as_str().unwrap_or_default()) }),
            };
            Reply::new(200).header("content-type", "application/x-amz-json-1.1").body(answer.to_string())
        })
        .await;
        Self { server, builds }
    }

    /// Where clients reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.address)
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
