//! `scripts/simulate`: as many runs of the simulation as wanted, in an optimised program.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "it is a test that counts")]

use std::process::ExitCode;
use std::time::Instant;

#[allow(dead_code, unused_imports, reason = "its other tests run elsewhere")]
#[path = "../tests/simulation/mod.rs"]
mod simulation;

fn count(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<u64> = words.iter().filter_map(|text| text.parse().ok()).collect();
    let [runs, first, threads] = numbers[..] else {
        eprintln!("usage: simulate [stories] RUNS SEED THREADS");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    let outcome = if words[0] == "stories" {
        let told = simulation::stories::tell_all(usize::MAX, count(runs), first, count(threads));
        told.map(|told| format!("the stories of the samples, told {told} times, seeds from {first}"))
    } else {
        let totals = simulation::many::runs(first, runs, threads);
        totals.map(|totals| format!("{runs} runs, seeds from {first}: {totals:?}"))
    };
    match outcome {
        Ok(said) => {
            println!("{said}\n{threads} threads: {:.1} s", began.elapsed().as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(broken) => {
            eprintln!("{broken}");
            ExitCode::FAILURE
        }
    }
}
