//! The root of a sandbox: the builder's files for reading only, and what each build has of its own.

use std::ffi::{CStr, OsStr};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind, mount_change,
    mount_remount, move_mount, open_tree, unmount,
};

use super::{At, Step, Stuck};
use crate::adapters::sandbox::order::{Bind, Root};

/// The devices that every program may expect.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
/// Links below `/dev` to what a process has open.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const NAME: &[u8] = b"packhorse";

/// Tries whether a root could be changed: mounts that only this process sees.
pub(super) fn try_out() -> Result<(), Stuck> {
    private().at(Step::Mount)?;
    let there = Path::new("/tmp");
    mount("tmpfs", there, "tmpfs", QUIET, Some(c"mode=755")).at(Step::Mount)?;
    let proc = there.join("proc");
    fs::create_dir(&proc).at(Step::Mount)?;
    mount_proc(&proc)
}

/// Changes the root of this process.
///
/// What is mounted inside is taken from the machine before the change and put in its place after it, when paths lead to
/// nowhere but the new root, whatever links the builder has.
pub(super) fn change(root: &Root) -> Result<(), Stuck> {
    private().at(Step::Mount)?;
    let binds = root.binds.iter().map(|bind| Ok((take(Path::new(&bind.from), false)?, bind)));
    let binds: Vec<(OwnedFd, &Bind)> = binds.collect::<io::Result<_>>().at(Step::Mount)?;
    let devices = DEVICES.iter().map(|name| Ok((take(&Path::new("/dev").join(name), false)?, *name)));
    let devices: Vec<(OwnedFd, &str)> = devices.collect::<io::Result<_>>().at(Step::Mount)?;
    // Some programs read their limits there; none can do harm without rights.
    let sys = take(Path::new("/sys"), true).ok();

    let folder = PathBuf::from(&root.folder);
    mount_bind(&folder, &folder).at(Step::Mount)?;
    std::env::set_current_dir(&folder).at(Step::Root)?;
    // The old root comes to lie over the new one, and is taken away again from there.
    rustix::process::pivot_root(".", ".").at(Step::Root)?;
    // The kernel wants to see the old `/proc` before it gives out a new one.
    mount_proc(Path::new("/proc"))?;
    unmount(".", UnmountFlags::DETACH).at(Step::Root)?;
    std::env::set_current_dir("/").at(Step::Root)?;

    set_up_dev(&devices).at(Step::Mount)?;
    mount("tmpfs", "/run", "tmpfs", QUIET, Some(c"mode=755")).at(Step::Mount)?;
    if let Some(sys) = sys {
        put(&sys, Path::new("/sys")).and_then(|()| restrict(Path::new("/sys"), false)).at(Step::Mount)?;
    }
    for (tree, bind) in &binds {
        let to = Path::new(&bind.to);
        put(tree, to).and_then(|()| restrict(to, bind.writable)).at(Step::Mount)?;
    }
    // What stands there belongs to the one user, where there is only one.
    let flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::RDONLY;
    for own in ["/dev", "/run"] {
        mount_remount(own, flags, c"").at(Step::Mount)?;
    }
    restrict(Path::new("/proc/sys"), false).or_else(|_| read_only_copy(Path::new("/proc/sys"))).at(Step::Proc)?;
    restrict(Path::new("/"), false).at(Step::Root)?;
    rustix::system::sethostname(NAME).at(Step::Root)
}

/// Keeps mounts from spreading to the machine.
fn private() -> io::Result<()> {
    Ok(mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?)
}

fn mount_proc(to: &Path) -> Result<(), Stuck> {
    mount("proc", to, "proc", QUIET | MountFlags::NOEXEC, None::<&CStr>).at(Step::Proc)
}

/// Takes a folder or file as it is, with what is mounted below it where asked.
fn take(path: &Path, all: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if all {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(open_tree(CWD, path, flags)?)
}

fn put(tree: &OwnedFd, to: &Path) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_SYMLINKS;
    Ok(move_mount(tree, "", CWD, to, flags)?)
}

/// Takes rights away from a mount; those that the machine had taken away already stay away.
fn restrict(path: &Path, writable: bool) -> io::Result<()> {
    let mut flags = MountFlags::BIND | QUIET;
    let there = rustix::fs::statvfs(path)?.f_flag;
    if !writable || there.contains(StatVfsMountFlags::RDONLY) {
        flags |= MountFlags::RDONLY;
    }
    if there.contains(StatVfsMountFlags::NOEXEC) {
        flags |= MountFlags::NOEXEC;
    }
    Ok(mount_remount(path, flags, c"")?)
}

fn read_only_copy(path: &Path) -> io::Result<()> {
    mount_bind(path, path)?;
    let flags = MountFlags::BIND | QUIET | MountFlags::NOEXEC | MountFlags::RDONLY;
    Ok(mount_remount(path, flags, c"")?)
}

fn set_up_dev(devices: &[(OwnedFd, &str)]) -> io::Result<()> {
    let dev = Path::new("/dev");
    mount("tmpfs", dev, "tmpfs", MountFlags::NOSUID | MountFlags::NOEXEC, Some(c"mode=755,size=64k"))?;
    for (device, name) in devices {
        let to = dev.join(name);
        fs::write(&to, "")?;
        put(device, &to)?;
    }
    for (name, to) in LINKS {
        symlink(OsStr::from_bytes(to.as_bytes()), dev.join(name))?;
    }
    let (terminals, memory) = (dev.join("pts"), dev.join("shm"));
    fs::create_dir(&terminals)?;
    fs::create_dir(&memory)?;
    let options = c"newinstance,ptmxmode=0666,mode=620";
    mount("devpts", &terminals, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, Some(options))?;
    mount("tmpfs", &memory, "tmpfs", QUIET, Some(c"mode=1777"))?;
    Ok(())
}
