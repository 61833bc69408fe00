//! Lanes in DynamoDB.

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata as _;

use super::failure::sort;
use super::items::{self, Reader};
use super::versioned_item;
use crate::adapters::lane_document;
use crate::domain::lane::{Lane, LaneKey};
use crate::domain::namespace::{LANE_SORT_KEY, partition};
use crate::ports::failure::Failure;
use crate::ports::lane_store::{LaneStore, Version, Versioned};

/// Keeps each lane as one item, changed only by conditional writes on its version.
#[derive(Debug, Clone)]
pub struct DynamoLaneStore {
    client: Client,
    table: String,
}

/// The sparse index of lanes in which something is in flight.
const ACTIVE_INDEX: &str = "active";

impl DynamoLaneStore {
    /// Keeps lanes in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Asks the index, or `None` where the table has none.
    async fn indexed(&self) -> Result<Option<Vec<LaneKey>>, Failure> {
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(ACTIVE_INDEX)
            .key_condition_expression("#active = :active")
            .expression_attribute_names("#active", items::ACTIVE)
            .expression_attribute_values(":active", AttributeValue::S(items::ACTIVE_VALUE.to_owned()))
            .into_paginator()
            .items()
            .send();
        let mut lanes = Vec::new();
        while let Some(item) = pages.next().await {
            match item {
                Ok(item) => lanes.push(lane_key(&item)?),
                // A table that AppPack made has no index; DynamoDB has no error of its own for that.
                Err(SdkError::ServiceError(refusal)) if refusal.err().code() == Some("ValidationException") => {
                    return Ok(None);
                }
                Err(error) => return Err(sort("list active lanes", error)),
            }
        }
        Ok(Some(lanes))
    }

    async fn scanned(&self, only_active: bool) -> Result<Vec<LaneKey>, Failure> {
        let scan = self
            .client
            .scan()
            .table_name(&self.table)
            .projection_expression("#partition")
            .expression_attribute_names("#partition", items::PARTITION_KEY)
            .expression_attribute_names("#sort", items::SORT_KEY)
            .expression_attribute_values(":lane", AttributeValue::S(LANE_SORT_KEY.to_owned()));
        let scan = if only_active {
            scan.filter_expression("#sort = :lane AND attribute_exists(#active)")
                .expression_attribute_names("#active", items::ACTIVE)
        } else {
            scan.filter_expression("#sort = :lane")
        };
        let mut pages = scan.into_paginator().items().send();
        let mut lanes = Vec::new();
        while let Some(item) = pages.next().await {
            lanes.push(lane_key(&item.map_err(|error| sort("list active lanes", error))?)?);
        }
        Ok(lanes)
    }
}

#[async_trait]
impl LaneStore for DynamoLaneStore {
    async fn load(&self, key: &LaneKey) -> Result<Option<Versioned>, Failure> {
        let doing = format!("read {}", lane_document::name(key));
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(items::key(&partition(key), LANE_SORT_KEY)))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| sort(&doing, error))?;
        let Some(item) = answer.item else { return Ok(None) };
        let reader = Reader::new(&item);
        let read = || -> Result<_, items::WrongItem> {
            let format = reader.number("format")?;
            Ok((reader.number("version")?, format, reader.text("state")?))
        };
        let (version, format, state) = read().map_err(|error| Failure::refused(&doing, error))?;
        let lane = lane_document::decode(key, u32::try_from(format).unwrap_or(u32::MAX), state)?;
        Ok(Some(Versioned { lane, version: Version(version) }))
    }

    async fn commit(&self, seen: Version, next: &Lane) -> Result<Version, Failure> {
        let commit_id = versioned_item::commit_id();
        let item = items::lane_item(next, Version(seen.0 + 1), &commit_id)?;
        let what = lane_document::name(&next.key);
        versioned_item::put(&self.client, &self.table, what, seen, item, &commit_id).await
    }

    /// Reads the whole table: a lane is an item among all others.
    async fn all(&self) -> Result<Vec<LaneKey>, Failure> {
        self.scanned(false).await
    }

    /// The index lags behind by moments, as every global index does; a sweep comes again.
    async fn active(&self) -> Result<Vec<LaneKey>, Failure> {
        match self.indexed().await? {
            Some(lanes) => Ok(lanes),
            None => self.scanned(true).await,
        }
    }
}

fn lane_key(item: &HashMap<String, AttributeValue>) -> Result<LaneKey, Failure> {
    let doing = "read the key of an active lane";
    let text = Reader::new(item).text(items::PARTITION_KEY).map_err(|error| Failure::refused(doing, error))?;
    let name = text.strip_prefix("APP#").ok_or_else(|| Failure::refused(doing, format!("`{text}` is not an app")))?;
    lane_document::key(name)
}
