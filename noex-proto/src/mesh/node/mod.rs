//! A node of a mesh: the one place that connects the parts.
//!
//! | file | what it carries from one part to another |
//! |---|---|
//! | `opening` | a connection from its beginning to its session |
//! | `admission` | a session to its use, by the steps of `pairing` |
//! | `traffic` | records, messages and payloads |
//! | `ends` | the end of a connection, and all that follows from it |
//! | `dials` | dials, lookups and seeds |
//! | `rumors` | requests for members, their answers, and forgetting |

mod admission;
#[cfg(debug_assertions)]
mod audit;
mod dials;
mod ends;
mod opening;
mod rumors;
mod traffic;

use alloc::vec::Vec;
use core::hash::Hasher;
use core::net::SocketAddr;

use super::close::CloseReason;
use super::cx::{Cx, Local, Timer, Wait};
use super::detector::{Checked, Detector};
use super::dialler::{Dialler, Known, Target};
use super::effect::Effect;
use super::event::{MeshEvent, PeerKey};
use super::gossip::Gossip;
use super::links::Links;
use super::peers::{Peer, Peers};
use crate::config::Settings;
use crate::id::incarnation::Incarnation;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::wire::keys::Secrets;
use crate::{ConnId, Contact, Input, Instant, NodeId, PeerFault};

/// A node of a mesh: its parts.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) links: Links<Target>,
    pub(crate) peers: Peers,
    pub(crate) detector: Detector,
    pub(crate) dialler: Dialler,
    pub(crate) gossip: Gossip,
}

/// The nodes that are known, as the dialler asks for them.
struct Nodes<'a> {
    links: &'a Links<Target>,
    peers: &'a Peers,
}

impl Known for Nodes<'_> {
    fn is_up(&self, id: &NodeId) -> bool {
        self.peers.is_up(id)
    }

    fn was_up(&self, id: &NodeId) -> bool {
        self.peers.get(id).is_some_and(Peer::was_up)
    }

    fn is_taken(&self, id: &NodeId) -> bool {
        self.peers.up().any(|(other, _, _)| other != id && other.port() == id.port() && other.host() == id.host())
    }

    fn addresses_up(&self) -> Vec<SocketAddr> {
        let up = self.peers.up().filter_map(|(id, _, conn)| Some((id, self.links.get(conn)?)));
        let known = up.flat_map(|(id, link)| {
            let own = id.host_ip().map(|ip| SocketAddr::new(ip, id.port()));
            [own, link.remote.filter(|_| link.target.is_some())]
        });
        known.flatten().collect()
    }
}

impl Node {
    pub(crate) fn new(settings: &Settings, id: &NodeId, incarnation: &Incarnation, now: Instant) -> Self {
        Self {
            links: Links::new(&settings.limits),
            peers: Peers::new(incarnation, id),
            detector: Detector::new(settings.heartbeat_interval),
            dialler: Dialler::new(now, &settings.limits),
            gossip: Gossip::new(now),
        }
    }

