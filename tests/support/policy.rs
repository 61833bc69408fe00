//! The policies of the roles in an account, and whether they allow what was called.
//!
//! Of IAM as much as these policies use: wildcards in resources, and the conditions below. Stricter in one thing: a condition on a
//! key that a call does not have is never fulfilled, but with `IfExists`.
#![cfg(feature = "aws")]

use std::collections::BTreeMap;

use serde_json::Value;

/// Where everything of the tests lies.
const HERE: &str = "us-east-1:111122223333";
const ACCOUNT: &str = "111122223333";
/// The key of values that are encrypted.
const KEY: &str = "<key>";

/// A right that a request takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Right {
    pub(crate) action: String,
    pub(crate) resource: String,
    context: BTreeMap<&'static str, Vec<String>>,
}

impl Right {
    fn new(action: &str, resource: impl Into<String>) -> Self {
        Self { action: action.to_owned(), resource: resource.into(), context: BTreeMap::new() }
    }

    fn with(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.context.entry(key).or_default().push(value.into());
        self
    }

    /// The same on something that carries the tag of this app.
    pub(crate) fn of_app(self, app: &str) -> Self {
        self.with("aws:ResourceTag/apppack:appName", app)
    }

    /// To act in a role that was given this id.
    pub(crate) fn to_assume(role: &str, external_id: &str) -> Self {
        let right = Self::new("sts:AssumeRole", role).with("sts:ExternalId", external_id);
        right.with("aws:ResourceTag/apppack", "true")
    }
}

/// What one role may do.
pub(crate) struct Policy {
    statements: Vec<Value>,
}

impl Policy {
    /// Reads `tests/fixtures/policies/NAME.json` for an app.
    pub(crate) fn of(name: &str, app: &str, bucket: &str) -> Self {
        let path = format!("{}/tests/fixtures/policies/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let mut text = std::fs::read_to_string(path).unwrap();
        let (app_logs, activity) = (format!("/apppack/apps/{app}"), format!("/apppack/activity/{app}"));
        // The keys of items hold the word that stands for the app.
        let ours = [
            (":R:A:", format!(":{HERE}:")),
            ("::A:", format!("::{ACCOUNT}:")),
            (".R.", ".us-east-1.".to_owned()),
            ("APP#APP", "\u{1}#\u{2}".to_owned()),
            ("APP_LOGS", app_logs),
            ("ACTIVITY_LOGS", activity),
            ("EXECUTION_ROLE", "shop-exec".to_owned()),
            ("TASK_ROLE", "shop-task".to_owned()),
            ("EVENTS_ROLE", "shop-events".to_owned()),
            ("CLUSTER", "prod".to_owned()),
            ("TABLE", "apppack".to_owned()),
            ("BUCKET", bucket.to_owned()),
            ("APP", "\u{2}".to_owned()),
            ("\u{1}", "APP".to_owned()),
            ("\u{2}", app.to_owned()),
        ];
        for (placeholder, value) in ours {
            text = text.replace(placeholder, &value);
        }
        Self { statements: serde_json::from_str(&text).unwrap() }
    }

    /// The rights among these that the role does not have.
    pub(crate) fn lacks<'r>(&self, rights: impl IntoIterator<Item = &'r Right>) -> Vec<&'r Right> {
        rights.into_iter().filter(|right| !self.gives(right)).collect()
    }

    fn gives(&self, right: &Right) -> bool {
        let any = |effect: &str| {
            self.statements.iter().any(|statement| statement["Effect"] == effect && is_about(statement, right))
        };
        any("Allow") && !any("Deny")
    }
}

fn is_about(statement: &Value, right: &Right) -> bool {
    let resources = texts(&statement["Resource"]);
    let resources = resources.iter().flat_map(|resource| {
        // IAM has no class of digits, so the policy has a line for each.
        let digits = if resource.contains("{n}") { 1..=9 } else { 1..=1 };
        digits.map(|digit| resource.replace("{n}", &format!("{digit}*")))
    });
    texts(&statement["Action"]).iter().any(|action| like(action, &right.action))
        && resources.into_iter().any(|resource| like(&resource, &right.resource))
        && statement["Condition"].as_object().into_iter().flatten().all(|(operator, keys)| {
            keys.as_object().unwrap().iter().all(|(key, wanted)| {
                holds(operator, &texts(wanted), right.context.get(key.as_str()).map(Vec::as_slice))
            })
        })
}

fn holds(operator: &str, wanted: &[&str], found: Option<&[String]>) -> bool {
    let all = |found: &[String]| found.iter().all(|value| wanted.iter().any(|wanted| like(wanted, value)));
    match operator {
        "Null" => found.is_none() == (wanted == ["true"]),
        "StringEquals" | "StringLike" | "ArnEquals" | "ForAllValues:StringLike" => found.is_some_and(all),
        "StringEqualsIfExists" => found.is_none_or(all),
        other => panic!("the condition {other} is not known here"),
    }
}

fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(list) => list.iter().map(|text| text.as_str().unwrap()).collect(),
        text => vec![text.as_str().unwrap()],
    }
}

fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| like(rest, &tail[at..]))
        }),
    }
}

/// The rights that a request takes: for the action itself, and for what comes along with it.
pub(crate) fn rights(action: &str, path: &str, body: &[u8]) -> Vec<Right> {
    let (service, operation) = action.split_once(':').unwrap();
    let input: Value = serde_json::from_slice(body).unwrap_or_default();
    let arn = |kind: &str, name: &str| format!("arn:aws:{kind}:{HERE}:{name}");
    let each = |names: &Value, resource: &dyn Fn(&str) -> String| -> Vec<Right> {
        texts(names).into_iter().map(|name| Right::new(action, resource(name))).collect()
    };
    let one = |resource: String| vec![Right::new(action, resource)];
    match service {
        "s3" if operation == "ListBucket" => one(format!("arn:aws:s3:::{}", path.trim_matches('/'))),
        "s3" => one(format!("arn:aws:s3:::{}", path.trim_start_matches('/'))),
        "dynamodb" => of_table(action, &input),
        "ssm" => of_parameters(action, &input),
        "ecs" => of_ecs(action, &input),
        "codebuild" => {
            let project = |id: &str| arn("codebuild", &format!("project/{}", id.split(':').next().unwrap()));
            let names = ["ids", "id", "projectName"].map(|name| &input[name]);
            each(names.into_iter().find(|names| !names.is_null()).unwrap(), &project)
        }
        "scheduler" if operation == "ListSchedules" => one("*".to_owned()),
        "scheduler" => {
            let name = path.rsplit('/').next().unwrap();
            let mut rights = one(arn("scheduler", &format!("schedule/apppack/{name}")));
            rights.extend(passes(&input["Target"]["RoleArn"], "scheduler.amazonaws.com"));
            rights
        }
        "events" if operation == "ListRules" => one("*".to_owned()),
        "events" if operation == "PutEvents" => {
            let entries = input["Entries"].as_array().unwrap().iter();
            let right = |entry: &Value| {
                let bus = entry["EventBusName"].as_str().unwrap_or("default");
                let right = Right::new(action, arn("events", &format!("event-bus/{bus}")));
                right.with("events:source", entry["Source"].as_str().unwrap())
            };
            entries.map(right).collect()
        }
        "events" => {
            let name = input["Rule"].as_str().or(input["Name"].as_str()).unwrap();
            one(arn("events", &format!("rule/{name}")))
        }
        "application-autoscaling" => {
            let namespace = input["ServiceNamespace"].as_str().unwrap();
            vec![Right::new(action, "*").with("application-autoscaling:service-namespace", namespace)]
        }
        "logs" => one(arn("logs", &format!("log-group:{}:*", input["logGroupName"].as_str().unwrap()))),
        "cloudformation" => {
            let form = String::from_utf8_lossy(body).replace("%3A", ":").replace("%2F", "/");
            let name = form.split('&').find_map(|pair| pair.strip_prefix("StackName=")).unwrap();
            one(if name.starts_with("arn:") {
                name.to_owned()
            } else {
                arn("cloudformation", &format!("stack/{name}/id"))
            })
        }
        "ecr" if operation == "GetAuthorizationToken" => one("*".to_owned()),
        other => panic!("the rights of {other} are not known here ({action} {path})"),
    }
}

/// That a service may be handed a role.
fn passes(role: &Value, to: &str) -> Option<Right> {
    role.as_str().map(|role| Right::new("iam:PassRole", role).with("iam:PassedToService", to))
}

fn of_table(action: &str, input: &Value) -> Vec<Right> {
    let table = format!("arn:aws:dynamodb:{HERE}:table/{}", input["TableName"].as_str().unwrap());
    let resource = input["IndexName"].as_str().map_or_else(|| table.clone(), |index| format!("{table}/index/{index}"));
    let key = [&input["Key"], &input["Item"]].into_iter().find_map(|key| key["primary_id"]["S"].as_str());
    let values = input["ExpressionAttributeValues"].as_object().into_iter().flatten();
    let queried = values.filter_map(|(_, value)| value["S"].as_str());
    let queried =
        queried.filter(|text| action.ends_with(":Query") && (text.starts_with("APP#") || text.starts_with("USER#")));
    let keys = key.into_iter().chain(queried);
    vec![keys.fold(Right::new(action, resource), |right, key| right.with("dynamodb:LeadingKeys", key))]
}

