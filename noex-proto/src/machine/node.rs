//! The running node's state: its tables and its two clocks.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::Active;
use super::connection::Origin;
use super::cx::Cx;
use super::gossip::{Answer, Asked, Told};
use super::host::Host;
use crate::addresses::Addresses;
use crate::backoff::Backoff;
use crate::frame::FrameBuffer;
use crate::handshake::{Initiator, Responder};
use crate::keys::{Root, Secrets};
use crate::message::Assembler;
use crate::record::{Opener, Sealer};
use crate::reports::{PeerReports, ReportLimiter};
use crate::send_queue::SendQueue;
use crate::subscription::Member;
use crate::time::RunTime;
use crate::timers::{Queue, Timers};
use crate::{ConnId, Contact, Input, Instant, LastDown, LookupId, NodeId, NodeInfo, NodeStatus, Refusal, Unreached, WallTime};

/// Random bytes that tell one start of a node from another.
pub(crate) type InstanceId = [u8; 16];

#[derive(Clone, Debug)]
pub(super) struct Node {
    // Clocks and deadlines
    /// Until then no peer is judged: after a pause, what waits is read first.
    pub(super) held: Option<RunTime>,
    /// The shortest heartbeat interval of this node and of all that are up.
    pub(super) pulse: Duration,
    /// When to dial each target, if it still has to be.
    pub(super) dial_timers: Timers<Target, Instant>,
    /// When a heartbeat is due on each session that is up.
    pub(super) heartbeats: Queue<ConnId, Instant>,
    /// When to look whether the session is silent.
    pub(super) looks: Queue<ConnId, RunTime>,

    // Tables. What is large in them is boxed: the nodes of a tree are half empty.
    pub(super) conns: BTreeMap<ConnId, Box<Conn>>,
    /// Connections that the driver closes gracefully, until it says that it is done.
    pub(super) closing: BTreeSet<ConnId>,
    /// How many of them there may be.
    pub(super) closing_most: usize,
    /// Accepted connections that are not authenticated, by origin, the oldest first.
    pub(super) half_open: BTreeMap<Origin, BTreeSet<ConnId>>,
    pub(super) half_open_count: usize,
    pub(super) peers: BTreeMap<NodeId, Box<Peer>>,
    pub(super) up_count: usize,
    /// The number of peers with a chosen session, which is not up yet.
    pub(super) chosen_count: usize,
    /// The number of authenticated sessions, admitted or not.
    pub(super) session_count: usize,
    /// The digest of the view: this node and all that are up.
    pub(super) digest: u64,
    /// Who left, with the instance that did and when, so that a late rumour does not bring it back.
    pub(super) departed: BTreeMap<NodeId, (InstanceId, Instant)>,
    /// This node's admission count: one counter for all peers.
    pub(super) admissions: u64,

    // Dialling
    /// The configured seeds, by the number that each got when it was set.
    pub(super) seeds: BTreeMap<usize, Contact>,
    pub(super) next_seed: usize,
    pub(super) dials: BTreeMap<Target, Box<Dial>>,
    /// Targets that are due and wait for a free dial.
    pub(super) dial_queue: BTreeMap<Place, Target>,
    /// Of those without good prospects, a hint was dialled last.
    pub(super) hint_had_its_turn: bool,
    pub(super) dials_in_flight: usize,
    /// How many of them only ask whether a silent peer's port is open.
    pub(super) reaching: usize,
    pub(super) dial_tokens: usize,
    pub(super) dial_tokens_at: Instant,
    /// A seed has been met since the start, or an address of one turned out to be this node's own.
    pub(super) seed_met: bool,

    // Gossip
    /// The peer that was asked for its members, and why.
    pub(super) asked: Option<Asked>,
    /// Members that were told of and are still to be taken in.
    pub(super) told: VecDeque<Told>,
    /// When members may next be asked for because of a difference of digests.
    pub(super) next_exchange: Instant,

    // Reports
    /// When another process's claim to this node's identity was last reported.
    pub(super) conflict_reported: Option<Instant>,
    /// What was told lately of peers that dialled and did not come up.
    pub(super) peer_reports: PeerReports,
    pub(super) reports: ReportLimiter,
}

/// Deadlines in real time: the node's own duties.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Timer {
    /// Dials wait for the rate limit.
    DialRate,
    /// Nodes that were lost long ago, and rumours of them.
    Forget,
    /// Error reports were held back.
    Reports,
    /// No session has come up for a while.
    Settled,
    /// This session has held for an interval: its backoff starts anew.
    Steady(ConnId),
    /// The deadline of a stop.
    Stop,
    /// Members that were told of wait to be taken in.
    TakeIn,
}

