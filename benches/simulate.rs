//! `scripts/simulate`: as many runs of the simulation as wanted, in an optimised program.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "it is a test that counts")]

use std::process::ExitCode;
use std::time::Instant;

#[allow(dead_code, unused_imports, reason = "its other tests run elsewhere")]
#[path = "../tests/simulation/mod.rs"]
mod simulation;

fn main() -> ExitCode {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    let [runs, first, threads] = numbers[..] else {
        eprintln!("usage: simulate RUNS SEED THREADS");
        return ExitCode::from(2);
    };
    let began = Instant::now();
    match simulation::many::runs(first, runs, threads) {
        Ok(totals) => {
            let seconds = began.elapsed().as_secs_f64();
            println!("{runs} runs, seeds from {first}, {threads} threads: {seconds:.1} s");
            println!("{totals:?}");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            eprintln!("{broken}");
            ExitCode::FAILURE
        }
    }
}
