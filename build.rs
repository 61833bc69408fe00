//! Two things that a manifest cannot say: how the program is linked, and that another program is inside it.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Makes the program smaller while it is linked: functions with the same code become one, and relocations are packed. Both are
    // options of the linker that Rust brings for this target; a build script keeps them from compiling the dependencies anew.
    if env::var("TARGET").as_deref() == Ok("x86_64-unknown-linux-gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all,-z,pack-relative-relocs");
    }
    build_launcher();
}

/// Builds the launcher for images whose builder has none, into `$OUT_DIR/launcher`.
///
/// It is a member of the workspace with dependencies that packhorse has as well, so that it comes from the same lock file and needs
/// nothing more from a registry. It has a target folder and a profile of its own, so it neither waits for this build nor disturbs it.
fn build_launcher() {
    for used in ["Cargo.lock", "Cargo.toml", "launcher", "src/lifecycle/api.rs", "src/lifecycle/environment.rs"] {
        println!("cargo::rerun-if-changed={used}");
    }
    let variable = |name: &str| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let (out, target) = (PathBuf::from(variable("OUT_DIR")), variable("TARGET"));
    let folder = out.join("launcher-target");
    let mut cargo = Command::new(variable("CARGO"));
    cargo
        .current_dir(Path::new(&variable("CARGO_MANIFEST_DIR")).join("launcher"))
        .args(["build", "--locked", "--profile", "launcher", "--target"])
        .arg(&target)
        .arg("--target-dir")
        .arg(&folder);
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_this_build(name)) {
        cargo.env_remove(name);
    }
    // An image may have no C library, or another one.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static");
    let finished = cargo.output().unwrap_or_else(|error| panic!("cargo does not start: {error}"));
    assert!(finished.status.success(), "the launcher does not build:\n{}", String::from_utf8_lossy(&finished.stderr));
    let built = folder.join(target).join("launcher/launcher");
    std::fs::copy(&built, out.join("launcher"))
        .unwrap_or_else(|error| panic!("{} cannot be copied: {error}", built.display()));
}

/// Tells which variables say how this build is done, and not where cargo finds things: flags, profiles, folders, wrappers of the
/// compiler such as clippy's.
fn is_of_this_build(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let kept = ["CARGO_HOME", "CARGO_MAKEFLAGS", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_"];
    let flags = ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CLIPPY_ARGS", "CLIPPY_CONF_DIR"];
    flags.contains(&&*name) || name.starts_with("CARGO") && !kept.iter().any(|kept| name.starts_with(kept))
}
