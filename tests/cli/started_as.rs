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

#[test]
fn as_bootstrap_it_says_that_the_lambda_entrance_is_missing() {
    let ran = Bench::new().started_as("bootstrap").run(&[]);
    assert_eq!((ran.code, ran.stderr.trim_end()), (70, "error: the Lambda entrance is not in this build yet"));
}
