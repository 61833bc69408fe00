//! What each user may use, in DynamoDB: `USER#{email}` / `ACCESS` (`data-contract` 1.10).

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;

use super::failure::sort;
use super::items::{self, Item};
use crate::ports::access_items::{Access, AccessItems, UserAccess};
use crate::ports::failure::Failure;

/// Keeps one item per user, with sets that are changed one member at a time.
#[derive(Debug, Clone)]
pub struct DynamoAccessItems {
    client: Client,
    table: String,
}

const PARTITION: &str = "USER#";
const SORT: &str = "ACCESS";
const APPS: &str = "apps";
const ACCOUNTS: &str = "accounts";

impl DynamoAccessItems {
    /// Keeps items in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    async fn update(&self, email: &str, access: &Access, change: &str, condition: &str) -> Result<(), Failure> {
        let (set, member) = match access {
            Access::App(app) => (APPS, app),
            Access::Account(account) => (ACCOUNTS, account),
        };
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(items::key(&format!("{PARTITION}{email}"), SORT)))
            .update_expression(format!("ADD #version :one {change}"))
            // A set that is as it should be is not written again.
            .condition_expression(condition)
            .expression_attribute_names("#set", set)
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .expression_attribute_values(":members", AttributeValue::Ss(vec![member.clone()]))
            .expression_attribute_values(":member", AttributeValue::S(member.clone()));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(sort("write what a user may use", error)),
        }
    }
}

#[async_trait]
impl AccessItems for DynamoAccessItems {
    async fn grant(&self, email: &str, access: &Access) -> Result<(), Failure> {
        self.update(email, access, ", #set :members", "NOT contains(#set, :member)").await
    }

    async fn revoke(&self, email: &str, access: &Access) -> Result<(), Failure> {
        self.update(email, access, "DELETE #set :members", "contains(#set, :member)").await
    }

    async fn users(&self) -> Result<BTreeMap<String, UserAccess>, Failure> {
        let mut pages = self
            .client
            .scan()
            .table_name(&self.table)
            .filter_expression("#sort = :access AND begins_with(#partition, :user)")
            .projection_expression("#partition, #apps, #accounts")
            .expression_attribute_names("#partition", items::PARTITION_KEY)
            .expression_attribute_names("#sort", items::SORT_KEY)
            .expression_attribute_names("#apps", APPS)
            .expression_attribute_names("#accounts", ACCOUNTS)
            .expression_attribute_values(":access", AttributeValue::S(SORT.to_owned()))
            .expression_attribute_values(":user", AttributeValue::S(PARTITION.to_owned()))
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        let mut users = BTreeMap::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| sort("list what users may use", error))?;
            let name = item.get(items::PARTITION_KEY).and_then(|name| name.as_s().ok());
            let Some(email) = name.and_then(|name| name.strip_prefix(PARTITION)) else { continue };
            let access = UserAccess { apps: set(&item, APPS), accounts: set(&item, ACCOUNTS) };
            if access != UserAccess::default() {
                users.insert(email.to_owned(), access);
            }
        }
        Ok(users)
    }
}

fn set(item: &Item, name: &str) -> BTreeSet<String> {
    item.get(name).and_then(|set| set.as_ss().ok()).into_iter().flatten().cloned().collect()
}
