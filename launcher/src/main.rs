//! The launcher: starts the processes of an app image that buildpacks made.
//!
//! It is the image's entry point, under its own name or under that of a process type. It sets the environment up as the buildpacks
//! want it and becomes the process. It behaves as the launcher of the Go lifecycle, down to exit codes and error lines; builders
//! that bring no launcher get this one.

// Rules that the lifecycle has as well; each of the two programs uses a part of them.
#[allow(dead_code, reason = "the gates of the build are not the launcher's")]
#[path = "../../src/lifecycle/api.rs"]
mod api;
#[allow(dead_code, reason = "the rules of the build are not the launcher's")]
#[path = "../../src/lifecycle/environment.rs"]
mod environment;

mod exec_d;
mod failure;
mod layers;
mod metadata;
mod path;
mod process;
mod start;
mod system;

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use environment::Variables;
use failure::{Context, Failure, Result};
use layers::Layers;
use metadata::{Metadata, Platform};
use process::Selection;

fn main() -> ExitCode {
    system::heed_signals();
    let Err(failure) = launch();
    failure.show();
    ExitCode::from(failure.code())
}

/// Becomes the process that is asked for; returns only where that fails.
fn launch() -> std::result::Result<std::convert::Infallible, Failure> {
    let arguments: Vec<OsString> = env::args_os().collect();
    let (own_name, arguments) = arguments.split_first().map_or((OsStr::new(""), &[][..]), |(own, rest)| (own, rest));
    let platform = Platform::of_environment(&setting("CNB_PLATFORM_API", ""))?;
    let layers_folder = PathBuf::from(setting("CNB_LAYERS_DIR", "/layers"));
    let metadata = Metadata::read(&layers_folder.join("config/metadata.toml"))?;
    metadata.check_apis()?;
    if let Some(kind) = env::var_os("CNB_PROCESS_TYPE").filter(|kind| !kind.is_empty()) {
        failure::warn(&format!("CNB_PROCESS_TYPE is not supported in Platform API {platform}"));
        let kind = kind.display();
        failure::warn(&format!("Run with ENTRYPOINT '{kind}' to invoke the '{kind}' process type"));
    }
    let exec_env = setting("CNB_EXEC_ENV", "production");
    let selection = Selection { metadata: &metadata, platform, exec_env: &exec_env };
    become_process(own_name, arguments, &selection, layers_folder).map_err(|cause| Failure::of_launch(&cause))
}

fn become_process(
    own_name: &OsStr,
    arguments: &[OsString],
    selection: &Selection<'_>,
    layers_folder: PathBuf,
) -> Result<std::convert::Infallible> {
    // Only the name counts, so that a link anywhere starts the process that it is called after.
    let name = own_name.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let process = selection.process(OsStr::from_bytes(name), arguments).context("determine start command")?;
    let app = PathBuf::from(setting("CNB_APP_DIR", "/workspace"));
    path::change_to(&app).context("change to app directory")?;
    let pairs: Vec<_> = env::vars_os().collect();
    let pairs = pairs.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
    let mut variables = Variables::for_launch(pairs);
    let layers = Layers::find(layers_folder, &selection.metadata.buildpacks).context("modify env")?;
    layers.apply(&process.kind, &mut variables).context("modify env")?;
    for program in layers.files("exec.d", &process.kind).context("exec.d")? {
        exec_d::run(&program, &mut variables).context("exec.d")?;
    }
    if process.direct {
        return start::direct(&process, &app, &variables);
    }
    let mut profiles = layers.files("profile.d", &process.kind).context("find profiles")?;
    profiles.extend(start::profile_of_app(&app).context("find profiles")?);
    selection.check_origin(&process)?;
    start::in_shell(own_name, &process, &profiles, &app, &variables)
}

/// A variable's value; one that is empty counts as not set.
fn setting(name: &str, default: &str) -> OsString {
    env::var_os(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.into())
}
