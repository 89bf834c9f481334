//! What is kept beside a table, derived from the table once more: counts, the digest, deadlines, the marks that two tables have of each
//! other. Only builds with debug assertions hold this.
//!
//! A count that drifts is no limit any more, and nobody who asks the count finds that out.

use super::cx::Local;
use super::host::Host;
use super::node::{Node, Phase, Session, Stage, Timer, Wait};
use super::{Active, Machine, Run};
use crate::digest::member_digest;
use crate::{ClusterStatus, ConnId, NodeStatus};

/// The entries of a node's tables that an audit may read for each input, on average: in the unit tests of this crate, where nodes are
/// small, all of them are read after each.
const ENTRIES_PER_INPUT: usize = if cfg!(test) { 64 } else { 1 };

/// What an audit costs beside that, in entries.
const FIXED_COST: usize = if cfg!(test) { 0 } else { 8 };

impl Machine {
    /// Audits a node now and then: what has drifted stays so.
    pub(super) fn audit_in_turn(&mut self) {
        let Run::Active(active) = &self.run else { return };
        let Active { local, node } = &**active;
        self.host.unaudited += 1;
        let entries = node.conns.len() + node.peers.len() + node.dials.len();
        if self.host.unaudited * ENTRIES_PER_INPUT >= FIXED_COST + 4 * entries {
            self.host.unaudited = 0;
            node.audit(&self.host, local);
        }
    }
}

impl Node {
    /// Panics where two books differ.
    pub(super) fn audit(&self, host: &Host, local: &Local) {
        self.audit_connections();
        self.audit_sessions();
        self.audit_peers(host, local);
        self.audit_dials(host, local);
        self.audit_deadlines(host, local);
        host.lookups.audit();
        host.subscriptions.audit();
    }

    fn count(&self, is: impl Fn(&Phase) -> bool) -> usize {
        self.conns.values().filter(|conn| is(&conn.phase)).count()
    }

    fn sessions(&self) -> impl Iterator<Item = (ConnId, &Session)> {
        self.conns.iter().filter_map(|(number, conn)| Some((*number, conn.session()?)))
    }

    fn audit_connections(&self) {
        let responding = self.count(|phase| matches!(phase, Phase::Responding(_)));
        let listed = self.half_open.values().flatten();
        let strangers = listed.filter(|conn| self.conns.get(conn).is_some_and(|conn| matches!(conn.phase, Phase::Responding(_))));
        assert_eq!((self.half_open_count, strangers.count()), (responding, responding), "half-open connections");
        assert!(self.half_open.values().all(|conns| !conns.is_empty()), "an address without half-open connections");
        assert_eq!(self.session_count, self.sessions().count(), "sessions");
        assert!(self.closing.iter().all(|conn| !self.conns.contains_key(conn)), "a connection is open and closing");
        assert!(self.closing.len() <= self.closing_most, "closing connections");
    }

    fn audit_sessions(&self) {
        let up = |session: &Session| self.peers.get(&session.id).and_then(|peer| peer.session);
        for (conn, session) in self.sessions() {
            assert_eq!(session.is_up(), up(session) == Some(conn), "{conn} is up, and in use");
            assert!(session.is_up() || !session.probing, "{conn} is probed");
            session.queue.audit();
        }
    }

    fn audit_peers(&self, host: &Host, local: &Local) {
        let chosen = self.sessions().filter(|(_, session)| matches!(session.stage, Stage::Chosen)).count();
        let mut counts = (0, 0);
        let mut digest = member_digest(&local.instance, &local.id);
        let mut pulse = local.settings.heartbeat_interval;
        for (id, peer) in &self.peers {
            assert_eq!(peer.session.is_some(), peer.status == NodeStatus::Connected, "the status of {id}");
            let is_its = |conn: &ConnId| self.conn_session(*conn).is_some_and(|session| session.id == *id);
            let admission = &peer.admission;
            assert!(admission.sessions.iter().all(is_its), "the sessions of {id}");
            let of_peer = |conn: Option<ConnId>| conn.is_none_or(|conn| admission.sessions.contains(&conn));
            assert!(of_peer(admission.chosen) && of_peer(peer.session), "{id} has a session that is not among its own");
            counts.0 += usize::from(admission.chosen.is_some());
            if let Some(session) = peer.session.and_then(|conn| self.conn_session(conn)) {
                counts.1 += 1;
                digest = digest.wrapping_add(member_digest(&session.instance, id));
                pulse = pulse.min(session.interval());
            }
        }
        assert_eq!(self.chosen_count, counts.0, "chosen sessions");
        // A stop refuses those that were chosen too: until that has left, they are their peers' choice and at their last message.
        let stopping = host.status != ClusterStatus::Running;
        assert!(stopping || chosen == counts.0, "{chosen} sessions are chosen, and {} are their peers' choice", counts.0);
        assert_eq!(self.up_count, counts.1, "nodes that are up");
        assert_eq!(self.digest, digest, "the digest of the view");
        assert_eq!(self.pulse, pulse, "the shortest interval");
    }

