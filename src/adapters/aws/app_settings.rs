//! What an app's stacks have made, in DynamoDB (`data-contract` 1.4, 1.5).

use std::collections::HashMap;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Map, Number, Value};

use super::failure::sort;
use super::items;
use crate::domain::app_settings::{Role, Settings};
use crate::domain::lane::LaneKey;
use crate::domain::names::AppName;
use crate::domain::namespace::partition;
use crate::ports::app_settings::AppSettings;
use crate::ports::failure::Failure;

/// Reads the items `settings` and `CONFIG#ecs`.
#[derive(Debug, Clone)]
pub struct DynamoSettings {
    client: Client,
    table: String,
}

const SETTINGS: &str = "settings";
const ECS: &str = "CONFIG#ecs";

impl DynamoSettings {
    /// Reads from `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Writes the role in which the orchestrator acts for an app (`data-contract` 1.10), and where it is given the one in which
    /// its scheduled tasks are started; all else of the item stays. A crash in between leaves no role, as before.
    ///
    /// # Errors
    /// [`Failure::Conflict`] where no stack has written settings.
    pub async fn set_role(&self, app: &AppName, role: &Role, schedule_role: Option<&str>) -> Result<(), Failure> {
        let doing = format!("write the role of {app}");
        let shared = partition(&LaneKey::app(app.clone()));
        let update = || {
            let update = self.client.update_item().table_name(&self.table).set_key(Some(items::key(&shared, SETTINGS)));
            let update = update.condition_expression("attribute_exists(#value)");
            update
                .expression_attribute_names("#value", "value")
                .expression_attribute_names("#orchestrator", "orchestrator")
        };
        // A map that is not there has to be made before anything can be put into it.
        let make = update().update_expression("SET #value.#orchestrator = if_not_exists(#value.#orchestrator, :empty)");
        let make = make.expression_attribute_values(":empty", AttributeValue::M(HashMap::new()));
        make.send().await.map_err(|error| sort(&doing, error))?;
        let wanted = [
            ("role_arn", Some(role.arn.as_str())),
            ("external_id", role.external_id.as_deref()),
            ("events_role_arn", schedule_role),
        ];
        let (mut write, mut parts) = (update(), Vec::new());
        for (name, value) in wanted.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            parts.push(format!("#value.#orchestrator.{name} = :{name}"));
            write = write.expression_attribute_values(format!(":{name}"), AttributeValue::S(value.to_owned()));
        }
        let expression = format!("SET {}", parts.join(", "));
        write.update_expression(expression).send().await.map_err(|error| sort(doing, error))?;
        Ok(())
    }

    /// Returns the payload of an item.
    async fn payload(&self, partition: &str, sort_key: &str) -> Result<Option<Value>, Failure> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(items::key(partition, sort_key)));
        let answer = get.consistent_read(true).send().await;
        let answer = answer.map_err(|error| sort(format!("read {sort_key} of {partition}"), error))?;
        Ok(answer.item.and_then(|mut item| item.remove("value")).map(json))
    }
}

#[async_trait]
impl AppSettings for DynamoSettings {
    async fn settings(&self, lane: &LaneKey) -> Result<Settings, Failure> {
        // All but what a review app has of its own lies with its pipeline (`data-contract` 1.3).
        let shared = partition(&LaneKey::app(lane.app.clone()));
        let settings = self.payload(&shared, SETTINGS).await?;
        let settings =
            settings.ok_or_else(|| Failure::NotFound { what: format!("the item `settings` of {shared}") })?;
        let ecs = self.payload(&shared, ECS).await?;
        let own = match lane.pull_request {
            None => None,
            Some(_) => Some(self.payload(&partition(lane), SETTINGS).await?.unwrap_or(Value::Null)),
        };
        Settings::read(&settings, own.as_ref(), ecs.as_ref())
            .map_err(|error| Failure::refused(format!("use the settings of {lane}"), error))
    }
}

/// Converts an attribute; sets become lists, as for the clients that decode these items (`data-contract` 1.2).
fn json(value: AttributeValue) -> Value {
    let number = |text: String| text.parse::<Number>().map_or(Value::String(text), Value::Number);
    match value {
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::N(text) => number(text),
        AttributeValue::Bool(flag) => Value::Bool(flag),
        AttributeValue::L(list) => Value::Array(list.into_iter().map(json).collect()),
        AttributeValue::M(map) => {
            Value::Object(map.into_iter().map(|(name, value)| (name, json(value))).collect::<Map<_, _>>())
        }
        AttributeValue::Ss(set) => Value::Array(set.into_iter().map(Value::String).collect()),
        AttributeValue::Ns(set) => Value::Array(set.into_iter().map(number).collect()),
        _ => Value::Null,
    }
}
