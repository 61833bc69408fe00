//! Runs a program, and whatever it starts, to the end.

use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::CapabilitySets;

use super::{At, Report, Step, Stuck};
use crate::adapters::sandbox::order::Run;

/// What files that the program makes may not have: the usual mask, on which the digests of layers depend.
const MASK: u32 = 0o022;

/// Takes from this process, and so from the program, what it must not have.
pub(super) fn give_up_rights(all: bool) -> Result<(), Stuck> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(MASK));
    rustix::thread::set_no_new_privs(true).at(Step::Drop)?;
    if all {
        rustix::thread::clear_ambient_capability_set().at(Step::Drop)?;
        let none = rustix::thread::CapabilitySet::empty();
        let none = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, none).at(Step::Drop)?;
    }
    // The program may have the same user: it is not to look into this process.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::Drop)?;
    // Away from the terminal from which packhorse was started, if any. Fails only for one that leads a session already.
    let _ = rustix::process::setsid();
    Ok(())
}

/// The program, once it runs; 0 before. The one thing that the lifeline's thread has to know of it.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

/// Ends this process when standard input ends, and with it all that depends on it. A byte before that asks the program to end.
pub(super) fn end_with_lifeline() -> io::Result<()> {
    std::thread::Builder::new().name("lifeline".to_owned()).spawn(|| {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1..)) {
            if let Some(program) = Pid::from_raw(PROGRAM.load(Ordering::Relaxed)) {
                let _ = rustix::process::kill_process_group(program, Signal::TERM);
            }
        }
        end_strays();
        end();
    })?;
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the first process of a namespace cannot be killed from inside")]
fn end() -> ! {
    std::process::exit(1)
}

/// Makes this process the parent of all that the program leaves.
pub(super) fn adopt_strays() -> io::Result<()> {
    // Any number that is not zero turns it on.
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Runs the program to its end. Standard error is its standard output too, so that lines keep their order.
pub(super) fn run(run: &Run) -> Result<Report, Stuck> {
    let Some((program, arguments)) = run.argv.split_first() else {
        return Ok(Report::NotStarted { errno: Errno::INVAL.raw_os_error() });
    };
    let output = io::stdout().as_fd().try_clone_to_owned().at(Step::Start)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(run.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(&run.working_dir).stdin(Stdio::null()).stdout(Stdio::inherit()).stderr(output);
    if let Some((user, group)) = run.user {
        // Also leaves all other groups.
        command.gid(group).uid(user);
    }
    // What it starts is asked to end together with it.
    command.process_group(0);
    let child = match command.spawn() {
        Ok(child) => Pid::from_child(&child),
        Err(error) => return Ok(Report::NotStarted { errno: error.raw_os_error().unwrap_or_default() }),
    };
    PROGRAM.store(child.as_raw_nonzero().get(), Ordering::Relaxed);
    loop {
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(Some((ended, status))) if ended == child => {
                PROGRAM.store(0, Ordering::Relaxed);
                return Ok(report(status));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).at(Step::Wait),
        }
    }
}

fn report(status: WaitStatus) -> Report {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Report::Exited(code),
        (None, signal) => Report::Signaled(signal.unwrap_or_default()),
    }
}

/// Ends all processes below this one. Those whose parent goes become children of this one, so it takes rounds.
pub(super) fn end_strays() {
    let own = rustix::process::getpid();
    // The first process of a namespace takes the others along by itself.
    if own.is_init() {
        return;
    }
    loop {
        for child in children(own) {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        match rustix::process::wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers = processes.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let child = |number: &i32| {
        // The name of a program, in parentheses, may hold anything; after it come the state and the parent.
        let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
        let parent_of = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)?.parse::<i32>().ok());
        parent_of == Some(parent.as_raw_nonzero().get())
    };
    numbers.filter(child).filter_map(Pid::from_raw).collect()
}
