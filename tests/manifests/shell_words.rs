//! Command texts, read back by a real shell.

use packhorse::domain::manifest::shell_words::command_text;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[test]
fn a_real_shell_reads_every_word_back_unchanged() {
    let config = Config { cases: 128, failure_persistence: None, ..Config::default() };
    let words = proptest::collection::vec("[^\\x00]{0,12}", 2..6);
    TestRunner::new(config)
        .run(&words, |words| {
            let script = format!("printf '%s\\0' {}", command_text(&words));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let read = String::from_utf8(output.stdout).unwrap();
            let read: Vec<String> = read.split_terminator('\0').map(str::to_owned).collect();
            prop_assert_eq!(read, words);
            Ok(())
        })
        .unwrap();
}
