//! The items of the table, exactly as existing clients decode them.
//!
//! One attribute of the wrong type fails a client's whole command, so types are as in the contract: times and counts
//! are whole-number N, ARNs a list of S, phases that never began are absent.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;

use crate::adapters::lane_document;
use crate::domain::lane::{
    BuildRecord, DeployStatus, Ending, Lane, LaneKey, Phase, PhaseRecord, PhaseState, ProcessRecord,
};
use crate::domain::names::{BuildNumber, EpochSeconds};
use crate::domain::namespace::{LANE_SORT_KEY, build_sort_key, partition};
use crate::ports::failure::Failure;
use crate::ports::lane_store::Version;

/// The attributes of one item, or of a map in it.
pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) const PARTITION_KEY: &str = "primary_id";
pub(super) const SORT_KEY: &str = "secondary_id";
/// Present on a lane only while something is in flight.
pub(super) const ACTIVE: &str = "active";
/// One value for all lanes, so that one query of the index finds them.
pub(super) const ACTIVE_VALUE: &str = "1";
/// The lane's version that a client-visible item was made from.
pub(super) const LANE_VERSION: &str = "lane_version";
/// Tells a commit's own repetition from somebody else's commit.
const COMMIT_ID: &str = "commit_id";

/// What is wrong with an item.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute `{path}` {problem}")]
pub(super) struct WrongItem {
    path: String,
    problem: String,
}

/// Makes a full key.
pub(super) fn key(partition: &str, sort: &str) -> Item {
    Item::from([(PARTITION_KEY.to_owned(), text(partition)), (SORT_KEY.to_owned(), text(sort))])
}

/// Returns where the item of the most recent deploy lies: with the pipeline, also for a review app.
pub(super) fn deploy_status_key(lane: &LaneKey) -> Item {
    let partition = partition(&LaneKey::app(lane.app.clone()));
    match lane.pull_request {
        None => key(&partition, "DEPLOYSTATUS"),
        Some(pr) => key(&partition, &format!("DEPLOYSTATUS#{pr}")),
    }
}

/// Makes the item of a lane.
///
/// # Errors
/// Refuses a lane that cannot be written as JSON.
pub(super) fn lane_item(lane: &Lane, version: Version, commit_id: &str) -> Result<Item, Failure> {
    let key = key(&partition(&lane.key), LANE_SORT_KEY);
    let mut item = versioned(key, version, Lane::FORMAT, lane_document::encode(lane)?, commit_id);
    if lane.is_active() {
        item.insert(ACTIVE.to_owned(), text(ACTIVE_VALUE));
    }
    Ok(item)
}

/// Adds to a key what an item has that is changed only by its version.
pub(super) fn versioned(mut key: Item, version: Version, format: u32, state: String, commit_id: &str) -> Item {
    key.insert("version".to_owned(), number(version.0));
    key.insert("format".to_owned(), number(format.into()));
    key.insert("state".to_owned(), text(state));
    key.insert(COMMIT_ID.to_owned(), text(commit_id));
    key
}

/// Tells whether an item was written by the commit with this id.
pub(super) fn has_commit_id(item: &Item, commit_id: &str) -> bool {
    Reader::new(item).text(COMMIT_ID) == Ok(commit_id)
}

/// Makes the item of a build.
pub(super) fn build_item(lane: &LaneKey, at: Version, record: &BuildRecord) -> Item {
    let BuildRecord { app, build_number, pr_number, commit, phases, ending } = record;
    let mut item = key(&partition(lane), &build_sort_key(*build_number));
    item.insert("app".to_owned(), text(app));
    item.insert("build_number".to_owned(), number(build_number.0));
    item.insert("pr_number".to_owned(), text(pr_number));
    item.insert("commit".to_owned(), text(commit));
    for (phase, record) in phases {
        item.insert(phase.to_string(), AttributeValue::M(phase_map(record)));
    }
    if let Some(ending) = ending {
        item.insert("ending".to_owned(), AttributeValue::M(ending_map(ending)));
    }
    item.insert(LANE_VERSION.to_owned(), number(at.0));
    item
}

fn phase_map(record: &PhaseRecord) -> Item {
    let PhaseRecord { state, start, end, arns, logs } = record;
    let mut map = Item::from([
        ("state".to_owned(), text(state.as_str())),
        ("start".to_owned(), number(start.0)),
        ("arns".to_owned(), AttributeValue::L(arns.iter().map(text).collect())),
        ("logs".to_owned(), text(logs)),
    ]);
    if let Some(end) = end {
        map.insert("end".to_owned(), number(end.0));
    }
    map
}

