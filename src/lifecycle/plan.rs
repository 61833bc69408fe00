//! Build plans: what buildpacks provide and require, and which of a group can work together.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::order::BuildpackId;
use super::toml_writer::{Table, Value};

/// Something that a buildpack wants another one to provide.
#[derive(Debug, Clone, PartialEq)]
pub struct Require {
    /// Its name.
    pub name: String,
    /// Anything that the provider may want to know.
    pub metadata: toml::Table,
}

/// One way in which a buildpack can take part.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Alternative {
    /// What it provides.
    pub provides: Vec<String>,
    /// What it requires.
    pub requires: Vec<Require>,
}

/// Why a build plan is refused.
#[derive(Debug, thiserror::Error)]
pub enum BuildPlanError {
    /// It is not TOML, or has a value of the wrong kind.
    #[error(transparent)]
    Malformed(#[from] toml::de::Error),
    /// A require has the key `version`, which had been replaced by `metadata.version`.
    #[error("`requires.version` is not supported, use `metadata.version` instead")]
    Version,
}

#[derive(Deserialize, Default)]
struct RawPlan {
    #[serde(flatten)]
    first: RawAlternative,
    #[serde(default)]
    or: Vec<RawAlternative>,
}

#[derive(Deserialize, Default)]
struct RawAlternative {
    #[serde(default)]
    provides: Vec<RawProvide>,
    #[serde(default)]
    requires: Vec<RawRequire>,
}

#[derive(Deserialize)]
struct RawProvide {
    #[serde(default)]
    name: String,
}

#[derive(Deserialize)]
struct RawRequire {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    metadata: toml::Table,
}

/// Reads what a `bin/detect` wrote: the plan proper, then its alternatives, the preferred one first.
pub fn parse_build_plan(text: &str) -> Result<Vec<Alternative>, BuildPlanError> {
    let raw: RawPlan = toml::from_str(text)?;
    std::iter::once(raw.first).chain(raw.or).map(alternative).collect()
}

fn alternative(raw: RawAlternative) -> Result<Alternative, BuildPlanError> {
    let require = |RawRequire { name, version, metadata }| {
        if version.is_empty() { Ok(Require { name, metadata }) } else { Err(BuildPlanError::Version) }
    };
    Ok(Alternative {
        provides: raw.provides.into_iter().map(|provide| provide.name).collect(),
        requires: raw.requires.into_iter().map(require).collect::<Result<_, _>>()?,
    })
}

/// A buildpack that passed detection, as the resolution sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its name in messages, `id@version`.
    pub name: String,
    /// Whether the group can do without it.
    pub optional: bool,
    /// The ways in which it can take part, the preferred one first; never none.
    pub alternatives: Vec<Alternative>,
}

/// An entry of the plan: one dependency, who provides it, and what is required of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The places of the providers among the candidates.
    pub providers: Vec<usize>,
    /// What was required, all of one name.
    pub requires: Vec<Require>,
}

/// Buildpacks that can work together.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolution {
    /// The places of those that take part among the candidates.
    pub chosen: Vec<usize>,
    /// The plan, in the order in which names are first mentioned.
    pub entries: Vec<Entry>,
}

/// Why no resolution was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// Every combination of alternatives has a required buildpack that is left without what it needs, or that nobody needs.
    #[error("no combination of alternatives fits")]
    NoFit,
    /// There are more combinations than can be tried in reasonable time.
    #[error("the build plans have too many alternatives: gave up after {TRIALS} combinations")]
    TooMany,
}

/// How many combinations of alternatives are tried: more than any real group has, and done in seconds.
pub const TRIALS: usize = 20_000;

/// Finds the first combination of alternatives that fits, the first candidate's alternatives changing last.
///
/// Only the last alternative of an optional candidate leaves it optional. `say` hears what happened in each trial.
pub fn resolve(candidates: &[Candidate], say: &mut dyn FnMut(&str)) -> Result<Resolution, Unresolved> {
    let mut picked = vec![0; candidates.len()];
    for trial in 1..=TRIALS {
        say(&format!("Resolving plan... (try #{trial})"));
        if let Some(resolution) = attempt(candidates, &picked, say) {
            return Ok(resolution);
        }
        if !next_combination(candidates, &mut picked) {
            return Err(Unresolved::NoFit);
        }
    }
    Err(Unresolved::TooMany)
}

/// Counts on by one, the last candidate being the lowest digit.
fn next_combination(candidates: &[Candidate], picked: &mut [usize]) -> bool {
    for (index, candidate) in candidates.iter().enumerate().rev() {
        picked[index] += 1;
        if picked[index] < candidate.alternatives.len() {
            return true;
        }
        picked[index] = 0;
    }
    false
}

