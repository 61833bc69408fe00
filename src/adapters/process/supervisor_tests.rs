use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Notify;

use super::{Command, Exit, Limits, ProcessError, Stop, run};

fn shell(script: &str) -> Command {
    Command::new("/bin/sh").args(["-c", script])
}

async fn output_of(command: Command) -> (Result<Exit, ProcessError>, Vec<String>) {
    let lines = Mutex::new(Vec::new());
    let result =
        run(&command, Limits::default(), &Stop::default(), &|line| lines.lock().unwrap().push(line.to_owned())).await;
    (result, lines.into_inner().unwrap())
}

#[tokio::test]
async fn lines_arrive_in_the_order_in_which_they_were_written() {
    let (result, lines) =
        output_of(shell("for i in 1 2 3 4; do echo out $i; echo err $i >&2; done; printf end; exit 51")).await;
    assert_eq!(result.unwrap(), Exit::Exited(51));
    let wanted = ["out 1", "err 1", "out 2", "err 2", "out 3", "err 3", "out 4", "err 4", "end"];
    assert_eq!(lines, wanted);
}

#[tokio::test]
async fn variables_folder_and_input_reach_the_child() {
    let secret = SecretString::from("a\nb".to_owned());
    let command = shell(r#"printf '%s\n' "$PLAIN" "$SECRET" "${HOME-none}" "$PWD"; cat"#)
        .env("PLAIN", "plain")
        .secret_env("SECRET", secret)
        .without_env("HOME")
        .current_dir("/")
        .stdin(SecretString::from("typed".to_owned()));
    assert!(!format!("{command:?}").contains("a\nb"));
    let (result, lines) = output_of(command).await;
    assert!(result.unwrap().succeeded());
    assert_eq!(lines, ["plain", "a", "b", "none", "/", "typed"]);
}

#[tokio::test]
async fn input_that_nobody_reads_does_not_hold_up_the_end() {
    let (result, _) = output_of(shell("exit 0").stdin(SecretString::from("x".repeat(1 << 20)))).await;
    assert!(result.unwrap().succeeded());
}

#[tokio::test]
async fn a_program_that_is_not_there_differs_from_one_that_does_not_start() {
    let (missing, _) = output_of(Command::new("packhorse-has-no-such-program")).await;
    assert!(matches!(missing, Err(ProcessError::NotFound { program }) if program == "packhorse-has-no-such-program"));
    let (folder, _) = output_of(Command::new("/")).await;
    assert!(matches!(folder, Err(ProcessError::CouldNotStart { .. })));
    let (no_folder, _) = output_of(shell("true").current_dir("/packhorse/is/not/here")).await;
    assert!(matches!(no_folder, Err(ProcessError::CouldNotStart { .. })));
}

#[tokio::test]
async fn a_signal_is_told_from_an_exit() {
    let (result, _) = output_of(shell("kill -9 $$")).await;
    assert_eq!(result.unwrap(), Exit::Signaled(9));
    assert_eq!(Exit::Signaled(9).code(), 137);
}

/// Never ends, and never uses the processor: reads a pipe into which nobody writes.
const FOREVER: &str = "mkfifo $DIR/fifo; echo begun; read line <>$DIR/fifo";

fn forever(trap: &str) -> (tempfile::TempDir, Command) {
    let dir = tempfile::tempdir().unwrap();
    let command = shell(&format!("{trap}\n{FOREVER}")).env("DIR", dir.path());
    (dir, command)
}

#[tokio::test]
async fn a_child_that_ends_at_term_can_say_goodbye() {
    let (_dir, command) = forever("trap 'echo bye; exit 3' TERM");
    let (stop, lines) = (Stop::default(), Mutex::new(Vec::new()));
    let result = run(&command, Limits::default(), &stop, &|line| {
        if line == "begun" {
            stop.gently.cancel();
        }
        lines.lock().unwrap().push(line.to_owned());
    })
    .await;
    assert!(matches!(result, Err(ProcessError::Interrupted { .. })));
    assert_eq!(*lines.lock().unwrap(), ["begun", "bye"]);
}

#[tokio::test]
async fn a_child_that_ignores_term_is_killed_after_the_grace_period_with_its_children() {
    let (dir, command) = forever("trap '' TERM; mkfifo $DIR/other; read line <>$DIR/other & echo $! >$DIR/pid");
    let stop = Stop::default();
    let limits = Limits { grace: Duration::from_millis(50), ..Limits::default() };
    let result = run(&command, limits, &stop, &|line| {
        if line == "begun" {
            stop.gently.cancel();
        }
    })
    .await;
    assert!(matches!(result, Err(ProcessError::Interrupted { .. })));
    assert_gone(&dir).await;
}

#[tokio::test]
async fn the_second_request_does_not_wait() {
    let (_dir, command) = forever("trap '' TERM");
    let stop = Stop::default();
    let limits = Limits { grace: Duration::from_hours(1), ..Limits::default() };
    let result = run(&command, limits, &stop, &|line| {
        if line == "begun" {
            stop.gently.cancel();
            stop.at_once.cancel();
        }
    })
    .await;
    assert!(matches!(result, Err(ProcessError::Interrupted { .. })));
}

#[tokio::test]
async fn the_deadline_stops_a_child() {
    let (_dir, command) = forever("");
    let result = run(&command, Limits::within(Duration::from_millis(100)), &Stop::default(), &|_| ()).await;
    assert!(matches!(result, Err(ProcessError::TimedOut { seconds: 0, .. })));
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_open_does_not_hold_up_the_end_and_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!("({FOREVER}) & echo $! >$DIR/pid; exit 4");
    let command = shell(&script).env("DIR", dir.path());
    let limits = Limits { drain: Duration::from_millis(100), ..Limits::default() };
    let result = run(&command, limits, &Stop::default(), &|_| ()).await;
    assert_eq!(result.unwrap(), Exit::Exited(4));
    assert_gone(&dir).await;
}

#[tokio::test]
async fn a_dropped_run_leaves_no_process() {
    let (dir, command) = forever("echo $$ >$DIR/pid");
    let begun = Arc::new(Notify::new());
    let told = Arc::clone(&begun);
    let running =
        tokio::spawn(async move { run(&command, Limits::default(), &Stop::default(), &|_| told.notify_one()).await });
    begun.notified().await;
    running.abort();
    let _ = running.await;
    assert_gone(&dir).await;
}

/// Waits until the process whose id was written down has ended (it may be a zombie of another parent).
async fn assert_gone(dir: &tempfile::TempDir) {
    let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
    let stat = format!("/proc/{}/stat", pid.trim());
    let ended = async {
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.unwrap();
}
