//! Application Auto Scaling, which moto plays only for services that moto has.

use serde_json::{Value, json};

use super::{Answer, Refusal, State};

fn resource(input: &Value) -> String {
    input["ResourceId"].as_str().unwrap_or_default().to_owned()
}

fn missing(what: &str) -> Refusal {
    Refusal("ObjectNotFoundException", format!("No {what} found for service namespace: ecs"))
}

impl State {
    pub(super) fn describe_targets(&mut self, input: &Value) -> Value {
        let wanted = input["ResourceIds"].as_array();
        let fits = |id: &String| wanted.is_none_or(|wanted| wanted.iter().any(|wanted| wanted == id.as_str()));
        let found: Vec<&Value> = self.targets.iter().filter(|(id, _)| fits(id)).map(|(_, target)| target).collect();
        json!({"ScalableTargets": found})
    }

    pub(super) fn register_target(&mut self, input: &Value) -> Answer {
        let id = resource(input);
        let known = id.strip_prefix("service/prod/").and_then(|name| self.services.get(name)).is_some();
        if !known {
            return Err(Refusal("ValidationException", format!("ECS service doesn't exist: {id}")));
        }
        if input["MinCapacity"].as_i64() > input["MaxCapacity"].as_i64() {
            return Err(Refusal(
                "ValidationException",
                "Maximum capacity cannot be less than minimum capacity".to_owned(),
            ));
        }
        let mut target = input.clone();
        target["CreationTime"] = 1_767_225_600.into();
        target["RoleARN"] =
            "arn:aws:iam::111122223333:role/aws-service-role/ecs.application-autoscaling.amazonaws.com/x".into();
        self.targets.insert(id, target);
        Ok(json!({}))
    }

    pub(super) fn deregister_target(&mut self, input: &Value) -> Answer {
        let id = resource(input);
        self.targets.remove(&id).ok_or_else(|| missing("scalable target"))?;
        // So does AWS.
        self.policies.retain(|_, policy| policy["ResourceId"] != id);
        Ok(json!({}))
    }

    pub(super) fn describe_policies(&mut self, input: &Value) -> Value {
        let id = resource(input);
        let found: Vec<&Value> = self.policies.values().filter(|policy| policy["ResourceId"] == id).collect();
        json!({"ScalingPolicies": found})
    }

    pub(super) fn put_policy(&mut self, input: &Value) -> Answer {
        let id = resource(input);
        if !self.targets.contains_key(&id) {
            return Err(missing("scalable target"));
        }
        let mut policy = input.clone();
        policy["PolicyARN"] =
            format!("arn:aws:autoscaling:us-east-1:111122223333:scalingPolicy:x:resource/ecs/{id}").into();
        policy["CreationTime"] = 1_767_225_600.into();
        self.policies.insert(format!("{id} {}", input["PolicyName"]), policy.clone());
        Ok(json!({"PolicyARN": policy["PolicyARN"], "Alarms": []}))
    }
}
