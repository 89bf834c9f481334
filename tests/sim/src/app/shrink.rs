//! The smallest script with which a test still fails in the same way.

use std::time::{Duration, Instant};

use super::script::Script;
use crate::{Chunking, Latency};

/// How many runs it takes at most, and how much real time.
const RUNS: usize = 400;
const TIME: Duration = Duration::from_secs(60);
/// With how many seeds a smaller script is tried, once one was not enough: what is left out shifts the randomness of all that remains.
const SEEDS: u64 = 4;

/// Removes and simplifies what it can. `fails` runs a script, and gives what was run where it fails in the same way.
pub(super) fn shrink(script: Script, fails: impl FnMut(Script) -> Option<Script>) -> Script {
    let mut shrinker = Shrinker { best: script, fails, runs: RUNS, seeds: 1, until: Instant::now() + TIME };
    loop {
        let before = shrinker.best.clone();
        // Fewer hosts make each further run cheaper.
        shrinker.picks();
        shrinker.steps();
        shrinker.durations();
        shrinker.values();
        if shrinker.is_over() || shrinker.best == before && shrinker.seeds == SEEDS {
            return shrinker.best;
        }
        shrinker.seeds = SEEDS;
    }
}

struct Shrinker<F> {
    best: Script,
    fails: F,
    runs: usize,
    seeds: u64,
    until: Instant,
}

impl<F: FnMut(Script) -> Option<Script>> Shrinker<F> {
    fn is_over(&self) -> bool {
        self.runs == 0 || Instant::now() > self.until
    }

    /// Keeps the script with this change if the test still fails.
    fn change(&mut self, change: impl FnOnce(&mut Script)) -> bool {
        let mut script = self.best.clone();
        change(&mut script);
        if script == self.best {
            return false;
        }
        for _ in 0..self.seeds {
            if self.is_over() {
                return false;
            }
            self.runs -= 1;
            match (self.fails)(script.clone()) {
                Some(run) if run != self.best => {
                    self.best = run;
                    return true;
                }
                Some(_) => return false,
                None => script.seed = script.seed.wrapping_add(1),
            }
        }
        false
    }

    /// All steps, halves of them, quarters, and so on, from the back.
    fn steps(&mut self) {
        let mut size = self.best.steps.len();
        while size > 0 {
            let mut end = self.best.steps.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                self.change(|script| drop(script.steps.drain(start..end.min(script.steps.len()))));
                end = start.min(self.best.steps.len());
            }
            size /= 2;
        }
    }

    /// Lower picks: the lowest, then by one less.
    fn picks(&mut self) {
        for name in self.best.picks.keys().cloned().collect::<Vec<_>>() {
            let set = |script: &mut Script, value: u64| {
                script.picks.insert(name.clone(), value);
            };
            if self.change(|script| set(script, 0)) {
                continue;
            }
            while let Some(less) = self.best.picks[&name].checked_sub(1) {
                if !self.change(|script| set(script, less)) {
                    break;
                }
            }
        }
    }

    fn durations(&mut self) {
        for place in 0..self.best.steps.len() {
            self.change(|script| {
                if let Some(ms) = script.steps.get_mut(place).and_then(|step| step.op.duration_mut()) {
                    *ms = ms.div_ceil(2);
                }
            });
        }
    }

    /// Ordinary values in place of drawn ones.
    fn values(&mut self) {
        let simplify: [fn(&mut Script); 4] = [
            |script| script.path_latencies.clear(),
            |script| script.latency = Latency::Constant { us: 1000 },
            |script| (script.bytes_per_second, script.window_bytes, script.chunking) = (None, 128 << 10, Chunking::Whole),
            |script| script.reset_cuts = false,
        ];
        for change in simplify {
            self.change(change);
        }
    }
}
