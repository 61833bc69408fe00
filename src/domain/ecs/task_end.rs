//! What became of a task, from what ECS says of it (`aws-events` 1.3).

use super::names::CONTAINER;
use crate::domain::lane::{OUT_OF_MEMORY, TaskExit};

/// What ECS says of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskFacts {
    /// Its state, such as `RUNNING`.
    pub last_status: String,
    /// Why it stopped, in one word.
    pub stop_code: Option<String>,
    /// Why it stopped, for people.
    pub stopped_reason: Option<String>,
    /// Whether it ever ran.
    pub ran: bool,
    /// Its containers; there may be none.
    pub containers: Vec<ContainerFacts>,
}

/// What ECS says of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Its name.
    pub name: String,
    /// Its exit code; absent where it did not run.
    pub exit_code: Option<i64>,
    /// Why it stopped.
    pub reason: Option<String>,
}

/// How a task ended that has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// It never ran.
    NeverRan,
    /// Its host was taken away.
    Interrupted,
    /// Somebody stopped it.
    Stopped,
}

/// What became of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It has not begun.
    Starting,
    /// It runs.
    Running,
    /// Its container ended.
    Exited {
        /// The exit code.
        code: i64,
        /// What the code does not say by itself.
        reason: Option<String>,
    },
    /// It ended otherwise.
    Gone {
        /// What kind of end it was.
        end: Loss,
        /// The reason given.
        reason: String,
    },
}

impl Loss {
    /// Says it to a lane: whether another attempt may begin.
    pub fn exit(self, reason: String) -> TaskExit {
        match self {
            Self::NeverRan => TaskExit::NoCode { reason: format!("it did not start: {reason}") },
            Self::Interrupted => TaskExit::NoCode { reason: format!("its host was taken away: {reason}") },
            Self::Stopped => TaskExit::Stopped { reason },
        }
    }
}

impl Seen {
    /// Says it to a lane; nothing while the task has not ended.
    pub fn exit(self) -> Option<TaskExit> {
        match self {
            Self::Starting | Self::Running => None,
            Self::Exited { code, reason } => Some(TaskExit::Code { code, reason }),
            Self::Gone { end, reason } => Some(end.exit(reason)),
        }
    }
}

/// Tells what became of a task. One that never ran has no exit code, and no code is never a success.
///
/// An exit code counts as soon as it is there, which is before the task is stopped. That there is none, or that the host was
/// taken away, counts only once the task is stopped: then another attempt may begin. A command succeeded only when it ended by
/// itself.
pub fn seen(task: &TaskFacts) -> Seen {
    const BY_SOMEBODY: &str = "UserInitiated";
    let container = task.containers.iter().find(|container| container.name == CONTAINER).or(task.containers.first());
    let code = container.and_then(|container| container.exit_code);
    let text = |text: Option<&'_ String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    let told = text(container.and_then(|container| container.reason.as_ref()));
    let said = text(task.stopped_reason.as_ref());
    let status = task.last_status.as_str();
    let stopped = matches!(status, "STOPPED" | "DELETED");
    let ending = stopped || matches!(status, "DEACTIVATING" | "STOPPING" | "DEPROVISIONING");
    let under_way = if status == "RUNNING" || (ending && task.ran) { Seen::Running } else { Seen::Starting };
    if !ending {
        return under_way;
    }
    let stop_code = task.stop_code.as_deref();
    let gone = |end| {
        let unsaid = match stop_code {
            Some(BY_SOMEBODY) => "",
            code => code.unwrap_or("no reason is known"),
        };
        Seen::Gone { end, reason: said.clone().or(told.clone()).unwrap_or_else(|| unsaid.to_owned()) }
    };
    let once_stopped = |end| if stopped { gone(end) } else { under_way.clone() };
    let exited = |code| {
        let memory = [&told, &said].into_iter().flatten().any(|text| text.contains("OutOfMemory"));
        Seen::Exited { code, reason: if memory { Some(OUT_OF_MEMORY.to_owned()) } else { words(code) } }
    };
    match (stop_code, code) {
        // Whatever code the command left with: it was not given the time to end by itself.
        (Some("SpotInterruption" | "TerminationNotice" | "InfrastructureHealth"), _) => once_stopped(Loss::Interrupted),
        (Some(BY_SOMEBODY), Some(_)) => gone(Loss::Stopped),
        (Some(BY_SOMEBODY), None) => once_stopped(Loss::Stopped),
        (Some("TaskFailedToStart"), _) => once_stopped(Loss::NeverRan),
        (Some("EssentialContainerExited"), Some(code)) => exited(code),
        (_, Some(code)) if code != 0 => exited(code),
        // Nobody asked for its end, and the command did not end by itself.
        (_, Some(_)) => once_stopped(Loss::Stopped),
        (_, None) => once_stopped(if task.ran { Loss::Interrupted } else { Loss::NeverRan }),
    }
}

