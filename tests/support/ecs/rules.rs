//! Rules of `EventBridge`. In moto a rule without a pattern matches every event of everybody.

use serde_json::{Value, json};

use super::{Answer, Refusal, State};

impl State {
    pub(super) fn list_rules(&self, input: &Value) -> Value {
        let prefix = input["NamePrefix"].as_str().unwrap_or_default();
        let fits = self.rules.keys().filter(|name| name.starts_with(prefix));
        json!({"Rules": fits.map(|name| json!({"Name": name, "State": "ENABLED"})).collect::<Vec<_>>()})
    }

    fn targets_of(&mut self, name: &Value) -> Result<&mut Vec<Value>, Refusal> {
        let missing =
            || Refusal("ResourceNotFoundException", format!("Rule {name} does not exist on EventBus default."));
        self.rules.get_mut(name.as_str().unwrap()).ok_or_else(missing)
    }

    pub(super) fn list_targets(&mut self, input: &Value) -> Answer {
        Ok(json!({"Targets": self.targets_of(&input["Rule"])?}))
    }

    pub(super) fn remove_targets(&mut self, input: &Value) -> Answer {
        let ids = input["Ids"].as_array().unwrap();
        self.targets_of(&input["Rule"])?.retain(|target| !ids.contains(&target["Id"]));
        Ok(json!({"FailedEntryCount": 0, "FailedEntries": []}))
    }

    pub(super) fn delete_rule(&mut self, input: &Value) -> Answer {
        if !self.targets_of(&input["Name"])?.is_empty() {
            return Err(Refusal("ValidationException", "Rule can't be deleted since it has targets.".to_owned()));
        }
        self.rules.remove(input["Name"].as_str().unwrap());
        Ok(json!({}))
    }
}
