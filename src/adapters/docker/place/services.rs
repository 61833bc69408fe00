//! Services: a container per process; what differs from what is wanted starts beside what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join_all, select_all};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::super::labels::{BUILD, PROCESS, REPLICA, REVISION, ROLE_SERVICE, ROLE_TASK};
use super::{ContainerPlace, SCHEDULER, build_of};
use crate::domain::formation::{Formation, Size};
use crate::domain::lane::{LaneKey, OUT_OF_MEMORY, ServicesState};
use crate::domain::launch::{Launch, WEB_PORT as PORT};
use crate::domain::names::{BuildNumber, ProcessType};
use crate::domain::namespace::Namespace;
use crate::domain::place_record::{Jobs, Order, Ordered, PlaceRecord};
use crate::ports::container_engine::{ContainerFacts, ContainerSpec, ContainerState};
use crate::ports::failure::Failure;

/// Seconds that an order has until all its processes run and its web processes answer.
const HEALTHY_WITHIN: u64 = 60;
/// How many of its last lines explain why a process ended.
const LAST_LINES: u32 = 20;
/// Letters of a revision in the name of a container.
const REVISION_LETTERS: usize = 8;
/// The order that a container was made by, by its place in the lane's sequence.
const SEQUENCE: &str = "packhorse.sequence";
/// When a container was made.
const SINCE: &str = "packhorse.since";

/// One process that is to run.
struct Slot {
    build: BuildNumber,
    process: ProcessType,
    replica: u32,
    revision: String,
}

impl Slot {
    /// All that the services of a build are to run.
    fn of(build: BuildNumber, services: &BTreeMap<ProcessType, Ordered>) -> Vec<Self> {
        let slots = |(process, ordered): (&ProcessType, &Ordered)| {
            let (process, revision) = (process.clone(), ordered.definition.clone());
            let slot = move |replica| Self { build, process: process.clone(), replica, revision: revision.clone() };
            (1..=ordered.count.unwrap_or(1)).map(slot)
        };
        services.iter().flat_map(slots).collect()
    }

    /// Tells whether a container is the one that is meant, whatever became of it.
    fn is(&self, container: &ContainerFacts) -> bool {
        let is = |label: &str, value: &str| container.labels.get(label).is_some_and(|found| found == value);
        build_of(container) == Some(self.build)
            && is(PROCESS, self.process.as_str())
            && is(REVISION, &self.revision)
            && number(container, REPLICA) == Some(self.replica.into())
    }
}

/// A process that runs, for people.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunningContainer {
    /// Its process type, with its number where it is not the first: `web`, `web.2`.
    pub process: String,
    /// The name of its container.
    pub container: String,
}

impl ContainerPlace {
    /// Starts beside those that run the processes that a formation wants and that do not run. The order is noted before, so
    /// that a late one changes nothing.
    pub(super) async fn bring_services(&self, lane: &LaneKey, formation: &Formation) -> Result<(), Failure> {
        let (build, sequence, now) = (formation.build, formation.plan.sequence, self.clock.now());
        let wanted: BTreeSet<ProcessType> = formation.plan.services.keys().cloned().collect();
        let in_time = |record: &PlaceRecord| !record.is_late(sequence);
        let begun =
            self.remember(lane, |record| in_time(record) && record.begin(build, sequence, &wanted, now)).await?;
        if !in_time(&begun) {
            return Ok(());
        }
        match self.start_what_lacks(lane, formation).await {
            Err(failure) if !failure.is_passing() => {
                self.withdraw(lane, sequence).await?;
                Err(failure)
            }
            other => other,
        }
    }

    async fn start_what_lacks(&self, lane: &LaneKey, formation: &Formation) -> Result<(), Failure> {
        let (sequence, now) = (formation.plan.sequence, self.clock.now());
        let specs = self.specs(lane, formation).await?;
        let services = ordered(formation, &specs);
        let record = self
            .remember(lane, |record| {
                let Some(order) = record.order.as_mut().filter(|order| order.sequence == sequence) else {
                    return false;
                };
                let next = Order {
                    asked: if order.services == services { order.asked } else { now },
                    services: services.clone(),
                    launcher: formation.plan.launcher,
                    scheduler: Some(formation.plan.image.clone()),
                    scheduler_size: Some(formation.scaling.of(SCHEDULER).size),
                    scheduled_tasks: formation.scheduled_tasks.clone(),
                    ..order.clone()
                };
                std::mem::replace(order, next.clone()) != next
            })
            .await?;
        // Somebody else may have begun a newer order meanwhile: that one counts.
        let Some(order) = record.order.filter(|order| order.sequence == sequence) else { return Ok(()) };
        self.ensure_network(lane).await?;
        let found = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        for slot in Slot::of(order.build, &order.services) {
            let Some(spec) = specs.get(&slot.process) else { continue };
            self.fill(lane, &slot, spec, sequence, found.iter().find(|container| slot.is(container))).await?;
        }
        Ok(())
    }

