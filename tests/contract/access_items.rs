//! What every store of the users' items promises.

use packhorse::adapters::memory::MemoryAccessItems;
use packhorse::ports::access_items::{Access, AccessItems, UserAccess};

use crate::support::suite::suite;

/// A store under test.
pub(crate) trait Bench: Send + Sync {
    fn items(&self) -> &dyn AccessItems;
}

fn app(name: &str) -> Access {
    Access::App(name.to_owned())
}

fn of(apps: &[&str], accounts: &[&str]) -> UserAccess {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    UserAccess { apps: set(apps), accounts: set(accounts) }
}

/// Giving and taking change one member and nothing else; repeating either changes nothing.
async fn one_member_at_a_time(bench: &impl Bench) {
    let items = bench.items();
    let account = Access::Account("111122223333".to_owned());
    for _ in 0..2 {
        items.grant("dev@example.com", &app("shop")).await.unwrap();
        items.grant("dev@example.com", &app("blog")).await.unwrap();
        items.grant("dev@example.com", &account).await.unwrap();
    }
    assert_eq!(items.users().await.unwrap()["dev@example.com"], of(&["blog", "shop"], &["111122223333"]));
    for _ in 0..2 {
        items.revoke("dev@example.com", &app("shop")).await.unwrap();
    }
    assert_eq!(items.users().await.unwrap()["dev@example.com"], of(&["blog"], &["111122223333"]));
}

/// A user from whom everything was taken, or who never had anything, is not listed.
async fn who_has_nothing_is_not_listed(bench: &impl Bench) {
    let items = bench.items();
    items.revoke("stranger@example.com", &app("shop")).await.unwrap();
    items.grant("dev@example.com", &app("shop")).await.unwrap();
    items.revoke("dev@example.com", &app("shop")).await.unwrap();
    assert!(items.users().await.unwrap().is_empty());
}

/// Several writers at once never undo each other's work.
async fn writers_do_not_undo_each_other(bench: &impl Bench) {
    let names: Vec<String> = (0..8).map(|number| format!("app-{number}")).collect();
    let grants = names.iter().map(|name| async { bench.items().grant("dev@example.com", &app(name)).await });
    for granted in futures_util::future::join_all(grants).await {
        granted.unwrap();
    }
    assert_eq!(bench.items().users().await.unwrap()["dev@example.com"].apps.len(), 8);
}

impl Bench for MemoryAccessItems {
    fn items(&self) -> &dyn AccessItems {
        self
    }
}

macro_rules! promises {
    ($name:ident, $($how:tt)+) => {
        suite!($name, $($how)+, [
            one_member_at_a_time,
            who_has_nothing_is_not_listed,
            writers_do_not_undo_each_other,
        ]);
    };
}

promises!(memory, packhorse::adapters::memory::MemoryAccessItems::default());

#[cfg(feature = "aws")]
mod aws {
    use packhorse::adapters::aws::DynamoAccessItems;

    use super::*;
    use crate::support::aws::clients;
    use crate::support::dynamodb::Table;

    pub(super) struct Dynamo {
        table: Table,
        items: DynamoAccessItems,
    }

    pub(super) async fn open() -> Dynamo {
        let table = Table::indexed();
        let items = DynamoAccessItems::new(clients(&table.endpoint).await.dynamodb(), &table.name);
        Dynamo { table, items }
    }

    impl Bench for Dynamo {
        fn items(&self) -> &dyn AccessItems {
            &self.items
        }
    }

    #[tokio::test]
    #[ignore = "needs DynamoDB Local"]
    async fn the_item_is_as_the_contract_says() {
        let bench = open().await;
        bench.items.grant("dev@example.com", &app("shop")).await.unwrap();
        bench.items.grant("dev@example.com", &app("shop")).await.unwrap();
        let expected = serde_json::json!({
            "primary_id": {"S": "USER#dev@example.com"}, "secondary_id": {"S": "ACCESS"},
            "apps": {"SS": ["shop"]}, "version": {"N": "1"},
        });
        assert_eq!(bench.table.raw("USER#dev@example.com", "ACCESS").unwrap(), expected);
    }
}

#[cfg(feature = "aws")]
promises!(dynamodb, super::aws::open().await, "needs DynamoDB Local");