fn of_parameters(action: &str, input: &Value) -> Vec<Right> {
    if action == "ssm:DescribeParameters" {
        return vec![Right::new(action, "*")];
    }
    let names = ["Name", "Names", "Path", "ResourceId"].map(|name| &input[name]);
    let names = names.into_iter().find(|names| !names.is_null()).unwrap();
    let mut rights = Vec::new();
    for name in texts(names) {
        let parameter = format!("arn:aws:ssm:{HERE}:parameter{}", name.trim_end_matches('/'));
        rights.push(Right::new(action, parameter.as_str()));
        // What is no secret is not encrypted, and needs no key.
        if input["WithDecryption"] == true && name.contains("/config") {
            let below = if input["Path"].is_null() { parameter } else { format!("{parameter}/*") };
            let decrypt = Right::new("kms:Decrypt", KEY).with("kms:EncryptionContext:PARAMETER_ARN", below);
            rights.push(decrypt.with("kms:ViaService", "ssm.us-east-1.amazonaws.com"));
        }
    }
    rights
}

fn of_ecs(action: &str, input: &Value) -> Vec<Right> {
    let arn = |kind: &str, name: &str| {
        if name.starts_with("arn:") { name.to_owned() } else { format!("arn:aws:ecs:{HERE}:{kind}/{name}") }
    };
    let text = |name: &str| input[name].as_str().unwrap_or_default();
    let operation = action.trim_start_matches("ecs:");
    let mut rights = match operation {
        "RunTask" => {
            let right = Right::new(action, arn("task-definition", text("taskDefinition")));
            vec![right.with("ecs:cluster", arn("cluster", text("cluster")))]
        }
        "StopTask" => vec![Right::new(action, arn("task/prod", text("task")))],
        "DescribeTasks" => {
            texts(&input["tasks"]).into_iter().map(|task| Right::new(action, arn("task/prod", task))).collect()
        }
        "CreateService" => vec![Right::new(action, arn("service/prod", text("serviceName")))],
        "UpdateService" | "DeleteService" => vec![Right::new(action, arn("service/prod", text("service")))],
        "DescribeServices" => texts(&input["services"])
            .into_iter()
            .map(|service| Right::new(action, arn("service/prod", service)))
            .collect(),
        _ => vec![Right::new(action, "*")],
    };
    if input["tags"].as_array().is_some_and(|tags| !tags.is_empty()) {
        rights.push(Right::new("ecs:TagResource", "*").with("ecs:CreateAction", operation));
    }
    for role in [&input["executionRoleArn"], &input["taskRoleArn"]] {
        rights.extend(passes(role, "ecs-tasks.amazonaws.com"));
    }
    rights
}

#[test]
fn a_policy_gives_what_it_names_and_nothing_else() {
    let role = Policy::of("management", "shop", "shop-artifacts");
    let table = |key: &str| {
        let input = serde_json::json!({"TableName": "apppack", "Key": {"primary_id": {"S": key}}});
        rights("dynamodb:GetItem", "/", input.to_string().as_bytes())
    };
    let parameter = |name: &str, decrypted: bool| {
        let input = serde_json::json!({"Name": name, "WithDecryption": decrypted});
        rights("ssm:GetParameter", "/", input.to_string().as_bytes())
    };
    for given in [
        table("APP#shop"),
        table("APP#shop:7"),
        rights("s3:GetObject", "/shop-artifacts/12/build.log", b""),
        parameter("/apppack/apps/shop/scaling", false),
    ] {
        assert!(role.lacks(&given).is_empty(), "{given:?}");
    }
    for beyond in [
        table("APP#shop2"),
        table("USER#dev@example.com"),
        rights("s3:GetObject", "/shop-artifacts/cache/x", b""),
        rights("s3:GetObject", "/other/12/build.log", b""),
        rights("s3:DeleteObject", "/shop-artifacts/12/build.log", b""),
        parameter("/apppack/apps/shop/config/KEY", true),
        parameter("/apppack/apps/shop/config/KEY", false),
    ] {
        assert_eq!(role.lacks(&beyond).len(), beyond.len(), "{beyond:?}");
    }
    let run = serde_json::json!({"cluster": "arn:aws:ecs:us-east-1:111122223333:cluster/other", "taskDefinition":
        "arn:aws:ecs:us-east-1:111122223333:task-definition/shop-release:1"});
    assert_eq!(role.lacks(&rights("ecs:RunTask", "/", run.to_string().as_bytes())).len(), 1, "another cluster");
    let own = Policy::of("orchestrator", "shop", "shop-artifacts");
    assert!(own.lacks(&[Right::to_assume("arn:aws:iam::111122223333:role/apppack-app-shop", "x1")]).is_empty());
    assert_eq!(own.lacks(&[Right::to_assume("arn:aws:iam::111122223333:role/admin", "x1")]).len(), 1);
}
