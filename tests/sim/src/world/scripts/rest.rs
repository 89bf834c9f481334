//! What must hold of processes at rest.

use noex_proto::NodeId;

use crate::safety::Invariant;
use crate::world::{HostId, World};

impl World {
    /// Between these hosts, at rest and after all deadlines, nothing is left of calls, each monitor of what has ended has fired, and all casts
    /// have come.
    pub(crate) fn check_processes_at_rest(&mut self, one: HostId, other: HostId) {
        let Ok(node) = self.hosts[other].machine.local_node_id() else { return };
        self.check_open(one, other, &node);
        self.check_watches(one, &node);
        self.check_casts(one, other, &node);
    }

    fn check_open(&mut self, host: HostId, other: HostId, node: &NodeId) {
        let at = &self.hosts[host];
        let open = self.open_with(host, Some(node));
        // A process passes its deadline on to calls of its own. What waited long in the sockets has a deadline that is as much later.
        let asked = at.machine.local_node_id().map_or(0, |own| self.open_with(other, Some(&own)).calls);
        let calls =
            at.scripts.calls.values().filter(|serial| self.ledger.get_call(**serial).is_some_and(|call| call.node == *node));
        let calls = calls.count();
        let left = (open.calls, open.cancelled, open.owed);
        if left != (calls, 0, 0) || open.requests > asked {
            let detail = format!(
                "calls to {node}, those that were cancelled and signals that wait at rest: {left:?}; {calls} are open. Calls of it: \
                 {}; it has {asked} open",
                open.requests
            );
            self.violate(Some(host), Invariant::NothingIsLeft, detail);
        }
    }

    fn check_watches(&mut self, host: HostId, node: &NodeId) {
        let watches = self.hosts[host].scripts.monitors.values().filter(|watch| {
            let watch = &self.ledger.monitors[**watch];
            watch.node == *node && watch.epoch.1 != 0 && self.ledger.is_over(&watch.to)
        });
        if let Some(watch) = watches.copied().next() {
            let detail = format!("monitor {watch} has not fired, and {:?} has ended", self.ledger.monitors[watch].to);
            self.violate(Some(host), Invariant::MonitorsFireOnce, detail);
        }
    }

    fn check_casts(&mut self, from: HostId, to: HostId, node: &NodeId) {
        let at = &self.hosts[from];
        let Some(period) = self.period(from, node) else { return };
        let epoch = (at.origin, period);
        let owners = self.hosts[to].scripts.owners.values().map(|owner| owner.known);
        let lost = owners.map(|known| (known, self.ledger.casts_lost(known, epoch))).find(|(_, lost)| *lost > 0);
        if let Some((known, lost)) = lost {
            let detail = format!("{lost} casts to {} are lost", self.ledger.processes[known].id);
            self.violate(Some(to), Invariant::MessagesInOrder, detail);
        }
    }
}
