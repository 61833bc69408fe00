//! Many pipelines under every fault the outside can commit, driven through the real orchestrator.
//!
//! `scripts/simulate RUNS SEED` does the same in the optimised program. A run is replayed by its seed: `scripts/simulate 1 SEED`.

pub(crate) mod many;
pub(crate) mod no_images;
mod run;
pub(crate) mod stories;
mod world;

#[test]
fn no_pipeline_gets_stuck_repeats_a_release_or_goes_back() {
    let runs = std::env::var("PACKHORSE_SIMULATION_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(200);
    let first = std::env::var("PACKHORSE_SIMULATION_SEED").ok().and_then(|text| text.parse().ok());
    let first = first.unwrap_or_else(|| fastrand::u64(..1 << 40));
    println!("seeds from {first}, {runs} runs");
    let totals = many::runs(first, runs, 2).unwrap_or_else(|broken| panic!("{broken}"));
    if runs >= 500 {
        totals.went_everywhere().unwrap();
    }
}
