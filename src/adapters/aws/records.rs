//! Client-visible items in DynamoDB.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::types::AttributeValue;

use super::failure::sort;
use super::items::{self, Item};
use crate::domain::lane::{BuildRecord, DeployStatus, LaneKey};
use crate::domain::names::BuildNumber;
use crate::domain::namespace::{build_sort_key, partition};
use crate::ports::failure::Failure;
use crate::ports::lane_store::Version;
use crate::ports::records::Records;

/// Writes items whole, guarded by the lane's version.
#[derive(Debug, Clone)]
pub struct DynamoRecords {
    client: Client,
    table: String,
}

/// An item that something else than a lane wrote may be replaced: the lane is the truth from then on.
const NOT_NEWER: &str = "attribute_not_exists(#at) OR #at <= :at";

impl DynamoRecords {
    /// Keeps items in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    async fn put(&self, doing: String, at: Version, item: Item) -> Result<(), Failure> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(NOT_NEWER)
            .expression_attribute_names("#at", items::LANE_VERSION)
            .expression_attribute_values(":at", AttributeValue::N(at.0.to_string()));
        match put.send().await {
            Ok(_) => Ok(()),
            Err(error) if error.as_service_error().is_some_and(PutItemError::is_conditional_check_failed_exception) => {
                Ok(())
            }
            Err(error) => Err(sort(doing, error)),
        }
    }

    async fn get(&self, doing: &str, key: Item) -> Result<Option<Item>, Failure> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(key)).consistent_read(true);
        Ok(get.send().await.map_err(|error| sort(doing, error))?.item)
    }
}

#[async_trait]
impl Records for DynamoRecords {
    async fn put_build(&self, key: &LaneKey, at: Version, record: &BuildRecord) -> Result<(), Failure> {
        let doing = format!("write build {} of {key}", record.build_number);
        self.put(doing, at, items::build_item(key, at, record)).await
    }

    async fn remove_build(&self, key: &LaneKey, at: Version, number: BuildNumber) -> Result<(), Failure> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(items::key(&partition(key), &build_sort_key(number))))
            .condition_expression(NOT_NEWER)
            .expression_attribute_names("#at", items::LANE_VERSION)
            .expression_attribute_values(":at", AttributeValue::N(at.0.to_string()));
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(DeleteItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(sort(format!("remove build {number} of {key}"), error)),
        }
    }

    async fn put_deploy_status(&self, key: &LaneKey, at: Version, status: &DeployStatus) -> Result<(), Failure> {
        let doing = format!("write the deploy status of {key}");
        self.put(doing, at, items::deploy_status_item(key, at, status)).await
    }

    async fn build(&self, key: &LaneKey, number: BuildNumber) -> Result<Option<BuildRecord>, Failure> {
        let doing = format!("read build {number} of {key}");
        let found = self.get(&doing, items::key(&partition(key), &build_sort_key(number))).await?;
        found.map(|item| items::read_build(&item).map_err(|error| Failure::refused(&doing, error))).transpose()
    }

    async fn builds(&self, key: &LaneKey, limit: usize) -> Result<Vec<BuildRecord>, Failure> {
        let doing = format!("list the builds of {key}");
        let mut found = Vec::new();
        let mut start = None;
        while found.len() < limit {
            let page = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("#partition = :partition AND begins_with(#sort, :build)")
                .expression_attribute_names("#partition", items::PARTITION_KEY)
                .expression_attribute_names("#sort", items::SORT_KEY)
                .expression_attribute_values(":partition", AttributeValue::S(partition(key)))
                .expression_attribute_values(":build", AttributeValue::S("BUILD#".to_owned()))
                .scan_index_forward(false)
                .consistent_read(true)
                .limit(i32::try_from(limit - found.len()).unwrap_or(i32::MAX))
                .set_exclusive_start_key(start)
                .send()
                .await
                .map_err(|error| sort(&doing, error))?;
            for item in page.items() {
                found.push(items::read_build(item).map_err(|error| Failure::refused(&doing, error))?);
            }
            match page.last_evaluated_key {
                // An answer is cut at 1 MB.
                Some(next) if !next.is_empty() => start = Some(next),
                _ => break,
            }
        }
        Ok(found)
    }

    async fn deploy_status(&self, key: &LaneKey) -> Result<Option<DeployStatus>, Failure> {
        let doing = format!("read the deploy status of {key}");
        let found = self.get(&doing, items::deploy_status_key(key)).await?;
        found.map(|item| items::read_deploy_status(&item).map_err(|error| Failure::refused(&doing, error))).transpose()
    }
}
