//! Random input for every reader: whatever comes in, no panic.
//!
//! The corpus is what is committed here: the malformed and the valid manifests. `PACKHORSE_FUZZ_SECONDS` is the time per
//! reader, `PACKHORSE_FUZZ_SEED` repeats a run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use packhorse::domain::catalogue::Catalogue;
use packhorse::domain::manifest::{
    AppJson, AppPackToml, Effective, ImageProcesses, ManifestError, ManifestFiles, Problems, Procfile, ProjectToml,
    SourceFile, locator, resolve,
};
use packhorse::ui::diagnostics::{draw_manifest_error, draw_problems};

/// Pieces that mean something to one of the formats.
const PIECES: [&str; 32] = [
    "\"",
    "'",
    "{",
    "}",
    "[",
    "]",
    "[[",
    "]]",
    ":",
    ",",
    "=",
    "#",
    "\\",
    "\\u0000",
    "\\ud800",
    "\r\n",
    "\t",
    "\u{feff}",
    "\u{0}",
    "ü",
    "🐎",
    "e\u{301}",
    "\u{202e}",
    "null",
    "true",
    "-1",
    "1e999",
    "99999999999999999999",
    "1979-05-27",
    "\"\"\"",
    ".",
    "@",
];

/// Returns the committed files whose names end like one of a reader's own, so that most inputs get past its syntax.
fn corpus(own: &str) -> Vec<Vec<u8>> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { collect(&path, files) } else { files.push(path) }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/manifests");
    let mut files = Vec::new();
    collect(&root.join("malformed"), &mut files);
    collect(&root.join("valid"), &mut files);
    files.retain(|file| file.to_str().unwrap().ends_with(own));
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Changes a text of the corpus in a few places.
fn mutate(random: &mut fastrand::Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[random.usize(..corpus.len())].clone();
    for _ in 0..random.usize(1..8) {
        let at = random.usize(..=bytes.len());
        match random.u8(..7) {
            0 => bytes.insert(at, random.u8(..)),
            1 => bytes.truncate(at),
            2 if at < bytes.len() => bytes[at] ^= 1 << random.u8(..8),
            3 if at < bytes.len() => {
                let end = (at + random.usize(1..20)).min(bytes.len());
                bytes.drain(at..end);
            }
            4 => {
                let other = &corpus[random.usize(..corpus.len())];
                let start = random.usize(..=other.len());
                let end = (start + random.usize(..60)).min(other.len());
                bytes.splice(at..at, other[start..end].iter().copied());
            }
            5 => {
                let piece = PIECES[random.usize(..PIECES.len())].repeat(random.usize(1..=3).pow(4));
                bytes.splice(at..at, piece.bytes());
            }
            _ => {
                let piece = PIECES[random.usize(..PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
        }
    }
    bytes
}

fn run(reader: &str, own: &str, read: impl Fn(&[u8])) {
    let seconds = std::env::var("PACKHORSE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let seed = std::env::var("PACKHORSE_FUZZ_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("{reader}: PACKHORSE_FUZZ_SEED={seed}");
    let corpus = corpus(own);
    let mut random = fastrand::Rng::with_seed(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut rounds = 0_u64;
    while Instant::now() < end {
        let input = mutate(&mut random, &corpus);
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&input)));
        assert!(
            outcome.is_ok(),
            "{reader} panicked in round {rounds} of seed {seed} on {:?}",
            input.escape_ascii().to_string()
        );
        rounds += 1;
    }
    println!("{reader}: {rounds} inputs");
    assert!(rounds > 0);
}

/// Turns bytes into a file; what is not UTF-8 is drawn as its error and then read leniently.
fn source(name: &str, input: &[u8]) -> SourceFile {
    SourceFile::decode(name, input).unwrap_or_else(|problems| {
        draw(&problems);
        SourceFile::new(name, &String::from_utf8_lossy(input))
    })
}

/// Draws problems and checks that each lies in the text.
fn draw(problems: &Problems) {
    for problem in &problems.list {
        assert!(problems.file.text().get(problem.span.clone()).is_some(), "{problem:?} is not in the text");
    }
    assert!(!draw_problems(problems, false).is_empty());
    let _ = (draw_problems(problems, true), problems.to_string());
}

#[test]
fn random_input_does_not_panic_apppack_toml() {
    run("apppack.toml", ".toml", |input| {
        let file = source("apppack.toml", input);
        let _ = AppPackToml::read_effective(&file);
        let _ = AppPackToml::dockerfile_path(Some(&file));
        match AppPackToml::read(&file) {
            Ok(read) => draw_warnings(&file, read.warnings),
            Err(problems) => draw(&problems),
        }
    });
}

#[test]
fn random_input_does_not_panic_app_json() {
    run("app.json", ".json", |input| {
        let file = source("app.json", input);
        match AppJson::read_strict(&file) {
            Ok(read) => draw_warnings(&file, read.warnings),
            Err(problems) => draw(&problems),
        }
    });
}

#[test]
fn random_input_does_not_panic_procfile() {
    run("Procfile", "Procfile", |input| {
        let file = source("Procfile", input);
        match Procfile::read(&file) {
            Ok(read) => draw_warnings(&file, read.warnings),
            Err(problems) => draw(&problems),
        }
    });
}

#[test]
fn random_input_does_not_panic_project_toml() {
    run("project.toml", ".toml", |input| {
        let file = source("project.toml", input);
        match ProjectToml::read(&file) {
            Ok(read) => draw_warnings(&file, read.warnings),
            Err(problems) => draw(&problems),
        }
    });
}

#[test]
fn random_input_does_not_panic_metadata_toml() {
    run("metadata.toml", ".toml", |input| {
        let file = source("metadata.toml", input);
        match ImageProcesses::read(&file) {
            Ok(read) => {
                let _ = (read.value.services(), read.value.release_command());
                draw_warnings(&file, read.warnings);
            }
            Err(problems) => draw(&problems),
        }
    });
}

#[test]
fn random_input_does_not_panic_a_buildpack_locator() {
    let catalogue = Catalogue::shipped().unwrap();
    let known = catalogue.builders.first();
    run("locator", ".json", |input| {
        for word in String::from_utf8_lossy(input).split(['"', '\n']) {
            let _ = (locator::locate(word, known), locator::locate(word, None), catalogue.find(word));
        }
    });
}

#[test]
fn random_input_does_not_panic_the_merge_and_what_it_accepts_can_be_archived_and_read() {
    let catalogue = Catalogue::shipped().unwrap();
    run("resolve", "", |input| {
        // One input, cut in two, feeds two files at once.
        let (first, second) = input.split_at(input.len() / 2);
        for (toml, json) in
            [(Some(input), None), (None, Some(input)), (Some(first), Some(second)), (Some(first), Some(input))]
        {
            let files = ManifestFiles {
                apppack_toml: toml.map(|bytes| source("apppack.toml", bytes)),
                app_json: json.map(|bytes| source("app.json", bytes)),
                procfile: Some(source("Procfile", second)),
                project_toml: Some(source("project.toml", second)).filter(|_| input.len() % 2 == 0),
                dockerfile_exists: input.len() % 3 != 0,
            };
            match resolve(&files, &catalogue) {
                Ok(resolved) => {
                    let text = Effective::of(&resolved.plan, None).render();
                    let archived = SourceFile::new("apppack.toml", &text);
                    assert!(AppPackToml::read_effective(&archived).is_ok(), "cannot read back {text}");
                    resolved.warnings.iter().for_each(draw);
                }
                Err(error) => draw_all(&error),
            }
        }
    });
}

fn draw_warnings(file: &SourceFile, list: Vec<packhorse::domain::manifest::Problem>) {
    if !list.is_empty() {
        draw(&Problems { file: file.clone(), list });
    }
}

fn draw_all(error: &ManifestError) {
    error.files.iter().for_each(draw);
    assert!(!draw_manifest_error(error, false).is_empty());
}
