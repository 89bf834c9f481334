//! What those who judge a run ask about it.

use std::time::Duration;

use noex_proto::NodeId;

use super::wire::EndState;
use super::{HostId, World};
use crate::timeline::Fault;

impl World {
    /// The process on a host, its time, and the number of the up-period of this node there, if it is up.
    pub(crate) fn view(&self, host: HostId, id: &NodeId) -> Option<(u32, Duration, Option<u64>)> {
        let at = &self.hosts[host];
        let period = at.monitor.up.get(id).map(|up| up.period);
        at.alive.then(|| (at.process, at.local(self.now).since_start(), period))
    }

    /// Draws that something is done to the cluster for some milliseconds.
    pub(crate) fn draw_fault(&mut self, ms: u64, fault: Fault) {
        if let Some(timeline) = &mut self.timeline {
            timeline.fault(self.now, self.now.saturating_add(ms.saturating_mul(1_000_000)), fault);
        }
    }

    /// Draws that a part of the run begins.
    pub(crate) fn draw_phase(&mut self, what: &str) {
        if let Some(timeline) = &mut self.timeline {
            timeline.phase(self.now, what);
        }
    }

    /// How many connections between two hosts are open at both ends.
    #[must_use]
    pub fn connections_between(&self, one: HostId, other: HostId) -> usize {
        let places = self.hosts[one].conns.iter().map(|place| ((place >> 1) as usize, (place & 1) as usize));
        places
            .filter(|(place, end)| {
                let ends = &self.conns[*place].ends;
                ends[1 - end].host == other && ends.iter().all(|end| end.state == EndState::Open)
            })
            .count()
    }

    /// Who of these hosts does not see whom.
    pub(crate) fn missing(&self, hosts: &[HostId]) -> String {
        let mut out = String::new();
        for one in hosts {
            for other in hosts {
                let seen = match self.hosts[*other].machine.local_node_id() {
                    Ok(id) => self.hosts[*one].machine.is_node_connected(&id) == Ok(true),
                    Err(_) => false,
                };
                if one != other && !seen {
                    out.push_str(&format!("{one} does not see {other}, "));
                }
            }
        }
        out.trim_end_matches(", ").into()
    }

    /// How many conflicts about identities the application on a host was told of.
    pub(crate) fn conflicts(&self, host: HostId) -> u64 {
        self.hosts[host].conflicts
    }

    /// Takes a machine's own counters into those of the run.
    pub(crate) fn note_counters(&mut self, host: HostId) {
        let counters = self.hosts[host].machine.counters();
        self.coverage.add("duplicate refused", counters.duplicates);
        self.coverage.add("dead session replaced", counters.replaced);
        self.coverage.add("stale admission", counters.stale_admissions);
        self.coverage.add("waiting offer", counters.offers_deferred);
        self.coverage.add("probe", counters.probes);
        self.coverage.add("stranger evicted", counters.evicted);
        self.coverage.add("peer's fault", counters.faults);
        self.coverage.add("members asked for", counters.member_answers);
    }
}