    /// The nodes that are known.
    const fn known(&self) -> Nodes<'_> {
        Nodes { links: &self.links, peers: &self.peers }
    }

    /// The dialler, and the nodes that are known, which it asks for.
    const fn dialling(&mut self) -> (&mut Dialler, Nodes<'_>) {
        (&mut self.dialler, Nodes { links: &self.links, peers: &self.peers })
    }

    // Handlers

    /// Brings the clocks to the time of the present input.
    pub(crate) fn advance_clocks(&mut self, cx: &mut Cx<'_>) {
        self.detector.advance_clocks(cx);
    }

    /// When the next deadline falls due. `judged`: one of the layer above, which waits for what is read after a pause.
    pub(crate) fn next_deadline(&self, local: &Local, judged: Option<Instant>) -> Option<Instant> {
        self.detector.next_deadline(local, self.dialler.next_deadline(), judged)
    }

    /// Whether nothing is judged yet, since what came during a pause is read first.
    pub(crate) fn is_holding(&mut self, local: &Local) -> bool {
        self.detector.is_holding(local.run)
    }

    /// One input of a running or stopping node, but for bytes and ticks: those are taken step by step, by [`Node::read`] and [`Node::due`].
    // Inputs are large: inlined, it moves none.
    #[inline]
    pub(crate) fn handle(&mut self, cx: &mut Cx<'_>, input: Input) {
        match input {
            Input::Accepted { conn, remote } => self.accepted(cx, conn, remote),
            Input::Closed { conn } => self.closed(cx, conn),
            Input::Connected { conn, remote } => self.connected(cx, conn, remote),
            Input::DialFailed { conn, error } => self.dial_failed(cx, conn, error),
            Input::Resolved { addrs, lookup } => self.resolved(cx, lookup, addrs),
            Input::Send { payload, to } => self.send_payload(cx, &to, payload),
            Input::Transmitted { bytes, conn } => self.transmitted(cx, conn, bytes),
            Input::SetSecrets { accepted, primary } => cx.local.settings.secrets = Secrets::new(Some(&primary), &accepted),
            Input::SetSeeds(contacts) => self.set_seeds(cx, contacts),
            Input::Halt
            | Input::Listening { .. }
            | Input::Process(_)
            | Input::Received { .. }
            | Input::Report(_)
            | Input::SetProcessCount(_)
            | Input::Start(_)
            | Input::Stop
            | Input::Tick => {
                unreachable!("the machine itself handles what outlives a run, and does other things step by step")
            }
        }
        self.settle(cx);
    }

    /// Begins to dial the seeds.
    pub(crate) fn begin(&mut self, cx: &mut Cx<'_>, seeds: Vec<Contact>) {
        self.set_seeds(cx, seeds);
        self.settle(cx);
    }

    /// Does the next thing that is due: first what this node owes, then what others owe it. False where nothing is.
    #[inline]
    pub(crate) fn due(&mut self, cx: &mut Cx<'_>) -> bool {
        if let Some(conn) = self.detector.due_heartbeat(cx.now()) {
            self.send_heartbeat(cx, conn);
        } else if let Some(target) = self.dialler.due(cx.now()) {
            self.dial_due(cx, target);
        } else if let Some(timer) = cx.local.timers.pop_due(cx.local.now) {
            self.timer_due(cx, timer);
        } else if self.detector.is_holding(cx.run()) {
            return false;
        } else if let Some(wait) = cx.local.waits.pop_due(cx.local.run) {
            self.wait_over(cx, wait);
        } else if let Some(conn) = self.detector.due_look(cx.run()) {
            self.idle_check(cx, conn);
        } else {
            return false;
        }
        self.settle(cx);
        true
    }

    fn timer_due(&mut self, cx: &mut Cx<'_>, timer: Timer) {
        match timer {
            Timer::DialRate => cx.start_dials(),
            Timer::Forget => self.forget(cx),
            Timer::Reports => cx.sum_up_reports(),
            Timer::Settled => cx.ask_next(),
            Timer::Steady(conn) => self.session_held(cx, conn),
            Timer::Stop => self.stop_deadline(cx),
            Timer::TakeIn => self.ingest(cx),
        }
    }

    fn wait_over(&mut self, cx: &mut Cx<'_>, wait: Wait) {
        match wait {
            Wait::Above(conn) => cx.host.tell(MeshEvent::WaitedFor { peer: PeerKey(conn) }),
            Wait::Admission(conn) => self.admission_overdue(cx, conn),
            Wait::Answer => self.answer_overdue(cx),
            Wait::Connect(conn) => self.dial_overdue(cx, conn),
            Wait::Handshake(conn) => self.fault(cx, conn, PeerFault::HandshakeTimeout),
            Wait::Lookup(lookup) => self.lookup_overdue(cx, lookup),
            // The probed session gave no sign of life.
            Wait::Probe(conn) => cx.close(conn, CloseReason::Superseded),
        }
    }

    // Effects

    /// Performs all effects, and flushes the sessions that have something to send: before the next frame, deadline or
    /// input is looked at, so that the same bytes in other pieces lead to the same actions.
    #[inline]
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>) {
        self.perform(cx);
        while let Some(conn) = cx.local.effects.next_unflushed() {
            self.flush(cx, conn);
            self.perform(cx);
        }
        cx.local.effects.shrink();
    }

    /// Performs the effects in their order, and those that they lead to behind them, never within them.
    #[inline]
    fn perform(&mut self, cx: &mut Cx<'_>) {
        #[cfg(debug_assertions)]
        cx.local.effects.begin();
        while let Some(effect) = cx.local.effects.next() {
            self.perform_one(cx, effect);
        }
        #[cfg(debug_assertions)]
        cx.local.effects.end();
    }

    fn perform_one(&mut self, cx: &mut Cx<'_>, effect: Effect) {
        match effect {
            Effect::Ask => self.ask_next(cx),
            Effect::Close { conn, reason } => self.end_conn(cx, conn, reason),
            Effect::StartDials => self.start_queued_dials(cx),
            Effect::Turn { id } => self.decide_all(cx, &id),
        }
    }

    // Sessions

    /// A heartbeat is due. One that still waits to be released is not followed by another.
    fn send_heartbeat(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let digest = self.peers.digest();
        if let Some(session) = self.links.session_mut(conn) {
            self.detector.next_heartbeat(cx, conn, &mut session.watch);
            session.queue.push_heartbeat();
            session.flush(cx, conn, digest);
        }
    }

    /// It is time to look at a session: is it silent?
    fn idle_check(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let full = self.dialler.slots().is_full_for_probes(&cx.local.settings.limits);
        let Some(session) = self.links.session_mut(conn) else { return };
        match self.detector.check(cx, conn, &mut session.watch, full) {
            Checked::Alive => {}
            Checked::AskPort => self.probe_port(cx, conn),
            Checked::Silent => cx.close(conn, CloseReason::Silent),
        }
    }

    /// A peer that this node dialled may have been silent for an interval: is its port still open? A bare connect asks; it sends nothing and
    /// becomes no session.
    fn probe_port(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let remote = self.links.get(conn).and_then(|link| link.remote);
        if let Some(remote) = remote.filter(|_| cx.is_running()) {
            self.dialler.slots_mut().take_probe();
            self.links.probe_port(cx, conn, remote);
        }
    }

    /// The port of a silent peer accepts.
    fn port_accepts(&mut self, cx: &Cx<'_>, conn: ConnId) {
        if let Some(session) = self.links.session_mut(conn) {
            self.detector.port_accepts(cx, conn, &mut session.watch);
        }
    }

    /// The port of a silent peer does not accept.
    fn port_fails(&mut self, cx: &mut Cx<'_>, conn: ConnId, refused: bool) {
        if let Some(session) = self.links.session_mut(conn)
            && self.detector.port_fails(cx, conn, &mut session.watch, refused)
        {
            cx.close(conn, CloseReason::PortRefused);
        }
    }
}

impl Abstract for Node {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { links, peers, detector, dialler, gossip } = self;
        to.part(links);
        to.part(peers);
        to.part(detector);
        to.part(dialler);
        to.part(gossip);
    }
}
