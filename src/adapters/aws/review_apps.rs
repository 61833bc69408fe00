//! The CloudFormation stacks of review apps.

use async_trait::async_trait;
use aws_sdk_cloudformation::Client;
use aws_sdk_cloudformation::types::StackStatus;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;

use super::clients::Clients;
use super::failure::sort;
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

    /// Returns a stack's status, or nothing when there is no such stack.
    async fn status(&self, stack: &str) -> Result<Option<StackStatus>, Failure> {
        let doing = format!("look for the stack {stack}");
        match self.client.describe_stacks().stack_name(stack).send().await {
            Ok(answer) => match answer.stacks().first().and_then(|found| found.stack_status.clone()) {
                Some(status) => Ok(Some(status)),
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
}

#[async_trait]
impl ReviewApps for CloudFormationReviewApps {
    async fn remove(&self, pipeline: &AppName, pr: PullRequest) -> Result<bool, Failure> {
        let stack = self.namespace.review_app_stack(pipeline, pr);
        match self.status(&stack).await? {
            None | Some(StackStatus::DeleteComplete) => Ok(false),
            Some(StackStatus::DeleteInProgress) => Ok(true),
            // A deletion that failed goes on only when it is ordered again.
            Some(_) => {
                let delete = self.client.delete_stack().stack_name(&stack);
                delete.send().await.map_err(|error| sort(format!("remove the stack {stack}"), error))?;
                Ok(true)
            }
        }
    }
}