/// Drops optional candidates that do not fit until all fit, or a required one does not.
fn attempt(candidates: &[Candidate], picked: &[usize], say: &mut dyn FnMut(&str)) -> Option<Resolution> {
    let option = |index: usize| &candidates[index].alternatives[picked[index]];
    let optional = |index: usize| {
        let Candidate { optional, alternatives, .. } = &candidates[index];
        *optional && picked[index] + 1 == alternatives.len()
    };
    let mut chosen: Vec<usize> = (0..candidates.len()).collect();
    loop {
        let misfits = misfits(&chosen, &option);
        if misfits.is_empty() {
            break;
        }
        for Misfit { index, problem, name } in &misfits {
            let word = if optional(*index) { "skip" } else { "fail" };
            say(&format!("{word}: {} {problem} {name}", candidates[*index].name));
            if !optional(*index) {
                return None;
            }
        }
        chosen.retain(|index| !misfits.iter().any(|misfit| misfit.index == *index));
    }
    if chosen.is_empty() {
        say("fail: no viable buildpacks in group");
        return None;
    }
    let entries = entries(&chosen, &option);
    Some(Resolution { chosen, entries })
}

struct Misfit<'a> {
    index: usize,
    problem: &'static str,
    name: &'a str,
}

/// Finds requires that nobody provides up to their place, and provides that nobody requires from their place on; the first all come
/// before the second.
fn misfits<'a>(chosen: &[usize], option: &impl Fn(usize) -> &'a Alternative) -> Vec<Misfit<'a>> {
    let mut provided = BTreeSet::new();
    let mut found = Vec::new();
    for &index in chosen {
        provided.extend(&option(index).provides);
        let unmet = option(index).requires.iter().filter(|require| !provided.contains(&require.name));
        found.extend(unmet.map(|require| Misfit { index, problem: "requires", name: &require.name }));
    }
    let mut required = BTreeSet::new();
    let mut unused = Vec::new();
    for &index in chosen.iter().rev() {
        required.extend(option(index).requires.iter().map(|require| &require.name));
        let idle = option(index).provides.iter().rev().filter(|name| !required.contains(name));
        unused.extend(idle.map(|name| Misfit { index, problem: "provides unused", name }));
    }
    found.extend(unused.into_iter().rev());
    found
}

fn entries<'a>(chosen: &[usize], option: &impl Fn(usize) -> &'a Alternative) -> Vec<Entry> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut entries: Vec<Entry> = Vec::new();
    let mut entry_of = |entries: &mut Vec<Entry>, name: &'a str| {
        *places.entry(name).or_insert_with(|| {
            entries.push(Entry { providers: Vec::new(), requires: Vec::new() });
            entries.len() - 1
        })
    };
    for &index in chosen {
        for name in &option(index).provides {
            let place = entry_of(&mut entries, name);
            entries[place].providers.push(index);
        }
        for require in &option(index).requires {
            let place = entry_of(&mut entries, &require.name);
            entries[place].requires.push(require.clone());
        }
    }
    entries
}

/// The plan of a whole build, from which each buildpack gets what it provides.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    entries: Vec<(Vec<BuildpackId>, Vec<Require>)>,
}

impl Plan {
    /// Makes the plan of entries whose providers have these ids.
    pub fn new(entries: Vec<(Vec<BuildpackId>, Vec<Require>)>) -> Self {
        Self { entries }
    }

    /// Returns what is required of a buildpack, in all that it provides.
    pub fn for_buildpack(&self, id: &BuildpackId) -> Vec<Require> {
        let provided = |(providers, _): &&(Vec<BuildpackId>, _)| providers.contains(id);
        self.entries.iter().filter(provided).flat_map(|(_, requires)| requires.clone()).collect()
    }

    /// Removes every entry that has one of these names: a buildpack has met them.
    pub fn remove_met(&mut self, met: &BTreeSet<String>) {
        self.entries.retain(|(_, requires)| !requires.iter().any(|require| met.contains(&require.name)));
    }
}

/// Writes the plan that a buildpack reads.
pub fn buildpack_plan(requires: &[Require]) -> String {
    if requires.is_empty() {
        return String::new();
    }
    let entry = |Require { name, metadata }: &Require| {
        let table = Table::default().with("name", name.as_str());
        if metadata.is_empty() { table } else { table.with("metadata", Table::from(metadata)) }
    };
    let entries: Value = requires.iter().map(entry).collect();
    Table::default().with("entries", entries).to_toml()
}

#[cfg(test)]
pub(super) mod tests;
