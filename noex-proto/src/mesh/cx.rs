//! What each part of a node is handed beside its own state: the local node, its deadlines, and the way out of the machine.

use alloc::collections::BTreeSet;
use core::fmt::Debug;
use core::hash::Hasher;
use core::mem::discriminant;
use core::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha12Rng;

use super::effect::Effects;
use super::event::PeerKey;
use super::reporter::Reporter;
use crate::config::Settings;
use crate::id::incarnation::Incarnation;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::mesh::host::Host;
use crate::mesh::reports::PeerReport;
use crate::time::RunTime;
use crate::time::timers::Timers;
use crate::wire::handshake::LocalHello;
use crate::wire::message::Control;
use crate::wire::record::RecordBuilder;
use crate::{ClusterError, ClusterStatus, ConnId, Instant, Limits, LookupId, NodeId, SendError, WallTime, millis};

/// The bit of what a node can do that says that it takes signals.
pub(crate) const SIGNALS: u64 = 1;

/// What this node announces that it can do.
pub(crate) const CAPS: u64 = SIGNALS;

/// The local node: its identity, its settings, its clocks and its deadlines.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    pub(crate) settings: Settings,
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// What this node announces that it can do, beside what every node can.
    pub(crate) caps: u64,
    /// The addresses of this machine, a bounded number of them.
    pub(crate) own_addresses: BTreeSet<IpAddr>,
    pub(crate) rng: ChaCha12Rng,
    pub(crate) started: Instant,
    /// Real time, as handed in.
    pub(crate) now: Instant,
    /// The wall-clock time of the last bytes that came, and the real time then.
    pub(crate) wall: (WallTime, Instant),
    /// The node's own running time, on which everything that waits for a peer is measured.
    pub(crate) run: RunTime,
    pub(crate) timers: Timers<Timer, Instant>,
    pub(crate) waits: Timers<Wait, RunTime>,
    /// This node's admission count: one counter for all peers.
    pub(crate) admissions: u64,
    pub(crate) reporter: Reporter,
    pub(crate) effects: Effects,
}

/// Deadlines in real time: the node's own duties.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Timer {
    /// Dials wait for the rate limit.
    DialRate,
    /// Nodes that were lost long ago, and rumors of them.
    Forget,
    /// Error reports were held back.
    Reports,
    /// No session has come up for a while.
    Settled,
    /// This session has held for an interval: its backoff starts anew.
    Steady(ConnId),
    /// The deadline of a stop.
    Stop,
    /// Gossiped members wait to be ingested.
    TakeIn,
}

/// Deadlines in running time: everything that waits for a peer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Wait {
    /// The next message of the admission.
    Admission(ConnId),
    /// An answer to a request for members.
    Answer,
    /// A dial.
    Connect(ConnId),
    /// A handshake.
    Handshake(ConnId),
    /// A name lookup.
    Lookup(LookupId),
    /// What the layer above waits for from the peer of this session.
    Above(ConnId),
    /// A sign of life of this session, whose node seems to have restarted.
    Probe(ConnId),
}

impl Local {
    /// What this node says of itself in a handshake.
    pub(crate) fn hello(&self) -> LocalHello<'_> {
        LocalHello {
            id: &self.id,
            incarnation: self.incarnation,
            interval: self.settings.heartbeat_interval,
            caps: self.caps,
            context: &self.settings.cluster_name,
            secrets: &self.settings.secrets,
        }
    }

    /// The wall-clock time, as far as it is known: few inputs tell it.
    pub(crate) fn wall_time(&self) -> WallTime {
        let (wall, at) = self.wall;
        wall + (self.now - at)
    }

    /// Whether a peer at this address is on this machine, so that loopback addresses mean the same to both.
    pub(crate) fn is_near(&self, remote: Option<SocketAddr>) -> bool {
        let ip = remote.map(|remote| remote.ip().to_canonical());
        ip.is_some_and(|ip| ip.is_loopback() || self.own_addresses.contains(&ip))
    }

    /// Whether a payload may have this size.
    pub(crate) const fn can_be_sent(&self, size: usize) -> Result<(), SendError> {
        let limit = self.settings.limits.message_bytes;
        if size > limit { Err(SendError::TooLarge { limit, size }) } else { Ok(()) }
    }
}

/// The layer above, as the mesh asks it for what is to be sent when it builds a record. It is asked only for peers that
/// take signals.
pub(crate) trait Above: Debug {
    /// How many bytes wait for a peer, or the size of a piece if it is more; 0 where nothing waits.
    fn waits(&self, peer: PeerKey) -> usize;

    /// Whether a large signal to a peer is in transit, of which pieces have left and others wait.
    fn is_in_transit(&self, peer: PeerKey) -> bool;

    /// Whether there is something about names that a peer was not told.
    fn names_wait(&self, _: PeerKey) -> bool {
        false
    }

    /// Adds what a peer was not told about names to a record, as much as fits. Whether that is anything.
    fn write_names(&mut self, _: PeerKey, _: RunTime, _: &mut RecordBuilder) -> bool {
        false
    }