    /// Makes and starts the container of a process. One that ended before this order is made anew; one of this order is not,
    /// so that whoever looks sees how it ended.
    async fn fill(
        &self,
        lane: &LaneKey,
        slot: &Slot,
        spec: &ContainerSpec,
        sequence: u64,
        found: Option<&ContainerFacts>,
    ) -> Result<(), Failure> {
        let Slot { build, process, replica, revision } = slot;
        let letters = revision.get(..REVISION_LETTERS).unwrap_or(revision);
        let mut container = spec.clone();
        container.name = self.name(lane, format_args!("{process}-{build}-{replica}-{letters}"));
        container.labels.insert(REPLICA.to_owned(), replica.to_string());
        match found {
            Some(found) if found.state.is_running() => return Ok(()),
            Some(found) if ended(found).is_some() => {
                if number(found, SEQUENCE) == Some(sequence) {
                    return Ok(());
                }
                self.engine.remove(&found.name).await?;
            }
            _ => {}
        }
        self.start_service(&container).await
    }

    /// What the containers of each process type are made from, but for their names.
    async fn specs(
        &self,
        lane: &LaneKey,
        formation: &Formation,
    ) -> Result<BTreeMap<ProcessType, ContainerSpec>, Failure> {
        let (plan, env) = (&formation.plan, self.environment(lane).await?);
        let restarts = self.parameters.below(&Namespace::default().restarts_path(lane)).await?;
        let mut specs = BTreeMap::new();
        for (process, service) in &plan.services {
            let launch = self.launch(&plan.image, Some(process), &service.command).await?;
            let mut env = env.clone();
            if process.is_web() {
                env.insert("PORT".to_owned(), PORT.to_string().into());
            }
            let size = formation.scaling.of(process.as_str()).size;
            let restart = restarts.get(process.as_str()).map_or("", |word| word.expose_secret());
            let mut labels = self.labelled(lane, ROLE_SERVICE);
            labels.insert(BUILD.to_owned(), formation.build.to_string());
            labels.insert(PROCESS.to_owned(), process.to_string());
            labels.insert(SEQUENCE.to_owned(), plan.sequence.to_string());
            labels.insert(SINCE.to_owned(), self.clock.now().0.to_string());
            labels.insert(REVISION.to_owned(), revision(&plan.image, &launch, &env, size, restart));
            specs.insert(
                process.clone(),
                ContainerSpec {
                    image: plan.image.clone(),
                    entrypoint: Some(launch.entrypoint),
                    command: Some(launch.arguments),
                    env,
                    networks: BTreeMap::from([(self.network(lane), vec![process.to_string()])]),
                    publish: process.is_web().then_some(PORT),
                    labels,
                    init: true,
                    memory: Some(size.memory),
                    ..ContainerSpec::default()
                },
            );
        }
        Ok(specs)
    }

    async fn start_service(&self, container: &ContainerSpec) -> Result<(), Failure> {
        self.make_once(container).await?;
        match self.engine.container(&container.name).await?.map(|container| container.state) {
            Some(ContainerState::Created { .. }) => self.begin(container).await,
            _ => Ok(()),
        }
    }

