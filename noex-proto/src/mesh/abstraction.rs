//! What is written of each part where a state has to be known again.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use crate::time::RunTime;
use crate::wire::keys::Secrets;
use crate::{ConnId, Instant};

/// A part whose state is known again by what decides what it will do next.
pub(crate) trait Abstract {
    /// Writes that. An implementation names every field, so that a new one has to be thought of there.
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>);
}

/// What is written of a node.
pub(crate) struct Abstraction<'a, H> {
    pub(crate) secrets: &'a Secrets,
    now: Instant,
    run: RunTime,
    grain: u128,
    state: &'a mut H,
    /// All connections that the driver knows, in order.
    conns: Vec<ConnId>,
}

impl<'a, H: Hasher> Abstraction<'a, H> {
    /// `conns`: all connections that the driver knows, in order.
    pub(crate) fn new(
        secrets: &'a Secrets,
        (now, run): (Instant, RunTime),
        conns: Vec<ConnId>,
        grain: Duration,
        state: &'a mut H,
    ) -> Self {
        Self { secrets, now, run, grain: grain.as_nanos().max(1), state, conns }
    }

    pub(crate) fn write(&mut self, value: impl Hash) {
        value.hash(self.state);
    }

    pub(crate) fn part(&mut self, part: &impl Abstract) {
        part.write(self);
    }

    pub(crate) fn hasher(&mut self) -> &mut H {
        self.state
    }

    /// A time span, coarsely.
    pub(crate) fn grains(&self, span: Duration) -> Option<u32> {
        (span.as_nanos() / self.grain).checked_ilog2()
    }

    /// How long it is until then, coarsely.
    pub(crate) fn until(&self, at: Instant) -> Option<u32> {
        self.grains(at - self.now)
    }

    pub(crate) fn age(&self, since: Instant) -> Option<u32> {
        self.grains(self.now - since)
    }

    /// The same of the node's own running time.
    pub(crate) fn run_until(&self, at: RunTime) -> Option<u32> {
        self.grains(at - self.run)
    }

    pub(crate) fn run_age(&self, since: RunTime) -> Option<u32> {
        self.grains(self.run - since)
    }

    /// A connection, by its place among those there are.
    pub(crate) fn place(&self, conn: ConnId) -> Option<usize> {
        self.conns.binary_search(&conn).ok()
    }
}
