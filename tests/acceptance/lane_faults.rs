//! Builds that a lane follows, while the stores of its facts are away.
#![cfg(feature = "aws")]

use std::sync::Arc;

use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::made_image::{Attempt, Made, SECRET};
use crate::support::parts;

/// A build whose S3 and DynamoDB may misbehave.
struct Followed {
    attempt: Attempt,
    s3: FaultProxy,
    table: FaultProxy,
}

impl Followed {
    async fn of(made: &Made, number: u64) -> Self {
        let mut attempt = Attempt::of(made, number).await;
        let (s3, table) = (FaultProxy::before(&parts::moto()).await, FaultProxy::before(&parts::dynamodb()).await);
        for (name, proxy) in [("AWS_ENDPOINT_URL", &s3), ("AWS_ENDPOINT_URL_DYNAMODB", &table)] {
            attempt.account.environment.insert(name.to_owned(), proxy.url());
        }
        Self { attempt, s3, table }
    }

    /// Checks that `build` fails with these words; returns what clients then read of its phase.
    fn build_fails(&self, words: &[&str]) -> String {
        let ran = self.attempt.run("build");
        assert_eq!(ran.code, 1, "{ran}");
        for word in words {
            assert!(Attempt::told(&ran).contains(word), "`{word}` is missing: {ran}");
        }
        assert!(!ran.to_string().contains(SECRET), "{ran}");
        self.table.behave();
        let record = self.attempt.account.record(self.attempt.number);
        record["build"]["state"].as_str().unwrap().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker Engine 26, pack, the registry, moto and DynamoDB Local"]
async fn where_a_lane_follows_the_build_its_stores_have_to_answer() {
    const AGAIN: &str = "start the build again";
    let made = tokio::task::spawn_blocking(Made::new).await.unwrap();
    let table = || When::target("DynamoDB");
    for number in 301..=304 {
        let build = Followed::of(&made, number).await;
        let made = Arc::clone(&made);
        tokio::task::spawn_blocking(move || {
            match number {
                301 => {
                    build.s3.fail(When::path("PUT", "build.json"), usize::MAX, Fault::SlowDown);
                    build.attempt.succeeds("prebuild");
                    assert_eq!(build.build_fails(&["301/build.json", AGAIN]), "failed");
                }
                302 => {
                    build.attempt.succeeds("prebuild");
                    build.table.fail(table(), usize::MAX, Fault::InternalError);
                    // Nobody could be told; the sweep finds the end of the build with CodeBuild.
                    assert_eq!(build.build_fails(&["no answer while trying to ", AGAIN]), "started");
                }
                303 => {
                    build.attempt.succeeds("prebuild");
                    build.table.fail(table(), usize::MAX, Fault::AccessDenied);
                    assert_eq!(
                        build.build_fails(&["access denied while trying to ", "allow it for the role"]),
                        "started"
                    );
                }
                _ => {
                    for verb in ["prebuild", "build", "postbuild"] {
                        build.table.fail(table(), 2, Fault::Throttled);
                        build.attempt.succeeds(verb);
                    }
                    assert_eq!(build.attempt.account.record(number)["test"]["state"], "succeeded");
                }
            }
            let named = made.account.tags().contains_key(&format!("build-{number}"));
            assert_eq!(named, number == 304);
        })
        .await
        .unwrap();
    }
}
