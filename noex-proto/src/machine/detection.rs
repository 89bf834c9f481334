//! Failure detection: heartbeats, silence, and the node's own pauses.
//!
//! Silence is measured in the node's own running time. Of each gap between two inputs at most half of the shortest heartbeat interval
//! counts, and after a longer gap nobody is judged before what waits has been read: so a node that was frozen blames nobody for it. A node
//! that waits for nobody sleeps for as long as it likes: no wait that begins after a gap is put off by it.

use core::time::Duration;

use rand_chacha::rand_core::Rng;

use super::cx::{Cx, Local};
use super::membership::fraction;
use super::node::{Ended, Node, Phase, Reach, Session, Wait};
use crate::addresses::CONNECT_TIMEOUT;
use crate::time::{Moment, RunTime};
use crate::{Action, Close, ClusterStatus, ConnId, ConnectError, Instant, NodeDownReason, PeerFault, WallTime, defaults};

/// A heartbeat comes early by one to two of these parts of an interval: early, so that a healthy peer is never silent for a whole
/// interval, and by chance, so that the heartbeats of many nodes do not fall into step.
const HEARTBEAT_EARLY: u32 = 32;

/// How many silent peers are asked at a time whether their port is open. Where a machine is so busy that heartbeats of many are late, more
/// would make them later still.
const ASKED_AT_ONCE: usize = 4;

/// The most that counts as the shortest interval where answers are concerned: those have to come within seconds, however long the
/// intervals are, so that a pause of seconds has to be noticed, and a hold must be over before they are due.
const PULSE_OF_WAITS: Duration = defaults::HEARTBEAT_INTERVAL;

// What a peer promised is measured by its own interval: here no other is in reach.
impl Session {
    /// The longest silence that is no failure: the peer's interval times the local threshold and half an interval. A millisecond more,
    /// since only longer silence counts.
    fn allowed_silence(&self, threshold: u32) -> Duration {
        self.interval() * threshold + self.interval() / 2 + Duration::from_millis(1)
    }

    /// When the peer will have been silent for an interval.
    fn silent_at(&self) -> RunTime {
        self.heard + self.interval()
    }

    /// Its port is asked an interval from now.
    fn reach_in_an_interval(&mut self, run: RunTime) {
        self.reach_at = Some(run + self.interval());
    }

    /// Its port is asked half an interval from now.
    fn reach_in_half_an_interval(&mut self, run: RunTime) {
        self.reach_at = Some(run + self.interval() / 2);
    }
}

impl Node {
    // Clocks

    /// Brings both clocks to the time of the present input.
    pub(super) fn advance_clocks(&mut self, cx: &mut Cx<'_>) {
        // A hold that is over, also where no tick came to end it, keeps no other pause from being held.
        self.held = self.held.filter(|until| cx.run() < *until);
        let gap = cx.host.now - cx.now();
        cx.local.now = cx.host.now;
        let longest = self.waiting_pulse(cx.local) / 2;
        cx.local.run = cx.run() + gap.min(longest);
        if gap > longest && self.held.is_none() {
            self.held = Some(cx.run() + self.hold());
        }
    }

    /// The interval that tells a pause from a wait.
    fn waiting_pulse(&self, local: &Local) -> Duration {
        if local.waits.next() < RunTime::NEVER { self.pulse.min(PULSE_OF_WAITS) } else { self.pulse }
    }

    /// How long nobody is judged after a pause, so that what waits is read: less than any wait that begins after it.
    fn hold(&self) -> Duration {
        self.pulse.min(PULSE_OF_WAITS) / 4
    }

    /// When the next deadline of either clock falls due, in real time. While a peer is waited for, the node looks up at least four
    /// times in the shortest interval: a gap that is longer is a pause.
    pub(super) fn next_deadline(&self, local: &Local) -> Option<Instant> {
        let wait = local.waits.next().min(self.looks.next());
        let mut next = local.timers.next().min(self.dial_timers.next()).min(self.heartbeats.next());
        if wait < RunTime::NEVER {
            let judged = self.held.map_or(wait, |held| held.max(wait));
            next = next.min(judged.at(local.run, local.now)).min(local.now + self.waiting_pulse(local) / 4);
        }
        (next < Instant::NEVER).then(|| next.max(local.now))
    }

    /// The shortest interval became shorter with this peer: what is left of a hold is not longer than one of such intervals would be.
    pub(super) fn quicken(&mut self, cx: &mut Cx<'_>, interval: Duration) {
        self.pulse = self.pulse.min(interval);
        let most = cx.run() + self.hold();
        self.held = self.held.map(|until| until.min(most));
    }

    // Heartbeats

    /// A heartbeat is due. One that still waits to be released is not followed by another.
    pub(super) fn send_heartbeat(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let interval = cx.local.settings.heartbeat_interval;
        let period = interval - interval / HEARTBEAT_EARLY - fraction(interval / HEARTBEAT_EARLY, cx.local.rng.next_u32());
        let next = cx.now() + period;
        if let Some(session) = self.conn_session_mut(conn) {
            session.heartbeat_at = next;
            session.queue.push_heartbeat();
            self.heartbeats.insert(conn, next);
            self.flush(cx, conn);
        }
    }

