//! Takes in events as they are delivered, one by one or in batches, and says of each whether it must come again.
//!
//! This is what all entrances have in common: Lambda, the worker at a queue, and the command line.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::Orchestrator;
use super::access::AccessPorts;
use super::handle::Handled;
use super::sweep::Swept;
use crate::domain::aws_event::{self, EventError, News, Record};
use crate::domain::names::AppName;
use crate::ports::dead_letters::{DeadLetter, DeadLetters};
use crate::ports::failure::{Failure, chain};

/// The orchestrator with what it needs to be handed events.
#[derive(Clone)]
pub struct Intake {
    /// Moves lanes.
    pub orchestrator: Orchestrator,
    /// Follows the lists of people.
    pub access: AccessPorts,
    /// Where events go that can never be handled; without it they come again until the queue itself puts them aside.
    pub dead_letters: Option<Arc<dyn DeadLetters>>,
}

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It need not come again.
    Done(Handled),
    /// It says nothing to anybody, for this reason.
    Unused(String),
    /// It can never be handled and is with the dead letters, for this reason.
    PutAside(String),
    /// It must come again, for this reason.
    Again(String),
}

/// Apps whose events are handled at the same time.
const AT_ONCE: usize = 16;

/// Sweeps, on average, between two searches for what nobody told of.
const SEARCH_ONCE_IN: u32 = 20;

/// Whose news are handled together and in their order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    App(AppName),
    People,
}

impl Intake {
    /// Takes in records and answers for each. All that is said to one lane is committed together, and what it then owes is
    /// done once.
    ///
    /// Past `until`, nothing more is begun and what is under way is given up: it must come again, which is always safe.
    pub async fn take(&self, records: &[Record], until: Option<Instant>) -> Vec<Taken> {
        let mut taken: Vec<Option<Taken>> = vec![None; records.len()];
        let mut groups: BTreeMap<Whose, Vec<(usize, News)>> = BTreeMap::new();
        for (index, record) in records.iter().enumerate() {
            match aws_event::read(&record.body) {
                Ok(news) => groups.entry(whose(&news)).or_default().push((index, news)),
                Err(error) => taken[index] = Some(self.unreadable(record, &error).await),
            }
        }
        let handled = stream::iter(groups.into_values()).map(|group| self.take_group(group, until));
        for (index, outcome) in handled.buffer_unordered(AT_ONCE).concat().await {
            taken[index] = Some(outcome);
        }
        taken.into_iter().map(|outcome| outcome.unwrap_or_else(late)).collect()
    }

    /// Brings everything up to the truth: all that is in flight, and now and then what nobody told of: builds, and lists of
    /// people.
    ///
    /// # Errors
    /// Fails only when the lanes cannot be listed.
    pub async fn sweep(&self) -> Result<Swept, Failure> {
        let orchestrator = &self.orchestrator;
        let swept = orchestrator.sweep().await?;
        // By chance, since several may sweep and none of them remembers.
        if fastrand::u32(..SEARCH_ONCE_IN) == 0 {
            orchestrator.search().await?;
            self.access.follow_all(&orchestrator.lanes.lanes.all().await?).await?;
        }
        Ok(swept)
    }

    async fn take_group(&self, group: Vec<(usize, News)>, until: Option<Instant>) -> Vec<(usize, Taken)> {
        let (indexes, news): (Vec<usize>, Vec<News>) = group.into_iter().unzip();
        let heard = match until {
            Some(until) if Instant::now() >= until => None,
            Some(until) => timeout_at(until, self.hear(&news)).await.ok(),
            None => Some(self.hear(&news).await),
        };
        match heard {
            Some(heard) => indexes.into_iter().zip(heard.into_iter().map(outcome)).collect(),
            None => indexes.into_iter().map(|index| (index, late())).collect(),
        }
    }

    async fn hear(&self, news: &[News]) -> Vec<Result<Handled, Failure>> {
        let mut heard = Vec::with_capacity(news.len());
        if !news.iter().any(|news| matches!(news, News::Access(_))) {
            return self.orchestrator.hear_all(news).await;
        }
        for news in news {
            heard.push(match news {
                News::Access(list) => self.access.follow(list).await.map(|()| Handled::Done),
                news => self.orchestrator.hear(news).await,
            });
        }
        heard
    }

    async fn unreadable(&self, record: &Record, error: &EventError) -> Taken {
        let reason = error.to_string();
        if !error.is_garbage() {
            debug!(reason, "An event is not used");
            return Taken::Unused(reason);
        }
        let letter =
            DeadLetter { body: record.body.clone(), reason: reason.clone(), message_id: record.message_id.clone() };
        let Some(dead_letters) = &self.dead_letters else {
            return Taken::Again(format!("{reason}; there is no queue for dead letters"));
        };
        match dead_letters.keep(&letter).await {
            Ok(()) => {
                warn!(reason, "An event cannot be handled and was put aside");
                Taken::PutAside(reason)
            }
            Err(failure) => {
                warn!(reason, cause = chain(&failure), "An event cannot be handled, and could not be put aside");
                Taken::Again(format!("{reason}; {}", chain(&failure)))
            }
        }
    }
}

fn whose(news: &News) -> Whose {
    match news {
        News::Lane(addressed) => Whose::App(addressed.lane.app.clone()),
        News::Pipeline(app) => Whose::App(app.clone()),
        News::Service(service) => match service.lanes.first() {
            Some(lane) => Whose::App(lane.app.clone()),
            None => Whose::People,
        },
        News::Access(_) => Whose::People,
    }
}

fn outcome(heard: Result<Handled, Failure>) -> Taken {
    match heard {
        // What is still owed is in the lane: the sweep does it.
        Ok(handled) => Taken::Done(handled),
        Err(failure) => {
            warn!(cause = chain(&failure), "An event must come again");
            Taken::Again(chain(&failure))
        }
    }
}

fn late() -> Taken {
    Taken::Again("there was no time left for it".to_owned())
}
