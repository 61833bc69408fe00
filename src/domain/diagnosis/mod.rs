//! Names the cause of a failed or waiting build in one sentence, with the next step.
//!
//! What a build's item and its lane say is enough for most; the end of a log and `build.json` make some causes plainer.

mod failures;
mod waiting;

use serde_json::Value;

use super::lane::{BuildRecord, Ending, Lane, Phase, PhaseState};
use super::names::{BuildNumber, EpochSeconds};

/// What is known of a build.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Its item, as clients read it.
    pub record: &'a BuildRecord,
    /// Its lane, where packhorse's orchestrator looks after the app and the caller may read it.
    pub lane: Option<&'a Lane>,
    /// Its `build.json`, where it left one.
    pub metadata: Option<&'a Value>,
    /// The end of the log of the phase that failed, as far as there is one.
    pub log: Option<&'a str>,
    /// The present moment.
    pub now: EpochSeconds,
}

/// Why a build is where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnosis {
    /// The build.
    pub build: BuildNumber,
    /// The name of the cause: the same for every build with that cause.
    pub cause: &'static str,
    /// The cause in one sentence.
    pub sentence: String,
    /// What to do now.
    pub next: String,
}

impl Diagnosis {
    fn new(facts: &Facts<'_>, cause: &'static str, says: impl std::fmt::Display, next: impl Into<String>) -> Self {
        let build = facts.record.build_number;
        // What was said may have had several lines.
        let says = says.to_string().lines().map(str::trim).collect::<Vec<_>>().join(" ");
        Self { build, cause, sentence: format!("Build {build} {says}."), next: next.into() }
    }
}

/// Names the cause. Every build has one: what nobody has seen before is told in the words of whoever failed.
pub fn diagnose(facts: &Facts<'_>) -> Diagnosis {
    let record = facts.record;
    match &record.ending {
        Some(Ending::Deployed) => deployed(facts),
        Some(Ending::Superseded { by }) => Diagnosis::new(
            facts,
            "superseded",
            format_args!("was not deployed because build {by} is newer"),
            format!("nothing is wrong: look at build {by} (`packhorse why {by}`)"),
        ),
        Some(Ending::Skipped { reason }) => Diagnosis::new(
            facts,
            "skipped",
            format_args!("had nothing to do: {reason}"),
            "nothing is wrong; for a pull request, create its review app first if it should be built",
        ),
        Some(Ending::Failed { phase, cause }) => failures::of(facts, *phase, cause),
        None => match failed_phase(record) {
            // An item that somebody else wrote says only which phase failed.
            Some(phase) => failures::of(facts, phase, &recorded_cause(facts).unwrap_or_default()),
            None if record.phases.get(&Phase::Deploy).is_some_and(|deploy| deploy.state == PhaseState::Succeeded) => {
                deployed(facts)
            }
            None => waiting::of(facts),
        },
    }
}

fn deployed(facts: &Facts<'_>) -> Diagnosis {
    let live = facts.lane.and_then(|lane| lane.live.as_ref()).map(|live| live.build);
    match live.filter(|live| *live != facts.record.build_number) {
        Some(live) => Diagnosis::new(
            facts,
            "replaced",
            format_args!("was deployed, and build {live} has taken its place since"),
            format!("to run it again, `packhorse rollback {}`", facts.record.build_number),
        ),
        None => Diagnosis::new(facts, "deployed", "is deployed and runs", "nothing is to be done"),
    }
}

fn failed_phase(record: &BuildRecord) -> Option<Phase> {
    record.phases.iter().find(|(_, record)| record.state == PhaseState::Failed).map(|(phase, _)| *phase)
}

/// What the build itself recorded of its end.
fn recorded_cause(facts: &Facts<'_>) -> Option<String> {
    let phases = facts.metadata?.get("phases")?.as_object()?;
    let cause = phases.values().find_map(|phase| phase.get("cause").and_then(Value::as_str))?;
    Some(cause.to_owned())
}