    /// Adds the next signal for a peer to a record, or the next piece of the one in transit; an empty record may begin one
    /// that does not fit. False where none fits, or none waits.
    fn write_next(&mut self, to: &mut Outward<'_>, peer: PeerKey, record: &mut RecordBuilder) -> bool;
}

/// What the layer above may use while it writes a record.
#[derive(Debug)]
pub(crate) struct Outward<'a> {
    pub(crate) host: &'a mut Host,
    pub(crate) limits: &'a Limits,
    pub(crate) now: Instant,
}

/// Nothing is above.
impl Above for () {
    fn waits(&self, _: PeerKey) -> usize {
        0
    }

    fn is_in_transit(&self, _: PeerKey) -> bool {
        false
    }

    fn write_next(&mut self, _: &mut Outward<'_>, _: PeerKey, _: &mut RecordBuilder) -> bool {
        false
    }
}

/// What a part may use beside its own state while it handles something.
#[derive(Debug)]
pub(crate) struct Cx<'a> {
    pub(crate) host: &'a mut Host,
    pub(crate) local: &'a mut Local,
    pub(crate) above: &'a mut dyn Above,
}

impl Cx<'_> {
    /// Real time.
    pub(crate) const fn now(&self) -> Instant {
        self.local.now
    }

    /// The node's own running time.
    pub(crate) const fn run(&self) -> RunTime {
        self.local.run
    }

    /// How long the node has been running, in milliseconds.
    fn uptime_ms(&self) -> u64 {
        millis::count(self.now() - self.local.started)
    }

    /// Whether the node runs, and does not stop.
    pub(crate) fn is_running(&self) -> bool {
        self.host.status == ClusterStatus::Running
    }

    /// A heartbeat of this moment, with the digest of the view.
    pub(crate) fn heartbeat(&self, digest: u64) -> Control {
        Control::Heartbeat { digest, process_count: self.host.process_count(), uptime_ms: self.uptime_ms() }
    }

    /// An INTRO of this moment. It takes the next number of the admission count.
    pub(crate) fn intro(&mut self, digest: u64, members: u64) -> Control {
        self.local.admissions += 1;
        Control::Intro {
            count: self.local.admissions,
            digest,
            members,
            process_count: self.host.process_count(),
            uptime_ms: self.uptime_ms(),
        }
    }
}

// Reports
impl Cx<'_> {
    /// Reports an error that an unauthenticated peer can cause, unless there have been too many. Whether it was told.
    pub(super) fn report(&mut self, error: ClusterError) -> bool {
        let (now, limit) = (self.now(), self.local.settings.limits.error_reports_per_second);
        let admitted = self.local.reporter.admit(now, limit);
        if admitted {
            self.host.report(error);
        } else {
            self.host.counters.reports_held_back += 1;
            self.local.timers.set_earliest(Timer::Reports, self.local.reporter.due());
        }
        admitted
    }

    /// Reports what a peer that dialled may do again and again.
    pub(super) fn report_once(&mut self, report: PeerReport, error: ClusterError) {
        let now = self.now();
        if !self.local.reporter.is_told(now, &report) && self.report(error) {
            self.local.reporter.told(now, report);
        }
    }

    /// Reports how many reports were held back.
    pub(super) fn sum_up_reports(&mut self) {
        let count = self.local.reporter.take_held_back();
        self.host.report(ClusterError::Suppressed { count });
    }

    /// Reports that another running process claims this node's own identity: not more often than once in the longest delay.
    pub(super) fn report_own_conflict(&mut self) {
        let (now, delay) = (self.now(), self.local.settings.reconnect_max_delay);
        if self.local.reporter.is_new_conflict(now, delay) {
            let id = self.local.id.clone();
            self.report(ClusterError::IdentityConflict { id });
        }
    }
}

impl Abstract for Local {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self {
            settings: _,
            id,
            incarnation,
            caps: _,
            own_addresses: _,
            rng: _,
            started: _,
            now: _,
            wall: _,
            run: _,
            timers,
            waits,
            admissions,
            reporter,
            effects: _,
        } = self;
        to.write((id, incarnation, admissions));
        to.part(reporter);
        for (timer, at) in timers.iter() {
            to.write(discriminant(timer));
            match timer {
                Timer::Steady(conn) => to.write(to.place(*conn)),
                Timer::DialRate | Timer::Forget | Timer::Reports | Timer::Settled | Timer::Stop | Timer::TakeIn => {}
            }
            to.write(to.until(at));
        }
        for (wait, at) in waits.iter() {
            to.write(discriminant(wait));
            match wait {
                Wait::Above(conn) | Wait::Admission(conn) | Wait::Connect(conn) | Wait::Handshake(conn) | Wait::Probe(conn) => {
                    to.write(to.place(*conn));
                }
                Wait::Lookup(lookup) => to.write(lookup),
                Wait::Answer => {}
            }
            to.write(to.run_until(at));
        }
    }
}
