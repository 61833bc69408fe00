//! Tries a group: runs what has not been run yet, and resolves what they say.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use async_trait::async_trait;
use futures_util::future::join_all;

use super::expand::{Outcome, Participant, Trier};
use super::{DetectError, Detected};
use crate::lifecycle::environment::Variables;
use crate::lifecycle::folders::Folders;
use crate::lifecycle::log::Level;
use crate::lifecycle::metadata::Member;
use crate::lifecycle::plan::{self, Alternative, Candidate, Plan, Resolution, Unresolved};
use crate::lifecycle::site::{Call, Site};
use crate::lifecycle::store::Installed;

/// How much of one buildpack's output is kept.
const MOST_OUTPUT: usize = 4 * 1024 * 1024;

/// The exit code with which a buildpack does not want an app.
const NOT_WANTED: i32 = 100;

/// What a buildpack said.
#[derive(Debug, Clone, Default)]
struct Run {
    /// Its exit code; -1 where it has none, or said something that cannot be used.
    code: i32,
    output: Vec<u8>,
    error: Option<String>,
    plan: Vec<Alternative>,
}

/// The runs so far: each buildpack says once per build what it thinks of the app.
pub(super) struct Runs<'a> {
    site: Site<'a>,
    variables: &'a Variables,
    known: BTreeMap<String, Run>,
    lines: Vec<(Level, String)>,
}

impl<'a> Runs<'a> {
    pub(super) fn new(site: Site<'a>, variables: &'a Variables) -> Self {
        Self { site, variables, known: BTreeMap::new(), lines: Vec::new() }
    }

    /// Returns what there is to be said, in order.
    pub(super) fn into_lines(self) -> Vec<(Level, String)> {
        self.lines
    }

    fn say(&mut self, level: Level, text: impl Into<String>) {
        self.lines.push((level, text.into()));
    }

    async fn run_missing(&mut self, group: &[Participant]) {
        let (site, variables) = (&self.site, self.variables);
        let missing =
            group.iter().filter(|one| !one.wrong_target && !self.known.contains_key(&one.element.to_string()));
        let runs = missing.map(|one| async { (one.element.to_string(), run(site, &one.installed, variables).await) });
        self.known.extend(join_all(runs).await);
        for one in group.iter().filter(|one| one.wrong_target) {
            self.known.insert(one.element.to_string(), wrong_target(site, &one.installed));
        }
    }

    /// Shows what each said and counts who passed; `None` when a required one did not.
    fn passing<'g>(&mut self, group: &'g [Participant]) -> Result<Vec<&'g Participant>, Outcome> {
        let runs: Vec<Run> =
            group.iter().map(|one| self.known.get(&one.element.to_string()).cloned().unwrap_or_default()).collect();
        for (one, run) in group.iter().zip(&runs) {
            let level = if matches!(run.code, 0 | NOT_WANTED) { Level::Debug } else { Level::Info };
            if !run.output.is_empty() {
                self.say(level, format!("======== Output: {} ========", one.element));
                self.say(level, String::from_utf8_lossy(&run.output).trim_end_matches('\n'));
            }
            if let Some(error) = &run.error {
                self.say(level, format!("======== Error: {} ========", one.element));
                self.say(level, error);
            }
        }
        self.say(Level::Debug, "======== Results ========");
        let (mut passing, mut failed, mut errored) = (Vec::new(), false, false);
        for (one, run) in group.iter().zip(&runs) {
            let Participant { element, .. } = one;
            match run.code {
                0 => {
                    self.say(Level::Debug, format!("pass: {element}"));
                    passing.push(one);
                    continue;
                }
                NOT_WANTED if element.optional => self.say(Level::Debug, format!("skip: {element}")),
                NOT_WANTED => self.say(Level::Debug, format!("fail: {element}")),
                -1 => self.say(Level::Info, format!("err:  {element}")),
                code => self.say(Level::Info, format!("err:  {element} ({code})")),
            }
            errored |= run.code != NOT_WANTED;
            failed |= !element.optional;
        }
        if failed {
            return Err(Outcome::Failed { errored });
        }
        if passing.is_empty() {
            self.say(Level::Debug, "fail: no viable buildpacks in group");
            return Err(Outcome::Failed { errored: false });
        }
        Ok(passing)
    }

    fn candidate(&self, participant: &Participant) -> Candidate {
        let name = participant.element.to_string();
        let alternatives = self.known.get(&name).map(|run| run.plan.clone()).unwrap_or_default();
        Candidate { name, optional: participant.element.optional, alternatives }
    }
}

