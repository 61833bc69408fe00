//! The last step: this process becomes the app's.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::environment::Variables;
use crate::failure::{Cause, Context, Result};
use crate::metadata::Process;
use crate::path;
use crate::system;

/// Becomes the process itself, found in the `PATH` that the layers made.
pub fn direct(process: &Process, app: &Path, variables: &Variables) -> Result<Infallible> {
    let Some(command) = process.command.first() else { return Err(Cause::new("path lookup: the command is empty")) };
    let program = path::find_program(command, variables.get("PATH")).context("path lookup")?;
    path::change_to(working_dir(process, app)).context("change directory")?;
    let arguments = process.command.iter().chain(&process.args).map(OsString::as_os_str);
    Err(system::execute(&program, arguments, variables)).context("direct exec")
}

/// Becomes bash, which reads the profiles and then becomes the process.
///
/// A command without arguments is a script. Otherwise command and arguments are words in which bash replaces variables, once.
pub fn in_shell(
    own_name: &OsStr,
    process: &Process,
    profiles: &[PathBuf],
    app: &Path,
    variables: &Variables,
) -> Result<Infallible> {
    let mut script = Vec::new();
    for profile in profiles {
        script.extend([b"source \"", profile.as_os_str().as_bytes(), b"\"\n"].concat());
    }
    script.extend([b"cd \"", working_dir(process, app).as_os_str().as_bytes(), b"\"\n"].concat());
    script.extend(last_line(process.args.len()).into_bytes());
    let script = OsString::from_vec(script);
    let command = process.command.join(OsStr::new(" "));
    let arguments = [OsStr::new("bash"), OsStr::new("-c"), &script, own_name, &command];
    let arguments = arguments.into_iter().chain(process.args.iter().map(OsString::as_os_str));
    Err(system::execute(Path::new("/bin/bash"), arguments, variables)).context("bash exec")
}

/// The line of the script that starts the command with this many arguments.
fn last_line(arguments: usize) -> String {
    if arguments == 0 {
        return r#"exec bash -c "$@""#.to_owned();
    }
    let mut words = r#""$(eval echo \"$0\")""#.to_owned();
    for number in 1..=arguments {
        let _ = write!(words, r#" "$(eval echo \"${{{number}}}\")""#);
    }
    format!(r#"exec bash -c '{words}' "${{@:1}}""#)
}

/// The app's own profile, which the shell finds in the folder it is in.
pub fn profile_of_app(app: &Path) -> Result<Option<PathBuf>> {
    let profile = path::join(app, ".profile");
    match fs::metadata(&profile) {
        Ok(metadata) => Ok((!metadata.is_dir()).then(|| PathBuf::from(".profile"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Cause::of_path("stat", &profile, &error))
            .context(format_args!("failed to determine if app profile script exists at path '{}'", profile.display())),
    }
}

fn working_dir<'a>(process: &'a Process, app: &'a Path) -> &'a Path {
    if process.working_dir.as_os_str().is_empty() { app } else { &process.working_dir }
}
