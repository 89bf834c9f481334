//! Running many seeds.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use noex_sim::{Baseline, Coverage, Plan};

use crate::{print_failure, range, write};

/// The command that runs many seeds.
#[derive(Debug, Args)]
pub(crate) struct Seeds {
    /// From the first seed to before the last, as in 0..2000.
    #[arg(long, value_parser = range)]
    seeds: Range<u64>,
    /// How many at the same time.
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Fail where one of the counted faults and rare states occurs in less than this share of seeds, in permille.
    #[arg(long, default_value_t = 0)]
    rare: u64,
    /// Fail where something is as frequent in another share of seeds than in this file, by more than chance explains.
    #[arg(long, value_name = "FILE")]
    baseline: Option<PathBuf>,
    /// Write what these seeds show into a file for `--baseline`.
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    take_baseline: Option<PathBuf>,
    /// Go on after this many failures.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    failures: u64,
    /// Draw the first failing run into this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// What all runs together have come to.
#[derive(Default)]
struct Totals {
    baseline: Baseline,
    coverage: Coverage,
    failures: u64,
    first_failure: Option<u64>,
    hash: u64,
    node_time: Duration,
    runs: u64,
    slowest: (Duration, u64),
    steps: u64,
}

impl Seeds {
    pub(crate) fn run(&self) -> Result<(), String> {
        std::panic::set_hook(Box::new(|_| {}));
        let before = self.baseline.as_deref().map(read).transpose()?;
        let started = Instant::now();
        let totals = self.run_all();
        if let (Some(path), Some(seed)) = (&self.html, totals.first_failure) {
            write(path, &Plan::draw(seed).run_drawn(0).1)?;
        }
        let too_rare = self.print_shares(&totals);
        let hours = totals.node_time.as_secs_f64() / 3600.0;
        println!(
            "{} seeds, {} failures, {hours:.1} virtual node-hours, {} steps, {:.1} s, slowest seed {} with {:.2} s, hash {:016x}",
            totals.runs,
            totals.failures,
            totals.steps,
            started.elapsed().as_secs_f64(),
            totals.slowest.1,
            totals.slowest.0.as_secs_f64(),
            totals.hash,
        );
        if totals.failures > 0 {
            return Err(format!("{} failures", totals.failures));
        }
        if !too_rare.is_empty() {
            return Err(format!("too rare: {}", too_rare.join(", ")));
        }
        if let Some(path) = &self.take_baseline {
            write(path, &totals.baseline.to_text())?;
        }
        match (&self.baseline, before) {
            (Some(path), Some(before)) => self.compare(&totals.baseline, &before, path),
            _ => Ok(()),
        }
    }

    fn run_all(&self) -> Totals {
        let next = AtomicU64::new(self.seeds.start);
        let totals = Mutex::new(Totals::default());
        let lock = || totals.lock().unwrap_or_else(PoisonError::into_inner);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds.end || lock().failures >= self.failures {
                            return;
                        }
                        let began = Instant::now();
                        let outcome = Plan::draw(seed).run();
                        let mut totals = lock();
                        totals.runs += 1;
                        totals.steps += outcome.steps;
                        totals.node_time += outcome.time * u32::try_from(outcome.hosts).unwrap_or(1);
                        totals.hash ^= outcome.hash.rotate_left((seed % 64) as u32);
                        totals.coverage.merge(&outcome.coverage);
                        totals.baseline.add(&outcome.coverage);
                        totals.slowest = totals.slowest.max((began.elapsed(), seed));
                        if outcome.violation.is_some() {
                            totals.failures += 1;
                            totals.first_failure = Some(totals.first_failure.map_or(seed, |first| first.min(seed)));
                            print_failure(&seed.to_string(), &outcome, 40);
                        }
                    }
                });
            }
        });
        totals.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints in which share of seeds each fault and rare state occurred. Those that are too rare.
    fn print_shares(&self, totals: &Totals) -> Vec<&'static str> {
        println!("\nshare of seeds in which it occurred:");
        let mut too_rare = Vec::new();
        for (what, count) in totals.coverage.iter() {
            let permille = count * 1000 / totals.runs.max(1);
            println!("  {:>5.1} %  {what}", permille as f64 / 10.0);
            if permille < self.rare {
                too_rare.push(what);
            }
        }
        too_rare
    }

    fn compare(&self, now: &Baseline, before: &Baseline, path: &Path) -> Result<(), String> {
        let moved = now.moved_from(before);
        if moved.is_empty() {
            println!("none of {} shares has moved from {} by more than chance explains", now.shares(), path.display());
            return Ok(());
        }
        for moved in &moved {
            println!("moved: {moved}");
        }
        let (Range { start, end }, path) = (&self.seeds, path.display());
        Err(format!(
            "{} shares have moved from {path}; where that is meant: noex-sim run --seeds {start}..{end} --jobs {} --take-baseline {path}",
            moved.len(),
            self.jobs,
        ))
    }
}

fn read(path: &Path) -> Result<Baseline, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Baseline::from_text(&text).map_err(|error| format!("{}: {error}", path.display()))
}
