//! How a command line is run in an app image, evaluated exactly once.

/// The program that sets up the environment of images made by buildpacks.
pub const LAUNCHER: &str = "/cnb/lifecycle/launcher";
/// The label that only images made by buildpacks have.
pub const BUILDPACK_LABEL: &str = "io.buildpacks.lifecycle.metadata";
/// The label that lists an image's processes.
pub const PROCESSES_LABEL: &str = "io.buildpacks.build.metadata";
/// The folder with one link to the launcher per process type.
pub const PROCESS_FOLDER: &str = "/cnb/process";

/// The port that web processes are told to listen on.
pub const WEB_PORT: u16 = 8080;

/// The entrypoint and arguments of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// Replaces the image's entrypoint, so that it cannot take the command for its own arguments.
    pub entrypoint: Vec<String>,
    /// What follows it.
    pub arguments: Vec<String>,
}

/// Runs a shell command in an image, with the environment of its buildpacks where these made it.
///
/// The launcher takes a single argument for a script and evaluates it once, after the profile scripts of buildpacks and app.
/// Given several arguments it evaluates each twice; after `--` it skips the profile scripts. So the one argument is the
/// quoted command of a plain shell.
pub fn shell_command(command: &str, buildpacks: bool) -> Launch {
    if buildpacks {
        Launch {
            entrypoint: vec![LAUNCHER.to_owned()],
            arguments: vec![format!("exec /bin/sh -c {}", quoted(command))],
        }
    } else {
        Launch { entrypoint: vec!["/bin/sh".to_owned(), "-c".to_owned()], arguments: vec![command.to_owned()] }
    }
}

/// Runs a process type that the image itself defines.
pub fn process(process_type: &str) -> Launch {
    Launch { entrypoint: vec![format!("{PROCESS_FOLDER}/{process_type}")], arguments: Vec::new() }
}

/// Returns the process types in the value of [`PROCESSES_LABEL`]; a label that cannot be read lists none.
pub fn process_types(label: &str) -> Vec<String> {
    let metadata: serde_json::Value = serde_json::from_str(label).unwrap_or_default();
    let processes = metadata["processes"].as_array().into_iter().flatten();
    processes.filter_map(|process| process["type"].as_str().map(str::to_owned)).collect()
}

/// Quotes a text so that a shell takes it literally.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_launcher_gets_one_argument_that_is_one_quoted_command() {
        let launch = shell_command(r#"echo "a  b" '$HOME'"#, true);
        assert_eq!(launch.entrypoint, [LAUNCHER]);
        assert_eq!(launch.arguments, [r#"exec /bin/sh -c 'echo "a  b" '\''$HOME'\'''"#]);
    }

    #[test]
    fn the_entrypoint_of_other_images_gives_way_to_a_shell() {
        let launch = shell_command("echo hello", false);
        assert_eq!(
            (launch.entrypoint, launch.arguments),
            (vec!["/bin/sh".into(), "-c".into()], vec!["echo hello".into()])
        );
    }

    #[test]
    fn process_types_are_read_from_the_label() {
        assert_eq!(
            process_types(r#"{"processes":[{"type":"web","command":["x"]},{"type":"worker"}]}"#),
            ["web", "worker"]
        );
        assert!(process_types("not json").is_empty());
    }
}
