//! Builds, as `CodeBuild` runs and describes them, and what they leave behind.

use async_trait::async_trait;
use bytes::Bytes;
use packhorse::domain::lane::{BuildResult, LaneKey, Outputs};
use packhorse::domain::names::{AppName, BuildArn, BuildNumber, EpochSeconds};
use packhorse::ports::artifacts::ArtifactStore;
use packhorse::ports::build_service::{BuildFacts, BuildService};
use packhorse::ports::failure::Failure;

use super::{State, World};

/// How a build goes, decided when the world is made.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a coin that was tossed")]
pub(crate) struct Script {
    pub(crate) started: u64,
    pub(crate) built: u64,
    pub(crate) tested: u64,
    pub(crate) ended: u64,
    pub(crate) fails_in: Option<&'static str>,
    pub(crate) runner: bool,
    /// Whether any event of it arrives.
    pub(crate) heard: bool,
    pub(crate) release: bool,
    pub(crate) postdeploy: bool,
    pub(crate) pre_destroy: bool,
}

impl Script {
    pub(super) fn draw(rng: &mut fastrand::Rng, number: u64, pace: u64) -> Self {
        let started = 1_000_000 + pace * number * rng.u64(5..200);
        let built = started + rng.u64(20..200);
        let tested = built + rng.u64(5..200);
        let fails_in = match rng.u8(..10) {
            0 => Some("build"),
            1 => Some("test"),
            2 => Some("upload"),
            _ => None,
        };
        let ended = match fails_in {
            Some("build") => built,
            _ => tested + rng.u64(1..20),
        };
        let runner = rng.bool();
        Self {
            started,
            built,
            tested,
            ended,
            fails_in,
            runner,
            heard: runner || rng.u8(..10) > 0,
            release: rng.u8(..10) < 8,
            postdeploy: rng.bool(),
            pre_destroy: rng.bool(),
        }
    }
}

pub(crate) fn arn(number: BuildNumber) -> BuildArn {
    format!("arn:aws:codebuild:us-east-1:111122223333:build/shop:{number}").parse().unwrap()
}

fn number(arn: &BuildArn) -> BuildNumber {
    arn.build_id().rsplit(':').next().unwrap().parse().unwrap()
}

impl State {
    /// What `CodeBuild` would say of a build now.
    pub(crate) fn facts(&self, number: BuildNumber) -> Option<BuildFacts> {
        let script = self.scripts.get(&number).filter(|script| script.started <= self.now)?;
        let killed = self.killed.get(&number).copied();
        let ended = killed.unwrap_or(script.ended);
        let failed = script.fails_in.is_some() || killed.is_some();
        let result = (self.now >= ended).then(|| {
            if failed {
                BuildResult::Failed { phase: None, cause: "it failed".to_owned() }
            } else {
                BuildResult::Succeeded
            }
        });
        let alive_at = |moment: u64| self.now >= moment && killed.is_none_or(|killed| killed > moment);
        Some(BuildFacts {
            arn: arn(number),
            number,
            started: EpochSeconds(script.started),
            commit: "commit".to_owned(),
            logs: "cloudwatch://group#stream".to_owned(),
            outputs: Outputs::default(),
            image_built: alive_at(script.built) && script.fails_in != Some("build"),
            tests_passed: alive_at(script.tested) && !matches!(script.fails_in, Some("build" | "test")),
            result,
        })
    }
}

#[async_trait]
impl BuildService for World {
    async fn builds(&self, arns: &[BuildArn]) -> Result<Vec<BuildFacts>, Failure> {
        self.call("ask for builds", |state| Ok(arns.iter().filter_map(|arn| state.facts(number(arn))).collect())).await
    }

    async fn newest(&self, _: &AppName) -> Result<Vec<(LaneKey, BuildFacts)>, Failure> {
        self.call("list builds", |state| {
            let lane = &state.lane.0.key;
            let all = state.scripts.keys().rev().filter_map(|number| state.facts(*number));
            Ok(all.map(|facts| (lane.clone(), facts)).collect())
        })
        .await
    }

    async fn stop(&self, stopped: &BuildArn) -> Result<(), Failure> {
        self.call("stop a build", |state| {
            let number = number(stopped);
            let now = state.now;
            if state.scripts[&number].ended > now {
                state.killed.entry(number).or_insert(now);
            }
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl ArtifactStore for World {
    async fn put(&self, _: &str, _: Bytes) -> Result<(), Failure> {
        self.call("put", |_| Ok(())).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Failure> {
        let (number, name) = key.split_once('/').unwrap();
        let number: BuildNumber = number.parse().unwrap();
        self.call("get", |state| {
            let script = &state.scripts[&number];
            if script.fails_in == Some("upload") {
                return Ok(None);
            }
            Ok(Some(match name {
                "build.json" => {
                    Bytes::from(format!("{{\"image\":{{\"reference\":\"shop\",\"digest\":\"sha256:{number}\"}}}}"))
                }
                "apppack.toml" => Bytes::from_static(config(script).as_bytes()),
                _ => Bytes::from_static(b"log\n"),
            }))
        })
        .await
    }

    fn url(&self, key: &str) -> String {
        format!("s3://bucket/{key}")
    }
}

/// The config file that a build archives.
fn config(script: &Script) -> &'static str {
    macro_rules! file {
        ($release:literal, $postdeploy:literal, $pre_destroy:literal) => {
            concat!(
                "[services.web]\ncommand = \"serve\"\n[deploy]\nrelease_command = \"",
                $release,
                "\"\n[review_app]\ninitialize_command = \"",
                $postdeploy,
                "\"\npre_destroy_command = \"",
                $pre_destroy,
                "\"\n"
            )
        };
    }
    match (script.release, script.postdeploy, script.pre_destroy) {
        (true, true, true) => file!("migrate", "seed", "drop"),
        (true, true, false) => file!("migrate", "seed", ""),
        (true, false, true) => file!("migrate", "", "drop"),
        (true, false, false) => file!("migrate", "", ""),
        (false, true, true) => file!("", "seed", "drop"),
        (false, true, false) => file!("", "seed", ""),
        (false, false, true) => file!("", "", "drop"),
        (false, false, false) => file!("", "", ""),
    }
}
