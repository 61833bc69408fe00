//! Keeps what each user may use in step with the lists of people.
//!
//! The lists are parameters; their events say only that something changed. So the list is read as it is now, and the users'
//! items are brought to it: give to those who lack it, take from those who are not named any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;

use crate::domain::aws_event::AccessList;
use crate::domain::lane::LaneKey;
use crate::domain::names::AppName;
use crate::domain::namespace::Namespace;
use crate::domain::people::people;
use crate::ports::access_items::{Access, AccessItems, UserAccess};
use crate::ports::failure::{Failure, chain};
use crate::ports::parameters::ParameterStore;

/// Where lists of people lie, and what is made of them.
#[derive(Clone)]
pub struct AccessPorts {
    /// The lists.
    pub lists: Arc<dyn ParameterStore>,
    /// The items per user.
    pub items: Arc<dyn AccessItems>,
    /// The account, under which administrators are kept; where it is not known, they are left alone.
    pub account: Option<String>,
}

/// How often a list is read again that keeps changing meanwhile.
const ROUNDS: u32 = 5;

impl AccessPorts {
    /// Brings the users' items to one list. Safe to repeat, and by several at once: whoever wrote looks whether the list is
    /// still the one that was written.
    ///
    /// # Errors
    /// Fails when the list could not be read or an item not written; a repetition does the rest.
    pub async fn follow(&self, list: &AccessList) -> Result<(), Failure> {
        for _ in 0..ROUNDS {
            let wanted = self.read(list).await?;
            let users = self.items.users().await?;
            self.bring(list, &wanted, &users).await?;
            if self.read(list).await? == wanted {
                return Ok(());
            }
        }
        Err(Failure::Conflict { what: parameter(list) })
    }

    /// Brings the users' items to every list: those of all apps that are named here or in an item, and the administrators.
    /// Tells how many lists could not be followed.
    ///
    /// # Errors
    /// Fails only when the items cannot be read.
    pub async fn follow_all(&self, lanes: &[LaneKey]) -> Result<usize, Failure> {
        let users = self.items.users().await?;
        let named = users.values().flat_map(|user| &user.apps).filter_map(|app| app.parse::<AppName>().ok());
        let apps: BTreeSet<AppName> = lanes.iter().map(|lane| lane.app.clone()).chain(named).collect();
        let lists = std::iter::once(AccessList::Administrators).chain(apps.into_iter().map(AccessList::Users));
        let mut waiting = 0;
        for list in lists {
            let followed = async { self.bring(&list, &self.read(&list).await?, &users).await };
            if let Err(failure) = followed.await {
                warn!(cause = chain(&failure), "A list of people must wait for the next look");
                waiting += 1;
            }
        }
        Ok(waiting)
    }

    async fn bring(
        &self,
        list: &AccessList,
        wanted: &BTreeSet<String>,
        users: &BTreeMap<String, UserAccess>,
    ) -> Result<(), Failure> {
        let access = match (list, &self.account) {
            (AccessList::Users(app), _) => Access::App(app.to_string()),
            (AccessList::Administrators, Some(account)) => Access::Account(account.clone()),
            (AccessList::Administrators, None) => return Ok(()),
        };
        let has = |email: &String| users.get(email).is_some_and(|user| user.has(&access));
        for email in wanted.iter().filter(|email| !has(email)) {
            self.items.grant(email, &access).await?;
        }
        for (email, _) in users.iter().filter(|(email, user)| user.has(&access) && !wanted.contains(*email)) {
            self.items.revoke(email, &access).await?;
        }
        Ok(())
    }

    /// A list that is not there names nobody; one that cannot be read is an error, never an empty list.
    async fn read(&self, list: &AccessList) -> Result<BTreeSet<String>, Failure> {
        Ok(people(&self.lists.get(&parameter(list)).await?.unwrap_or_default()))
    }
}

fn parameter(list: &AccessList) -> String {
    match list {
        AccessList::Users(app) => Namespace::default().users_parameter(app),
        AccessList::Administrators => Namespace::default().administrators_parameter(),
    }
}