/// Deadlines in running time: everything that waits for a peer.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Wait {
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
    /// A sign of life of this session, whose node seems to have restarted.
    Probe(ConnId),
}

/// A connection.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    /// What it was dialled for; none where it was accepted.
    pub(super) target: Option<Target>,
    /// The peer's address; none while it is being dialled.
    pub(super) remote: Option<SocketAddr>,
    /// When it was accepted, or its dial began.
    pub(super) since: Instant,
    /// When the last frame of the handshake was sent: its answer measures the round trip.
    pub(super) asked: Instant,
    pub(super) frames: FrameBuffer,
    /// Bytes of the handshake that were released to the driver and not yet reported as sent. A session counts on from there.
    pub(super) in_flight: usize,
    pub(super) phase: Phase,
}

#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Being dialled for a session.
    Dialling,
    /// The dialler's handshake.
    Initiating(Box<Initiator>),
    /// A bare connect that asks whether the address of this session's peer still accepts.
    Reaching(ConnId),
    /// The accepting side's handshake.
    Responding(Box<Responder>),
    /// Authenticated.
    Session(Box<Session>),
}

/// Why a connection ended before a session on it was up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// Neither a failure nor a reason to wait longer: the peer has too much to do, or holds another session.
    Harmless,
    Failed(Unreached),
    /// The local system could not connect.
    Local,
    /// Not worth another try before the longest delay: an identity that is taken, a node that leaves, or a name that only leads here.
    Later,
    /// It led to this node itself.
    ToSelf,
}

impl From<Refusal> for Ended {
    fn from(reason: Refusal) -> Self {
        match reason {
            Refusal::Busy | Refusal::Duplicate => Self::Harmless,
            Refusal::IdentityConflict | Refusal::Leaving => Self::Later,
            Refusal::ToSelf => Self::ToSelf,
            reason => Self::Failed(Unreached::Refused(reason)),
        }
    }
}

/// An authenticated session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: NodeId,
    pub(super) instance: InstanceId,
    /// The peer's heartbeat interval, in milliseconds.
    pub(super) interval_ms: u32,
    /// The secret it was authenticated with.
    pub(super) root: Root,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) stage: Stage,
    /// When the last verified record came.
    pub(super) heard: RunTime,
    /// How long the last exchange of the handshake took, in milliseconds.
    pub(super) round_trip_ms: u32,
    pub(super) queue: SendQueue,
    pub(super) assembler: Assembler,
    /// What is still to be told of an answer to a question for members.
    pub(super) answer: Option<Box<Answer>>,
    /// When a heartbeat is due on it, while it is up.
    pub(super) heartbeat_at: Instant,
    /// When to look whether it is silent, while it is up.
    pub(super) look_at: RunTime,
    /// It is in use, and is asked for a sign of life because another instance came.
    pub(super) probing: bool,
    /// What the bare connects to a silent peer's address have shown.
    pub(super) reach: Reach,
    /// When to ask by one whether that address still accepts; none where the peer dialled, or while one is under way.
    pub(super) reach_at: Option<RunTime>,
}

/// How far a session's admission has come. The node with the greater id decides, the lesser offers.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// The greater: an offer is to come.
    AwaitOffer,
    /// The greater: INTRO is sent, the lesser's is to come.
    Chosen,
    /// The lesser: INTRO came, and another instance has to be probed before it counts.
    Introduced(Box<(Intro, WallTime)>),
    /// The lesser: before the offer, another instance has to be probed.
    Keyed,
    /// Refused, and the message that says so is the last; whatever still comes is ignored.
    Last(Ended),
    /// The lesser: the offer is sent.
    Offered,
    /// In use: INTRO was sent and received.
    Up,
    /// The greater: the offer came, and waits for another session's admission or for a probe.
    Waiting { count: u64, holds: bool },
}

/// The bare connects to a silent peer's address.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Reach {
    /// The peer is not silent, or its address accepts.
    #[default]
    Open,
    /// The address refused once since the peer fell silent.
    RefusedOnce,
}

/// What a peer's INTRO said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intro {
    /// Its admission count.
    pub(super) count: u64,
    /// The number of members in its view, itself included.
    pub(super) members: u64,
    pub(super) process_count: u64,
    pub(super) uptime_ms: u64,
}

