//! How long to wait before the next try.

use core::time::Duration;

use rand_chacha::rand_core::Rng;

/// Delays that double from a base up to a maximum, each multiplied by a random factor between a half and one, so that nodes that lost
/// the same peer do not all return in the same moment.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    base: Duration,
    delay: Duration,
    max: Duration,
}

impl Backoff {
    /// No attempt made yet.
    pub(crate) fn new(base: Duration, max: Duration) -> Self {
        Self { attempts: 0, base, delay: base.min(max), max }
    }

    /// How many delays were drawn since the beginning or the last reset.
    #[cfg(test)]
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The next delay, before its random factor.
    pub(crate) const fn delay(&self) -> Duration {
        self.delay
    }

    /// The delay before the next attempt, which counts as made.
    pub(crate) fn next(&mut self, rng: &mut impl Rng) -> Duration {
        let delay = jitter(self.delay, rng);
        self.attempts = self.attempts.saturating_add(1);
        self.delay = self.delay.saturating_mul(2).min(self.max);
        delay
    }

    /// A delay for what is not worth trying often; the next ones are as long.
    pub(crate) fn longest(&mut self, rng: &mut impl Rng) -> Duration {
        self.delay = self.max;
        jitter(self.max, rng)
    }

    /// A delay for what is no failure: the shortest, which the next ones do not grow from.
    pub(crate) fn shortest(&self, rng: &mut impl Rng) -> Duration {
        jitter(self.base.min(self.max), rng)
    }

    /// Begins again at the base.
    pub(crate) fn reset(&mut self) {
        *self = Self::new(self.base, self.max);
    }
}

/// `delay` times a factor between a half and one.
fn jitter(delay: Duration, rng: &mut impl Rng) -> Duration {
    let half = delay / 2;
    delay - half + half.saturating_mul(rng.next_u32()) / u32::MAX
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use rand_chacha::ChaCha12Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    proptest! {
        #[test]
        fn delays_double_up_to_the_maximum(base in 1..5_000_000_000_u64, factor in 1..5_000_u64, seed: u64) {
            let max = base * factor;
            let mut rng = ChaCha12Rng::seed_from_u64(seed);
            let mut backoff = Backoff::new(Duration::from_nanos(base), Duration::from_nanos(max));
            for k in 0..40 {
                prop_assert_eq!(backoff.attempts(), k);
                let full = (u128::from(base) << k).min(max.into());
                let delay = backoff.next(&mut rng).as_nanos();
                prop_assert!((full.div_ceil(2)..=full).contains(&delay));
                let shortest = backoff.shortest(&mut rng).as_nanos();
                prop_assert!((u128::from(base).div_ceil(2)..=base.into()).contains(&shortest));
                let longest = backoff.clone().longest(&mut rng).as_nanos();
                prop_assert!((u128::from(max).div_ceil(2)..=max.into()).contains(&longest));
            }
            backoff.reset();
            backoff.longest(&mut rng);
            prop_assert!(backoff.next(&mut rng).as_nanos() >= u128::from(max).div_ceil(2));
            backoff.reset();
            prop_assert_eq!(backoff.attempts(), 0);
            prop_assert!(backoff.next(&mut rng) <= Duration::from_nanos(base));
        }

        #[test]
        fn the_same_seed_gives_the_same_delays(seed: u64) {
            let delays = || {
                let mut rng = ChaCha12Rng::seed_from_u64(seed);
                let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
                (0..10).map(|_| backoff.next(&mut rng)).collect::<Vec<_>>()
            };
            prop_assert_eq!(delays(), delays());
        }
    }

    #[test]
    fn delays_of_many_nodes_are_spread() {
        let mut rng = ChaCha12Rng::seed_from_u64(0);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        let early = (0..1000).filter(|_| backoff.longest(&mut rng) < Duration::from_millis(22_500)).count();
        assert!((400..600).contains(&early), "{early} of 1000 in the earlier half");
    }

    #[test]
    fn no_duration_overflows() {
        let mut rng = ChaCha12Rng::seed_from_u64(0);
        let mut backoff = Backoff::new(Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            assert!(backoff.next(&mut rng) >= Duration::MAX / 2);
        }
    }
}
