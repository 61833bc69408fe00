//! Databases of an app on one machine: what an account's stacks provide, as containers that keep their data.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::super::labels::{LANE, labels};
use super::{ContainerPlace, GRACE};
use crate::domain::addons::rules;
use crate::domain::lane::LaneKey;
use crate::domain::manifest::AddonKind;
use crate::ports::container_engine::{ContainerSpec, LogRange};
use crate::ports::failure::Failure;

/// The role of an app's databases.
const ROLE_ADDON: &str = "addon";
/// How long a database may take until it answers.
const READY_WITHIN: Duration = Duration::from_mins(1);

impl ContainerPlace {
    /// Starts the app's databases, made before or anew, and returns the variables by which its processes find them.
    ///
    /// Their containers stay when the app is stopped, and so does what they hold.
    ///
    /// # Errors
    /// Fails when one does not start, or does not answer within a minute.
    pub async fn ensure_addons(
        &self,
        lane: &LaneKey,
        addons: &BTreeMap<AddonKind, String>,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let network = self.ensure_network(lane).await?;
        for (kind, image) in addons {
            self.ensure_addon(lane, *kind, image, &network).await?;
        }
        Ok(addons
            .keys()
            .map(|kind| rules(*kind))
            .map(|rules| (rules.variable.to_owned(), rules.url.to_owned()))
            .collect())
    }

    async fn ensure_addon(&self, lane: &LaneKey, kind: AddonKind, image: &str, network: &str) -> Result<(), Failure> {
        let rules = rules(kind);
        let name = self.name(lane, rules.suffix);
        if self.engine.container(&name).await?.is_none() {
            self.engine.ensure_image(image).await?;
            let container = ContainerSpec {
                name: name.clone(),
                image: image.to_owned(),
                env: rules.env.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect(),
                networks: BTreeMap::from([(network.to_owned(), vec![rules.alias.to_owned()])]),
                labels: self.labelled(lane, ROLE_ADDON),
                ..ContainerSpec::default()
            };
            self.engine.create(&container).await?;
        }
        self.engine.start(&name).await?;
        self.until_ready(&name, kind, rules.ready).await
    }

    async fn until_ready(&self, name: &str, kind: AddonKind, question: &[&str]) -> Result<(), Failure> {
        let doing = || format!("start the add-on `{}`", kind.as_str());
        let until = Instant::now() + READY_WITHIN;
        loop {
            if !self.engine.container(name).await?.is_some_and(|container| container.state.is_running()) {
                let log = self.log(name, Some(10)).await.unwrap_or_default();
                return Err(Failure::refused(
                    doing(),
                    format!("it ended: {}", String::from_utf8_lossy(&log).trim_end()),
                ));
            }
            // Asking a container that has just ended is an error of its own; the next look says why.
            if matches!(self.engine.exec(name, question).await, Ok(0)) {
                return Ok(());
            }
            if Instant::now() > until {
                return Err(Failure::refused(doing(), "it did not answer within a minute"));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Stops all of a lane's containers; databases keep their data, the rest is removed, and so is a network that nothing
    /// uses any more.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn halt(&self, lane: &LaneKey) -> Result<(), Failure> {
        crate::ports::place::Place::remove(self, lane, u64::MAX).await?;
        let addons = self.engine.containers(&self.labelled(lane, ROLE_ADDON)).await?;
        let stops = addons.iter().filter(|addon| addon.state.is_running());
        join_all(stops.map(|addon| self.engine.stop(&addon.name, GRACE)))
            .await
            .into_iter()
            .collect::<Result<(), _>>()?;
        // A stopped container could not be started again without its network.
        if addons.is_empty() { self.engine.remove_network(&self.network(lane)).await } else { Ok(()) }
    }

    /// The databases of a lane whose data is kept, by the kind of database.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn addons(&self, lane: &LaneKey) -> Result<Vec<String>, Failure> {
        let found = self.engine.containers(&self.labelled(lane, ROLE_ADDON)).await?;
        let kinds = AddonKind::ALL.into_iter().filter(|kind| {
            let name = self.name(lane, rules(*kind).suffix);
            found.iter().any(|container| container.name == name)
        });
        Ok(kinds.map(|kind| kind.as_str().to_owned()).collect())
    }

    /// Removes all that belongs to a lane, its databases included.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn destroy(&self, lane: &LaneKey) -> Result<(), Failure> {
        self.halt(lane).await?;
        let everything = labels([(LANE, self.lane_label(lane))]);
        for container in self.engine.containers(&everything).await? {
            self.engine.remove(&container.name).await?;
        }
        self.engine.remove_network(&self.network(lane)).await
    }

    /// Hands on the output of a container from now on, until it ends.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn follow(&self, container: &str, line: &(dyn Fn(&str) + Send + Sync)) -> Result<(), Failure> {
        self.engine.logs(container, LogRange { follow: true, tail: None }, line).await
    }
}