/// What is known of another node.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) status: NodeStatus,
    pub(super) process_count: u64,
    pub(super) uptime_ms: u64,
    pub(super) last_down: Option<LastDown>,
    pub(super) last_heartbeat_at: Option<WallTime>,
    /// The instance that was up last, or that others told of.
    pub(super) instance: Option<InstanceId>,
    /// The session in use.
    pub(super) session: Option<ConnId>,
    /// The number of the present or last up-period, 0 before the first.
    pub(super) up: u64,
    /// When it was last known or told to be alive.
    pub(super) alive_at: Instant,
    pub(super) admission: Admission,
    /// The newcomer that was last reported as a conflict.
    pub(super) conflict: Option<Box<InstanceId>>,
    pub(super) view: PeerView,
}

/// The memory of the admission rules, for one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Admission {
    /// The greater: the session whose INTRO from the lesser is still to come.
    pub(super) chosen: Option<ConnId>,
    /// The greater: the count that the lesser named on the session in use.
    pub(super) named: u64,
    /// The lesser: the peer's instance that the next two are about.
    pub(super) instance: InstanceId,
    /// The lesser: its own count when it last admitted a session with that instance.
    pub(super) admitted: u64,
    /// The lesser: the greater's count that it accepted last.
    pub(super) accepted: u64,
    /// All sessions with the peer, in use or not.
    pub(super) sessions: Vec<ConnId>,
}

/// What a peer has said of its view.
#[derive(Clone, Debug, Default)]
pub(super) struct PeerView {
    /// The number of members that its INTRO announced, until it has been asked for them or its view is known to be the same; the
    /// greatest number where it is to be asked in any case.
    pub(super) announced: u64,
    /// How many heartbeats in a row had another digest than the local one.
    pub(super) differs: u32,
    /// The digests, own and the peer's, for which members were exchanged last, and when.
    pub(super) exchanged: Option<Box<(u64, u64, Instant)>>,
    /// When it may be asked about a difference again.
    pub(super) ask_after: Instant,
    /// When it was last known: by a heartbeat of the local digest, or by a question that was answered.
    pub(super) known_at: Instant,
    /// Its last question was not answered.
    pub(super) unanswered: bool,
    /// When members were last sent to it.
    pub(super) answered: Option<Instant>,
}

impl PeerView {
    /// Its view is the local one.
    pub(super) const fn agreed(&mut self, now: Instant) {
        self.announced = 0;
        self.differs = 0;
        self.known_at = now;
    }
}

/// What has to be dialled until a session with it is up.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) enum Target {
    Node(NodeId),
    /// A configured seed, by its number.
    Seed(usize),
}

/// How likely it is that a dial finds somebody, the likeliest first. Where packets vanish, a dial is in flight for long.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Prospect {
    /// A seed, or a node that was up.
    Good,
    /// The same, but the last dial to it took long.
    Doubtful,
    /// A node that others only told of.
    Hint,
}

/// A place among the dials that wait: by prospect, and in the order in which they came.
pub(super) type Place = (Prospect, u64);

#[derive(Clone, Debug)]
pub(super) struct Dial {
    pub(super) addresses: Addresses,
    pub(super) backoff: Backoff,
    /// When the present dial took its slot, on both clocks.
    pub(super) began: (Instant, RunTime),
    pub(super) conn: Option<ConnId>,
    /// Its place in the queue, while it is due and waits for a free dial.
    pub(super) queued: Option<Place>,
    /// The name is being looked up, or waits for that.
    pub(super) looking: bool,
    /// The last lookup took long.
    pub(super) slow_lookup: bool,
    /// It was reported that the lookup takes long, and none was quick since.
    pub(super) lookup_reported: bool,
    /// The last dial was in flight for long, and no session was up since.
    pub(super) slow: bool,
    /// The failure that was reported last, if no session was up since.
    pub(super) reported: Option<Unreached>,
    /// The node went down, which was told: the first failure after that is no news.
    pub(super) lost: bool,
    /// Another node that is up proved to have the address, and nobody has gossiped this one since.
    pub(super) displaced: bool,
    /// The identity that was found at a seed's address.
    pub(super) found: Option<NodeId>,
    /// The identities whose mismatch was reported last.
    pub(super) mismatches: VecDeque<NodeId>,
}

impl Dial {
    /// It waits no more for a free dial.
    pub(super) fn leave(&mut self, queue: &mut BTreeMap<Place, Target>) {
        if let Some(place) = self.queued.take() {
            queue.remove(&place);
        }
    }
}

impl Conn {
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Session(session) => Some(session),
            _ => None,
        }
    }

    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Session(session) => Some(session),
            _ => None,
        }
    }
}

impl Session {
    /// The peer's heartbeat interval.
    pub(super) const fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms as u64)
    }

    pub(super) const fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up)
    }
}

