//! Why a sandbox cannot be had on a machine, in words, with what to do.

use std::fs;
use std::io;

use rustix::io::Errno;

use super::order::Step;

/// What a machine says about namespaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kernel {
    /// `user.max_user_namespaces`.
    most: Option<u64>,
    /// `kernel.unprivileged_userns_clone` (Debian's kernels).
    unprivileged: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu's kernels).
    apparmor: Option<u64>,
    /// Whether a filter of system calls is in force, as in a container.
    filtered: bool,
}

/// Makes the error of a step that did not work.
pub(super) fn error(step: Step, errno: i32) -> io::Error {
    let error = Errno::from_raw_os_error(errno);
    let number = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok();
    let kernel = Kernel {
        most: number("user/max_user_namespaces"),
        unprivileged: number("kernel/unprivileged_userns_clone"),
        apparmor: number("kernel/apparmor_restrict_unprivileged_userns"),
        filtered: fs::read_to_string("/proc/self/status").is_ok_and(|status| {
            status.lines().any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() != "0"))
        }),
    };
    let kind = io::Error::from(error).kind();
    io::Error::new(kind, explain(step, error, kernel))
}

fn explain(step: Step, error: Errno, kernel: Kernel) -> String {
    let doing = match step {
        Step::Order => "read what to run",
        Step::Namespaces => "make namespaces",
        Step::Map => "map the user into a namespace",
        Step::Rights | Step::Drop => "set the rights of the sandbox",
        Step::Start => "start a process",
        Step::Mount => "mount the builder's files",
        Step::Proc => "mount `/proc`",
        Step::Root => "change the root",
        Step::Wait => "wait for a process",
    };
    let refused =
        matches!(error, Errno::PERM | Errno::ACCESS | Errno::NOSPC | Errno::USERS | Errno::INVAL | Errno::NOSYS);
    let setting_up = !matches!(step, Step::Order | Step::Start | Step::Wait);
    let advice = match kernel {
        _ if !refused || !setting_up => "",
        Kernel { most: Some(0), .. } => {
            ": this machine allows no user namespaces; as root, run `sysctl user.max_user_namespaces=15000`, or use `--engine pack`"
        }
        Kernel { unprivileged: Some(0), .. } => {
            ": this machine keeps user namespaces for root; as root, run `sysctl kernel.unprivileged_userns_clone=1`, or use `--engine pack`"
        }
        Kernel { apparmor: Some(1), .. } => {
            ": AppArmor keeps user namespaces from ordinary users here; as root, run \
             `sysctl kernel.apparmor_restrict_unprivileged_userns=0` or give packhorse a profile with `userns`, or use `--engine pack`"
        }
        Kernel { filtered: true, .. } => {
            ": this is a container whose profile forbids it; run packhorse inside a builder image, where it needs no sandbox, or allow \
             the container namespaces (`--security-opt seccomp=unconfined --security-opt systempaths=unconfined`)"
        }
        _ if step == Step::Proc => {
            ": parts of `/proc` are hidden in this container; start it with `--security-opt systempaths=unconfined`, or run packhorse \
             inside a builder image, where it needs no sandbox"
        }
        Kernel { .. } => ": something on this machine forbids it; `--engine pack` needs no namespaces of its own",
    };
    format!("could not {doing} for a sandbox ({}){advice}", io::Error::from(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_forbid_a_sandbox_is_told_with_its_remedy() {
        let open = Kernel { most: Some(100), ..Kernel::default() };
        let table = [
            (Step::Namespaces, Errno::NOSPC, Kernel { most: Some(0), ..open }, "user.max_user_namespaces"),
            (Step::Namespaces, Errno::PERM, Kernel { unprivileged: Some(0), ..open }, "unprivileged_userns_clone=1"),
            (Step::Mount, Errno::ACCESS, Kernel { apparmor: Some(1), ..open }, "apparmor_restrict"),
            (Step::Namespaces, Errno::PERM, Kernel { filtered: true, ..open }, "inside a builder image"),
            (Step::Proc, Errno::PERM, open, "systempaths=unconfined"),
            (Step::Namespaces, Errno::PERM, open, "--engine pack"),
        ];
        for (step, error, kernel, words) in table {
            let text = explain(step, error, kernel);
            assert!(text.contains(words), "{text}");
        }
        let full = explain(Step::Start, Errno::NOMEM, open);
        assert!(full.starts_with("could not start a process for a sandbox (") && full.ends_with(')'), "{full}");
    }
}
