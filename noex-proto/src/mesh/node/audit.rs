//! What is kept beside a table, derived from the table once more: counts, the digest, deadlines, the marks that two tables have of each
//! other. Only builds with debug assertions hold this.
//!
//! A count that drifts is no limit any more, and nobody who asks the count finds that out.

use super::Node;
use crate::mesh::cx::{Local, Timer, Wait};
use crate::mesh::host::Host;
use crate::mesh::links::Phase;
use crate::mesh::pairing::Stage;
use crate::mesh::session::Session;
use crate::{ClusterStatus, ConnId};

impl Node {
    /// How many entries an audit reads.
    pub(crate) fn audited(&self) -> usize {
        self.links.len() + self.peers.len() + self.dialler.len()
    }

    /// Panics where two books differ.
    pub(crate) fn audit(&self, host: &Host, local: &Local) {
        assert!(local.effects.is_empty(), "an effect waits between two inputs");
        self.links.audit();
        self.peers.audit(local, |conn| self.links.session(conn));
        self.audit_detector(local);
        self.audit_sessions(host);
        self.audit_dials(host, local);
        self.audit_waits(host, local);
        self.audit_timers(local);
        host.lookups.audit();
        host.subscriptions.audit();
    }

    fn count(&self, is: impl Fn(&Phase) -> bool) -> usize {
        self.links.iter().filter(|(_, link)| is(&link.phase)).count()
    }

    fn audit_detector(&self, local: &Local) {
        let up = self.links.sessions().filter(|(_, session)| session.is_up()).map(|(conn, session)| (conn, &session.watch));
        self.detector.audit(local.settings.heartbeat_interval, up);
    }

    fn audit_sessions(&self, host: &Host) {
        for (conn, session) in self.links.sessions() {
            assert_eq!(session.is_up(), self.peers.session(&session.id) == Some(conn), "{conn} is up, and in use");
            assert!(session.is_up() || !session.probing, "{conn} is probed");
            session.queue.audit();
        }
        let chosen = self.links.sessions().filter(|(_, session)| matches!(session.stage, Stage::Chosen)).count();
        let choices = self.peers.chosen_count();
        // A stop refuses those that were chosen too: until that has left, they are their peers' choice and at their last message.
        let stopping = host.status != ClusterStatus::Running;
        assert!(stopping || chosen == choices, "{chosen} sessions are chosen, and {choices} are their peers' choice");
    }

    fn audit_dials(&self, host: &Host, local: &Local) {
        let stopping = host.status != ClusterStatus::Running;
        self.dialler.audit(local, stopping, self.count(|phase| matches!(phase, Phase::Reaching(_))));
        let known = self.known();
        let host_lookups = &host.lookups;
        let host_is_wanted = |host: &str| host_lookups.wanted().any(|(wanted, _)| wanted == host);
        let mut looking = 0;
        for (target, dial) in self.dialler.iter() {
            let conn = dial.conn.map(|conn| self.links.target(conn));
            assert!(conn.is_none_or(|of| of == Some(target)), "the connection of {target:?}");
            if dial.looking {
                let host = self.dialler.address_of(target).0.err();
                assert!(host.is_some_and(|host| host_is_wanted(&host)), "the lookup of {target:?}");
            }
            looking += usize::from(dial.looking);
            let (ways, reached) = (self.dialler.ways(target), self.dialler.is_reached(target, &known));
            assert!(ways == 1 || ways == 0 && (stopping || reached), "{ways} ways lead to the next dial of {target:?}");
        }
        for (conn, link) in self.links.iter() {
            if let (Phase::Dialling | Phase::Initiating(_), Some(target)) = (&link.phase, &link.target) {
                let dial = self.dialler.iter().find(|(of, _)| *of == target).map(|(_, dial)| dial);
                assert_eq!(dial.and_then(|dial| dial.conn), Some(conn), "a connection of no dial");
            }
        }
        let looks = |target: &&_| self.dialler.iter().any(|(of, dial)| of == *target && dial.looking);
        let waiting = host.lookups.waiters().filter(looks).count();
        assert_eq!((waiting, host.lookups.waiters().count()), (looking, looking), "targets that wait for a lookup");
    }

    fn audit_waits(&self, host: &Host, local: &Local) {
        let mut counts = (0, 0, 0);
        for (wait, _) in local.waits.iter() {
            let phase = |conn: &ConnId| self.links.get(*conn).map(|link| &link.phase);
            let fits = match wait {
                Wait::Above(conn) => self.links.session(*conn).is_some_and(Session::is_up),
                Wait::Admission(conn) => self.links.session(*conn).is_some_and(|session| !session.is_up()),
                Wait::Answer => self.gossip.asked().is_some_and(|asked| self.links.session(asked.conn).is_some()),
                Wait::Connect(conn) => matches!(phase(conn), Some(Phase::Dialling | Phase::Reaching(_))),
                Wait::Handshake(conn) => matches!(phase(conn), Some(Phase::Initiating(_) | Phase::Responding(_))),
                Wait::Lookup(lookup) => host.lookups.is_under_way(*lookup),
                Wait::Probe(conn) => self.links.session(*conn).is_some_and(|session| session.probing),
            };
            assert!(fits, "{wait:?} is for nothing");
            counts.0 += usize::from(matches!(wait, Wait::Connect(_) | Wait::Handshake(_)));
            counts.1 += usize::from(matches!(wait, Wait::Probe(_)));
            counts.2 += usize::from(matches!(wait, Wait::Answer));
        }
        let probed = self.links.sessions().filter(|(_, session)| session.probing).count();
        let connecting = self.links.len() - self.links.session_count();
        let waited_for = (connecting, probed, usize::from(self.gossip.asked().is_some()));
        assert_eq!(counts, waited_for, "waits for connections, probes and answers");
    }

    fn audit_timers(&self, local: &Local) {
        local.timers.audit();
        local.waits.audit();
        for (timer, _) in local.timers.iter() {
            if let Timer::Steady(conn) = timer {
                assert!(self.links.session(*conn).is_some_and(Session::is_up), "{timer:?} is for nothing");
            }
        }
        let taking = local.timers.get(&Timer::TakeIn).is_some();
        assert_eq!(self.gossip.is_ingesting(), taking, "members that wait to be ingested");
    }
}
