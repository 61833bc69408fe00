//! Items that are changed only by conditional writes on their version.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;

use super::failure::sort;
use super::items::{self, Item};
use crate::ports::failure::Failure;
use crate::ports::lane_store::Version;

/// Makes an id for a commit, by which its own repetition is told from somebody else's commit.
pub(super) fn commit_id() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

/// Writes an item that carries `seen` + 1 as its `version`, where the stored one still has `seen`, or writes nothing.
/// Version 0 creates it. `what` names it in failures.
pub(super) async fn put(
    client: &Client,
    table: &str,
    what: String,
    seen: Version,
    item: Item,
    commit_id: &str,
) -> Result<Version, Failure> {
    let put = client
        .put_item()
        .table_name(table)
        .set_item(Some(item))
        .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
    let put = if seen.0 == 0 {
        put.condition_expression("attribute_not_exists(#partition)")
            .expression_attribute_names("#partition", items::PARTITION_KEY)
    } else {
        put.condition_expression("#version = :seen")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":seen", AttributeValue::N(seen.0.to_string()))
    };
    match put.send().await {
        Ok(_) => Ok(Version(seen.0 + 1)),
        // A retry of the client met its own first attempt, whose answer was lost.
        Err(error) if stored(&error).is_some_and(|item| items::has_commit_id(item, commit_id)) => {
            Ok(Version(seen.0 + 1))
        }
        Err(error) if stored(&error).is_some() || is_conflict(&error) => Err(Failure::Conflict { what }),
        Err(error) => Err(sort(format!("write {what}"), error)),
    }
}

/// Returns the item that made a condition fail.
fn stored(error: &SdkError<PutItemError, HttpResponse>) -> Option<&Item> {
    match error.as_service_error()? {
        PutItemError::ConditionalCheckFailedException(failed) => failed.item(),
        _ => None,
    }
}

fn is_conflict(error: &SdkError<PutItemError, HttpResponse>) -> bool {
    error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception)
}
