//! A table in DynamoDB Local, as the region stack makes it, and its items as they lie there.
#![allow(dead_code, reason = "each build of the tests uses its own part")]

use serde_json::{Value, json};

use super::http;
use super::lanes::random_name;
use super::parts;

/// A table of its own, removed when dropped.
pub(crate) struct Table {
    pub(crate) endpoint: String,
    pub(crate) name: String,
    access_key: String,
}

impl Table {
    /// Makes a table with the sparse index of active lanes.
    pub(crate) fn indexed() -> Self {
        Self::make(&json!([{
            "IndexName": "active",
            "KeySchema": [{"AttributeName": "active", "KeyType": "HASH"}],
            "Projection": {"ProjectionType": "KEYS_ONLY"}
        }]))
    }

    /// Makes a table as AppPack's own stack does, without that index.
    pub(crate) fn without_index() -> Self {
        Self::make(&Value::Null)
    }

    /// Makes the table under its own name, for whoever uses this access key.
    pub(crate) fn of_account(access_key: &str) -> Self {
        Self::make_as(access_key, "apppack".to_owned(), &Value::Null)
    }

    fn make(indexes: &Value) -> Self {
        Self::make_as("test", random_name("apppack"), indexes)
    }

    fn make_as(access_key: &str, name: String, indexes: &Value) -> Self {
        let table = Self { endpoint: parts::dynamodb(), name, access_key: access_key.to_owned() };
        let mut names = vec!["primary_id", "secondary_id"];
        let mut input = json!({
            "TableName": table.name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [
                {"AttributeName": "primary_id", "KeyType": "HASH"},
                {"AttributeName": "secondary_id", "KeyType": "RANGE"}
            ]
        });
        if !indexes.is_null() {
            input["GlobalSecondaryIndexes"] = indexes.clone();
            names.push("active");
        }
        input["AttributeDefinitions"] =
            names.iter().map(|name| json!({"AttributeName": name, "AttributeType": "S"})).collect();
        table.call("CreateTable", &input);
        table
    }

    fn call(&self, operation: &str, input: &Value) -> Value {
        let target = format!("DynamoDB_20120810.{operation}");
        http::call_as(&self.access_key, &self.endpoint, "dynamodb", &target, input)
            .unwrap_or_else(|answer| panic!("{operation}: {answer:?}"))
    }

    /// Returns an item as the service sends it, with the types of its attributes.
    pub(crate) fn raw(&self, primary_id: &str, secondary_id: &str) -> Option<Value> {
        let key = json!({"primary_id": {"S": primary_id}, "secondary_id": {"S": secondary_id}});
        let input = json!({"TableName": self.name, "Key": key, "ConsistentRead": true});
        self.call("GetItem", &input).get("Item").cloned()
    }

    /// Writes an item as it is.
    pub(crate) fn put_raw(&self, item: &Value) {
        self.call("PutItem", &json!({"TableName": self.name, "Item": item}));
    }
}

impl Table {
    /// Writes an item with this payload in its attribute `value`.
    pub(crate) fn put_value(&self, primary_id: &str, secondary_id: &str, value: &Value) {
        self.put_raw(&json!({
            "primary_id": {"S": primary_id}, "secondary_id": {"S": secondary_id}, "value": attribute(value)
        }));
    }
}

/// JSON as the service keeps it, with the type of each part.
pub(crate) fn attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({"NULL": true}),
        Value::Bool(flag) => json!({"BOOL": flag}),
        Value::Number(number) => json!({"N": number.to_string()}),
        Value::String(text) => json!({"S": text}),
        Value::Array(list) => json!({"L": list.iter().map(attribute).collect::<Vec<_>>()}),
        Value::Object(map) => {
            json!({"M": map.iter().map(|(name, value)| (name.clone(), attribute(value))).collect::<serde_json::Map<_, _>>()})
        }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let target = "DynamoDB_20120810.DeleteTable";
        let _ = http::call_as(&self.access_key, &self.endpoint, "dynamodb", target, &json!({"TableName": self.name}));
    }
}