impl Peer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            status: NodeStatus::Connecting,
            process_count: 0,
            uptime_ms: 0,
            last_down: None,
            last_heartbeat_at: None,
            instance: None,
            session: None,
            up: 0,
            alive_at: now,
            admission: Admission::default(),
            conflict: None,
            view: PeerView::default(),
        }
    }

    /// The node as the application sees it.
    pub(super) fn info(&self, id: &NodeId) -> NodeInfo {
        let uptime = Duration::from_millis(self.uptime_ms);
        NodeInfo {
            id: id.clone(),
            last_down: self.last_down.clone(),
            last_heartbeat_at: self.last_heartbeat_at,
            process_count: self.process_count,
            started_at: self.last_heartbeat_at.map(|at| at - uptime),
            status: self.status,
            uptime,
        }
    }
}

impl Active {
    /// One input of a running or stopping node; `host.now` is its time.
    // Inputs are large: inlined, it moves none.
    #[inline]
    pub(super) fn handle(&mut self, host: &mut Host, input: Input) {
        let Self { local, node } = self;
        let mut cx = Cx { host, local };
        node.advance_clocks(&mut cx);
        node.handle(&mut cx, input);
    }
}

impl Node {
    // Getters

    pub(super) fn infos(&self) -> impl Iterator<Item = NodeInfo> {
        self.peers.iter().map(|(id, peer)| peer.info(id))
    }

    /// The nodes that are up, each with the number of its up-period.
    pub(super) fn members(&self) -> impl Iterator<Item = Member> {
        self.peers.iter().filter(|(_, peer)| peer.session.is_some()).map(|(id, peer)| (peer.info(id), peer.up))
    }

    pub(super) fn conn_session(&self, conn: ConnId) -> Option<&Session> {
        self.conns.get(&conn)?.session()
    }

    pub(super) fn conn_session_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.conns.get_mut(&conn)?.session_mut()
    }

    // Handlers

    /// One input of a running or stopping node.
    // Inputs are large: inlined, it moves none.
    #[inline]
    pub(super) fn handle(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::Accepted { conn, remote } => self.accepted(cx, conn, remote),
            Input::Closed { conn } => self.closed(cx, conn),
            Input::Connected { conn, remote } => self.connected(cx, conn, remote),
            Input::DialFailed { conn, error } => self.dial_failed(cx, conn, error),
            Input::Received { conn, data, wall } => {
                cx.local.wall = (wall, cx.now());
                self.received(cx, conn, data, wall);
            }
            Input::Resolved { addrs, lookup } => self.resolved(cx, lookup, addrs),
            Input::Send { payload, to } => self.send_payload(cx, &to, payload),
            Input::Transmitted { bytes, conn } => self.sent(cx, conn, bytes),
            Input::SetSecrets { accepted, primary } => cx.local.settings.secrets = Secrets::new(Some(&primary), &accepted),
            Input::SetSeeds(contacts) => self.set_seeds(cx, contacts),
            Input::Tick => self.tick(cx),
            Input::Halt
            | Input::Listening { .. }
            | Input::Report(_)
            | Input::SetProcessCount(_)
            | Input::Start(_)
            | Input::Stop => {
                unreachable!("the machine itself handles what outlives a run")
            }
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) {
        while let Some(target) = self.dial_timers.pop_due(cx.now()) {
            self.dial_due(cx, target);
        }
        while let Some(conn) = self.heartbeats.pop_due(cx.now()) {
            self.send_heartbeat(cx, conn);
        }
        while let Some(timer) = cx.local.timers.pop_due(cx.now()) {
            match timer {
                Timer::DialRate => self.start_queued_dials(cx),
                Timer::Forget => self.forget(cx),
                Timer::Reports => self.sum_up_reports(cx),
                Timer::Settled => self.ask_next(cx),
                Timer::Steady(conn) => self.session_held(cx, conn),
                Timer::Stop => self.stop_deadline(cx),
                Timer::TakeIn => self.take_in(cx),
            }
        }
        if self.held.is_some_and(|until| cx.run() < until) {
            return;
        }
        self.held = None;
        while let Some(wait) = cx.local.waits.pop_due(cx.run()) {
            match wait {
                Wait::Admission(conn) => self.admission_overdue(cx, conn),
                Wait::Answer => self.answer_overdue(cx),
                Wait::Connect(conn) => self.dial_overdue(cx, conn),
                Wait::Handshake(conn) => self.handshake_overdue(cx, conn),
                Wait::Lookup(lookup) => self.lookup_overdue(cx, lookup),
                Wait::Probe(conn) => self.probe_overdue(cx, conn),
            }
        }
        while let Some(conn) = self.looks.pop_due(cx.run()) {
            self.silence_due(cx, conn);
        }
    }
}