fn ending_map(ending: &Ending) -> Item {
    let pairs: Vec<(&str, AttributeValue)> = match ending {
        Ending::Deployed => vec![("kind", text("deployed"))],
        Ending::Failed { phase, cause } => {
            vec![("kind", text("failed")), ("phase", text(phase.as_str())), ("cause", text(cause))]
        }
        Ending::Superseded { by } => vec![("kind", text("superseded")), ("by", number(by.0))],
        Ending::Skipped { reason } => vec![("kind", text("skipped")), ("reason", text(reason))],
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Makes the item of the most recent deploy.
pub(super) fn deploy_status_item(lane: &LaneKey, at: Version, status: &DeployStatus) -> Item {
    let DeployStatus { phase, processes, build_arn, build_number, commit, last_update, failed } = status;
    let value = Item::from([
        ("phase".to_owned(), text(phase.as_str())),
        ("processes".to_owned(), AttributeValue::L(processes.iter().map(process_map).collect())),
        ("build_id".to_owned(), text(build_arn.as_str())),
        ("build_number".to_owned(), number(build_number.0)),
        ("commit".to_owned(), text(commit)),
        ("last_update".to_owned(), number(last_update.0)),
        ("failed".to_owned(), AttributeValue::Bool(*failed)),
    ]);
    let mut item = deploy_status_key(lane);
    item.insert("value".to_owned(), AttributeValue::M(value));
    item.insert(LANE_VERSION.to_owned(), number(at.0));
    item
}

fn process_map(process: &ProcessRecord) -> AttributeValue {
    let ProcessRecord { name, command, cpu, memory, min_processes, max_processes, state } = process;
    AttributeValue::M(Item::from([
        ("name".to_owned(), text(name)),
        ("command".to_owned(), text(command)),
        ("cpu".to_owned(), text(cpu)),
        ("memory".to_owned(), text(memory)),
        ("min_processes".to_owned(), number(*min_processes)),
        ("max_processes".to_owned(), number(*max_processes)),
        ("state".to_owned(), text(state)),
    ]))
}

/// Reads the item of a build, whoever wrote it.
///
/// # Errors
/// Names the first attribute that is not what the contract says.
pub(super) fn read_build(item: &Item) -> Result<BuildRecord, WrongItem> {
    let reader = Reader::new(item);
    let mut phases = BTreeMap::new();
    for phase in Phase::ALL {
        let Some(map) = reader.map(phase.as_str())? else { continue };
        if let Some(record) = read_phase(&map)? {
            phases.insert(phase, record);
        }
    }
    Ok(BuildRecord {
        app: reader.text_or_empty("app")?.to_owned(),
        build_number: BuildNumber(reader.number("build_number")?),
        pr_number: reader.text_or_empty("pr_number")?.to_owned(),
        commit: reader.text_or_empty("commit")?.to_owned(),
        phases,
        ending: reader.map("ending")?.map(|map| read_ending(&map)).transpose()?,
    })
}

/// Reads a phase; one without a state has not begun.
fn read_phase(map: &Reader<'_>) -> Result<Option<PhaseRecord>, WrongItem> {
    let state = match map.text_or_empty("state")? {
        "" => return Ok(None),
        "started" => PhaseState::Started,
        "succeeded" => PhaseState::Succeeded,
        "failed" => PhaseState::Failed,
        other => return Err(map.wrong("state", format!("is `{other}`"))),
    };
    Ok(Some(PhaseRecord {
        state,
        start: EpochSeconds(map.number_or_zero("start")?),
        end: Some(map.number_or_zero("end")?).filter(|end| *end != 0).map(EpochSeconds),
        arns: map.texts("arns")?,
        logs: map.text_or_empty("logs")?.to_owned(),
    }))
}

fn read_ending(map: &Reader<'_>) -> Result<Ending, WrongItem> {
    match map.text("kind")? {
        "deployed" => Ok(Ending::Deployed),
        "failed" => Ok(Ending::Failed { phase: read_phase_name(map)?, cause: map.text_or_empty("cause")?.to_owned() }),
        "superseded" => Ok(Ending::Superseded { by: BuildNumber(map.number("by")?) }),
        "skipped" => Ok(Ending::Skipped { reason: map.text_or_empty("reason")?.to_owned() }),
        other => Err(map.wrong("kind", format!("is `{other}`"))),
    }
}

fn read_phase_name(map: &Reader<'_>) -> Result<Phase, WrongItem> {
    let name = map.text("phase")?;
    let known = Phase::ALL.into_iter().find(|phase| phase.as_str() == name);
    known.ok_or_else(|| map.wrong("phase", format!("is `{name}`")))
}

/// Reads the item of the most recent deploy, whoever wrote it.
///
/// # Errors
/// Names the first attribute that is not what the contract says.
pub(super) fn read_deploy_status(item: &Item) -> Result<DeployStatus, WrongItem> {
    let outer = Reader::new(item);
    let value = outer.map("value")?.ok_or_else(|| outer.wrong("value", "is missing"))?;
    let build_id = value.text("build_id")?;
    let processes = value.maps("processes")?.iter().map(read_process).collect::<Result<_, _>>()?;
    Ok(DeployStatus {
        phase: read_phase_name(&value)?,
        processes,
        build_arn: build_id.parse().map_err(|error| value.wrong("build_id", format!("is wrong: {error}")))?,
        build_number: BuildNumber(value.number("build_number")?),
        commit: value.text_or_empty("commit")?.to_owned(),
        last_update: EpochSeconds(value.number_or_zero("last_update")?),
        failed: value.flag("failed")?,
    })
}

fn read_process(map: &Reader<'_>) -> Result<ProcessRecord, WrongItem> {
    Ok(ProcessRecord {
        name: map.text("name")?.to_owned(),
        command: map.text_or_empty("command")?.to_owned(),
        cpu: map.text_or_empty("cpu")?.to_owned(),
        memory: map.text_or_empty("memory")?.to_owned(),
        min_processes: map.number_or_zero("min_processes")?,
        max_processes: map.number_or_zero("max_processes")?,
        state: map.text_or_empty("state")?.to_owned(),
    })
}

fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

fn number(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Reads attributes and knows where it is, so that an error names the place. NULL counts as absent.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    path: String,
    attributes: &'a Item,
}

impl<'a> Reader<'a> {
    pub(super) fn new(attributes: &'a Item) -> Self {
        Self { path: String::new(), attributes }
    }

    fn get(&self, name: &str) -> Option<&'a AttributeValue> {
        self.attributes.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, problem: impl Into<String>) -> WrongItem {
        WrongItem { path: format!("{}{name}", self.path), problem: problem.into() }
    }

    fn missing(&self, name: &str) -> WrongItem {
        self.wrong(name, "is missing")
    }

    pub(super) fn text(&self, name: &str) -> Result<&'a str, WrongItem> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        value.as_s().map(String::as_str).map_err(|_| self.wrong(name, "is not text"))
    }

    fn text_or_empty(&self, name: &str) -> Result<&'a str, WrongItem> {
        if self.get(name).is_some() { self.text(name) } else { Ok("") }
    }

    pub(super) fn number(&self, name: &str) -> Result<u64, WrongItem> {
        let value = self.get(name).ok_or_else(|| self.missing(name))?;
        let text = value.as_n().map_err(|_| self.wrong(name, "is not a number"))?;
        text.parse().map_err(|_| self.wrong(name, "is not a whole number"))
    }

    fn number_or_zero(&self, name: &str) -> Result<u64, WrongItem> {
        if self.get(name).is_some() { self.number(name) } else { Ok(0) }
    }

    fn flag(&self, name: &str) -> Result<bool, WrongItem> {
        match self.get(name) {
            None => Ok(false),
            Some(value) => value.as_bool().copied().map_err(|_| self.wrong(name, "is not true or false")),
        }
    }

    fn map(&self, name: &str) -> Result<Option<Reader<'a>>, WrongItem> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let attributes = value.as_m().map_err(|_| self.wrong(name, "is not a map"))?;
        Ok(Some(Reader { path: format!("{}{name}.", self.path), attributes }))
    }

    fn maps(&self, name: &str) -> Result<Vec<Reader<'a>>, WrongItem> {
        let Some(value) = self.get(name) else { return Ok(Vec::new()) };
        let list = value.as_l().map_err(|_| self.wrong(name, "is not a list"))?;
        let map = |(index, value): (usize, &'a AttributeValue)| {
            let attributes = value.as_m().map_err(|_| self.wrong(name, "has something that is not a map"))?;
            Ok(Reader { path: format!("{}{name}[{index}].", self.path), attributes })
        };
        list.iter().enumerate().map(map).collect()
    }

    /// Reads a list of texts, or a set of them, as clients do.
    fn texts(&self, name: &str) -> Result<Vec<String>, WrongItem> {
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(AttributeValue::Ss(set)) => Ok(set.clone()),
            Some(AttributeValue::L(list)) => {
                let wrong = |_| self.wrong(name, "has something else than text");
                list.iter().map(|value| value.as_s().cloned().map_err(wrong)).collect()
            }
            Some(_) => Err(self.wrong(name, "is not a list")),
        }
    }
}
