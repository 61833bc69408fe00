//! What everything promises that removes review apps.
#![cfg(feature = "aws")]

use packhorse::adapters::aws::CloudFormationReviewApps;
use packhorse::domain::lane::ReviewAppState;
use packhorse::domain::names::{AppName, PullRequest};
use packhorse::domain::namespace::Namespace;
use packhorse::ports::review_apps::ReviewApps;

use crate::support::aws::{clients, make_stack};
use crate::support::fault_proxy::{Fault, FaultProxy, When};
use crate::support::lanes::random_name;
use crate::support::parts;
use crate::support::suite::suite;

/// Review apps under test.
pub(crate) trait Bench: Send + Sync {
    fn apps(&self) -> &dyn ReviewApps;

    /// Makes the review app of a pull request.
    fn make(&self, pipeline: &AppName, pr: PullRequest);
}

fn some_pull_request() -> (AppName, PullRequest) {
    (random_name("storefront").parse().unwrap(), "12".parse().unwrap())
}

/// What was never there is gone, and nothing is ordered.
async fn what_is_not_there_is_gone(bench: &impl Bench) {
    let (pipeline, pr) = some_pull_request();
    assert!(!bench.apps().remove(&pipeline, pr).await.unwrap());
    assert_eq!(bench.apps().removal(&pipeline, pr).await.unwrap(), Some(ReviewAppState::Gone));
}

/// A removal that was ordered comes to its end, and ordering it again changes nothing.
async fn what_was_removed_is_gone(bench: &impl Bench) {
    let (pipeline, pr) = some_pull_request();
    bench.make(&pipeline, pr);
    assert!(bench.apps().remove(&pipeline, pr).await.unwrap());
    let mut state = bench.apps().removal(&pipeline, pr).await.unwrap();
    while state.is_none() {
        state = bench.apps().removal(&pipeline, pr).await.unwrap();
    }
    assert_eq!(state, Some(ReviewAppState::Gone));
    assert!(!bench.apps().remove(&pipeline, pr).await.unwrap());
    assert_eq!(bench.apps().removal(&pipeline, pr).await.unwrap(), Some(ReviewAppState::Gone));
}

/// The review app of another pull request stays.
async fn only_the_named_one_goes(bench: &impl Bench) {
    let (pipeline, pr) = some_pull_request();
    let other = "13".parse().unwrap();
    for pr in [pr, other] {
        bench.make(&pipeline, pr);
    }
    assert!(bench.apps().remove(&pipeline, pr).await.unwrap());
    assert!(bench.apps().remove(&pipeline, other).await.unwrap(), "it was still there");
}

struct Stacks(CloudFormationReviewApps);

async fn open() -> Stacks {
    Stacks(CloudFormationReviewApps::new(&clients(&parts::moto()).await, Namespace::default()))
}

impl Bench for Stacks {
    fn apps(&self) -> &dyn ReviewApps {
        &self.0
    }

    fn make(&self, pipeline: &AppName, pr: PullRequest) {
        let tags =
            [("apppack:appName", pipeline.as_str()), ("apppack:reviewApp", &pr.stack_tag()), ("apppack", "true")];
        make_stack(&Namespace::default().review_app_stack(pipeline, pr), &tags);
    }
}

suite!(
    cloudformation,
    super::open().await,
    "needs moto",
    [what_is_not_there_is_gone, what_was_removed_is_gone, only_the_named_one_goes,]
);

#[tokio::test]
#[ignore = "needs moto"]
async fn a_removal_is_under_way_or_over_or_has_failed_for_a_reason() {
    let proxy = FaultProxy::before(&parts::moto()).await;
    let apps = CloudFormationReviewApps::new(&clients(&proxy.url()).await, Namespace::default());
    let (pipeline, pr) = some_pull_request();
    let stack = Namespace::default().review_app_stack(&pipeline, pr);
    let failed = |cause: &str| Some(ReviewAppState::Failed { cause: cause.replace("STACK", &stack) });
    for (status, owner, expected) in [
        ("DELETE_IN_PROGRESS", pipeline.as_str(), None),
        ("DELETE_COMPLETE", pipeline.as_str(), Some(ReviewAppState::Gone)),
        ("DELETE_FAILED", pipeline.as_str(), failed("the stack STACK is DELETE_FAILED: the bucket is not empty")),
        // Somebody deployed it once more in between.
        ("UPDATE_COMPLETE", pipeline.as_str(), failed("the stack STACK is UPDATE_COMPLETE: the bucket is not empty")),
        // The name is the same, the review app is not.
        ("CREATE_COMPLETE", "another", Some(ReviewAppState::Gone)),
    ] {
        let body = format!(
            "<DescribeStacksResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><DescribeStacksResult>\
             <Stacks><member><StackName>{stack}</StackName><CreationTime>2026-01-01T00:00:00Z</CreationTime>\
             <StackStatus>{status}</StackStatus><StackStatusReason>the bucket is not empty</StackStatusReason>\
             <Tags><member><Key>apppack:appName</Key><Value>{owner}</Value></member>\
             <member><Key>apppack:reviewApp</Key><Value>pr12</Value></member></Tags></member></Stacks></DescribeStacksResult></DescribeStacksResponse>"
        );
        proxy.fail(When::body("Action=DescribeStacks"), 1, Fault::Answer { status: 200, body });
        assert_eq!(apps.removal(&pipeline, pr).await.unwrap(), expected, "{status}");
    }
    // What cannot be asked is no answer.
    proxy.fail(When::body("Action=DescribeStacks"), usize::MAX, Fault::AccessDenied);
    assert!(apps.removal(&pipeline, pr).await.is_err());
    assert!(proxy.seen(&When::body("Action=DeleteStack")).is_empty());
}
