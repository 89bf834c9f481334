//! What those who judge a run ask about it.

use std::time::Duration;

use noex_proto::{ClusterError, ClusterStatus, NodeId};

use super::wire::EndState;
use super::{HostId, World, network};
use crate::safety::Invariant;
use crate::timeline::Fault;

/// The longest that a connection with a stranger may last: a handshake, and time to close.
const STRANGER_MAX: Duration = Duration::from_secs(7);
/// The longest that a connection may take to be made, and the time in which nobody is judged after a pause.
const DIAL_MAX: Duration = Duration::from_secs(12);

/// What passed between a host and a peer, for whoever judges it.
#[derive(Clone, Debug)]
pub(crate) struct Contact {
    pub(crate) host: HostId,
    pub(crate) peer: HostId,
    /// The process on the host, and its time.
    pub(crate) process: u32,
    pub(crate) local: Duration,
    /// The time of the world.
    pub(crate) at: Duration,
    pub(crate) what: Meeting,
}

/// What passed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meeting {
    /// The host dials the peer.
    Dial,
    /// The peer is down. `free`: the host has no connection to it, and none under way. `clear`: nor has either anything that is in the way.
    Down { left: bool, free: bool, clear: bool },
    /// The peer is up. `alone`: the host has no second connection to it, and none under way.
    Up { alone: bool },
}

