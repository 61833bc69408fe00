//! Many runs at once, on several threads.

use super::run::{Outcome, run};

/// What came of many runs.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    runs: usize,
    deployed: usize,
    superseded: usize,
    failed: usize,
    crashed: usize,
    restarted: usize,
    rolled_back: usize,
    removed: usize,
}

/// Makes `runs` runs with the seeds from `first` on; stops at the first that breaks a promise, and says its seed.
pub(crate) fn runs(first: u64, runs: u64, threads: u64) -> Result<Totals, String> {
    let worker = move |thread: u64| {
        let mut totals = Totals::default();
        let mut seed = first + thread;
        while seed < first + runs {
            let outcome = run(seed).map_err(|broken| format!("{broken}\nreplay with scripts/simulate 1 {seed}"))?;
            totals.add(outcome);
            seed += threads;
        }
        Ok(totals)
    };
    let each: Vec<Result<Totals, String>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || worker(thread))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err("a run panicked".to_owned()))).collect()
    });
    let mut all = Totals::default();
    for totals in each {
        all.join(&totals?);
    }
    Ok(all)
}

impl Totals {
    fn add(&mut self, outcome: Outcome) {
        self.runs += 1;
        self.deployed += usize::from(outcome.deployed > 0);
        self.superseded += usize::from(outcome.superseded > 0);
        self.failed += usize::from(outcome.failed > 0);
        self.crashed += usize::from(outcome.crashes > 0);
        self.restarted += usize::from(outcome.restarts > 0);
        self.rolled_back += usize::from(outcome.rollbacks > 0);
        self.removed += usize::from(outcome.removed > 0);
    }

    fn join(&mut self, other: &Self) {
        self.runs += other.runs;
        self.deployed += other.deployed;
        self.superseded += other.superseded;
        self.failed += other.failed;
        self.crashed += other.crashed;
        self.restarted += other.restarted;
        self.rolled_back += other.rolled_back;
        self.removed += other.removed;
    }

    /// A simulation in which nothing ever happens would also find nothing.
    pub(crate) fn went_everywhere(&self) -> Result<(), String> {
        let parts = [
            ("deployed", self.deployed, 30),
            ("superseded", self.superseded, 2),
            ("failed", self.failed, 15),
            ("crashed", self.crashed, 30),
            ("restarted", self.restarted, 2),
            ("removed", self.removed, 2),
        ];
        match parts.iter().find(|(_, times, percent)| times * 100 < percent * self.runs) {
            Some((what, times, _)) => Err(format!("hardly anything was {what}: {times} of {} runs", self.runs)),
            None => Ok(()),
        }
    }
}
