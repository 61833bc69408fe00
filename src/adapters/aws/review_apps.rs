//! The CloudFormation stacks of review apps.

use async_trait::async_trait;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::{Stack, StackStatus};
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;

use super::clients::Clients;
use super::failure::sort;
use crate::domain::lane::ReviewAppState;
use crate::domain::names::{AppName, PullRequest};
use crate::domain::namespace::Namespace;
use crate::ports::failure::Failure;
use crate::ports::review_apps::ReviewApps;

/// Removes review apps by deleting their stacks.
#[derive(Debug, Clone)]
pub struct CloudFormationReviewApps {
    client: Client,
    namespace: Namespace,
}

impl CloudFormationReviewApps {
    /// Uses the stacks of this account and region.
    pub fn new(clients: &Clients, namespace: Namespace) -> Self {
        Self { client: clients.cloudformation(), namespace }
    }

    /// Returns a stack and its status, or nothing when there is no such stack.
    async fn find(&self, stack: &str) -> Result<Option<(Stack, StackStatus)>, Failure> {
        let doing = format!("look for the stack {stack}");
        match self.client.describe_stacks().stack_name(stack).send().await {
            Ok(answer) => match answer.stacks().first().and_then(|found| Some((found, found.stack_status.clone()?))) {
                Some((found, status)) => Ok(Some((found.clone(), status))),
                None => Err(Failure::refused(doing, "the answer has no stack")),
            },
            // The service has no code of its own for this; any other failure says nothing about the stack.
            Err(SdkError::ServiceError(refusal))
                if refusal.err().code() == Some("ValidationError")
                    && refusal.err().message().is_some_and(|text| text.contains("does not exist")) =>
            {
                Ok(None)
            }
            Err(error) => Err(sort(doing, error)),
        }
    }

    /// Returns the stack of this name where it is that of the review app.
    async fn of_review_app(&self, stack: &str, pipeline: &AppName, pr: PullRequest) -> Result<Found, Failure> {
        let (found, status) = match self.find(stack).await? {
            None | Some((_, StackStatus::DeleteComplete)) => return Ok(Found::Nothing),
            Some(found) => found,
        };
        match self.whose(&found) {
            Owner::Is(owner, of) if owner == pipeline.as_str() && of == pr.stack_tag() => {}
            // The name is the same for pull request 23 of `web1` and 123 of `web`.
            Owner::Is(..) => return Ok(Found::Nothing),
            Owner::Untagged => {
                let cause = "its tags do not say which review app it is, and its name may be that of two";
                return Err(Failure::refused(format!("remove the stack {stack}"), cause));
            }
        }
        Ok(Found::Stack(Box::new(found), status))
    }

    fn whose<'s>(&self, stack: &'s Stack) -> Owner<'s> {
        let [app, review_app] = self.namespace.review_app_tags();
        let value = |key: &str| stack.tags().iter().find(|tag| tag.key() == Some(key)).and_then(|tag| tag.value());
        match (value(&app), value(&review_app)) {
            (Some(app), Some(review_app)) => Owner::Is(app, review_app),
            _ => Owner::Untagged,
        }
    }
}

/// What a stack's tags say.
enum Owner<'s> {
    /// The pipeline, and the pull request as stacks write it.
    Is(&'s str, &'s str),
    /// Nothing, or not enough.
    Untagged,
}

/// A stack that was found under the name of a review app's.
enum Found {
    /// None, or one of another review app.
    Nothing,
    /// That of the review app.
    Stack(Box<Stack>, StackStatus),
}

#[async_trait]
impl ReviewApps for CloudFormationReviewApps {
    async fn remove(&self, pipeline: &AppName, pr: PullRequest) -> Result<bool, Failure> {
        let stack = self.namespace.review_app_stack(pipeline, pr);
        match self.of_review_app(&stack, pipeline, pr).await? {
            Found::Nothing => Ok(false),
            Found::Stack(_, StackStatus::DeleteInProgress) => Ok(true),
            // A deletion that failed goes on only when it is ordered again.
            Found::Stack(found, _) => {
                // By its id: another stack may have taken the name since.
                let delete = self.client.delete_stack().stack_name(found.stack_id().unwrap_or(&stack));
                delete.send().await.map_err(|error| sort(format!("remove the stack {stack}"), error))?;
                Ok(true)
            }
        }
    }

    async fn removal(&self, pipeline: &AppName, pr: PullRequest) -> Result<Option<ReviewAppState>, Failure> {
        let stack = self.namespace.review_app_stack(pipeline, pr);
        Ok(match self.of_review_app(&stack, pipeline, pr).await? {
            Found::Nothing => Some(ReviewAppState::Gone),
            Found::Stack(_, StackStatus::DeleteInProgress) => None,
            Found::Stack(found, status) => {
                let why = found.stack_status_reason().map_or_else(String::new, |reason| format!(": {reason}"));
                let cause = format!("the stack {stack} is {}{why}", status.as_str());
                Some(ReviewAppState::Failed { cause })
            }
        })
    }
}