impl World {
    /// The number of the up-period of this node at a host, if it is up there.
    pub(crate) fn period(&self, host: HostId, id: &NodeId) -> Option<u64> {
        self.hosts[host].monitor.up.get(id).map(|up| up.period)
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

    /// The process on a host whose node is running, and its time.
    pub(crate) fn running(&self, host: HostId) -> Option<(u32, Duration)> {
        self.process_that_is(ClusterStatus::Running, host)
    }

    /// The same where the node is stopping.
    pub(crate) fn stopping(&self, host: HostId) -> Option<(u32, Duration)> {
        self.process_that_is(ClusterStatus::Stopping, host)
    }

    fn process_that_is(&self, status: ClusterStatus, host: HostId) -> Option<(u32, Duration)> {
        let at = &self.hosts[host];
        (at.alive && at.monitor.status == status).then(|| (at.process, at.local(self.now).since_start()))
    }

    /// Notes dials, ups and downs from now on.
    pub(crate) fn note_contacts(&mut self) {
        self.contacts = Some(Vec::new());
    }

    /// What was noted since the last call.
    pub(crate) fn take_contacts(&mut self) -> Vec<Contact> {
        self.contacts.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// What was reported of peers since the last call: by which host, and of which.
    pub(crate) fn take_reports(&mut self) -> Vec<(HostId, HostId, ClusterError)> {
        std::mem::take(&mut self.reports)
    }

    pub(super) fn note_report(&mut self, host: HostId, error: &ClusterError) {
        if let ClusterError::Peer { addr, .. } | ClusterError::Refused { addr, .. } = error
            && let Some(peer) = network::host_at(*addr).filter(|_| self.contacts.is_some())
        {
            self.reports.push((host, peer, error.clone()));
        }
    }

    pub(super) fn note_contact(&mut self, host: HostId, peer: HostId, what: Meeting) {
        let at = &self.hosts[host];
        if let Some(contacts) = &mut self.contacts {
            let local = at.local(self.now).since_start();
            contacts.push(Contact { host, peer, process: at.process, local, at: Duration::from_nanos(self.now), what });
        }
    }

    /// Notes an up or a down, by how many connections of the host to the peer there are or are under way.
    pub(super) fn note_contact_of(&mut self, host: HostId, id: &NodeId, what: impl FnOnce(usize, bool) -> Meeting) {
        let Some(peer) = host_of(id).filter(|_| self.contacts.is_some()) else { return };
        let what = what(self.live(host, peer), self.is_clear(host, peer));
        self.note_contact(host, peer, what);
    }

    /// How many connections to a peer a host has, or has under way.
    pub(super) fn live(&self, host: HostId, peer: HostId) -> usize {
        let live = self.hosts[host].ends().filter(|(place, end)| {
            let ends = &self.conns[*place].ends;
            ends[1 - end].host == peer && matches!(ends[*end].state, EndState::Open | EndState::Pending)
        });
        live.count()
    }

    /// How many connections between two hosts at least one of the ends has open, but for those over which nothing was said: a bare
    /// connect asks no more than whether a silent peer's port is open.
    pub(crate) fn connections_left(&self, one: HostId, other: HostId) -> usize {
        self.hosts[one]
            .ends()
            .filter(|(place, end)| {
                let conn = &self.conns[*place];
                conn.ends[1 - end].host == other
                    && conn.ends.iter().any(|end| end.state == EndState::Open)
                    && conn.pipes.iter().all(|pipe| pipe.taken > 0)
            })
            .count()
    }

    /// How many connections between two hosts are open at both ends.
    #[must_use]
    pub fn connections_between(&self, one: HostId, other: HostId) -> usize {
        self.hosts[one]
            .ends()
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

    /// A connection to a stranger, or a dial that connects to nobody, that a host has had for longer than it may, and for how long that is.
    pub(crate) fn waits_too_long(&self, host: HostId) -> Option<(String, Duration)> {
        let older = |since: u64, most| Duration::from_nanos(self.now - since) > most;
        // Of the many connections that there ever were, what waits too long is among the latest.
        let mut latest = self.hosts[host].ends().rev().take_while(|(place, _)| !older(self.conns[*place].begun, 3 * DIAL_MAX));
        latest.find_map(|(place, end)| {
            let (conn, at) = (&self.conns[place], &self.conns[place].ends[end]);
            let stranger = self.hosts[conn.ends[1 - end].host].rogue.is_some();
            match at.state {
                EndState::Open if stranger && older(conn.opened[end], STRANGER_MAX) => {
                    Some((format!("{} with a stranger has been open", at.id), STRANGER_MAX))
                }
                EndState::Pending if end == 0 && older(conn.begun, DIAL_MAX) => Some((format!("{} is dialled", at.id), DIAL_MAX)),
                _ => None,
            }
        })
    }

    /// Notes by which connection a node is up. Where it is down again by the same input, which only a record or a close can bring about,
    /// there is none.
    pub(super) fn note_session(&mut self, host: HostId, id: &NodeId) {
        let at = &mut self.hosts[host];
        if let Some(place) = at.machine.session(id).ok().flatten().and_then(|conn| at.conn(conn)) {
            at.sessions.insert(id.clone(), place);
        }
    }

    /// A node whose port was asked: the port has refused twice since anything came over the session that the down is about.
    pub(super) fn check_refused(&mut self, host: HostId, id: &NodeId) {
        let at = &self.hosts[host];
        let heard = at.sessions.get(id).map_or(0, |(place, end)| self.conns[*place].heard[*end]);
        let refusals = host_of(id).and_then(|peer| at.refusals.get(&peer)).copied().unwrap_or_default();
        let refused = refusals.iter().filter(|refused| **refused > heard).count();
        if refused < 2 {
            let detail = format!("{id} is down by its port, which has refused {refused} times since it was heard");
            self.violate(Some(host), Invariant::NoFalseDown, detail);
        }
    }

    /// How many records a host has sent.
    pub(crate) fn records_sent(&self, host: HostId) -> u64 {
        self.hosts[host].monitor.records
    }

    /// How many bytes a host has at most for another one that has not read them yet: in its machine, its driver, and on their way.
    pub(crate) fn bytes_waiting(&self, from: HostId, to: HostId) -> usize {
        let ends = self.hosts[from].ends().filter(|(place, end)| self.conns[*place].ends[1 - end].host == to);
        let pipes = ends.map(|(place, end)| &self.conns[place].pipes[end]);
        let below: usize = pipes.map(|pipe| pipe.out_bytes + pipe.unread).sum();
        let queued = self.hosts[from].machine.usage().send_queue_bytes;
        // Of a queue of small messages, 64 bytes each are counted that stand for what a record adds.
        below + queued
    }

    /// How many messages a host took for a node in the present up-period.
    pub(crate) fn sent_to(&self, host: HostId, id: &NodeId) -> u64 {
        self.hosts[host].monitor.up.get(id).map_or(0, |up| up.sent)
    }

    /// How many messages came from a node in the present up-period, or in the last one.
    pub(crate) fn received_of(&self, host: HostId, id: &NodeId) -> u64 {
        let of = &self.hosts[host].monitor;
        of.up.get(id).map(|up| up.received).or_else(|| of.ended.get(id).copied()).unwrap_or(0)
    }

    /// How many conflicts about identities the application on a host was told of.
    pub(crate) fn conflicts(&self, host: HostId) -> u64 {
        self.hosts[host].conflicts
    }

    /// Takes a machine's own counters into those of the run.
    pub(crate) fn note_counters(&mut self, host: HostId) {
        self.coverage.add_counters(&self.hosts[host].machine.counters());
    }
}

/// The host at a node's address.
pub(super) fn host_of(id: &NodeId) -> Option<HostId> {
    match id.host_ip() {
        Some(ip) => network::host_at((ip, id.port()).into()),
        None => network::host_named(id.host()),
    }
}