    /// Tells whether a formation runs as it would be started now: the same image, commands, variables and numbers, every
    /// process up and none besides.
    ///
    /// # Errors
    /// Fails when the engine, or the store of the variables, does not answer.
    pub async fn runs(&self, lane: &LaneKey, formation: &Formation) -> Result<bool, Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        let specs = self.specs(lane, formation).await?;
        let slots = Slot::of(formation.build, &ordered(formation, &specs));
        let filled = |slot: &Slot| all.iter().any(|container| slot.is(container) && container.state.is_running());
        Ok(all.len() == slots.len() && slots.iter().all(filled))
    }

    /// Sends requests to the live release if all of it still runs, and takes everything else away: what somebody left who
    /// was killed. Tells whether it runs. Settings that have changed meanwhile are not followed here.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn adopt(&self, lane: &LaneKey, live: Option<&Formation>) -> Result<bool, Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        let (runs, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|container| {
            container.state.is_running() && live.is_some_and(|live| build_of(container) == Some(live.build))
        });
        self.retire(&rest).await?;
        let whole = live.is_some_and(|live| {
            live.plan.services.keys().all(|process| {
                let wanted = live.scaling.of(process.as_str()).min;
                wanted == 0
                    || runs.iter().any(|found| found.labels.get(PROCESS).is_some_and(|it| it == process.as_str()))
            })
        });
        let web: Vec<_> = runs.iter().filter(|container| is_web(container)).collect();
        let answers = if whole { self.all_answer(&web).await } else { None };
        match &answers {
            Some(addresses) => self.routes.point_to(lane, addresses).await,
            None => self.retire(&runs).await?,
        }
        Ok(answers.is_some())
    }

    /// Looks at the order of a build: healthy processes take over, and where one is broken all that the order has started is
    /// taken away again.
    pub(super) async fn look_at_services(
        &self,
        lane: &LaneKey,
        build: BuildNumber,
    ) -> Result<Option<ServicesState>, Failure> {
        let (record, _) = self.records.load(lane).await?;
        if let Some((failed, cause)) = &record.failed
            && *failed == build
        {
            return Ok(Some(ServicesState::Failed { cause: cause.clone() }));
        }
        let Some(order) = record.order.filter(|order| order.build == build) else {
            return Ok(Some(ServicesState::Failed { cause: "its processes are gone".to_owned() }));
        };
        if order.scheduler.is_none() {
            // It was begun, and what it wants is not known yet.
            return Ok(None);
        }
        let mut all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        let slots = Slot::of(order.build, &order.services);
        let wanted: Vec<ContainerFacts> =
            all.extract_if(.., |container| slots.iter().any(|slot| slot.is(container))).collect();
        for container in &wanted {
            if let Some(what) = ended(container) {
                let cause = self.explain(container, &what).await;
                return self.give_up(lane, &order, cause).await;
            }
        }
        let made = wanted.iter().filter(|container| number(container, SEQUENCE) == Some(order.sequence));
        let since = made.filter_map(|container| number(container, SINCE)).max();
        let now = self.clock.now().0;
        let overdue = now.saturating_sub(since.unwrap_or_default().max(order.asked.0)) > HEALTHY_WITHIN;
        if wanted.len() < slots.len() {
            return if overdue {
                self.give_up(lane, &order, "its processes are gone".to_owned()).await
            } else {
                Ok(None)
            };
        }
        let web: Vec<_> = wanted.iter().filter(|container| is_web(container)).collect();
        let Some(addresses) = self.all_answer(&web).await else {
            if !overdue {
                return Ok(None);
            }
            let what = format!("did not answer on port {PORT} (variable PORT) within {HEALTHY_WITHIN} s");
            let cause = match web.last() {
                Some(web) => self.explain(web, &what).await,
                None => what,
            };
            return self.give_up(lane, &order, cause).await;
        };
        let age = since.map_or(u64::MAX, |since| now.saturating_sub(since));
        if !self.stay_up(&wanted, age).await {
            // Whoever looks next sees which one ended, and why.
            return Ok(None);
        }
        self.routes.point_to(lane, &addresses).await;
        self.retire(&all).await?;
        self.forget_tasks(lane, build).await?;
        self.settle(lane, &order).await?;
        Ok(Some(ServicesState::Steady))
    }

    /// Notes that an order runs, and that its jobs are those that run by the clock.
    async fn settle(&self, lane: &LaneKey, order: &Order) -> Result<(), Failure> {
        let now = self.clock.now();
        self.remember(lane, |record| {
            if record.order.as_ref() != Some(order) {
                return false;
            }
            let before = record.clone();
            record.end_well();
            record.jobs = Some(Jobs {
                build: order.build,
                image: order.scheduler.clone().unwrap_or_default(),
                size: order.scheduler_size.unwrap_or_default(),
                tasks: order.scheduled_tasks.clone(),
                until: before.jobs.as_ref().map_or(now, |jobs| jobs.until),
            });
            before != *record
        })
        .await?;
        Ok(())
    }

    /// Takes away what an order has started; what ran before it runs on.
    async fn give_up(&self, lane: &LaneKey, order: &Order, cause: String) -> Result<Option<ServicesState>, Failure> {
        self.withdraw(lane, order.sequence).await?;
        self.remember(lane, |record| {
            let same = record.order.as_ref().is_some_and(|known| known.sequence == order.sequence);
            if same && record.failed.is_none() {
                record.end_badly(&cause);
                return true;
            }
            false
        })
        .await?;
        Ok(Some(ServicesState::Failed { cause }))
    }

    /// Returns where web processes answer, whatever they answer; nothing when one of them does not.
    async fn all_answer(&self, web: &[&ContainerFacts]) -> Option<Vec<SocketAddr>> {
        join_all(web.iter().map(|web| self.answers(web))).await.into_iter().collect()
    }

    /// Returns where a web process answers, whatever it answers; nothing when it does not.
    async fn answers(&self, web: &ContainerFacts) -> Option<SocketAddr> {
        let address = web.published.get(&PORT)?;
        self.web.get(format!("http://{address}/")).send().await.ok().map(|_| *address)
    }

    /// Waits for what is left of the time that a release has to stay up; tells whether all its processes did.
    async fn stay_up(&self, containers: &[ContainerFacts], age: u64) -> bool {
        if containers.is_empty() {
            return true;
        }
        let ends = containers.iter().map(|container| self.engine.wait(&container.name));
        let rest = self.settle_time.saturating_sub(Duration::from_secs(age));
        tokio::time::timeout(rest, select_all(ends)).await.is_err()
    }

    /// Says what became of a process, with its last words.
    async fn explain(&self, container: &ContainerFacts, what: &str) -> String {
        let process = container.labels.get(PROCESS).map_or("a process", String::as_str);
        let log = self.log(&container.name, Some(LAST_LINES)).await.unwrap_or_default();
        let lines = String::from_utf8_lossy(&log).trim_end().to_owned();
        if lines.is_empty() {
            format!("`{process}` {what} and said nothing")
        } else {
            format!("`{process}` {what}; its last lines:\n{lines}")
        }
    }

    /// Takes the processes away that one order has started.
    async fn withdraw(&self, lane: &LaneKey, sequence: u64) -> Result<(), Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        let own: Vec<_> = all.into_iter().filter(|container| number(container, SEQUENCE) == Some(sequence)).collect();
        self.retire(&own).await
    }

    /// Removes the containers of tasks whose builds are over.
    async fn forget_tasks(&self, lane: &LaneKey, build: BuildNumber) -> Result<(), Failure> {
        let tasks = self.engine.containers(&self.labelled(lane, ROLE_TASK)).await?;
        for task in tasks.iter().filter(|task| !task.state.is_running() && build_of(task) < Some(build)) {
            self.engine.remove(&task.name).await?;
        }
        Ok(())
    }

    /// Returns the exit code of a process that has ended while no other one took its place.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn ended_by_itself(&self, lane: &LaneKey, was: &RunningContainer) -> Result<Option<i64>, Failure> {
        let state = self.engine.container(&was.container).await?.map(|container| container.state);
        let replaced = self.running(lane).await?.iter().any(|other| other.process == was.process);
        Ok(match state {
            Some(ContainerState::Exited { code }) if !replaced => Some(code),
            _ => None,
        })
    }

    /// The containers that run a lane's services.
    ///
    /// # Errors
    /// Fails when the engine does not answer.
    pub async fn running(&self, lane: &LaneKey) -> Result<Vec<RunningContainer>, Failure> {
        let all = self.engine.containers(&self.labelled(lane, ROLE_SERVICE)).await?;
        let running = all.into_iter().filter(|container| container.state.is_running());
        let named = running.filter_map(|container| {
            let process = container.labels.get(PROCESS)?;
            let process = match number(&container, REPLICA) {
                Some(replica) if replica > 1 => format!("{process}.{replica}"),
                _ => process.clone(),
            };
            Some(RunningContainer { process, container: container.name })
        });
        Ok(named.collect())
    }
}

