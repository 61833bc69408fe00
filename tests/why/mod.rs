//! `packhorse why`: every cause has a fixture that a run of the real orchestrator left behind, and a sentence.
//!
//! `stories` runs each of them again and compares, so that a fixture that no run leaves behind any more is found;
//! `INSTA_UPDATE=always cargo test why::` writes them anew. `tests/acceptance/why.rs` does the same with the program and
//! real parts, for causes that only those have.

mod house;
mod stories;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use packhorse::domain::diagnosis::{Facts, diagnose};
use packhorse::domain::lane::{BuildRecord, Lane};
use packhorse::domain::names::EpochSeconds;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a run left behind, and the command that makes it again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Fixture {
    pub(crate) made_by: String,
    pub(crate) now: EpochSeconds,
    pub(crate) record: BuildRecord,
    pub(crate) lane: Option<Lane>,
    pub(crate) metadata: Option<Value>,
    pub(crate) log: Option<String>,
}

impl Fixture {
    /// The name of its cause, its sentence and the next step.
    fn told(&self) -> (&'static str, String) {
        let told = diagnose(&Facts {
            record: &self.record,
            lane: self.lane.as_ref(),
            metadata: self.metadata.as_ref(),
            log: self.log.as_deref(),
            now: self.now,
        });
        (told.cause, format!("{}\nNext: {}\n", told.sentence, told.next))
    }
}

fn all() -> Vec<(String, Fixture)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/why");
    let mut found: Vec<(String, Fixture)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let fixture = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_stem().unwrap().to_string_lossy().into_owned(), fixture)
        })
        .collect();
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

#[test]
fn every_fixture_is_diagnosed_as_what_it_is_named_after() {
    let mut sentences = String::new();
    let mut causes = BTreeSet::new();
    for (name, fixture) in all() {
        let (cause, told) = fixture.told();
        assert!(name == cause || name.starts_with(&format!("{cause}--")), "{name} is told as {cause}: {told}");
        causes.insert(cause);
        writeln!(sentences, "{name}\n{told}").unwrap();
    }
    assert!(causes.len() >= 25, "only {}: {causes:?}", causes.len());
    insta::assert_snapshot!(sentences);
}

#[test]
fn a_sentence_is_one_sentence_and_names_its_build() {
    for (name, fixture) in all() {
        let (_, told) = fixture.told();
        let (sentence, next) = told.split_once('\n').unwrap();
        assert!(sentence.starts_with(&format!("Build {} ", fixture.record.build_number)), "{name}: {sentence}");
        assert!(
            sentence.ends_with('.') && !sentence.contains(['{', '}']) && !next.contains(['{', '}']),
            "{name}: {told}"
        );
        assert!(next.len() > "Next: ".len() + 10, "{name}: {next}");
    }
}
