//! Reads a build's artifacts into what to run.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::Orchestrator;
use crate::domain::lane::{ArtifactsRead, Lane, LaneKey, ReleasePlan, Service};
use crate::domain::manifest::{AppPackToml, SourceFile};
use crate::domain::names::BuildNumber;
use crate::domain::namespace::Namespace;
use crate::ports::failure::Failure;
use crate::ports::place::Place;

/// The parts of `build.json` that name the image.
#[derive(Debug, Deserialize)]
struct BuildMetadata {
    image: Option<ImageMetadata>,
}

#[derive(Debug, Deserialize)]
struct ImageMetadata {
    reference: String,
    digest: String,
}

impl Orchestrator {
    /// Looks at what a build left behind; what is missing or wrong is part of the answer.
    pub(crate) async fn read_artifacts(&self, lane: &Lane, build: BuildNumber) -> Result<ArtifactsRead, Failure> {
        let file = |name: &str| format!("{build}/{name}");
        let [build_log, test_log] = [file("build.log"), file("test.log")];
        let config = file(&Namespace::default().config_file());
        let (build_content, test_content) =
            (self.artifacts.get(&build_log).await?, self.artifacts.get(&test_log).await?);
        let empty = |content: &Option<Bytes>| content.as_ref().is_some_and(Bytes::is_empty);
        let plan = match (self.artifacts.get(&config).await?, self.artifacts.get(&file("build.json")).await?) {
            (Some(config), Some(metadata)) => Some(plan(&lane.key, &config, &metadata, self.place.as_ref())),
            (None, _) => Some(Err(format!("the artifact `{config}` is missing"))),
            (_, None) => Some(Err(format!("the artifact `{}` is missing", file("build.json")))),
        };
        Ok(ArtifactsRead {
            skipped: empty(&build_content) && empty(&test_content),
            build_log: build_content.map(|_| self.artifacts.url(&build_log)),
            test_log: test_content.map(|_| self.artifacts.url(&test_log)),
            plan,
        })
    }
}

fn plan(lane: &LaneKey, config: &[u8], metadata: &[u8], place: &dyn Place) -> Result<ReleasePlan, String> {
    let unreadable = |problem: &dyn std::fmt::Display| format!("the archived config file cannot be read: {problem}");
    let file = SourceFile::decode(&Namespace::default().config_file(), config).map_err(|error| unreadable(&error))?;
    let config = AppPackToml::read_effective(&file).map_err(|problems| unreadable(&problems))?.value;
    let metadata: BuildMetadata =
        serde_json::from_slice(metadata).map_err(|error| format!("`build.json` cannot be read: {error}"))?;
    let image = metadata.image.ok_or("`build.json` names no image")?;
    let services: BTreeMap<_, _> = (config.services.into_iter())
        .map(|(process, command)| {
            let arn = place.service_arn(lane, &process);
            (process, Service { command, arn })
        })
        .collect();
    if services.is_empty() {
        return Err("the app defines no process to run: add a `Procfile` with a `web` line".to_owned());
    }
    Ok(ReleasePlan {
        sequence: 0,
        image: by_digest(&image.reference, &image.digest),
        release_command: config.release_command,
        postdeploy_command: config.initialize_command,
        services,
    })
}

/// Names an image by its digest. One that stays with a Docker daemon has an id and no repository to ask.
fn by_digest(reference: &str, digest: &str) -> String {
    if reference.is_empty() { digest.to_owned() } else { format!("{reference}@{digest}") }
}
