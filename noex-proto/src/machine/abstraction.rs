//! The machine's state without what differs between runs that are alike, for whoever has to know a state again.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use super::{Active, Machine, Run};
use crate::ConnId;
use crate::mesh::abstraction::Abstraction;

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
                let Active { local, node, draining } = &**active;
                let links = &node.links;
                let mut conns: Vec<ConnId> = links.iter().map(|(conn, _)| conn).chain(links.closing().iter().copied()).collect();
                conns.sort_unstable();
                let mut abstraction = Abstraction::new(&local.settings.secrets, (local.now, local.run), conns, grain, state);
                abstraction.part(local);
                abstraction.part(node);
                abstraction.part(&self.processes);
                abstraction.write(draining.map(|until| abstraction.until(until)));
            }
        }
    }
}
