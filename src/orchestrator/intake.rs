//! Takes in events as they are delivered, one by one or in batches, and says of each whether it must come again.
//!
//! This is what all entrances have in common: Lambda, the worker at a queue, and the command line.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use super::Orchestrator;
use super::access::AccessPorts;
use super::handle::Handled;
use super::sweep::Swept;
use crate::domain::aws_event::{self, EventError, News, Record, ServiceNews};
use crate::domain::lane::{Event, LaneKey};
use crate::domain::names::{AppName, EpochSeconds};
use crate::ports::dead_letters::{DeadLetter, DeadLetters};
use crate::ports::failure::{Failure, chain};
use crate::ports::lane_store::LaneStore;

/// Finds the orchestrator of an app: each acts with the rights that the app's stacks give it.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// Returns the orchestrator of a lane's app.
    async fn of(&self, lane: &LaneKey) -> Result<Orchestrator, Failure>;

    /// All lanes, for listing and reading.
    fn lanes(&self) -> Arc<dyn LaneStore>;

    /// Tells the time.
    fn now(&self) -> EpochSeconds;
}

/// The orchestrators of all apps with what they need to be handed events.
#[derive(Clone)]
pub struct Intake {
    /// Move lanes.
    pub fleet: Arc<dyn Fleet>,
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

    /// Brings everything up to the truth: all that is in flight, and now and then what nobody told of: builds, changed settings
    /// and lists of people.
    ///
    /// # Errors
    /// Fails only when the lanes cannot be listed.
    pub async fn sweep(&self) -> Result<Swept, Failure> {
        let swept = self.sweep_active().await?;
        // By chance, since several may sweep and none of them remembers.
        if fastrand::u32(..SEARCH_ONCE_IN) == 0 {
            self.search().await?;
        }
        Ok(swept)
    }

    /// Brings all that is in flight up to the truth. One lane that cannot be served does not keep the others waiting.
    ///
    /// # Errors
    /// Fails only when the lanes cannot be listed.
    pub async fn sweep_active(&self) -> Result<Swept, Failure> {
        let mut swept = Swept::default();
        let mut active = self.fleet.lanes().active().await?;
        // One that runs out of time begins with others the next time.
        fastrand::shuffle(&mut active);
        for lane in active {
            let looked = async { self.fleet.of(&lane).await?.sweep_lane(&lane).await };
            swept.count(&lane, looked.await);
        }
        Ok(swept)
    }

    /// Looks for what nobody told of, project by project, each with the rights for it; the lanes are listed, and the lists of
    /// people followed, with the orchestrator's own. Returns how many projects were looked at, and how many must wait.
    ///
    /// # Errors
    /// Fails only when the lanes, or what users may use, cannot be listed.
    pub async fn search(&self) -> Result<Swept, Failure> {
        let lanes = self.fleet.lanes().all().await?;
        let mut projects: BTreeMap<&AppName, Vec<LaneKey>> = BTreeMap::new();
        for lane in &lanes {
            projects.entry(&lane.app).or_default().push(lane.clone());
        }
        let mut projects: Vec<_> = projects.into_iter().collect();
        // As for a sweep.
        fastrand::shuffle(&mut projects);
        let mut searched = Swept::default();
        for (project, lanes) in projects {
            searched.lanes += 1;
            let looked = async { self.fleet.of(&lanes[0]).await?.search(project, &lanes).await };
            if let Err(failure) = looked.await {
                warn!(app.name = %project, cause = chain(&failure), "A project must wait for the next search");
                searched.waiting += 1;
            }
        }
        self.access.follow_all(&lanes).await?;
        Ok(searched)
    }

    /// Looks at the lanes whose time has come: a deadline has passed, or changed settings are to be followed.
    ///
    /// # Errors
    /// Fails only when the active lanes cannot be listed.
    pub async fn look_at_deadlines(&self) -> Result<(), Failure> {
        let lanes = self.fleet.lanes();
        for key in lanes.active().await? {
            let looked = async {
                let due = lanes.load(&key).await?.and_then(|current| current.lane.next_due());
                if due.is_some_and(|due| due <= self.fleet.now()) {
                    self.fleet.of(&key).await?.handle(&key, &[Event::Tick]).await?;
                }
                Ok::<_, Failure>(())
            };
            if let Err(failure) = looked.await {
                warn!(lane = %key, cause = chain(&failure), "A lane must wait for the next look");
            }
        }
        Ok(())
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

    /// Takes in news of one app, or of people, and answers for each.
    async fn hear(&self, news: &[News]) -> Vec<Result<Handled, Failure>> {
        let (mut of_lanes, mut others) = (Vec::new(), Vec::new());
        for (index, news) in news.iter().enumerate() {
            match news {
                News::Lane(addressed) => of_lanes.push((index, addressed)),
                other => others.push((index, other)),
            }
        }
        let mut answers = Vec::with_capacity(news.len());
        if let Some((_, first)) = of_lanes.first() {
            let together: Vec<News> = of_lanes.iter().map(|(_, addressed)| News::Lane((*addressed).clone())).collect();
            let heard = match self.fleet.of(&first.lane).await {
                Ok(orchestrator) => orchestrator.hear_all(&together).await,
                Err(failure) => together.iter().map(|_| Err(failure.copy())).collect(),
            };
            answers.extend(of_lanes.iter().map(|(index, _)| *index).zip(heard));
        }
        for (index, news) in others {
            answers.push((index, self.hear_other(news).await));
        }
        answers.sort_by_key(|(index, _)| *index);
        answers.into_iter().map(|(_, answer)| answer).collect()
    }

    async fn hear_other(&self, news: &News) -> Result<Handled, Failure> {
        let mut answer = Handled::NoLane;
        match news {
            News::Access(list) => {
                self.access.follow(list).await?;
                answer = Handled::Done;
            }
            News::Pipeline(pipeline) => {
                let all = self.fleet.lanes().all().await?.into_iter();
                for lane in all.filter(|lane| lane.pull_request.is_some() && lane.app == *pipeline) {
                    answer = self.fleet.of(&lane).await?.handle(&lane, &[Event::SettingsChanged]).await?;
                }
            }
            News::Service(service) => {
                for lane in &service.lanes {
                    let one = ServiceNews { lanes: vec![lane.clone()], ..service.clone() };
                    match self.fleet.of(lane).await?.hear(&News::Service(one)).await? {
                        Handled::NoLane => {}
                        handled => answer = handled,
                    }
                }
            }
            News::Lane(addressed) => answer = self.fleet.of(&addressed.lane).await?.hear(news).await?,
        }
        Ok(answer)
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
