//! Takes in what events tell: one by one, or a whole batch of a queue.

use std::collections::BTreeMap;

use super::Orchestrator;
use super::handle::Handled;
use crate::domain::aws_event::News;
use crate::domain::lane::{Event, LaneKey};
use crate::ports::failure::Failure;

/// What all news of a batch say to one lane.
#[derive(Default)]
struct Said {
    events: Vec<Event>,
    look: bool,
    /// Which of the news.
    by: Vec<usize>,
}

impl Orchestrator {
    /// Takes in what one event tells.
    ///
    /// # Errors
    /// Fails when a lane, or what it waits for, could not be asked.
    pub async fn hear(&self, news: &News) -> Result<Handled, Failure> {
        self.hear_all(std::slice::from_ref(news)).await.remove(0)
    }

    /// Takes in what several events tell, in their order, and answers for each.
    ///
    /// All that is said to one lane is committed together and what it then owes is done once. A lane that cannot be served says
    /// nothing about the others. Several calls may run at once.
    pub async fn hear_all(&self, news: &[News]) -> Vec<Result<Handled, Failure>> {
        let mut lanes: BTreeMap<LaneKey, Said> = BTreeMap::new();
        let mut answers: Vec<Result<Handled, Failure>> = Vec::new();
        for (index, news) in news.iter().enumerate() {
            let about = self.about(news).await;
            answers.push(about.as_ref().map(|about| about.answer).map_err(Failure::copy));
            for (lane, events, look) in about.map(|about| about.lanes).unwrap_or_default() {
                let said = lanes.entry(lane).or_default();
                said.events.extend(events);
                said.look |= look;
                said.by.push(index);
            }
        }
        for (lane, said) in lanes {
            let answer = self.serve(&lane, &said).await;
            for index in said.by {
                // Of several lanes that the same news are about, the one that needs another look counts.
                let known = std::mem::replace(&mut answers[index], Ok(Handled::Done));
                answers[index] = worse(known, answer.as_ref().map(|handled| *handled).map_err(Failure::copy));
            }
        }
        answers
    }

    async fn serve(&self, lane: &LaneKey, said: &Said) -> Result<Handled, Failure> {
        if said.look {
            // What is said and what there is to see go into the lane one after the other; what is owed is done in between.
            if !said.events.is_empty() && self.handle(lane, &said.events).await? == Handled::NoLane {
                return Ok(Handled::NoLane);
            }
            return self.sweep_lane(lane).await;
        }
        self.handle(lane, &said.events).await
    }

    /// Finds the lanes that news are about.
    async fn about(&self, news: &News) -> Result<About, Failure> {
        let mut about = About { lanes: Vec::new(), answer: Handled::NoLane };
        match news {
            News::Lane(addressed) => {
                about.lanes.push((addressed.lane.clone(), addressed.events.clone(), addressed.look));
            }
            News::Pipeline(pipeline) => {
                let all = self.lanes.lanes.all().await?.into_iter();
                let review_apps = all.filter(|lane| lane.pull_request.is_some() && lane.app == *pipeline);
                about.lanes.extend(review_apps.map(|lane| (lane, vec![Event::SettingsChanged], false)));
            }
            News::Service(service) => {
                for lane in &service.lanes {
                    let Some(current) = self.lanes.lanes.load(lane).await? else { continue };
                    about.answer = Handled::Ignored("no lane runs this service");
                    if current.lane.runs_service(&service.arn) {
                        about.lanes.push((lane.clone(), Vec::new(), true));
                    }
                }
            }
            News::Access(_) => about.answer = Handled::Ignored("a list of people is no part of a lane"),
        }
        Ok(about)
    }
}

struct About {
    lanes: Vec<(LaneKey, Vec<Event>, bool)>,
    /// The answer where there is no lane to ask.
    answer: Handled,
}

/// The one of two answers that asks for more.
fn worse(known: Result<Handled, Failure>, new: Result<Handled, Failure>) -> Result<Handled, Failure> {
    match (&known, &new) {
        (Err(_), _) | (Ok(Handled::Owing), Ok(_)) => known,
        _ => new,
    }
}