/// The services of an order, from what their containers are made from.
fn ordered(formation: &Formation, specs: &BTreeMap<ProcessType, ContainerSpec>) -> BTreeMap<ProcessType, Ordered> {
    let service = |(process, spec): (&ProcessType, &ContainerSpec)| {
        let definition = spec.labels.get(REVISION).cloned().unwrap_or_default();
        // Nobody measures the load here: of a range, the fewest run.
        let count = Some(formation.scaling.of(process.as_str()).min);
        (process.clone(), Ordered { definition, count, before: None })
    };
    specs.iter().map(service).collect()
}

fn ended(container: &ContainerFacts) -> Option<String> {
    match &container.state {
        ContainerState::Running => None,
        ContainerState::Created { error } if error.is_empty() => None,
        ContainerState::Created { error } => Some(format!("could not start ({error})")),
        ContainerState::Exited { code } if container.out_of_memory && *code != 0 => Some(format!(
            "exited with code {code}, since {OUT_OF_MEMORY} (`packhorse ps scale` with `--memory` gives it more)"
        )),
        ContainerState::Exited { code } => Some(format!("exited with code {code}")),
    }
}

fn is_web(container: &ContainerFacts) -> bool {
    container.labels.get(PROCESS).is_some_and(|process| process == "web")
}

/// A digest of all that a process is started from. Values are part of it: who may see the label may see them anyway.
fn revision(image: &str, launch: &Launch, env: &BTreeMap<String, SecretString>, size: Size, restart: &str) -> String {
    let mut hash = Sha256::new();
    let memory = size.memory.to_string();
    let variables = env.iter().flat_map(|(name, value)| [name.as_str(), value.expose_secret()]);
    let launch = launch.entrypoint.iter().chain(&launch.arguments).map(String::as_str);
    for part in [image, &memory, restart].into_iter().chain(launch).chain(variables) {
        // With the length, so that no two lists of parts run together.
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hex::encode(hash.finalize())
}

fn number(container: &ContainerFacts, label: &str) -> Option<u64> {
    container.labels.get(label)?.parse().ok()
}
