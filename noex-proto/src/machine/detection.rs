//! Failure detection: heartbeats, silence, and the node's own pauses.
//!
//! Silence is measured in the node's own running time. Of each gap between two inputs at most half of the shortest heartbeat interval
//! counts, and after a longer gap nobody is judged before what waits has been read: so a node that was frozen blames nobody for it.

use core::time::Duration;

use rand_chacha::rand_core::Rng;

use super::membership::fraction;
use super::node::{Ended, Node, Phase, Reach, Session, Timer, Wait};
use crate::message::Control;
use crate::{Action, Close, ClusterStatus, ConnId, DialError, Instant, NodeDownReason, PeerFault, WallTime};

/// A heartbeat comes early by one to two of these parts of an interval: early, so that a healthy peer is never silent for a whole
/// interval, and by chance, so that the heartbeats of many nodes do not fall into step.
const HEARTBEAT_EARLY: u32 = 32;

/// How long a connection attempt may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Node {
    // Clocks

    /// Brings both clocks to the time of the present input.
    pub(super) fn advance_clocks(&mut self) {
        let gap = self.out.now - self.now;
        self.now = self.out.now;
        let longest = self.pulse / 2;
        self.run = self.run + gap.min(longest);
        if gap > longest && self.held.is_none() {
            self.held = Some(self.run + self.pulse / 4);
        }
    }

    /// When the next deadline of either clock falls due, in real time. While a peer is waited for, the node looks up at least four
    /// times in the shortest interval: a gap that is longer is a pause.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let wait = self.waits.next().map(|at| {
            let at = self.held.map_or(at, |held| held.max(at));
            self.now + (at - self.run).min(self.pulse / 4)
        });
        let next = match (self.timers.next(), wait) {
            (Some(timer), Some(wait)) => timer.min(wait),
            (timer, wait) => timer.or(wait)?,
        };
        Some(next.max(self.now))
    }

    // Heartbeats

    /// A heartbeat is due. One that still waits to be released is not followed by another.
    pub(super) fn send_heartbeat(&mut self, conn: ConnId) {
        let interval = self.settings.heartbeat_interval;
        let period = interval - interval / HEARTBEAT_EARLY - fraction(interval / HEARTBEAT_EARLY, self.rng.next_u32());
        self.timers.set(Timer::Heartbeat(conn), self.now + period);
        let heartbeat =
            Control::Heartbeat { digest: self.digest, process_count: self.out.process_count, uptime_ms: self.uptime_ms() };
        if self.conn_session(conn).is_some_and(|session| !session.queue.has_heartbeat()) {
            self.send_control(conn, heartbeat);
        }
    }

    /// A heartbeat came in: news of its sender, and the digest of its view.
    pub(super) fn heartbeat(
        &mut self,
        conn: ConnId,
        digest: u64,
        process_count: u64,
        uptime: Duration,
        wall: WallTime,
    ) -> Result<(), PeerFault> {
        let Some(session) = self.conn_session(conn) else { return Ok(()) };
        let id = session.id.clone();
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.process_count = process_count;
            peer.uptime = uptime;
            peer.last_heartbeat_at = Some(wall);
            peer.alive_at = self.now;
        }
        self.compare_views(conn, &id, digest);
        Ok(())
    }

    /// How long this node has been running, as peers are told.
    pub(super) fn uptime_ms(&self) -> u64 {
        u64::try_from((self.now - self.started).as_millis()).unwrap_or(u64::MAX)
    }

    // Silence

    /// Begins to watch a session that has come up.
    pub(super) fn watch(&mut self, conn: ConnId) {
        let dialled = self.conns.get(&conn).is_some_and(|conn| conn.target.is_some());
        let Some(session) = self.conn_session(conn) else { return };
        let (heard, silent, allowed) = (session.heard, session.interval, self.allowed_silence(session));
        self.waits.set(Wait::Silence(conn), heard + allowed);
        if dialled {
            self.waits.set(Wait::Reach(conn), heard + silent);
        }
    }

    /// The longest silence that is no failure: the peer's interval times the local threshold and half an interval. A millisecond more,
    /// since only longer silence counts.
    fn allowed_silence(&self, session: &Session) -> Duration {
        session.interval * self.settings.heartbeat_miss_threshold + session.interval / 2 + Duration::from_millis(1)
    }

    /// The session's deadline has come: it moves on with every record, and is looked at only now.
    pub(super) fn silence_due(&mut self, conn: ConnId) {
        let Some(session) = self.conn_session(conn) else { return };
        let deadline = session.heard + self.allowed_silence(session);
        if deadline > self.run {
            self.waits.set(Wait::Silence(conn), deadline);
        } else {
            self.end_conn_as(conn, Some(Close::Abort), Ended::Harmless, NodeDownReason::HeartbeatTimeout);
        }
    }

    // The port of a silent peer

    /// A peer that this node dialled may have been silent for an interval: is its port still open? A bare connect asks; it sends
    /// nothing and becomes no session.
    pub(super) fn reach_due(&mut self, conn: ConnId) {
        if self.out.status != ClusterStatus::Running {
            return;
        }
        let Some(state) = self.conns.get(&conn) else { return };
        let (Some(session), Some(remote)) = (state.session(), state.remote) else { return };
        let silent_at = session.heard + session.interval;
        if silent_at > self.run {
            self.waits.set(Wait::Reach(conn), silent_at);
            return;
        }
        if self.dials_in_flight >= self.settings.limits.dials_in_flight {
            self.waits.set(Wait::Reach(conn), self.run + session.interval / 2);
            return;
        }
        let reach = self.out.new_conn();
        self.dials_in_flight += 1;
        self.insert_conn(reach, None, None, Phase::Reaching(conn));
        self.waits.set(Wait::Connect(reach), self.run + CONNECT_TIMEOUT);
        let host = alloc::format!("{}", remote.ip());
        self.out.actions.push_back(Action::Connect { conn: reach, host, port: remote.port(), skip: alloc::vec::Vec::new() });
    }

    /// The port is open: the process may be alive. It is asked again if the silence goes on.
    pub(super) fn reach_answered(&mut self, conn: ConnId) {
        let run = self.run;
        if let Some(session) = self.conn_session_mut(conn) {
            session.reach = Reach::Open;
            let again = run + session.interval;
            self.waits.set(Wait::Reach(conn), again);
        }
    }

    /// The bare connect failed. Refused twice, half an interval apart and with silence between: the process is gone.
    pub(super) fn reach_failed(&mut self, conn: ConnId, error: DialError) {
        let run = self.run;
        let Some(session) = self.conn_session_mut(conn) else { return };
        let silent = run - session.heard >= session.interval;
        match session.reach {
            Reach::RefusedOnce if silent && error == DialError::Refused => {
                self.end_conn_as(conn, Some(Close::Abort), Ended::Harmless, NodeDownReason::ConnectionRefused);
            }
            Reach::Open if silent && error == DialError::Refused => {
                session.reach = Reach::RefusedOnce;
                let again = run + session.interval / 2;
                self.waits.set(Wait::Reach(conn), again);
            }
            _ => self.reach_answered(conn),
        }
    }
}
