//! What people are told of a lane: a line for its activity log, and a message where somebody should know at once.
//!
//! What happened in a step is kept in the lane together with the step until it was told, so nothing is left out after a crash;
//! something may be told twice, under the same id.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::lane::{
    Action, ActionResult, Ending, Event, Lane, LaneKey, Phase, PhaseState, ReviewAppState, ServicesState, TaskExit,
    TaskKind,
};
use super::names::{BuildNumber, EpochSeconds};

/// Something that happened in a step of a lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The step of the lane.
    pub step: u64,
    /// When.
    pub at: EpochSeconds,
    /// What.
    #[serde(flatten)]
    pub what: Happened,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub enum Happened {
    /// A phase of a build began, or ended well or badly.
    Phase {
        /// The build.
        build: BuildNumber,
        /// The phase.
        phase: Phase,
        /// Where it stands now.
        state: PhaseState,
    },
    /// A build came to its end.
    Ended {
        /// The build.
        build: BuildNumber,
        /// Its commit, or empty.
        commit: String,
        /// How.
        ending: Ending,
    },
    /// A task did not run, and is tried again.
    TaskRepeated {
        /// The build.
        build: BuildNumber,
        /// What it runs.
        task: TaskKind,
        /// The attempt that follows.
        attempt: u32,
        /// Why the one before did not run.
        reason: String,
    },
    /// Somebody asked for an older build.
    RollbackRequested {
        /// That build.
        to: BuildNumber,
    },
    /// An older build runs again.
    RolledBack {
        /// That build.
        to: BuildNumber,
    },
    /// An older build does not run again.
    RollbackFailed {
        /// That build.
        to: BuildNumber,
        /// Why.
        cause: String,
    },
    /// The services are brought to changed settings.
    SettingsOrdered {
        /// The build that runs.
        build: BuildNumber,
    },
    /// The services run with the changed settings.
    SettingsApplied {
        /// The build that runs.
        build: BuildNumber,
    },
    /// The services do not run with the changed settings.
    SettingsFailed {
        /// The build that runs.
        build: BuildNumber,
        /// Why.
        cause: String,
    },
    /// The pull request was closed.
    Closed,
    /// The review app's last command failed.
    LastCommandFailed {
        /// Why.
        cause: String,
    },
    /// The review app is gone.
    Removed,
    /// The review app could not be removed.
    RemovalFailed {
        /// Why.
        cause: String,
    },
}

/// Tells what happened in a step from `before` to `after`.
pub fn of_step(before: &Lane, event: &Event, after: &Lane) -> Vec<Happened> {
    let mut told = Vec::new();
    for (number, build) in &after.builds {
        let earlier = before.builds.get(number);
        if earlier == Some(build) {
            continue;
        }
        for (phase, record) in &build.phases {
            let known = earlier.and_then(|build| build.phases.get(phase)).map(|record| record.state);
            if known != Some(record.state) {
                told.push(Happened::Phase { build: *number, phase: *phase, state: record.state });
            }
        }
        if let (Some(ending), true) = (&build.ending, earlier.is_none_or(|build| build.ending.is_none())) {
            let (build, commit, ending) = (*number, build.commit.clone(), ending.clone());
            told.push(Happened::Ended { build, commit, ending });
        }
    }
    if let Event::TaskEnded { task, exit: TaskExit::NoCode { reason }, .. } = event {
        let again =
            after.owed.iter().filter(|(id, _)| !before.owed.contains_key(id)).find_map(|(_, action)| match action {
                Action::RunTask { task: next, .. } if (next.build, next.kind) == (task.build, task.kind) => {
                    Some(next.attempt)
                }
                _ => None,
            });
        told.extend(again.map(|attempt| Happened::TaskRepeated {
            build: task.build,
            task: task.kind,
            attempt,
            reason: reason.clone(),
        }));
    }
    told.extend(of_rollback(before, event, after));
    told.extend(of_settings(before, event, after));
    told.extend(of_removal(before, event, after));
    told
}

fn of_rollback(before: &Lane, event: &Event, after: &Lane) -> Vec<Happened> {
    let (was, is) = (before.rollback.as_ref(), after.rollback.as_ref());
    let order = |rollback: &super::lane::Rollback| rollback.release.order();
    let mut told = Vec::new();
    if let Some(is) = is.filter(|is| was.map(order) != Some(order(is))) {
        told.push(Happened::RollbackRequested { to: is.release.build });
    }
    if let Some(was) = was.filter(|was| is.map(order) != Some(order(was))) {
        let to = was.release.build;
        let live = after.live.as_ref().is_some_and(|live| live.order() == was.release.order());
        told.push(if live {
            Happened::RolledBack { to }
        } else {
            let cause = match (was.deploying, cause(event)) {
                (Some(_), Some(cause)) => cause,
                (Some(_), None) => "its services did not come to rest in time".to_owned(),
                (None, _) => "something newer was asked for or released in between".to_owned(),
            };
            Happened::RollbackFailed { to, cause }
        });
    }
    told
}

