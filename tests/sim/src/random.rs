//! Random streams: one per concern, so that a concern that draws more or less does not shift the others.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    /// The stream of this concern under this seed.
    pub(crate) fn new(seed: u64, concern: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        bytes[8..16].copy_from_slice(&concern.to_le_bytes());
        Self(ChaCha8Rng::from_seed(bytes))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0.next_u64()
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A number below `end`, which is above 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(end);
        u64::try_from(product >> 64).expect("the high half of a product fits")
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(crate) fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("an index fits")
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }

    /// True in `of` of 1000 cases.
    pub(crate) fn permille(&mut self, of: u64) -> bool {
        self.below(1000) < of
    }

    /// Two different indices below `len`, which is at least 2.
    pub(crate) fn pair(&mut self, len: usize) -> (usize, usize) {
        let one = self.index(len);
        let other = (one + 1 + self.index(len - 1)) % len;
        (one, other)
    }

    /// About exponentially distributed with this mean: a negative logarithm, pieced together from integers so that it is the same on
    /// every platform.
    pub(crate) fn exponential(&mut self, mean: u64) -> u64 {
        let drawn = self.next();
        let zeros = u64::from(drawn.leading_zeros());
        let rest = self.below(1 << 16);
        // The mean of zeros + rest / 2^16 is 1.5.
        let scaled = u128::from(mean) * u128::from((zeros << 16) + rest) * 2 / 3;
        u64::try_from(scaled >> 16).unwrap_or(u64::MAX)
    }

    /// A heavy tail: twice as long half as often, without a mean.
    pub(crate) fn heavy(&mut self, scale: u64) -> u64 {
        let zeros = self.next().leading_zeros().min(20);
        scale.saturating_mul(1 << zeros) / 2 + self.below(scale / 2 + 1)
    }
}
