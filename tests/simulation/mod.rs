//! Many pipelines under every fault the outside can commit, driven through the real orchestrator.
//!
//! A run is replayed by its seed: `PACKHORSE_SIMULATION_SEED=7 PACKHORSE_SIMULATION_RUNS=1`.

mod run;
mod samples;
mod world;

use run::run;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_pipeline_gets_stuck_repeats_a_release_or_goes_back() {
    let runs = setting("PACKHORSE_SIMULATION_RUNS", 2_000);
    let first = setting("PACKHORSE_SIMULATION_SEED", fastrand::u64(..1 << 40));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    println!("seeds from {first}, {runs} runs");
    let totals = std::thread::scope(|scope| {
        let share = |thread| (first..first + runs).skip(thread).step_by(threads);
        let workers: Vec<_> =
            (0..threads).map(|thread| scope.spawn(move || share(thread).map(run).collect::<Vec<_>>())).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("the run whose seed is printed above"))
            .collect::<Vec<_>>()
    });
    // A simulation in which nothing ever happens would also find nothing.
    let share = |wanted: fn(&run::Outcome) -> bool| {
        totals.iter().filter(|outcome| wanted(outcome)).count() * 100 / totals.len()
    };
    assert!(share(|outcome| outcome.deployed > 0) >= 40, "hardly anything was deployed");
    assert!(share(|outcome| outcome.superseded > 0) >= 2, "hardly anything was superseded");
    assert!(share(|outcome| outcome.failed > 0) >= 20, "hardly anything failed");
    assert!(share(|outcome| outcome.crashes > 0) >= 40, "hardly anything crashed");
}
