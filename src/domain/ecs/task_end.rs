//! What became of a task, from what ECS says of it (`aws-events` 1.3).

use super::names::CONTAINER;

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

/// Tells what became of a task. One that never ran has no exit code, and no code is never a success.
pub fn seen(task: &TaskFacts) -> Seen {
    let container = task.containers.iter().find(|container| container.name == CONTAINER);
    let code = container.and_then(|container| container.exit_code);
    let told = container.and_then(|container| container.reason.as_deref()).filter(|reason| !reason.is_empty());
    let stopped = task.stopped_reason.as_deref().filter(|reason| !reason.is_empty());
    let gone = |end| {
        let reason = stopped.or(told).or(task.stop_code.as_deref()).unwrap_or("no reason given").to_owned();
        Seen::Gone { end, reason }
    };
    match (task.stop_code.as_deref(), code) {
        // These ends say nothing about the command, whatever the code.
        (Some("UserInitiated"), _) => gone(Loss::Stopped),
        (Some("SpotInterruption" | "TerminationNotice" | "InfrastructureHealth"), _) => gone(Loss::Interrupted),
        (_, Some(code)) => {
            let memory = [told, stopped].into_iter().flatten().any(|text| text.contains("OutOfMemory"));
            Seen::Exited { code, reason: if memory { Some("it ran out of memory".to_owned()) } else { words(code) } }
        }
        (Some("TaskFailedToStart"), None) => gone(Loss::NeverRan),
        (_, None) => match task.last_status.as_str() {
            "STOPPED" | "DELETED" => gone(if task.ran { Loss::Interrupted } else { Loss::NeverRan }),
            "RUNNING" => Seen::Running,
            "DEACTIVATING" | "STOPPING" | "DEPROVISIONING" if task.ran => Seen::Running,
            _ => Seen::Starting,
        },
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
    }
}
