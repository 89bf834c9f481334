//! How many connects may be under way, and how many may begin in a second.

use core::hash::Hasher;
use core::time::Duration;

use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::{Instant, Limits};

/// The time over which dials are counted for their rate.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// How many silent peers are asked at a time whether their port is open. Where a machine is so busy that heartbeats of many are late, more
/// would make them later still.
const PORT_PROBES: usize = 4;

/// The slots of dials and of port probes, and the tokens of their rate.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    in_flight: usize,
    /// How many of them only ask whether a silent peer's port is open.
    probes: usize,
    tokens: usize,
    tokens_at: Instant,
}

impl Slots {
    pub(super) const fn new(now: Instant, limits: &Limits) -> Self {
        Self { in_flight: 0, probes: 0, tokens: limits.dials_per_second, tokens_at: now }
    }

    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    #[cfg(debug_assertions)]
    pub(super) const fn probes(&self) -> usize {
        self.probes
    }

    /// Fills the tokens up where a second is over.
    pub(super) fn refill(&mut self, now: Instant, limits: &Limits) {
        if now - self.tokens_at >= RATE_WINDOW {
            self.tokens_at = now;
            self.tokens = limits.dials_per_second;
        }
    }

    /// When the next tokens come, where none is left.
    pub(super) fn next_tokens(&self) -> Option<Instant> {
        (self.tokens == 0).then(|| self.tokens_at + RATE_WINDOW)
    }

    /// Whether a dial finds a slot. Where four or more may be in flight, a quarter is for `good` prospects: where packets vanish, the others
    /// take the rest for as long as a connect may take.
    pub(super) const fn has_room(&self, limits: &Limits, good: bool) -> bool {
        let limit = limits.dials_in_flight;
        self.in_flight < if good { limit } else { limit - limit / 4 }
    }

    /// Takes a slot and a token for a dial.
    pub(super) const fn take(&mut self) {
        self.in_flight += 1;
        self.tokens -= 1;
    }

    /// Gives a dial's slot back.
    pub(in crate::mesh) const fn release(&mut self) {
        self.in_flight -= 1;
    }

    /// Whether a port probe finds no slot.
    pub(crate) const fn is_full_for_probes(&self, limits: &Limits) -> bool {
        self.probes >= PORT_PROBES || self.in_flight >= limits.dials_in_flight
    }

    /// Takes a slot for a port probe.
    pub(crate) const fn take_probe(&mut self) {
        self.in_flight += 1;
        self.probes += 1;
    }

    /// Gives a port probe's slot back.
    pub(crate) const fn release_probe(&mut self) {
        self.in_flight -= 1;
        self.probes -= 1;
    }

    /// Gives all slots of dials back.
    pub(super) const fn release_dials(&mut self) {
        self.in_flight = self.probes;
    }
}

impl Abstract for Slots {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { in_flight, probes, tokens, tokens_at: _ } = self;
        to.write((in_flight, probes, (*tokens).min(1)));
    }
}
