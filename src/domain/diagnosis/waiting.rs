//! What a build that is under way waits for.

use super::{Diagnosis, Facts};
use crate::domain::lane::{Action, Build, Lane, Phase};
use crate::domain::names::{BuildNumber, EpochSeconds};

/// Seconds after which a build that has said nothing is likely to be queued still.
const USUALLY_BEGUN: u64 = 120;

pub(super) fn of(facts: &Facts<'_>) -> Diagnosis {
    let record = facts.record;
    let current = record.phases.iter().rev().find(|(_, record)| record.end.is_none()).map(|(phase, _)| *phase);
    let since = current.and_then(|phase| record.phases.get(&phase)).map_or(facts.now, |record| record.start);
    let ago = ago(facts.now, since);
    let number = record.build_number;
    let build = facts.lane.and_then(|lane| lane.builds.get(&number));
    match (current, build, facts.lane) {
        (Some(Phase::Build), Some(build), _) if !build.runner_reports && facts.now.since(since) > USUALLY_BEGUN => {
            Diagnosis::new(
                facts,
                "queued",
                format_args!(
                    "was asked for {ago} ago and has not said anything yet: CodeBuild has it in its queue or prepares a machine"
                ),
                "wait; CodeBuild runs as many builds at once as the account's quota and the project's limit allow",
            )
        }
        (Some(Phase::Build), ..) => running(facts, "building", &format!("makes its image since {ago}"), Phase::Build),
        (Some(Phase::Test), ..) => running(facts, "testing", &format!("runs its tests since {ago}"), Phase::Test),
        (Some(Phase::Finalize), Some(build), Some(lane)) => finalizing(facts, lane, build, &ago),
        (Some(phase @ (Phase::Release | Phase::Postdeploy)), Some(build), Some(lane)) => {
            in_task(facts, lane, build, phase, &ago)
        }
        (Some(Phase::Deploy), Some(_), Some(lane)) if owes(lane, number) => {
            held_up(facts, "its services are to be changed")
        }
        (Some(Phase::Deploy), ..) => Diagnosis::new(
            facts,
            "deploying",
            format_args!("waits since {ago} for its services to become healthy"),
            "wait; `packhorse ps` shows the processes and `packhorse logs` what they say",
        ),
        (Some(phase), ..) => running(facts, "under-way", &format!("is in its {phase} phase since {ago}"), phase),
        (None, ..) => Diagnosis::new(
            facts,
            "between-phases",
            "has ended a phase and has not begun the next one",
            "wait a minute; `packhorse orchestrator sweep` brings a build on whose events were lost",
        ),
    }
}

fn running(facts: &Facts<'_>, cause: &'static str, says: &str, phase: Phase) -> Diagnosis {
    let next = format!("wait, or watch it: `packhorse build logs {} --phase {phase}`", facts.record.build_number);
    Diagnosis::new(facts, cause, says, next)
}

fn finalizing(facts: &Facts<'_>, lane: &Lane, build: &Build, ago: &str) -> Diagnosis {
    if build.plan.is_none() {
        let reads = |action: &Action| matches!(action, Action::ReadArtifacts { build: owed } if *owed == build.number);
        if lane.owed.values().any(reads) {
            return held_up(facts, "its artifacts are to be read");
        }
        return Diagnosis::new(
            facts,
            "artifacts-awaited",
            format_args!("passed its tests {ago} ago, and CodeBuild has not said that its artifacts are uploaded"),
            "wait; the next sweep asks CodeBuild",
        );
    }
    if let Some((task, _)) = &lane.draining {
        return Diagnosis::new(
            facts,
            "waits-for-stopped-task",
            format_args!(
                "is ready and waits for the {} task of build {} to be gone, which was told to stop",
                task.kind, task.build
            ),
            "wait; it is given ten minutes to stop",
        );
    }
    let holder = lane.builds.values().find(|other| other.has_turn()).map(|other| other.number);
    match holder {
        Some(holder) => Diagnosis::new(
            facts,
            "waits-for-turn",
            format_args!("is ready and waits for build {holder}, which is being released and deployed"),
            format!("wait for build {holder}: `packhorse why {holder}`"),
        ),
        None => Diagnosis::new(
            facts,
            "waits-for-orchestrator",
            "is ready to be released, and nobody has begun",
            "look whether the orchestrator runs; `packhorse orchestrator sweep` brings the build on",
        ),
    }
}

fn in_task(facts: &Facts<'_>, lane: &Lane, build: &Build, phase: Phase, ago: &str) -> Diagnosis {
    let Some(task) = &build.task else {
        return running(facts, "under-way", &format!("is in its {phase} phase since {ago}"), phase);
    };
    let ordered = |action: &Action| matches!(action, Action::RunTask { task: owed, .. } if *owed == task.key);
    if lane.owed.values().any(ordered) {
        return held_up(facts, &format!("its {phase} task is to be started"));
    }
    if task.running {
        return Diagnosis::new(
            facts,
            "task-runs",
            format_args!("runs its {phase} command since {ago}"),
            format!("wait, or watch it: `packhorse build logs {} --phase {phase}`", build.number),
        );
    }
    let attempt = task.key.attempt;
    let again = if attempt > 1 { format!(" (attempt {attempt}: the one before did not run)") } else { String::new() };
    Diagnosis::new(
        facts,
        "task-starts",
        format_args!("waits since {ago} for its {phase} task to start{again}"),
        "wait; ECS has to find room for it and to pull the image",
    )
}

/// Something that the lane owes could not be done yet.
fn held_up(facts: &Facts<'_>, what: &str) -> Diagnosis {
    Diagnosis::new(
        facts,
        "held-up",
        format_args!("goes on as soon as {what}, which could not be done so far"),
        "wait for the next sweep; if it stays so, look into the log of the orchestrator for what was refused",
    )
}

fn owes(lane: &Lane, number: BuildNumber) -> bool {
    lane.owed.values().any(|action| matches!(action, Action::UpdateServices { build, .. } if *build == number))
}

fn ago(now: EpochSeconds, since: EpochSeconds) -> String {
    match now.since(since) {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ ..7200 => format!("{} minutes", seconds / 60),
        seconds => format!("{} hours", seconds / 3600),
    }
}
