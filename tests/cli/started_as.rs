//! The names under which the program is started.

use super::Bench;

#[test]
fn as_the_old_builder_a_wrong_command_line_ends_with_1_as_codebuild_knows_nothing_else() {
    let ran = Bench::new().started_as("apppack-builder").run(&["frobnicate"]);
    assert_eq!(ran.code, 1, "{ran}");
    let help = Bench::new().started_as("apppack-builder").run(&["--help"]);
    assert_eq!(help.code, 0);
    for verb in ["prebuild", "build", "postbuild", "Usage: apppack-builder"] {
        assert!(help.stdout.contains(verb), "{help}");
    }
}

#[cfg(feature = "aws")]
#[test]
fn as_bootstrap_without_lambda_it_says_what_to_use_instead() {
    let ran = Bench::new().started_as("bootstrap").run(&[]);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(
        ran.stderr.contains("AWS_LAMBDA_RUNTIME_API is not set") && ran.stderr.contains("orchestrator poll"),
        "{ran}"
    );
}