    fn audit_dials(&self, host: &Host, local: &Local) {
        let reaching = self.count(|phase| matches!(phase, Phase::Reaching(_)));
        let stopping = host.status != ClusterStatus::Running;
        let mut counts = (0, 0, 0);
        for (target, dial) in &self.dials {
            let conn = dial.conn.map(|conn| self.conns.get(&conn).and_then(|conn| conn.target.as_ref()));
            assert!(conn.is_none_or(|of| of == Some(target)), "the connection of {target:?}");
            let queued = dial.queued.map(|place| self.dial_queue.get(&place));
            assert!(queued.is_none_or(|queued| queued == Some(target)), "the place of {target:?}");
            counts.0 += usize::from(dial.conn.is_some());
            counts.1 += usize::from(dial.queued.is_some());
            counts.2 += usize::from(dial.looking);
            let on_its_way =
                dial.conn.is_some() || dial.queued.is_some() || dial.looking || self.dial_timers.get(target).is_some();
            assert!(stopping || on_its_way || self.is_reached(target), "{target:?} is never dialled again");
        }
        assert_eq!(self.reaching, reaching, "bare connects");
        assert_eq!(self.dials_in_flight, counts.0 + reaching, "dials in flight");
        assert_eq!(self.dial_queue.len(), counts.1, "dials that wait");
        let waiting = host.lookups.waiters();
        let looking = waiting.filter(|target| self.dials.get(target).is_some_and(|dial| dial.looking)).count();
        assert_eq!((looking, host.lookups.waiters().count()), (counts.2, counts.2), "targets that wait for a lookup");
        let full = self.dials_in_flight >= local.settings.limits.dials_in_flight - local.settings.limits.dials_in_flight / 4;
        let waits = full || local.timers.get(&Timer::DialRate).is_some();
        assert!(self.dial_queue.is_empty() || waits, "a free dial is not taken");
    }

    fn audit_deadlines(&self, host: &Host, local: &Local) {
        local.timers.audit();
        self.dial_timers.audit();
        local.waits.audit();
        self.heartbeats.audit();
        self.looks.audit();
        for (conn, session) in self.sessions().filter(|(_, session)| session.is_up()) {
            assert!(self.heartbeats.contains(conn, session.heartbeat_at), "{conn} is up and has no heartbeat");
            assert!(self.looks.contains(conn, session.look_at), "{conn} is up and is not looked at");
        }
        let per_session = (self.heartbeats.len(), self.looks.len());
        assert_eq!(per_session, (self.up_count, self.up_count), "heartbeats and looks");
        let mut counts = (0, 0, 0);
        for (wait, _) in local.waits.iter() {
            let phase = |conn: &ConnId| self.conns.get(conn).map(|conn| &conn.phase);
            let fits = match wait {
                Wait::Admission(conn) => self.conn_session(*conn).is_some_and(|session| !session.is_up()),
                Wait::Answer => self.asked.as_ref().is_some_and(|asked| self.conn_session(asked.conn).is_some()),
                Wait::Connect(conn) => matches!(phase(conn), Some(Phase::Dialling | Phase::Reaching(_))),
                Wait::Handshake(conn) => matches!(phase(conn), Some(Phase::Initiating(_) | Phase::Responding(_))),
                Wait::Lookup(lookup) => host.lookups.is_under_way(*lookup),
                Wait::Probe(conn) => self.conn_session(*conn).is_some_and(|session| session.probing),
            };
            assert!(fits, "{wait:?} is for nothing");
            counts.0 += usize::from(matches!(wait, Wait::Connect(_) | Wait::Handshake(_)));
            counts.1 += usize::from(matches!(wait, Wait::Probe(_)));
            counts.2 += usize::from(matches!(wait, Wait::Answer));
        }
        let probed = self.sessions().filter(|(_, session)| session.probing).count();
        let waited_for = (self.conns.len() - self.session_count, probed, usize::from(self.asked.is_some()));
        assert_eq!(counts, waited_for, "waits for connections, probes and answers");
        for (timer, _) in local.timers.iter() {
            if let Timer::Steady(conn) = timer {
                assert!(self.conn_session(*conn).is_some_and(Session::is_up), "{timer:?} is for nothing");
            }
        }
        let taking = local.timers.get(&Timer::TakeIn).is_some();
        assert_eq!(!self.told.is_empty(), taking, "members that wait to be taken in");
        let running = host.status == ClusterStatus::Running;
        assert!(!running || self.dial_timers.iter().all(|(target, _)| self.dials.contains_key(target)), "a time for no dial");
    }
}