fn of_settings(before: &Lane, event: &Event, after: &Lane) -> Option<Happened> {
    let build = after.live.as_ref()?.build;
    match (before.converging, after.converging) {
        (was, Some(is)) if was != Some(is) => Some(Happened::SettingsOrdered { build }),
        (Some(_), None) => match event {
            Event::ServicesSeen { state: ServicesState::Steady, .. } => Some(Happened::SettingsApplied { build }),
            Event::ServicesSeen { .. } | Event::Performed { .. } => {
                let cause = cause(event)?;
                Some(Happened::SettingsFailed { build, cause })
            }
            Event::Tick => {
                Some(Happened::SettingsFailed { build, cause: "the services did not come to rest in time".to_owned() })
            }
            // A build or a rollback took over, and brings the settings along.
            _ => None,
        },
        _ => None,
    }
}

fn of_removal(before: &Lane, event: &Event, after: &Lane) -> Vec<Happened> {
    let mut told = Vec::new();
    if before.closed.is_none() && after.closed.is_some() {
        told.push(Happened::Closed);
    }
    if let Event::TaskEnded { task, exit, .. } = event
        && task.kind == TaskKind::PreDestroy
        && before.removal != after.removal
    {
        let cause = match exit {
            TaskExit::Code { code: 0, .. } | TaskExit::NoCode { .. } => None,
            TaskExit::Code { code, .. } => Some(format!("it exited with code {code}")),
            TaskExit::Stopped { reason } => Some(format!("it was stopped: {reason}")),
            TaskExit::Unknown => Some("nobody can tell whether it ran".to_owned()),
        };
        told.extend(cause.map(|cause| Happened::LastCommandFailed { cause }));
    }
    if before.removal.is_some() && after.removal.is_none() {
        told.push(match event {
            Event::ReviewAppSeen { state: ReviewAppState::Gone }
            | Event::Performed { result: ActionResult::Gone, .. } => Happened::Removed,
            event => Happened::RemovalFailed { cause: cause(event).unwrap_or_else(|| "it took too long".to_owned()) },
        });
    }
    told
}

/// Why what the event tells of went wrong.
fn cause(event: &Event) -> Option<String> {
    match event {
        Event::ServicesSeen { state: ServicesState::Failed { cause }, .. }
        | Event::Performed { result: ActionResult::Refused { cause }, .. }
        | Event::ReviewAppSeen { state: ReviewAppState::Failed { cause } } => Some(cause.clone()),
        _ => None,
    }
}

impl Happened {
    /// Says it in one sentence without the lane's name.
    pub fn sentence(&self) -> String {
        match self {
            Self::Phase { build, phase, state } => format!("build {build}: {phase} {}", state.as_str()),
            Self::Ended { build, commit, ending } => match ending {
                Ending::Deployed if commit.is_empty() => format!("build {build} is live"),
                Ending::Deployed => format!("build {build} is live ({})", commit.chars().take(7).collect::<String>()),
                Ending::Failed { phase, cause } => format!("build {build} failed in its {phase} phase: {cause}"),
                Ending::Superseded { by } => format!("build {build} was overtaken by build {by}"),
                Ending::Skipped { reason } => format!("build {build} had nothing to do: {reason}"),
            },
            Self::TaskRepeated { build, task, attempt, reason } => {
                format!("build {build}: the {task} task is tried again (attempt {attempt}): {reason}")
            }
            Self::RollbackRequested { to } => format!("rollback to build {to} asked for"),
            Self::RolledBack { to } => format!("rolled back to build {to}"),
            Self::RollbackFailed { to, cause } => format!("the rollback to build {to} failed: {cause}"),
            Self::SettingsOrdered { build } => format!("build {build}: the services are brought to changed settings"),
            Self::SettingsApplied { build } => format!("build {build} runs with the changed settings"),
            Self::SettingsFailed { build, cause } => {
                format!("build {build} does not run with the changed settings: {cause}")
            }
            Self::Closed => "the pull request was closed".to_owned(),
            Self::LastCommandFailed { cause } => format!("the pre-destroy command failed: {cause}"),
            Self::Removed => "the review app is gone".to_owned(),
            Self::RemovalFailed { cause } => format!("the review app could not be removed: {cause}"),
        }
    }

