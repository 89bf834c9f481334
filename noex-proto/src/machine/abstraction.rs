//! The machine's state without what differs between runs that are alike, for whoever has to know a state again.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use super::{Active, Machine, Run};
use crate::time::RunTime;
use crate::wire::keys::Secrets;
use crate::{ConnId, Instant};

impl Machine {
    /// Writes an abstraction of the machine's state into a hasher: what decides what the machine will do next, and nothing that
    /// tells apart two runs that came to the same state. A search through all orders of events, which has to know a state
    /// again, hashes this.
    ///
    /// Left out are keys, nonces, record numbers and the position in the stream of randomness; absolute times; the numbers of
    /// connections, which are replaced by their order; counters, the numbers of up-periods and what stands in subscribers'
    /// queues; the configuration and the secrets, but for which of them a connection goes by; how much of the limits on rates is used
    /// up; when a node was last alive, and what its heartbeats said. What is left of a deadline, and the age of what becomes too old, are counted in units of
    /// `grain`, as a power of two: the order of deadlines is kept, but of their distances no more than that.
    ///
    /// So states with other jitter, or that reach a limit on a rate or forget a node at other times, may be taken for one.
    /// Incarnations are kept: whoever compares machines that were started apart gives equal starts equal entropy.
    pub fn hash_abstraction(&self, grain: Duration, state: &mut impl Hasher) {
        let host = &self.host;
        host.status.hash(state);
        host.actions.len().hash(state);
        host.process_count.hash(state);
        host.lookups.wanted().for_each(|lookup| lookup.hash(state));
        match &self.run {
            Run::Stopped => false.hash(state),
            Run::Starting(_) => true.hash(state),
            Run::Active(active) => {
                let mut abstraction = Abstraction::new(active, grain, state);
                abstraction.part(&active.local);
                abstraction.part(&active.node);
            }
        }
    }
}

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
    fn new(Active { local, node }: &'a Active, grain: Duration, state: &'a mut H) -> Self {
        let links = &node.links;
        let mut conns: Vec<ConnId> = links.iter().map(|(conn, _)| conn).chain(links.closing().iter().copied()).collect();
        conns.sort_unstable();
        Self { secrets: &local.settings.secrets, now: local.now, run: local.run, grain: grain.as_nanos().max(1), state, conns }
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
