//! The reference of the command line is made from the help of the binary.

use std::fmt::Write as _;

use packhorse::ui::ExitCode;

use super::{Bench, assert_file};

const COMMANDS: [&[&str]; 45] = [
    &[],
    &["up"],
    &["down"],
    &["image"],
    &["image", "build"],
    &["image", "inspect"],
    &["image", "rebase"],
    &["build"],
    &["build", "start"],
    &["build", "list"],
    &["build", "status"],
    &["build", "watch"],
    &["build", "logs"],
    &["build", "cancel"],
    &["why"],
    &["releases"],
    &["rollback"],
    &["ps"],
    &["ps", "scale"],
    &["ps", "restart"],
    &["config"],
    &["config", "list"],
    &["config", "get"],
    &["config", "set"],
    &["config", "unset"],
    &["scheduled-tasks"],
    &["scheduled-tasks", "list"],
    &["scheduled-tasks", "create"],
    &["scheduled-tasks", "delete"],
    &["logs"],
    &["codebuild"],
    &["codebuild", "prebuild"],
    &["codebuild", "build"],
    &["codebuild", "postbuild"],
    &["orchestrator"],
    &["orchestrator", "handle"],
    &["orchestrator", "poll"],
    &["orchestrator", "sweep"],
    &["orchestrator", "adopt"],
    &["buildspec"],
    &["doctor"],
    &["completions"],
    &["--version"],
    &["-h"],
    &["up", "-h"],
];

fn help(command: &[&str]) -> String {
    let mut arguments = command.to_vec();
    if !command.iter().any(|argument| argument.starts_with('-')) {
        arguments.push("--help");
    }
    let ran = Bench::new().run(&arguments);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{arguments:?}");
    ran.stdout
}

#[test]
fn the_reference_holds_the_help_of_every_command() {
    let mut text = "# Command line reference\n\nMade from the program's own help; a test compares them.\n".to_owned();
    for command in COMMANDS.iter().filter(|command| !command.iter().any(|argument| argument.starts_with('-'))) {
        let title = ["packhorse"].iter().chain(command.iter()).copied().collect::<Vec<_>>().join(" ");
        let help: Vec<String> = help(command).lines().map(|line| line.trim_end().to_owned()).collect();
        write!(text, "\n## `{title}`\n\n```text\n{}\n```\n", help.join("\n").trim_end()).unwrap();
    }
    text.push_str("\n## Exit codes\n\n| code | meaning |\n| --- | --- |\n");
    for (code, meaning) in ExitCode::DOCUMENTED {
        writeln!(text, "| {} | {meaning} |", code.code()).unwrap();
    }
    text.push_str("\nInside CodeBuild (`packhorse codebuild …`) there are only 0 and 1. A command that packhorse runs for somebody passes its own code through.\n");
    assert_file("docs/reference/cli.md", &text);
}

#[test]
fn every_command_has_examples_and_short_help_is_shorter() {
    for command in COMMANDS {
        let is_step = command.len() == 2 && command[0] == "codebuild";
        if command.iter().all(|argument| !argument.starts_with('-')) && !is_step {
            assert!(help(command).contains("EXAMPLES\n"), "{command:?}");
        }
    }
    assert!(help(&["-h"]).len() < help(&[]).len());
    assert_eq!(help(&["--version"]), format!("packhorse {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = Bench::new().run(&["completions", shell]);
        assert_eq!(ran.code, 0, "{ran}");
        for word in ["doctor", "buildspec", "postbuild", "env-file"] {
            assert!(ran.stdout.contains(word), "{shell}: {word}");
        }
    }
    let bash = Bench::new();
    bash.write("completions", &bash.run(&["completions", "bash"]).stdout);
    let checked = std::process::Command::new("bash").arg("-n").arg(bash.path("completions")).status().unwrap();
    assert!(checked.success());
    assert_eq!(bash.run(&["completions", "tcsh"]).code, 2);
}
