//! Where output goes, how it looks, and what the exit code says.

use std::io::Read;
use std::process::Stdio;

use super::Bench;

#[test]
fn a_wrong_command_line_is_told_on_stderr_with_2() {
    let table: [&[&str]; 7] = [
        &["frobnicate"],
        &["--frobnicate"],
        &["build", "status", "zero"],
        &["build", "list", "--app", "2shop"],
        &["image", "build", "--publish"],
        &["doctor", "--quiet", "--verbose"],
        &["up", "--review-app", "x"],
    ];
    for arguments in table {
        let ran = Bench::new().run(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (2, ""), "{arguments:?} {ran}");
        assert!(ran.stderr.starts_with("error: "), "{ran}");
    }
}

#[test]
fn a_name_that_is_not_valid_is_told_with_its_rule() {
    let ran = Bench::new().run(&["build", "list", "--app", "2shop"]);
    insta::assert_snapshot!(ran.to_string());
}

#[test]
fn a_malformed_manifest_is_shown_with_its_place_and_3() {
    let bench = Bench::new();
    bench.write("app.json", "{\n  \"stack\": 24\n}\n");
    let ran = bench.run(&["image", "build"]);
    assert_eq!(ran.code, 3, "{ran}");
    insta::assert_snapshot!(ran.to_string());
}

#[test]
fn a_mistake_in_a_file_of_variables_is_told_with_its_line_and_without_the_value() {
    let bench = Bench::new();
    bench.write("build.env", "GOOD=1\nTOKEN=\"hunter2\n");
    let ran = bench.run(&["image", "build", "--env-file", "build.env"]);
    assert_eq!(ran.code, 3, "{ran}");
    assert!(ran.stderr.contains("build.env:2: the double quote that begins here has no end"), "{ran}");
    assert!(!ran.stderr.contains("hunter2"), "{ran}");
}

#[test]
fn a_dockerfile_app_is_refused_with_the_way_out() {
    let bench = Bench::new();
    bench.write("apppack.toml", "[build]\nsystem = \"dockerfile\"\n\n[services.web]\ncommand = \"true\"\n");
    let ran = bench.run(&["image", "build"]);
    assert_eq!(ran.code, 3, "{ran}");
    insta::assert_snapshot!(ran.to_string());
}

#[test]
fn colours_are_used_only_where_they_are_wanted() {
    let coloured = |bench: &Bench, arguments: &[&str]| bench.run(arguments).stderr.contains('\u{1b}');
    let forced = || Bench::new().with("CLICOLOR_FORCE", "1");
    assert!(!coloured(&Bench::new(), &["image", "build", "/nonexistent"]));
    assert!(coloured(&forced(), &["image", "build", "/nonexistent"]));
    assert!(!coloured(&forced().with("NO_COLOR", "1"), &["image", "build", "/nonexistent"]));
    assert!(!coloured(&forced(), &["image", "build", "/nonexistent", "--no-color"]));
    assert!(!coloured(&forced(), &["--no-color", "frobnicate"]));
}

#[test]
fn with_json_an_error_is_a_line_for_programs_too() {
    let ran = Bench::new().run(&["image", "build", "/nonexistent", "--json"]);
    let line: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((line["type"].as_str(), line["exit_code"].as_i64()), (Some("error"), Some(2)), "{ran}");
    assert!(ran.stderr.contains("`/nonexistent` cannot be read"), "{ran}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let bench = Bench::new();
    let mut child =
        bench.command(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Bench::new().command(&["buildspec"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("the output could not be written"), "{said}");
}
