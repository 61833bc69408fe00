//! Reads a build's artifacts into what to run.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;

use super::Orchestrator;
use crate::domain::build_environment::BuildLabel;
use crate::domain::lane::{ArtifactsRead, Build, Lane, LaneKey, Outputs, Phase, ReleasePlan, Service};
use crate::domain::manifest::{AppPackToml, BuildSystem, SourceFile};
use crate::domain::names::BuildNumber;
use crate::domain::namespace::Namespace;
use crate::domain::tags;
use crate::image::{Repository, Tag};
use crate::ports::failure::{Failure, chain};

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

/// How long the tag of an image may come after its build. Who builds outside CodeBuild sets it after the build was started
/// (`data-contract` 4.7).
const TAG_DELAY: u64 = 120;

impl Orchestrator {
    /// Looks at what a build left behind; what is missing or wrong is part of the answer.
    pub(crate) async fn read_artifacts(&self, lane: &Lane, build: BuildNumber) -> Result<ArtifactsRead, Failure> {
        let file = |name: &str| format!("{build}/{name}");
        let [build_log, test_log] = [file("build.log"), file("test.log")];
        let config = file(&Namespace::default().config_file());
        let artifacts = self.artifacts.of(lane.builds.get(&build).map_or("", |build| &build.outputs.bucket));
        let (build_content, test_content) = (artifacts.get(&build_log).await?, artifacts.get(&test_log).await?);
        let empty = |content: &Option<Bytes>| content.as_ref().is_some_and(Bytes::is_empty);
        let skipped = empty(&build_content) && empty(&test_content);
        // Only a build that goes on needs one; looking for the image of another one would wait for nothing.
        let known = lane.builds.get(&build);
        let goes_on = !skipped && known.is_some_and(|build| build.in_flight());
        let plan = match artifacts.get(&config).await? {
            None => Some(Err(format!("the artifact `{config}` is missing"))),
            Some(_) if !goes_on => None,
            Some(config) => {
                let began = known.and_then(|build| build.phases.get(&Phase::Finalize)).map_or(0, |phase| phase.start.0);
                let repository = known.map_or("", |build| &build.outputs.repository);
                let metadata = artifacts.get(&file("build.json")).await?;
                Some(self.plan_of(&lane.key, build, &config, metadata, (repository, began)).await?)
            }
        };
        Ok(ArtifactsRead {
            skipped,
            commit: match known {
                Some(build) if build.commit.is_empty() => self.commit(build).await,
                _ => String::new(),
            },
            build_log: build_content.map(|_| artifacts.url(&build_log)),
            test_log: test_content.map(|_| artifacts.url(&test_log)),
            plan,
        })
    }

    /// Asks for the commit of a build that no event names; nothing waits for it.
    async fn commit(&self, build: &Build) -> String {
        let found = self.builds.builds(std::slice::from_ref(&build.arn)).await;
        found.ok().and_then(|mut found| found.pop()).map(|facts| facts.commit).unwrap_or_default()
    }

    /// Reads what to run, with the names that its services have in the place.
    async fn plan(&self, lane: &LaneKey, config: &[u8], image: String) -> Result<Result<ReleasePlan, String>, Failure> {
        let mut plan = match plan(config, image) {
            Ok(plan) => plan,
            Err(cause) => return Ok(Err(cause)),
        };
        if lane.pull_request.is_none() {
            plan.pre_destroy_command = None;
        }
        for (process, service) in &mut plan.services {
            service.arn = self.place.service_arn(lane, process).await?;
        }
        Ok(Ok(plan))
    }

