//! Makes the namespaces of a sandbox.

use std::io;
use std::process::{Command, Stdio};

use rustix::thread::{CapabilitySet, UnshareFlags};

use super::{At, Report, Role, Step, Stuck};

/// Makes namespaces of this process, starts the first process in them, and waits until all inside has ended.
pub(super) fn enter(map: Option<(u32, u32)>, network: bool) -> Result<Option<Report>, Stuck> {
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut flags = UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    if !network {
        flags |= UnshareFlags::NEWNET;
    }
    if map.is_some() {
        flags |= UnshareFlags::NEWUSER;
    }
    unshare(flags).at(Step::Namespaces)?;
    if let Some((inner_user, inner_group)) = map {
        // Without this an ordinary user may not map a group.
        match std::fs::write("/proc/self/setgroups", "deny") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).at(Step::Map),
            _ => {}
        }
        std::fs::write("/proc/self/uid_map", format!("{inner_user} {user} 1")).at(Step::Map)?;
        std::fs::write("/proc/self/gid_map", format!("{inner_group} {group} 1")).at(Step::Map)?;
        keep_rights().at(Step::Rights)?;
    }
    // The next child is the first process of the new process namespace.
    let mut first = Command::new("/proc/self/exe");
    first.args(Role::First.arguments()).stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    let mut first = first.spawn().at(Step::Start)?;
    // It reports for itself, and its end is the end of all processes inside.
    first.wait().at(Step::Wait)?;
    Ok(None)
}

#[expect(unsafe_code, reason = "rustix marks the call as unsafe for the sake of one flag")]
fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: `FILES` is not among the flags, so no thread loses file descriptors; and there is only one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }?;
    Ok(())
}

/// Keeps the right to mount over the start of another program, which an ordinary user would lose.
fn keep_rights() -> io::Result<()> {
    let mut sets = rustix::thread::capabilities(None)?;
    sets.inheritable |= CapabilitySet::SYS_ADMIN;
    rustix::thread::set_capabilities(None, sets)?;
    rustix::thread::configure_capability_in_ambient_set(CapabilitySet::SYS_ADMIN, true)?;
    Ok(())
}