    /// A heartbeat came in: news of its sender, and the digest of its view.
    pub(super) fn heartbeat(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        digest: u64,
        process_count: u64,
        uptime_ms: u64,
        wall: WallTime,
    ) -> Result<(), PeerFault> {
        let Some(session) = self.conns.get(&conn).and_then(|conn| conn.session()) else { return Ok(()) };
        let Some(peer) = self.peers.get_mut(&session.id) else { return Ok(()) };
        peer.process_count = process_count;
        peer.uptime_ms = uptime_ms;
        peer.last_heartbeat_at = Some(wall);
        peer.alive_at = cx.now();
        if digest == self.digest {
            peer.view.agreed(cx.now());
        } else {
            let id = session.id.clone();
            self.view_differs(cx, conn, &id, digest);
        }
        Ok(())
    }

    // Silence

    /// Begins to watch a session that has come up.
    pub(super) fn watch(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let dialled = self.conns.get(&conn).is_some_and(|conn| conn.target.is_some());
        let Some(session) = self.conn_session_mut(conn) else { return };
        session.reach_at = dialled.then(|| session.silent_at());
        self.look_later(cx, conn);
    }

    /// Sets when to look at a session next: both deadlines move on with every record, which is looked at only then.
    fn look_later(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let threshold = cx.local.settings.heartbeat_miss_threshold;
        let Some(session) = self.conn_session_mut(conn) else { return };
        let silence = session.heard + session.allowed_silence(threshold);
        let next = session.reach_at.map_or(silence, |at| at.min(silence));
        let set = core::mem::replace(&mut session.look_at, next);
        self.looks.remove(conn, set);
        self.looks.insert(conn, next);
    }

    /// It is time to look at a session: is it silent?
    pub(super) fn silence_due(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let (run, threshold) = (cx.run(), cx.local.settings.heartbeat_miss_threshold);
        let Some(session) = self.conn_session_mut(conn) else { return };
        session.look_at = RunTime::NEVER;
        if session.heard + session.allowed_silence(threshold) > run {
            if session.reach_at.is_some_and(|at| at <= run) {
                self.reach_due(cx, conn);
            }
            self.look_later(cx, conn);
        } else {
            self.end_conn_as(cx, conn, Some(Close::Abort), Ended::Harmless, NodeDownReason::HeartbeatTimeout);
        }
    }

    // The port of a silent peer

    /// A peer that this node dialled may have been silent for an interval: is its port still open? A bare connect asks; it sends
    /// nothing and becomes no session.
    fn reach_due(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let full = self.reaching >= ASKED_AT_ONCE || self.dials_in_flight >= cx.local.settings.limits.dials_in_flight;
        let run = cx.run();
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let remote = state.remote;
        let Some(session) = state.session_mut() else { return };
        session.reach_at = None;
        if session.silent_at() > run {
            session.reach_at = Some(session.silent_at());
        } else if full {
            session.reach_in_half_an_interval(run);
        }
        let (None, Some(remote)) = (session.reach_at, remote) else { return };
        if cx.host.status != ClusterStatus::Running {
            return;
        }
        let reach = cx.host.new_conn();
        self.dials_in_flight += 1;
        self.reaching += 1;
        self.insert_conn(cx, reach, None, None, Phase::Reaching(conn));
        cx.local.waits.set(Wait::Connect(reach), cx.run() + CONNECT_TIMEOUT);
        cx.host.actions.push_back(Action::Connect { conn: reach, remote });
    }

    /// The port is open: the process may be alive. It is asked again if the silence goes on.
    pub(super) fn reach_answered(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let run = cx.run();
        if let Some(session) = self.conn_session_mut(conn) {
            session.reach = Reach::Open;
            session.reach_in_an_interval(run);
            self.look_later(cx, conn);
        }
    }

    /// The bare connect failed. Refused twice, half an interval apart and with silence between: the process is gone.
    pub(super) fn reach_failed(&mut self, cx: &mut Cx<'_>, conn: ConnId, error: &ConnectError) {
        let run = cx.run();
        let Some(session) = self.conn_session_mut(conn) else { return };
        let silent = session.silent_at() <= run;
        match session.reach {
            Reach::RefusedOnce if silent && *error == ConnectError::Refused => {
                self.end_conn_as(cx, conn, Some(Close::Abort), Ended::Harmless, NodeDownReason::ConnectionRefused);
            }
            Reach::Open if silent && *error == ConnectError::Refused => {
                session.reach = Reach::RefusedOnce;
                session.reach_in_half_an_interval(run);
                self.look_later(cx, conn);
            }
            _ => self.reach_answered(cx, conn),
        }
    }
}
