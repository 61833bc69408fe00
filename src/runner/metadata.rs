//! `{n}/build.json`: what is known of a build, for orchestrators, clients and later questions (`data-contract` 1.10).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::lane::{Phase, PhaseState};
use crate::domain::layer_figures::LayerFigures;
use crate::domain::names::EpochSeconds;
use crate::image::ImageConfig;
use crate::ports::test_bed::TestEnvironment;

/// The document. Times are Unix seconds, durations are seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BuildMetadata {
    /// The layout of the document.
    pub format: u32,
    /// The app or pipeline.
    pub app: String,
    /// The pull request of a review app.
    pub pull_request: Option<String>,
    /// The build's number, a text only for builds outside CodeBuild.
    pub build_number: serde_json::Value,
    /// The build's ARN, if it has one.
    pub build_arn: Option<String>,
    /// The commit.
    pub commit: String,
    /// Why there was nothing to build, if so.
    pub skipped: Option<String>,
    /// Why the build failed, if it did.
    pub failure: Option<String>,
    /// What made the image.
    pub engine: Option<String>,
    /// The image, once it is made.
    pub image: Option<ImageMetadata>,
    /// The builder image.
    pub builder: Option<BuilderMetadata>,
    /// The run image.
    pub run_image: Option<BuilderMetadata>,
    /// The buildpacks that took part, in order.
    pub buildpacks: Vec<BuildpackMetadata>,
    /// The phases that have begun.
    pub phases: BTreeMap<Phase, PhaseMetadata>,
    /// How the tests went, once they ran.
    pub test: Option<TestMetadata>,
    /// Where layers were kept between builds.
    pub cache: Option<CacheMetadata>,
    /// How long each command took.
    pub durations: BTreeMap<String, f64>,
}

/// The image of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageMetadata {
    /// The repository; empty where the image stays with a Docker daemon.
    pub reference: String,
    /// The digest, or the id in the daemon.
    pub digest: String,
    /// The names it was given.
    pub tags: Vec<String>,
}

/// An image that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuilderMetadata {
    /// Its name.
    pub reference: String,
    /// Its digest, where it could be found out.
    pub digest: Option<String>,
}

/// A buildpack that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildpackMetadata {
    /// Its id.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// When a phase ran and how it ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhaseMetadata {
    /// When it began.
    pub start: EpochSeconds,
    /// When it ended.
    pub end: Option<EpochSeconds>,
    /// Where it stands.
    pub outcome: PhaseState,
}

/// Where layers were kept between builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheMetadata {
    /// The image or volume that was written and read first.
    pub name: String,
    /// What was read when that was not there.
    pub fallback: Option<String>,
    /// What it was good for.
    pub layers: LayerFigures,
}

/// How the tests went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestMetadata {
    /// How they ended.
    pub outcome: TestOutcome,
    /// Where they ran.
    #[serde(default)]
    pub environment: TestEnvironment,
    /// The exit code of the test command, where it came to its end.
    pub exit_code: Option<i64>,
    /// How long they took.
    pub seconds: f64,
}

/// How tests ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TestOutcome {
    /// The app has none.
    None,
    /// With exit code 0.
    Passed,
    /// With another one.
    Failed,
    /// At their time limit.
    TimedOut,
    /// They could not be run, or not to their end.
    Broken,
}

impl Default for BuildMetadata {
    fn default() -> Self {
        Self {
            format: Self::FORMAT,
            app: String::new(),
            pull_request: None,
            build_number: serde_json::Value::Null,
            build_arn: None,
            commit: String::new(),
            skipped: None,
            failure: None,
            engine: None,
            image: None,
            builder: None,
            run_image: None,
            buildpacks: Vec::new(),
            phases: BTreeMap::new(),
            test: None,
            cache: None,
            durations: BTreeMap::new(),
        }
    }
}

impl BuildMetadata {
    /// The layout that this program writes.
    pub const FORMAT: u32 = 1;
    /// The document's name in the folder of its build.
    pub const FILE: &'static str = "build.json";

    /// Takes note that a phase begins.
    pub(super) fn phase_begins(&mut self, phase: Phase, now: EpochSeconds) {
        self.phases.insert(phase, PhaseMetadata { start: now, end: None, outcome: PhaseState::Started });
    }

    /// Takes note of how a phase ended; one that never began is left out.
    pub(super) fn phase_ends(&mut self, phase: Phase, outcome: PhaseState, now: EpochSeconds) {
        if let Some(record) = self.phases.get_mut(&phase) {
            record.end = Some(now);
            record.outcome = outcome;
        }
    }

    /// Reads which buildpacks and run image are in an image from its labels
    /// (<https://github.com/buildpacks/spec/blob/main/platform.md#labels>).
    pub(super) fn read_labels(&mut self, config: &ImageConfig) {
        #[derive(Deserialize)]
        struct Build {
            #[serde(default)]
            buildpacks: Vec<BuildpackMetadata>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Lifecycle {
            run_image: RunImage,
        }
        #[derive(Deserialize)]
        struct RunImage {
            #[serde(default)]
            reference: String,
            #[serde(default)]
            image: String,
        }
        // Labels of other tools may look otherwise; what they do not tell stays unknown.
        let build =
            config.label("io.buildpacks.build.metadata").and_then(|text| serde_json::from_str::<Build>(text).ok());
        self.buildpacks = build.map(|build| build.buildpacks).unwrap_or_default();
        let lifecycle = config
            .label("io.buildpacks.lifecycle.metadata")
            .and_then(|text| serde_json::from_str::<Lifecycle>(text).ok());
        self.run_image = lifecycle.map(|Lifecycle { run_image }| {
            let (name, digest) = match run_image.reference.split_once('@') {
                Some((name, digest)) => (name.to_owned(), Some(digest.to_owned())),
                None => (String::new(), Some(run_image.reference).filter(|id| !id.is_empty())),
            };
            let reference = if run_image.image.is_empty() { name } else { run_image.image };
            BuilderMetadata { reference, digest }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buildpacks_and_run_image_are_read_from_the_labels() {
        let mut config = ImageConfig::default();
        config.config.labels.insert(
            "io.buildpacks.build.metadata".to_owned(),
            r#"{"buildpacks":[{"id":"packhorse/python","version":"0.1.0","api":"0.11"}],"processes":[]}"#.to_owned(),
        );
        config.config.labels.insert(
            "io.buildpacks.lifecycle.metadata".to_owned(),
            r#"{"runImage":{"topLayer":"sha256:0","reference":"r.example/run@sha256:1","image":"r.example/run:12"}}"#
                .to_owned(),
        );
        let mut metadata = BuildMetadata::default();
        metadata.read_labels(&config);
        assert_eq!(
            metadata.buildpacks,
            [BuildpackMetadata { id: "packhorse/python".to_owned(), version: "0.1.0".to_owned() }]
        );
        assert_eq!(
            metadata.run_image,
            Some(BuilderMetadata { reference: "r.example/run:12".to_owned(), digest: Some("sha256:1".to_owned()) })
        );
        config.config.labels.insert("io.buildpacks.build.metadata".to_owned(), "[]".to_owned());
        metadata.read_labels(&config);
        assert!(metadata.buildpacks.is_empty());
    }
}