    /// Tells whether somebody should know at once, and then whether it is good news.
    fn news(&self) -> Option<bool> {
        match self {
            Self::Ended { ending: Ending::Deployed, .. } | Self::RolledBack { .. } | Self::Removed => Some(true),
            Self::Ended { ending: Ending::Failed { .. }, .. }
            | Self::RollbackFailed { .. }
            | Self::SettingsFailed { .. }
            | Self::LastCommandFailed { .. }
            | Self::RemovalFailed { .. } => Some(false),
            Self::Ended { ending: Ending::Superseded { .. } | Ending::Skipped { .. }, .. }
            | Self::Phase { .. }
            | Self::TaskRepeated { .. }
            | Self::RollbackRequested { .. }
            | Self::SettingsOrdered { .. }
            | Self::SettingsApplied { .. }
            | Self::Closed => None,
        }
    }
}

/// One line of an activity log, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The same for each copy of a line: who reads may drop copies.
    pub id: String,
    /// When it happened.
    pub at: EpochSeconds,
    /// The app, or the review app.
    pub lane: String,
    /// The sentence for people.
    pub text: String,
    /// What happened, for programs.
    #[serde(flatten)]
    pub what: Happened,
}

/// Writes the lines of what has not been told yet, in order.
pub fn lines(lane: &Lane) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::with_capacity(lane.untold.len());
    let (mut step, mut index) = (0, 0);
    for entry in &lane.untold {
        index = if entry.step == step { index + 1 } else { 0 };
        step = entry.step;
        lines.push(Line {
            id: format!("{}/{step}/{index}", lane.key),
            at: entry.at,
            lane: lane.key.to_string(),
            text: entry.what.sentence(),
            what: entry.what.clone(),
        });
    }
    lines
}

/// Writes the message by which somebody is told at once, in the shape that Slack's incoming webhooks take; nothing where the
/// log is enough.
pub fn message(of: &LaneKey, line: &Line) -> Option<Value> {
    let good = line.what.news()?;
    let sign = if good { ":white_check_mark:" } else { ":x:" };
    let name = match of.pull_request {
        None => of.app.to_string(),
        Some(pr) => format!("{} #{pr}", of.app),
    };
    // Slack takes three characters for its own (formatting reference).
    let escaped = line.text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    Some(json!({
        "text": format!("{name}: {}", line.text),
        "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": format!("{sign} *{name}*: {escaped}") } }],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(what: Happened) -> Line {
        let mut lane = Lane::new(LaneKey { app: "shop".parse().unwrap(), pull_request: Some("12".parse().unwrap()) });
        lane.untold = vec![Entry { step: 3, at: EpochSeconds(9), what }];
        lines(&lane).remove(0)
    }

    #[test]
    fn a_failure_is_told_with_its_reason() {
        let cause = "the release command exited with code 1 & said <no>".to_owned();
        let ending = Ending::Failed { phase: Phase::Release, cause };
        let line = line(Happened::Ended { build: BuildNumber(7), commit: String::new(), ending });
        assert_eq!(line.id, "shop:12/3/0");
        let review_app = LaneKey { app: "shop".parse().unwrap(), pull_request: Some("12".parse().unwrap()) };
        let message = message(&review_app, &line).unwrap();
        let text = "shop #12: build 7 failed in its release phase: the release command exited with code 1 & said <no>";
        assert_eq!(message["text"], text);
        assert!(message["blocks"][0]["text"]["text"].as_str().unwrap().ends_with("&amp; said &lt;no&gt;"));
    }

    #[test]
    fn what_goes_its_way_is_only_written_down() {
        let line = line(Happened::Phase { build: BuildNumber(7), phase: Phase::Test, state: PhaseState::Started });
        assert_eq!(line.text, "build 7: test started");
        assert_eq!(message(&LaneKey::app("shop".parse().unwrap()), &line), None);
    }

    #[test]
    fn a_line_reads_back_as_it_was_written() {
        let line = line(Happened::SettingsFailed { build: BuildNumber(7), cause: "it crashed".to_owned() });
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        assert_eq!(
            text,
            r#"{"id":"shop:12/3/0","at":9,"lane":"shop:12","text":"build 7 does not run with the changed settings: it crashed","what":"settings-failed","build":7,"cause":"it crashed"}"#
        );
    }
}
