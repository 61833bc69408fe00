//! Builds that run inside `up` itself, as a build service knows them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::domain::lane::{BuildResult, LaneKey, Outputs};
use crate::domain::names::{AppName, BuildArn, BuildNumber, EpochSeconds};
use crate::ports::build_service::{BuildFacts, BuildService};
use crate::ports::failure::Failure;

/// The builds of this process. One that it does not know ended with the process that ran it.
#[derive(Default)]
pub struct LocalBuilds(Mutex<BTreeMap<BuildArn, Option<BuildResult>>>);

impl LocalBuilds {
    /// Takes note of a build that begins.
    pub fn begin(&self, arn: &BuildArn) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(arn.clone(), None);
    }

    /// Takes note of its end; its artifacts are in the store.
    pub fn end(&self, arn: &BuildArn, result: BuildResult) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(arn.clone(), Some(result));
    }
}

/// Makes the ARN of a local build; its number can be read from it.
pub fn local_arn(app: &str, number: BuildNumber, unique: &str) -> String {
    format!("arn:packhorse:codebuild:local:000000000000:build/{app}:{number}-{unique}")
}

fn number_of(arn: &BuildArn) -> Option<BuildNumber> {
    arn.build_id().rsplit(':').next()?.split('-').next()?.parse().ok()
}

#[async_trait]
impl BuildService for LocalBuilds {
    async fn builds(&self, arns: &[BuildArn]) -> Result<Vec<BuildFacts>, Failure> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || Some(BuildResult::Failed { phase: None, cause: "the `up` that ran it was stopped".to_owned() });
        let facts = arns.iter().filter_map(|arn| {
            let result = known.get(arn).cloned().unwrap_or_else(gone);
            Some(BuildFacts {
                arn: arn.clone(),
                number: number_of(arn)?,
                started: EpochSeconds(0),
                commit: String::new(),
                logs: String::new(),
                outputs: Outputs::default(),
                image_built: false,
                tests_passed: false,
                result,
            })
        });
        Ok(facts.collect())
    }

    async fn newest(&self, _: &AppName) -> Result<Vec<(LaneKey, BuildFacts)>, Failure> {
        // Whoever begins a build here tells the lane itself.
        Ok(Vec::new())
    }

    async fn stop(&self, _: &BuildArn) -> Result<(), Failure> {
        // A build ends with its `up`; one that is not needed any more is superseded at its end.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_build_of_an_earlier_process_has_ended_with_it() {
        let arn: BuildArn = local_arn("shop", BuildNumber(7), "ab12").parse().unwrap();
        let builds = LocalBuilds::default();
        let [facts] = &builds.builds(std::slice::from_ref(&arn)).await.unwrap()[..] else { panic!() };
        assert_eq!(facts.number, BuildNumber(7));
        assert!(matches!(facts.result, Some(BuildResult::Failed { .. })));
        builds.begin(&arn);
        assert_eq!(builds.builds(&[arn]).await.unwrap()[0].result, None);
    }
}