/// What codes mean that the system gives.
fn words(code: i64) -> Option<String> {
    let words = match code {
        126 => "its command cannot be run",
        127 => "its command was not found",
        137 => "it was killed",
        139 => "it crashed with a memory error",
        143 => "it was told to stop",
        _ => return None,
    };
    Some(words.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(
        last_status: &str,
        stop_code: &str,
        stopped_reason: &str,
        container: Option<(Option<i64>, &str)>,
    ) -> TaskFacts {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let container = container.map(|(exit_code, reason)| ContainerFacts {
            name: CONTAINER.to_owned(),
            exit_code,
            reason: text(reason),
        });
        TaskFacts {
            last_status: last_status.to_owned(),
            stop_code: text(stop_code),
            stopped_reason: text(stopped_reason),
            ran: container.is_some(),
            containers: container.into_iter().collect(),
        }
    }

    fn gone(end: Loss, reason: &str) -> Seen {
        Seen::Gone { end, reason: reason.to_owned() }
    }

    #[test]
    fn the_first_answer_with_a_code_counts() {
        for status in ["DEPROVISIONING", "STOPPED"] {
            let ended =
                task(status, "EssentialContainerExited", "Essential container in task exited", Some((Some(0), "")));
            assert_eq!(seen(&ended), Seen::Exited { code: 0, reason: None });
        }
        let running = task("RUNNING", "", "", Some((None, "")));
        assert_eq!(seen(&running), Seen::Running);
        assert_eq!(seen(&task("STOPPING", "", "", Some((None, "")))), Seen::Running);
        for status in ["PROVISIONING", "PENDING", "ACTIVATING"] {
            assert_eq!(seen(&task(status, "", "", None)), Seen::Starting);
        }
    }

    #[test]
    fn memory_that_ran_out_is_said_wherever_ecs_says_it() {
        let out = "OutOfMemoryError: Container killed due to memory usage";
        for ended in [
            task("STOPPED", "EssentialContainerExited", "", Some((Some(137), out))),
            task("STOPPED", "EssentialContainerExited", out, Some((Some(137), ""))),
        ] {
            assert_eq!(seen(&ended), Seen::Exited { code: 137, reason: Some("it ran out of memory".to_owned()) });
        }
        let killed = task("STOPPED", "EssentialContainerExited", "", Some((Some(137), "")));
        assert_eq!(seen(&killed), Seen::Exited { code: 137, reason: Some("it was killed".to_owned()) });
    }

    #[test]
    fn a_task_that_never_ran_is_told_from_one_that_was_interrupted() {
        let pull = "CannotPullContainerError: not found";
        assert_eq!(seen(&task("STOPPED", "TaskFailedToStart", pull, Some((None, pull)))), gone(Loss::NeverRan, pull));
        let full = "Capacity is unavailable at this time";
        assert_eq!(seen(&task("STOPPED", "TaskFailedToStart", full, None)), gone(Loss::NeverRan, full));
        let spot = "Your Spot Task was interrupted.";
        for code in [Some(0), Some(143), None] {
            assert_eq!(
                seen(&task("STOPPED", "SpotInterruption", spot, Some((code, "")))),
                gone(Loss::Interrupted, spot)
            );
        }
        let not_yet = task("DEPROVISIONING", "SpotInterruption", spot, Some((Some(143), "")));
        assert_eq!(seen(&not_yet), Seen::Running, "another attempt may not begin");
        assert_eq!(
            seen(&task("STOPPED", "", "Host EC2 terminated", Some((None, "")))),
            gone(Loss::Interrupted, "Host EC2 terminated")
        );
        assert_eq!(seen(&task("STOPPED", "SomethingNew", "", None)), gone(Loss::NeverRan, "SomethingNew"));
    }

    #[test]
    fn a_task_that_somebody_stopped_has_no_result() {
        let stopped = task("STOPPED", "UserInitiated", "took too long", Some((Some(0), "")));
        assert_eq!(seen(&stopped), gone(Loss::Stopped, "took too long"));
        let silent = task("STOPPING", "UserInitiated", "", Some((Some(143), "")));
        assert_eq!(seen(&silent), gone(Loss::Stopped, ""));
        let new_word = task("STOPPED", "SomeNewWord", "", Some((Some(0), "")));
        assert_eq!(seen(&new_word), gone(Loss::Stopped, "SomeNewWord"), "only what ends by itself has succeeded");
    }
}
