//! Starts add-ons and waits until each answers.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::{sleep, timeout};

use crate::domain::addons::rules;
use crate::ports::container_engine::{ContainerEngine, ContainerSpec, Labels, LogRange};
use crate::ports::failure::{Failure, chain};
use crate::ports::test_bed::{AddonRequest, TestBedError};

/// The time between two questions whether an add-on answers.
const BETWEEN: Duration = Duration::from_millis(100);
/// How many of its last lines explain why an add-on died.
const LAST_LINES: u32 = 10;

/// The add-ons of one build.
pub(super) struct Addons<'a> {
    pub(super) engine: &'a dyn ContainerEngine,
    /// The network's name, and what the containers' names begin with.
    pub(super) name: &'a str,
    pub(super) labels: &'a Labels,
    pub(super) ready_within: Duration,
}

impl Addons<'_> {
    /// Starts all of them at once and returns the variables by which they are found.
    pub(super) async fn start(&self, addons: &[AddonRequest]) -> Result<BTreeMap<String, String>, TestBedError> {
        self.engine.create_network(self.name, self.labels).await?;
        try_join_all(addons.iter().map(|addon| self.start_one(addon))).await?;
        let variables = addons.iter().map(|addon| rules(addon.kind));
        Ok(variables.map(|rules| (rules.variable.to_owned(), rules.url.to_owned())).collect())
    }

    async fn start_one(&self, addon: &AddonRequest) -> Result<(), TestBedError> {
        let rules = rules(addon.kind);
        let image = addon.image.clone().unwrap_or_else(|| rules.image.to_owned());
        let failed = |reason: String| TestBedError::Addon { addon: addon.kind.as_str().to_owned(), reason };
        let name = format!("{}-{}", self.name, rules.suffix);
        let begin = async {
            self.engine.ensure_image(&image).await?;
            let container = ContainerSpec {
                name: name.clone(),
                image: image.clone(),
                env: rules.env.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect(),
                networks: BTreeMap::from([(self.name.to_owned(), vec![rules.alias.to_owned()])]),
                labels: self.labels.clone(),
                // Nobody wants the data of a test afterwards: on a disk it only takes time, not least to be removed.
                in_memory: self.engine.image(&image).await?.config.config.volumes(),
                ..ContainerSpec::default()
            };
            self.engine.create(&container).await?;
            self.engine.start(&name).await
        };
        begin.await.map_err(|failure| failed(chain(&failure)))?;
        tokio::select! {
            // One that dies is noticed at once, not when the time is up.
            ended = self.engine.wait(&name) => {
                let code = ended?;
                Err(failed(format!("`{image}` exited with code {code}{}", self.last_lines(&name).await)))
            }
            ready = timeout(self.ready_within, self.until_ready(&name, rules.ready)) => {
                if let Ok(ready) = ready {
                    return Ok(ready?);
                }
                let (seconds, asked) = (self.ready_within.as_secs(), rules.ready.join(" "));
                let last = self.last_lines(&name).await;
                Err(failed(format!("`{asked}` in `{image}` did not succeed within {seconds} s{last}")))
            }
        }
    }

    async fn until_ready(&self, name: &str, question: &[&str]) -> Result<(), Failure> {
        loop {
            match self.engine.exec(name, question).await {
                Ok(0) => return Ok(()),
                // A container that is ending refuses; its end is told by the other branch.
                Ok(_) | Err(Failure::Conflict { .. } | Failure::Refused { .. } | Failure::NotFound { .. }) => {}
                Err(failure) => return Err(failure),
            }
            sleep(BETWEEN).await;
        }
    }

    async fn last_lines(&self, name: &str) -> String {
        let lines = Mutex::new(Vec::new());
        let range = LogRange { follow: false, tail: Some(LAST_LINES) };
        let sink = |line: &str| {
            if let Ok(mut lines) = lines.lock() {
                lines.push(line.to_owned());
            }
        };
        // Without the lines the reason is still worth telling.
        let _ = self.engine.logs(name, range, &sink).await;
        let lines = lines.into_inner().unwrap_or_default();
        if lines.is_empty() { String::new() } else { format!("; its last lines:\n{}", lines.join("\n")) }
    }
}
