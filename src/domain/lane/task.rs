//! Commands that run once in a task of their own: release, postdeploy and pre-destroy.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use super::state::LaneKey;
use crate::domain::names::{BuildNumber, EpochSeconds};

/// What places say of a command that was killed since its memory ran out.
pub const OUT_OF_MEMORY: &str = "it ran out of memory";

/// Which command a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TaskKind {
    /// The release command.
    Release,
    /// A review app's initialize command.
    Postdeploy,
    /// A review app's last command, before it is removed.
    PreDestroy,
}

impl TaskKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Release, Self::Postdeploy, Self::PreDestroy];

    /// The word by which tasks, tags and logs name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Postdeploy => "postdeploy",
            Self::PreDestroy => "predestroy",
        }
    }

    /// The phase that waits for the task; a review app's last command belongs to no build.
    pub fn phase(self) -> Option<Phase> {
        match self {
            Self::Release => Some(Phase::Release),
            Self::Postdeploy => Some(Phase::Postdeploy),
            Self::PreDestroy => None,
        }
    }
}

impl fmt::Display for TaskKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Names one attempt at a task; the same key never runs twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskKey {
    /// The build it belongs to.
    pub build: BuildNumber,
    /// What it runs.
    pub kind: TaskKind,
    /// The attempt, from 1; another begins only after the one before was seen stopped without an exit code.
    pub attempt: u32,
}

/// What the `startedBy` of all our tasks begins with.
const STARTED_BY: &str = "packhorse";

impl TaskKey {
    /// Attempts at a task that keeps ending without an exit code.
    pub const ATTEMPTS: u32 = 3;

    /// The next attempt.
    pub(super) fn again(&self) -> Self {
        Self { attempt: self.attempt + 1, ..self.clone() }
    }

    /// The file in the artifact store that keeps the task's log.
    pub fn log_file(&self) -> String {
        format!("{}/{}.log", self.build, self.kind)
    }

    /// The `startedBy` by which ECS tells whose task it is: `packhorse/shop/release/42-1`, and
    /// `packhorse/storefront/pr-12/release/7-1` for a review app. At most 128 characters, as names are short.
    pub fn started_by(&self, lane: &LaneKey) -> String {
        let Self { build, kind, attempt } = self;
        match lane.pull_request {
            None => format!("{STARTED_BY}/{}/{kind}/{build}-{attempt}", lane.app),
            Some(pr) => format!("{STARTED_BY}/{}/pr-{pr}/{kind}/{build}-{attempt}", lane.app),
        }
    }

    /// Reads a `startedBy`; one without an attempt means the first. Nothing when it is not one of ours.
    pub fn from_started_by(text: &str) -> Option<(LaneKey, Self)> {
        let steps: Vec<&str> = text.strip_prefix(STARTED_BY)?.strip_prefix('/')?.split('/').collect();
        let (app, pull_request, kind, number) = match steps[..] {
            [app, kind, number] => (app, None, kind, number),
            [app, pr, kind, number] => (app, Some(pr.strip_prefix("pr-")?.parse().ok()?), kind, number),
            _ => return None,
        };
        let (build, attempt) = match number.split_once('-') {
            Some((build, attempt)) => (build, attempt.parse().ok().filter(|attempt| *attempt > 0)?),
            None => (number, 1),
        };
        let kind = TaskKind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        let lane = LaneKey { app: app.parse().ok()?, pull_request };
        Some((lane, Self { build: build.parse().ok()?, kind, attempt }))
    }
}

impl fmt::Display for TaskKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.kind, self.build, self.attempt)
    }
}

/// What is known of the task that the current phase waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskState {
    /// Its name.
    pub key: TaskKey,
    /// Whether it was asked for; before that nothing of it can exist.
    pub requested: bool,
    /// When it was ordered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<EpochSeconds>,
    /// When it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<EpochSeconds>,
    /// Whether it was seen running.
    pub running: bool,
}