    /// Reads once more what a build asked for that has ended.
    pub(super) async fn read_plan(
        &self,
        lane: &LaneKey,
        build: BuildNumber,
        outputs: &Outputs,
    ) -> Result<Result<ReleasePlan, String>, Failure> {
        let artifacts = self.artifacts.of(&outputs.bucket);
        let config = format!("{build}/{}", Namespace::default().config_file());
        let Some(content) = artifacts.get(&config).await? else {
            return Ok(Err(format!("the artifact `{config}` is not there any more")));
        };
        let metadata = artifacts.get(&format!("{build}/build.json")).await?;
        self.plan_of(lane, build, &content, metadata, (&outputs.repository, 0)).await
    }

    /// Reads what a build asks for; `image` is its repository, and when the build was over, in Unix seconds.
    async fn plan_of(
        &self,
        lane: &LaneKey,
        build: BuildNumber,
        config: &[u8],
        metadata: Option<Bytes>,
        (repository, began): (&str, u64),
    ) -> Result<Result<ReleasePlan, String>, Failure> {
        match self.image(build, metadata, repository, began).await? {
            Ok(image) => self.plan(lane, config, image).await,
            Err(cause) => Ok(Err(cause)),
        }
    }

    /// Names a build's image by digest: as `build.json` does, else by the tag that every builder sets; `began` is when the
    /// build was over, in Unix seconds.
    async fn image(
        &self,
        build: BuildNumber,
        metadata: Option<Bytes>,
        repository: &str,
        began: u64,
    ) -> Result<Result<String, String>, Failure> {
        if let Some(metadata) = metadata {
            return Ok(image_of_metadata(&metadata));
        }
        let Ok(repository) = repository.parse::<Repository>() else {
            return Ok(Err(format!("the artifact `{build}/build.json` is missing, and the repository is not known")));
        };
        let [_, tag, _] = tags::released("", &BuildLabel::Numbered(build));
        let Ok(tag) = tag.parse::<Tag>() else { return Ok(Err(format!("`{tag}` is not a tag"))) };
        let image = repository.tagged(tag);
        match self.images.resolve(&image).await {
            Ok(digest) => Ok(Ok(repository.at(digest).to_string())),
            Err(Failure::NotFound { .. }) => {
                if self.lanes.clock.now().0 < began + TAG_DELAY {
                    return Err(Failure::unavailable("find the image", format!("{image} is not there yet")));
                }
                Ok(Err(format!("{image} does not exist")))
            }
            Err(failure) if failure.is_passing() => Err(failure),
            Err(failure) => Ok(Err(chain(&failure))),
        }
    }
}

fn image_of_metadata(metadata: &[u8]) -> Result<String, String> {
    let metadata: BuildMetadata =
        serde_json::from_slice(metadata).map_err(|error| format!("`build.json` cannot be read: {error}"))?;
    let image = metadata.image.ok_or("`build.json` names no image")?;
    Ok(by_digest(&image.reference, &image.digest))
}

fn plan(config: &[u8], image: String) -> Result<ReleasePlan, String> {
    let unreadable = |problem: &dyn std::fmt::Display| format!("the archived config file cannot be read: {problem}");
    let file = SourceFile::decode(&Namespace::default().config_file(), config).map_err(|error| unreadable(&error))?;
    let config = AppPackToml::read_effective(&file).map_err(|problems| unreadable(&problems))?.value;
    let services: BTreeMap<_, _> = (config.services.into_iter())
        .map(|(process, command)| (process, Service { command, arn: String::new() }))
        .collect();
    if services.is_empty() {
        return Err("the app defines no process to run: add a `Procfile` with a `web` line".to_owned());
    }
    Ok(ReleasePlan {
        sequence: 0,
        image,
        launcher: config.system == BuildSystem::Buildpack,
        release_command: config.release_command,
        postdeploy_command: config.initialize_command,
        pre_destroy_command: config.pre_destroy_command,
        services,
    })
}

/// Names an image by its digest. One that stays with a Docker daemon has an id and no repository to ask.
fn by_digest(reference: &str, digest: &str) -> String {
    if reference.is_empty() { digest.to_owned() } else { format!("{reference}@{digest}") }
}
