//! How often things happen in a run, compared with how often they did: a machine that keeps every rule and takes three times as many dials
//! for it is found out by nothing else.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Coverage;

/// A share of seeds has moved if it lies so many standard deviations from the baseline's. By chance alone, one of a thousand shares does so in
/// fewer than one of a thousand changes of the machine.
const DEVIATIONS: f64 = 5.0;

/// Each threshold is so many times the one before; the first is one.
const STEP: u64 = 2;
/// The number of thresholds, the last of which is about 16 million.
const THRESHOLDS: u32 = 25;

/// In how many of some seeds each count has reached each threshold: 1, 2, 4 and so on.
///
/// All of it is shares of seeds, and none of it means, so that what is due to chance follows from the number of seeds alone, however rarely a
/// count is large.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    seeds: u64,
    /// By name and threshold. Thresholds that no seed has reached are left out.
    counts: BTreeMap<String, Vec<u64>>,
}

/// What no longer fits a baseline.
#[derive(Clone, Debug, PartialEq)]
pub enum Moved {
    /// It is counted now, and was not.
    Added(String),
    /// It was counted, and is not any more.
    Removed(String),
    /// It is as frequent in another share of seeds.
    Share {
        /// What is counted.
        what: String,
        /// How often in one seed, at least.
        times: u64,
        /// In which share of seeds it is so now, and was.
        now: f64,
        /// In which share it was so.
        before: f64,
        /// The least and the greatest share that chance explains.
        chance: (f64, f64),
    },
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(what) => write!(f, "{what}: not in the baseline"),
            Self::Removed(what) => write!(f, "{what}: in the baseline, and no longer counted"),
            Self::Share { what, times, now, before, chance: (least, most) } => write!(
                f,
                "{what}, at least {times} in one seed: in {:.1} % of seeds, in {:.1} % before; chance explains {:.1} to {:.1} %",
                100.0 * now,
                100.0 * before,
                100.0 * least,
                100.0 * most,
            ),
        }
    }
}

impl Baseline {
    /// Adds what was counted in the run of one seed.
    pub fn add(&mut self, seed: &Coverage) {
        self.seeds += 1;
        for (what, count) in seed.counts() {
            let reached = self.counts.entry(what.into()).or_default();
            let thresholds = (0..THRESHOLDS).take_while(|place| STEP.pow(*place) <= count).count();
            reached.resize(reached.len().max(thresholds), 0);
            reached[..thresholds].iter_mut().for_each(|seeds| *seeds += 1);
        }
    }

    /// How many shares there are.
    #[must_use]
    pub fn shares(&self) -> usize {
        self.counts.values().map(Vec::len).sum()
    }

    /// Reads a baseline as [`Baseline::to_text`] wrote it.
    ///
    /// # Errors
    /// Says what does not parse, and where.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The baseline as text: JSON, a line for each count.
    #[must_use]
    pub fn to_text(&self) -> String {
        let counts: Vec<String> = self.counts.iter().map(|(what, seeds)| format!("    {what:?}: {seeds:?}")).collect();
        format!("{{\n  \"seeds\": {},\n  \"counts\": {{\n{}\n  }}\n}}\n", self.seeds, counts.join(",\n"))
    }

    /// What differs from another baseline by more than chance explains. The numbers of seeds may differ: the fewer there are, the more
    /// chance explains.
    #[must_use]
    pub fn moved_from(&self, before: &Self) -> Vec<Moved> {
        let added = self.counts.keys().filter(|what| !before.counts.contains_key(*what)).map(|what| Moved::Added(what.clone()));
        let removed =
            before.counts.keys().filter(|what| !self.counts.contains_key(*what)).map(|what| Moved::Removed(what.clone()));
        let shares = self.counts.iter().filter_map(|(what, now)| Some((what, now, before.counts.get(what)?)));
        let moved = shares.flat_map(|(what, now, old)| {
            (0..now.len().max(old.len())).filter_map(|place| {
                let of = |seeds: &[u64], all: u64| seeds.get(place).copied().unwrap_or(0) as f64 / all.max(1) as f64;
                let (now, old) = (of(now, self.seeds), of(old, before.seeds));
                let chance = by_chance(old, self.seeds, before.seeds);
                let times = STEP.pow(u32::try_from(place).unwrap_or(u32::MAX));
                let moved = now < chance.0 || now > chance.1;
                moved.then(|| Moved::Share { what: what.clone(), times, now, before: old, chance })
            })
        });
        added.chain(removed).chain(moved).collect()
    }
}

/// The shares of some seeds that chance explains where the share of others is this one. The arcsine of a share's root has the same
/// deviation whatever the share is (Anscombe, "The transformation of Poisson, binomial and negative-binomial data", 1948).
fn by_chance(share: f64, seeds: u64, others: u64) -> (f64, f64) {
    let deviation = (0.25 / seeds.max(1) as f64 + 0.25 / others.max(1) as f64).sqrt();
    let angle = share.sqrt().asin();
    let of = |angle: f64| angle.clamp(0.0, std::f64::consts::FRAC_PI_2).sin().powi(2);
    (of(DEVIATIONS.mul_add(-deviation, angle)), of(DEVIATIONS.mul_add(deviation, angle)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hundred seeds, in so many of which "probe" was noted five times.
    fn probed(seeds: u64) -> Baseline {
        let mut all = Baseline::default();
        for seed in 0..1000 {
            let mut coverage = Coverage::default();
            coverage.add("probe", if seed < seeds { 5 } else { 0 });
            all.add(&coverage);
        }
        all
    }

    fn text(moved: &[Moved]) -> Vec<String> {
        moved.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn given_the_same_shares_nothing_has_moved() {
        assert_eq!(probed(270).moved_from(&probed(270)), []);
        // Two and a half deviations of two samples of a thousand, which is chance.
        assert_eq!(probed(320).moved_from(&probed(270)), []);
    }

    #[test]
    fn given_a_share_that_fell_by_a_third_it_says_which_and_by_how_much() {
        assert_eq!(
            text(&probed(166).moved_from(&probed(270))),
            [
                "probe, at least 1 in one seed: in 16.6 % of seeds, in 27.0 % before; chance explains 17.7 to 37.4 %",
                "probe, at least 2 in one seed: in 16.6 % of seeds, in 27.0 % before; chance explains 17.7 to 37.4 %",
                "probe, at least 4 in one seed: in 16.6 % of seeds, in 27.0 % before; chance explains 17.7 to 37.4 %",
            ]
        );
    }

    #[test]
    fn given_a_count_that_never_was_what_was_seldom_may_still_be_chance() {
        assert_eq!(probed(0).moved_from(&probed(10)), []);
        assert_eq!(text(&probed(0).moved_from(&probed(40))).len(), 3);
    }

    #[test]
    fn a_count_that_is_new_or_gone_never_passes_silently() {
        let mut gone = probed(10);
        gone.counts.remove("probe");
        assert_eq!(text(&probed(10).moved_from(&gone)), ["probe: not in the baseline"]);
        assert_eq!(text(&gone.moved_from(&probed(10))), ["probe: in the baseline, and no longer counted"]);
    }

    #[test]
    fn a_baseline_survives_being_written_down() {
        let base = probed(3);
        assert_eq!(Baseline::from_text(&base.to_text()).expect("a baseline"), base);
        assert!(Baseline::from_text("{\"seeds\": 1}").is_err());
    }
}