/// Seconds in which a task that was asked for may not be visible yet ("Ensuring idempotency", ECS API: eventual consistency).
const VISIBLE_AFTER: u64 = 2 * 60;
/// Seconds in which a task may be asked for again: a stopped one is shown, and its client token remembered, for an hour at least
/// ("Stopped tasks", ECS API; 15 minutes are for an orchestrator that is held up).
const ASK_WITHIN: u64 = 40 * 60;

impl TaskState {
    /// Notes that it was asked for.
    pub(super) fn ordered(&mut self, now: EpochSeconds) {
        self.requested = true;
        self.asked = Some(now);
    }

    /// Tells whether it was asked for so recently that nothing follows from its not being seen.
    pub(crate) fn may_be_hidden(&self, now: EpochSeconds) -> bool {
        !self.running && self.asked.is_some_and(|asked| now < asked.plus(VISIBLE_AFTER))
    }

    /// One that nobody has asked for yet.
    pub(super) fn new(key: TaskKey, now: EpochSeconds) -> Self {
        Self { key, requested: false, since: Some(now), asked: None, running: false }
    }

    /// When it is too late to ask for it, while it is not known that somebody did: what was asked for may have run and be
    /// forgotten.
    pub(super) fn ask_by(&self) -> Option<EpochSeconds> {
        self.since.filter(|_| !self.requested && !self.running).map(|since| since.plus(ASK_WITHIN))
    }
}

/// Says in words how a command left with an exit code that is not 0.
///
/// Exit codes above 128 are signals: 137 is SIGKILL, 143 SIGTERM, 139 SIGSEGV.
pub(super) fn exit_in_words(kind: TaskKind, code: i64, reason: Option<&str>) -> String {
    if reason.is_some_and(|reason| reason == OUT_OF_MEMORY) {
        return format!(
            "the {kind} command ran out of memory and was killed (exit code {code}): give `release` more memory"
        );
    }
    let what = match code {
        137 => {
            "was killed (SIGKILL, exit code 137): it did not end in time when told to, or the machine ran out of memory"
        }
        139 => "crashed (SIGSEGV, exit code 139)",
        143 => "was told to stop from outside (SIGTERM, exit code 143)",
        126 => "could not be executed (exit code 126)",
        127 => "was not found (exit code 127)",
        code => return format!("the {kind} command exited with code {code}"),
    };
    format!("the {kind} command {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn started_by_says_whose_task_it_is() {
        for (text, lane, key) in [
            ("packhorse/shop/release/42-1", "shop", "release-42-1"),
            ("packhorse/store-front/pr-12/postdeploy/7-3", "store-front:12", "postdeploy-7-3"),
            ("packhorse/shop/pr-12/predestroy/7-2", "shop:12", "predestroy-7-2"),
        ] {
            let (found, task) = TaskKey::from_started_by(text).unwrap();
            assert_eq!((found.to_string().as_str(), task.to_string().as_str()), (lane, key));
            assert_eq!(task.started_by(&found), text);
        }
        assert_eq!(TaskKey::from_started_by("packhorse/shop/release/42").unwrap().1.attempt, 1);
        for other in [
            "",
            "packhorse",
            "packhorse/a/release/0",
            "packhorse/a/release/1-0",
            "packhorse/a/x/pr-1/release/1",
            "packhorse/a/other/1",
            "ecs-svc/1",
            "packhorse/a/pr-/release/1",
        ] {
            assert_eq!(TaskKey::from_started_by(other), None, "{other}");
        }
        let long =
            LaneKey { app: "a".repeat(63).parse().unwrap(), pull_request: Some(u32::MAX.to_string().parse().unwrap()) };
        let task = TaskKey { build: BuildNumber(1 << 40), kind: TaskKind::PreDestroy, attempt: 3 };
        assert!(task.started_by(&long).len() <= 128);
    }

    #[test]
    fn signals_are_said_in_words() {
        let words = |code, reason| exit_in_words(TaskKind::Release, code, reason);
        assert_eq!(words(1, None), "the release command exited with code 1");
        assert!(words(137, Some(OUT_OF_MEMORY)).contains("ran out of memory"));
        assert!(words(137, None).contains("was killed"));
        assert!(words(143, None).contains("told to stop"));
        assert!(words(139, None).contains("crashed"));
    }
}
