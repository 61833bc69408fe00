//! What everything that knows the settings of apps promises.

use packhorse::adapters::memory::MemorySettings;
use packhorse::domain::app_settings::Settings;
use packhorse::domain::formation::Size;
use packhorse::domain::lane::LaneKey;
use packhorse::ports::app_settings::AppSettings;
use serde_json::{Value, json};

use crate::support::lanes::{some_app, some_review_app};
use crate::support::suite::suite;

/// A store under test, and what puts settings into it.
pub(crate) trait Bench: Send + Sync {
    fn settings(&self) -> &dyn AppSettings;
    fn write(&self, lane: &LaneKey, settings: &Value, own: Option<&Value>, ecs: Option<&Value>);
}

/// The example of the contract.
pub(crate) fn settings_of(app: &str) -> Value {
    json!({
        "cluster": {"arn": "arn:aws:ecs:us-east-1:111122223333:cluster/prod", "name": "prod"},
        "load_balancer": {"arn": "arn:aws:elasticloadbalancing:us-east-1:111122223333:loadbalancer/app/prod/0a1b", "suffix": "app/prod/0a1b"},
        "target_group": {"arn": "arn:aws:elasticloadbalancing:us-east-1:111122223333:targetgroup/shop/2c3d", "suffix": "targetgroup/shop/2c3d"},
        "domains": ["shop.cluster.example.com", "www.example.com"],
        "shell": {"command": "bash -l", "task_family": format!("{app}-shell")},
        "codebuild_project": {"name": app},
        "log_group": {"name": format!("/apppack/apps/{app}")},
        "stack_id": "arn:aws:cloudformation:us-east-1:111122223333:stack/apppack-app-shop/1f2e",
        "orchestrator": {"role_arn": "arn:aws:iam::111122223333:role/apppack-app-shop", "external_id": "shop-4711"},
    })
}

/// The example of the contract.
pub(crate) fn ecs_arguments() -> Value {
    json!({
        "run_task_args": {
            "cluster": "arn:aws:ecs:us-east-1:111122223333:cluster/prod", "launchType": "FARGATE",
            "count": 1, "enableExecuteCommand": true, "propagateTags": "TASK_DEFINITION",
            "networkConfiguration": {"awsvpcConfiguration": {
                "subnets": ["subnet-aaa", "subnet-bbb"], "securityGroups": ["sg-ccc"], "assignPublicIp": "ENABLED"}},
        },
        "task_definition_args": {
            "cpu": "512", "memory": "2048", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
            "executionRoleArn": "arn:aws:iam::111122223333:role/shop-exec", "taskRoleArn": "arn:aws:iam::111122223333:role/shop-task",
        },
    })
}

/// Everything that was written is read.
async fn an_apps_settings_are_read(bench: &impl Bench) {
    let lane = some_app();
    bench.write(&lane, &settings_of("shop"), None, Some(&ecs_arguments()));
    let found = bench.settings().settings(&lane).await.unwrap();
    assert_eq!(found.cluster, "arn:aws:ecs:us-east-1:111122223333:cluster/prod");
    assert_eq!(found.log_group, "/apppack/apps/shop");
    assert_eq!(found.domains, ["shop.cluster.example.com", "www.example.com"]);
    assert_eq!(found.codebuild_project.as_deref(), Some("shop"));
    let role = found.role.as_ref().unwrap();
    assert_eq!(
        (role.arn.as_str(), role.external_id.as_deref()),
        ("arn:aws:iam::111122223333:role/apppack-app-shop", Some("shop-4711"))
    );
    assert!(found.target_group.as_ref().unwrap().ends_with("targetgroup/shop/2c3d"));
    assert_eq!(found.usual_size(), Size { cpu: 512, memory: 2048 });
    assert_eq!(Value::Object(found.run_task), ecs_arguments()["run_task_args"]);
    assert_eq!(Value::Object(found.task_definition), ecs_arguments()["task_definition_args"]);
}

/// A review app shares all but its host names and its target group.
async fn a_review_app_shares_its_pipelines_settings(bench: &impl Bench) {
    let lane = some_review_app();
    let own = json!({"domains": ["pr123-storefront.cluster.example.com"]});
    bench.write(&lane, &settings_of("storefront"), Some(&own), Some(&ecs_arguments()));
    let found = bench.settings().settings(&lane).await.unwrap();
    assert_eq!(found.domains, ["pr123-storefront.cluster.example.com"]);
    assert_eq!(found.target_group, None);
    assert_eq!(found.log_group, "/apppack/apps/storefront");
}

impl Bench for MemorySettings {
    fn settings(&self) -> &dyn AppSettings {
        self
    }

    fn write(&self, lane: &LaneKey, settings: &Value, own: Option<&Value>, ecs: Option<&Value>) {
        self.set(lane.clone(), Settings::read(settings, own, ecs).unwrap());
    }
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [an_apps_settings_are_read, a_review_app_shares_its_pipelines_settings]);
    };
}

promises!(memory, packhorse::adapters::memory::MemorySettings::default());

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::DynamoSettings;
    use packhorse::domain::namespace::partition;
    use packhorse::ports::failure::Failure;

    use super::*;
    use crate::support::aws::clients;
    use crate::support::dynamodb::{Table, attribute};

    pub(super) struct Dynamo {
        settings: DynamoSettings,
        table: Table,
    }

    impl Bench for Dynamo {
        fn settings(&self) -> &dyn AppSettings {
            &self.settings
        }

        fn write(&self, lane: &LaneKey, settings: &Value, own: Option<&Value>, ecs: Option<&Value>) {
            let shared = partition(&LaneKey::app(lane.app.clone()));
            self.table.put_value(&shared, "settings", settings);
            if let Some(own) = own {
                self.table.put_value(&partition(lane), "settings", own);
            }
            if let Some(ecs) = ecs {
                self.table.put_value(&shared, "CONFIG#ecs", ecs);
            }
        }
    }

    pub(super) async fn open() -> Dynamo {
        let table = Table::without_index();
        let settings = DynamoSettings::new(clients(&table.endpoint).await.dynamodb(), &table.name);
        Dynamo { settings, table }
    }

    #[tokio::test]
    #[ignore = "needs DynamoDB Local"]
    async fn an_app_without_settings_is_told_from_one_with_broken_ones() {
        let (bench, lane) = (open().await, some_app());
        let missing = bench.settings().settings(&lane).await.unwrap_err();
        assert!(matches!(missing, Failure::NotFound { .. }), "{missing:?}");
        bench.table.put_value(&partition(&lane), "settings", &json!({"cluster": {"arn": 1}}));
        let broken = bench.settings().settings(&lane).await.unwrap_err();
        let said = packhorse::ports::failure::chain(&broken);
        assert_eq!(said, format!("could not use the settings of {lane}: `cluster.arn` is not text"));
    }

    #[tokio::test]
    #[ignore = "needs DynamoDB Local"]
    async fn a_set_of_texts_is_read_like_a_list() {
        let (bench, lane) = (open().await, some_app());
        let mut value = attribute(&settings_of("shop"));
        value["M"]["domains"] = json!({"SS": ["a.example.com", "b.example.com"]});
        let item = json!({"primary_id": {"S": partition(&lane)}, "secondary_id": {"S": "settings"}, "value": value});
        bench.table.put_raw(&item);
        let found = bench.settings().settings(&lane).await.unwrap();
        assert_eq!(found.domains, ["a.example.com", "b.example.com"]);
    }
}

#[cfg(feature = "aws")]
promises!(dynamodb, super::aws::open().await, "needs DynamoDB Local");
