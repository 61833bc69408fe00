//! What every service promises that runs builds.

use std::sync::Arc;

use packhorse::domain::lane::{BuildResult, LaneKey, Phase};
use packhorse::domain::names::BuildArn;
use packhorse::ports::build_service::BuildService;
use packhorse::up::local_builds::{LocalBuilds, local_arn};

use crate::support::lanes::{random_name, some_app};
use crate::support::suite::suite;

/// A service under test.
pub(crate) trait Bench: Send + Sync {
    fn service(&self) -> &dyn BuildService;

    /// Begins a build, and returns its ARN.
    fn begin(&self, lane: &LaneKey, number: u64) -> BuildArn;

    /// Ends it.
    fn end(&self, arn: &BuildArn, succeeds: bool);
}

/// Builds are told of in the order asked for; one has a result once it has ended.
async fn a_build_has_a_result_once_it_has_ended(bench: &impl Bench) {
    let lane = some_app();
    let arns = [1, 2, 3].map(|number| bench.begin(&lane, number));
    bench.end(&arns[0], true);
    bench.end(&arns[1], false);
    let asked: Vec<BuildArn> = arns.iter().rev().cloned().collect();
    let told = bench.service().builds(&asked).await.unwrap();
    assert_eq!(told.iter().map(|facts| facts.arn.clone()).collect::<Vec<_>>(), asked);
    let [running, failed, succeeded] = &told[..] else { panic!("{told:#?}") };
    assert_eq!([running, failed, succeeded].map(|facts| facts.number.0), [3, 2, 1]);
    assert_eq!((&running.result, &succeeded.result), (&None, &Some(BuildResult::Succeeded)));
    assert!(matches!(&failed.result, Some(BuildResult::Failed { .. })), "{failed:?}");
}

/// Asking for nothing, for the newest of what is not there, and stopping what has ended are no errors.
async fn what_is_not_there_is_no_error(bench: &impl Bench) {
    let lane = some_app();
    assert_eq!(bench.service().builds(&[]).await.unwrap(), []);
    assert_eq!(bench.service().newest(&random_name("nobody").parse().unwrap()).await.unwrap(), []);
    let arn = bench.begin(&lane, 1);
    bench.end(&arn, true);
    bench.service().stop(&arn).await.unwrap();
    bench.service().stop(&arn).await.unwrap();
    let [facts] = &bench.service().builds(&[arn]).await.unwrap()[..] else { panic!() };
    assert_eq!(facts.result, Some(BuildResult::Succeeded));
}

struct Local(Arc<LocalBuilds>);

impl Bench for Local {
    fn service(&self) -> &dyn BuildService {
        self.0.as_ref()
    }

    fn begin(&self, lane: &LaneKey, number: u64) -> BuildArn {
        let arn = local_arn(lane.app.as_str(), packhorse::domain::names::BuildNumber(number), "ab12").parse().unwrap();
        self.0.begin(&arn);
        arn
    }

    fn end(&self, arn: &BuildArn, succeeds: bool) {
        let failed = BuildResult::Failed { phase: Some(Phase::Build), cause: "exit code 1".to_owned() };
        self.0.end(arn, if succeeds { BuildResult::Succeeded } else { failed });
    }
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [a_build_has_a_result_once_it_has_ended, what_is_not_there_is_no_error]);
    };
}

promises!(local, super::Local(std::sync::Arc::default()));

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::CodeBuild;
    use serde_json::{Value, json};

    use super::*;
    use crate::support::aws::clients;
    use crate::support::build_service::BuildService as StandIn;
    use crate::support::lanes::build_arn;

    pub(super) struct Remote {
        stand_in: StandIn,
        service: CodeBuild,
    }

    pub(super) async fn open() -> Remote {
        let stand_in = StandIn::start().await;
        let service = CodeBuild::new(&clients(&stand_in.url()).await);
        Remote { stand_in, service }
    }

    /// A build as CodeBuild describes it.
    fn described(project: &str, number: u64, version: &str, variables: &[(&str, &str)]) -> Value {
        let id = format!("{project}:6b0e7c1a-{number}");
        let variables: Vec<Value> = variables
            .iter()
            .map(|(name, value)| json!({ "name": name, "value": value, "type": "PLAINTEXT" }))
            .collect();
        json!({
            "id": id, "arn": format!("arn:aws:codebuild:us-east-1:111122223333:build/{id}"), "buildNumber": number,
            "projectName": project, "buildStatus": "IN_PROGRESS", "startTime": 1_767_225_600 + number,
            "sourceVersion": version, "environment": { "environmentVariables": variables,
                "type": "LINUX_CONTAINER", "image": "x", "computeType": "BUILD_GENERAL1_SMALL" },
        })
    }

    impl Bench for Remote {
        fn service(&self) -> &dyn BuildService {
            &self.service
        }

        fn begin(&self, lane: &LaneKey, number: u64) -> BuildArn {
            self.stand_in.remember_described(described(lane.app.as_str(), number, "main", &[]));
            build_arn(lane, number)
        }

        fn end(&self, arn: &BuildArn, succeeds: bool) {
            let (project, number) = arn.build_id().rsplit_once(":6b0e7c1a-").unwrap();
            let mut build = described(project, number.parse().unwrap(), "main", &[]);
            build["buildStatus"] = if succeeds { "SUCCEEDED" } else { "FAILED" }.into();
            self.stand_in.remember_described(build);
        }
    }

    #[tokio::test]
    async fn the_newest_builds_come_first_each_with_its_lane() {
        let bench = open().await;
        let app = some_app();
        for number in 1..=30 {
            bench.begin(&app, number);
        }
        bench.begin(&some_app(), 99);
        let newest = bench.service.newest(&app.app).await.unwrap();
        assert_eq!(
            newest.iter().map(|(_, facts)| facts.number.0).collect::<Vec<_>>(),
            (11..=30).rev().collect::<Vec<_>>()
        );
        assert!(newest.iter().all(|(lane, facts)| *lane == app && facts.started.0 == 1_767_225_600 + facts.number.0));
    }

    #[tokio::test]
    async fn builds_of_a_pipeline_belong_to_their_pull_requests_and_others_to_no_lane() {
        let bench = open().await;
        let pipeline = random_name("storefront");
        let ours = [("APPNAME", pipeline.as_str()), ("PIPELINE", "1")];
        for (number, version) in [(1, "pr/7"), (2, "main"), (3, "pr/12")] {
            bench.stand_in.remember_described(described(&pipeline, number, version, &ours));
        }
        // Described too early to be told apart from others.
        let mut nameless = described(&pipeline, 4, "pr/12", &ours);
        nameless["buildNumber"] = Value::Null;
        bench.stand_in.remember_described(nameless);
        let newest = bench.service.newest(&pipeline.parse().unwrap()).await.unwrap();
        let told: Vec<(String, u64)> = newest.iter().map(|(lane, facts)| (lane.to_string(), facts.number.0)).collect();
        assert_eq!(told, [(format!("{pipeline}:12"), 3), (format!("{pipeline}:7"), 1)]);
    }
}

#[cfg(feature = "aws")]
promises!(codebuild, super::aws::open().await);