#[async_trait]
impl Trier for Runs<'_> {
    async fn try_group(&mut self, group: &[Participant]) -> Result<Outcome, DetectError> {
        self.run_missing(group).await;
        let passing = match self.passing(group) {
            Ok(passing) => passing,
            Err(failed) => return Ok(failed),
        };
        let candidates: Vec<_> = passing.iter().map(|one| self.candidate(one)).collect();
        let Resolution { chosen, entries } =
            match plan::resolve(&candidates, &mut |text| self.lines.push((Level::Debug, text.to_owned()))) {
                Ok(resolution) => resolution,
                Err(Unresolved::NoFit) => return Ok(Outcome::Failed { errored: false }),
                Err(error @ Unresolved::TooMany) => return Err(DetectError::TooManyAlternatives(error)),
            };
        if chosen.len() != group.len() {
            self.say(Level::Info, format!("{} of {} buildpacks participating", chosen.len(), group.len()));
        }
        let members: Vec<_> = chosen.iter().map(|&index| member(passing[index])).collect();
        let width = members.iter().map(|member| member.id.as_str().len()).max().unwrap_or(0);
        for member in &members {
            self.say(Level::Info, format!("{:<width$} {}", member.id.as_str(), member.version));
        }
        let entries = entries.into_iter().map(|entry| {
            let ids = entry.providers.iter().map(|&index| passing[index].element.id.clone());
            (ids.collect(), entry.requires)
        });
        Ok(Outcome::Detected(Detected { group: members, plan: Plan::new(entries.collect()) }))
    }
}

fn member(participant: &Participant) -> Member {
    let Participant { element, installed, .. } = participant;
    let (api, homepage) = (installed.buildpack.api.clone(), installed.buildpack.homepage.clone());
    Member { id: element.id.clone(), version: element.version.clone(), api, homepage }
}

fn wrong_target(site: &Site<'_>, installed: &Installed) -> Run {
    let json = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
    let error = format!(
        "unable to satisfy target os/arch constraints; run image: {}, buildpack: {}",
        json(serde_json::to_string(site.target)),
        json(serde_json::to_string(&installed.buildpack.targets)),
    );
    Run { code: -1, error: Some(error), ..Run::default() }
}

async fn run(site: &Site<'_>, installed: &Installed, variables: &Variables) -> Run {
    let mut output = Vec::new();
    let failed = |output: Vec<u8>, error: String| Run { code: -1, output, error: Some(error), plan: Vec::new() };
    let plan = match PlanFile::new(site.folders) {
        Ok(plan) => plan,
        Err(error) => return failed(output, error.to_string()),
    };
    let program = match site.program(installed, Call::Detect { plan: &plan.inside }, variables) {
        Ok(program) => program,
        Err(error) => return failed(output, error.to_string()),
    };
    let mut keep = |bytes: &[u8]| output.extend_from_slice(&bytes[..bytes.len().min(MOST_OUTPUT - output.len())]);
    let code = match site.executor.run(&program, &mut keep).await {
        Ok(exit) => exit.code(),
        Err(error) => return failed(output, format!("could not run {}: {error}", program.argv[0].display())),
    };
    if code != 0 {
        return Run { code, output, ..Run::default() };
    }
    let text = site.folders.read_text(&plan.inside).map(Option::unwrap_or_default).map_err(|error| error.to_string());
    match text.and_then(|text| plan::parse_build_plan(&text).map_err(|error| error.to_string())) {
        Ok(plan) => Run { code, output, error: None, plan },
        Err(error) => failed(output, format!("buildpack {}: {error}", installed.buildpack.id)),
    }
}

/// The file to which a buildpack writes its build plan, in a folder of its own that goes with it.
struct PlanFile<'a> {
    folders: &'a Folders,
    folder: PathBuf,
    inside: PathBuf,
}

impl<'a> PlanFile<'a> {
    fn new(folders: &'a Folders) -> io::Result<Self> {
        let folder = folders.scratch.inside.join(format!("plan.{:016x}", fastrand::u64(..)));
        let inside = folder.join("plan.toml");
        folders.write_with_mode(&inside, b"", 0o600)?;
        Ok(Self { folders, folder, inside })
    }
}

impl Drop for PlanFile<'_> {
    fn drop(&mut self) {
        // In the worst case a small file stays in a folder that goes at the end of the build.
        let _ = self.folders.remove(&self.folder);
    }
}
