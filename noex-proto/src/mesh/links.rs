//! Connections before and while they are authenticated: whom to let in, the handshake, and how a connection closes.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use core::cmp::Reverse;
use core::hash::{Hash, Hasher};
use core::mem::discriminant;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;
use rand_chacha::rand_core::Rng;

use super::close::CloseReason;
use super::cx::{Cx, Timer, Wait};
use super::session::Session;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::mesh::addresses::CONNECT_TIMEOUT;
use crate::mesh::host::Host;
use crate::wire::frame::{FrameBuffer, HANDSHAKE_FRAME_MAX, RECORD_MAX};
use crate::wire::handshake::{HandshakeFailure, Initiator, InitiatorStep, Keyed, Responder, ResponderStep, Said};
use crate::{Action, Close, ConnId, Instant, Limits, NodeId, PeerFault};

/// How long a handshake may take, on each side, however its bytes trickle in.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// An unauthenticated peer younger than this makes room only where no older one exists.
const EVICTION_AGE: Duration = Duration::from_secs(1);

/// The most that is read, to no end, of an authenticated session that closes gracefully, on which much may be on its way.
const LINGER_BYTES_OF_SESSION: usize = 16 * 1024 * 1024;

/// Every connection of a node, until the driver is done with it. `T` is what a connection is dialled for.
#[derive(Clone, Debug)]
pub(crate) struct Links<T> {
    // What is large is boxed: the nodes of a tree are half empty.
    conns: BTreeMap<ConnId, Box<Link<T>>>,
    half_open: HalfOpen,
    /// The number of authenticated sessions, admitted or not.
    session_count: usize,
    /// Connections that the driver closes gracefully, until it says that it is done.
    closing: BTreeSet<ConnId>,
    /// How many of them there may be.
    closing_most: usize,
}

/// A connection.
#[derive(Clone, Debug)]
pub(crate) struct Link<T> {
    /// What it was dialled for; none where it was accepted.
    pub(crate) target: Option<T>,
    /// The peer's address; none while it is being dialled.
    pub(crate) remote: Option<SocketAddr>,
    /// When it was accepted, or its dial began.
    since: Instant,
    /// When the last frame of the handshake was sent: its answer measures the round trip.
    pub(crate) asked: Instant,
    pub(crate) frames: FrameBuffer,
    /// Bytes of the handshake that were released to the driver and not yet reported as sent. A session counts on from there.
    pub(crate) in_flight: usize,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug)]
pub(crate) enum Phase {
    /// Being dialled for a session.
    Dialling,
    /// A bare connect that asks whether the address of this session's peer still accepts.
    Reaching(ConnId),
    /// The dialler's handshake.
    Initiating(Box<Initiator>),
    /// The accepting side's handshake.
    Responding(Box<Responder>),
    /// Authenticated.
    Session(Box<Session>),
}

/// Accepted connections that are not authenticated, by origin, the oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct HalfOpen {
    by_origin: BTreeMap<Origin, BTreeSet<ConnId>>,
    count: usize,
}

/// Where an accepted connection comes from, for the limit per address: an IPv4 address, or the first 64 bits of an IPv6 one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Origin {
    V4([u8; 4]),
    V6([u8; 8]),
}

/// What a connection has read.
#[derive(Debug)]
pub(super) enum Read {
    /// A frame of its handshake.
    Handshake(Bytes),
    /// A record of its session.
    Record(Bytes),
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&address.octets()[..8]);
                Self::V6(prefix)
            }
        }
    }
}

impl HalfOpen {
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// How many there are of each origin.
    pub(crate) fn origins(&self) -> impl Iterator<Item = &BTreeSet<ConnId>> {
        self.by_origin.values()
    }

    fn insert(&mut self, remote: SocketAddr, conn: ConnId) {
        self.by_origin.entry(Origin::from(remote.ip())).or_default().insert(conn);
        self.count += 1;
    }

    fn remove(&mut self, remote: SocketAddr, conn: ConnId) {
        let origin = Origin::from(remote.ip());
        if let Some(conns) = self.by_origin.get_mut(&origin)
            && conns.remove(&conn)
        {
            self.count -= 1;
            if conns.is_empty() {
                self.by_origin.remove(&origin);
            }
        }
    }

    /// Which one makes room for one more of this origin, where there is none: the oldest of the origin with the most, and none younger than
    /// a second while an older one exists.
    fn victim(&self, remote: SocketAddr, limits: &Limits, is_old: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        let own = self.by_origin.get(&Origin::from(remote.ip()));
        if own.map_or(0, BTreeSet::len) >= limits.half_open_per_address {
            return own.and_then(|conns| conns.first().copied());
        }
        if self.count < limits.half_open {
            return None;
        }
        let oldest = |conns: &BTreeSet<ConnId>| conns.first().copied();
        let crowded = |of_age: bool| {
            self.origins()
                .filter(|conns| !of_age || oldest(conns).is_some_and(&is_old))
                .max_by_key(|conns| (conns.len(), Reverse(oldest(conns))))
                .and_then(oldest)
        };
        crowded(true).or_else(|| crowded(false))
    }
}

impl<T> Link<T> {
    pub(crate) fn session(&self) -> Option<&Session> {
        match &self.phase {
            Phase::Session(session) => Some(session),
            _ => None,
        }
    }

    fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.phase {
            Phase::Session(session) => Some(session),
            _ => None,
        }
    }

    /// What the peer has said of itself and of whom it wants, without proof.
    pub(super) fn said(&self) -> Said {
        match &self.phase {
            Phase::Responding(handshake) => handshake.said().clone(),
            _ => Said::default(),
        }
    }
}

impl<T> Links<T> {
    pub(crate) const fn new(limits: &Limits) -> Self {
        Self {
            conns: BTreeMap::new(),
            half_open: HalfOpen { by_origin: BTreeMap::new(), count: 0 },
            session_count: 0,
            closing: BTreeSet::new(),
            closing_most: limits.closing_connections,
        }
    }

    // Getters

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Link<T>> {
        self.conns.get(&conn).map(|link| &**link)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &Link<T>)> {
        self.conns.iter().map(|(conn, link)| (*conn, &**link))
    }

    pub(crate) fn len(&self) -> usize {
        self.conns.len()
    }

    pub(crate) fn session(&self, conn: ConnId) -> Option<&Session> {
        self.get(conn)?.session()
    }

    pub(super) fn session_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.conns.get_mut(&conn)?.session_mut()
    }

    /// All authenticated sessions, admitted or not.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = (ConnId, &Session)> {
        self.iter().filter_map(|(conn, link)| Some((conn, link.session()?)))
    }

    pub(crate) const fn session_count(&self) -> usize {
        self.session_count
    }

    pub(crate) const fn half_open(&self) -> &HalfOpen {
        &self.half_open
    }

    /// Connections that the driver closes gracefully, until it says that it is done.
    pub(crate) const fn closing(&self) -> &BTreeSet<ConnId> {
        &self.closing
    }

    /// Whether the connection was dialled here.
    pub(super) fn is_dialled(&self, conn: ConnId) -> bool {
        self.target(conn).is_some()
    }

    /// What a connection was dialled for.
    pub(super) fn target(&self, conn: ConnId) -> Option<&T> {
        self.get(conn)?.target.as_ref()
    }

    /// Whether the connection has no session yet, and was dialled for one.
    pub(super) fn is_on_its_way(&self, conn: ConnId) -> bool {
        matches!(self.get(conn).map(|link| &link.phase), Some(Phase::Dialling | Phase::Initiating(_)))
    }

    /// Panics where a count is not what the table says.
    #[cfg(debug_assertions)]
    pub(super) fn audit(&self) {
        let responds = |link: &Link<T>| matches!(link.phase, Phase::Responding(_));
        let responding = self.iter().filter(|(_, link)| responds(link)).count();
        let listed = self.half_open.origins().flatten().filter(|conn| self.get(**conn).is_some_and(responds)).count();
        assert_eq!((self.half_open.count, listed), (responding, responding), "half-open connections");
        assert!(self.half_open.origins().all(|conns| !conns.is_empty()), "an address without half-open connections");
        assert_eq!(self.session_count, self.sessions().count(), "sessions");
        assert!(self.closing.iter().all(|conn| self.get(*conn).is_none()), "a connection is open and closing");
        assert!(self.closing.len() <= self.closing_most, "closing connections");
    }

    /// How the books of this part can drift.
    #[cfg(all(test, debug_assertions))]
    pub(crate) const DRIFTS: [fn(&mut Self); 4] = [
        |links| links.closing.extend(links.conns.keys().copied()),
        |links| links.half_open.count += 1,
        |links| links.half_open.by_origin.clear(),
        |links| links.session_count += 1,
    ];

    // Beginnings

    /// Which connection to end for one more unauthenticated peer from this address, where there is no room.
    pub(super) fn victim(&self, cx: &Cx<'_>, remote: SocketAddr) -> Option<ConnId> {
        let is_old = |conn: ConnId| self.get(conn).is_some_and(|link| cx.now() - link.since >= EVICTION_AGE);
        self.half_open.victim(remote, &cx.local.settings.limits, is_old)
    }

    /// An unauthenticated peer came in.
    pub(super) fn accept(&mut self, cx: &mut Cx<'_>, conn: ConnId, remote: SocketAddr) {
        let mut nonce = [0; 32];
        cx.local.rng.fill_bytes(&mut nonce);
        self.insert(cx, conn, None, Some(remote), Phase::Responding(Box::new(Responder::new(nonce))));
        self.half_open.insert(remote, conn);
        cx.local.waits.set(Wait::Handshake(conn), cx.local.run + HANDSHAKE_TIMEOUT);
    }

    /// Dials for a session.
    pub(super) fn dial(&mut self, cx: &mut Cx<'_>, conn: ConnId, target: T, remote: SocketAddr, patience: Duration) {
        self.insert(cx, conn, Some(target), None, Phase::Dialling);
        self.connect(cx, conn, remote, patience);
    }

    /// Asks by a bare connect whether the address of a session's peer still accepts.
    pub(super) fn probe_port(&mut self, cx: &mut Cx<'_>, session: ConnId, remote: SocketAddr) {
        let conn = cx.host.new_conn();
        self.insert(cx, conn, None, None, Phase::Reaching(session));
        self.connect(cx, conn, remote, CONNECT_TIMEOUT);
    }

    fn connect(&self, cx: &mut Cx<'_>, conn: ConnId, remote: SocketAddr, patience: Duration) {
        cx.local.waits.set(Wait::Connect(conn), cx.local.run + patience);
        cx.host.actions.push_back(Action::Connect { conn, remote });
    }

    fn insert(&mut self, cx: &Cx<'_>, conn: ConnId, target: Option<T>, remote: Option<SocketAddr>, phase: Phase) {
        let (since, asked, frames) = (cx.now(), cx.now(), FrameBuffer::default());
        self.conns.insert(conn, Box::new(Link { target, remote, since, asked, frames, in_flight: 0, phase }));
    }

    // Handshakes

    /// A dial succeeded: begins the handshake, with this node if it is one that was dialled.
    pub(super) fn begin_handshake(&mut self, cx: &mut Cx<'_>, conn: ConnId, remote: SocketAddr, node: Option<&NodeId>) {
        let mut nonce = [0; 32];
        cx.local.rng.fill_bytes(&mut nonce);
        let (initiator, hello) = Initiator::start(&cx.local.hello(), nonce, node);
        cx.local.waits.cancel(&Wait::Connect(conn));
        cx.local.waits.set(Wait::Handshake(conn), cx.local.run + HANDSHAKE_TIMEOUT);
        if let Some(link) = self.conns.get_mut(&conn) {
            link.remote = Some(remote);
            link.asked = cx.now();
            link.phase = Phase::Initiating(Box::new(initiator));
        }
        self.send_frame(cx, conn, hello);
    }

    /// Releases a frame of a handshake. Its bytes are in flight like those of records, also where the session has begun meanwhile.
    pub(super) fn send_frame(&mut self, cx: &mut Cx<'_>, conn: ConnId, data: Bytes) {
        if let Some(link) = self.conns.get_mut(&conn) {
            link.in_flight += data.len();
            cx.host.actions.push_back(Action::Transmit { conn, data });
        }
    }

    /// Takes the next frame of a connection from bytes that it read. None where there is no whole one, or no such connection.
    pub(super) fn read(&mut self, conn: ConnId, data: &mut Bytes) -> Result<Option<Read>, PeerFault> {
        let Some(link) = self.conns.get_mut(&conn) else { return Ok(None) };
        let (limit, in_session) = match link.phase {
            Phase::Initiating(_) | Phase::Responding(_) => (HANDSHAKE_FRAME_MAX, false),
            Phase::Session(_) => (RECORD_MAX, true),
            Phase::Dialling | Phase::Reaching(_) => return Ok(None),
        };
        // What begins by no length of a frame is of another protocol: the first bytes of HTTP, TLS or SSH are a large number.
        let first = match &link.phase {
            Phase::Initiating(handshake) => !handshake.is_half_done(),
            Phase::Responding(handshake) => !handshake.is_half_done(),
            _ => false,
        };
        match link.frames.next(data, limit) {
            Ok(frame) => Ok(frame.map(if in_session { Read::Record } else { Read::Handshake })),
            Err(_) if first => Err(PeerFault::InvalidMagic),
            Err(fault) => Err(fault),
        }
    }

    /// A frame of a handshake came. What the handshake has agreed on, once it is complete.
    pub(super) fn handshake_frame(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        frame: &[u8],
    ) -> Result<Option<Keyed>, HandshakeFailure> {
        let Some(link) = self.conns.get_mut(&conn) else { return Ok(None) };
        let hello = cx.local.hello();
        let (reply, keyed) = match &mut link.phase {
            Phase::Initiating(handshake) => match handshake.on_frame(&hello, frame)? {
                InitiatorStep::Send(auth) => (Some(auth), None),
                InitiatorStep::Done(keyed) => (None, Some(*keyed)),
            },
            Phase::Responding(handshake) => match handshake.on_frame(&hello, frame)? {
                ResponderStep::Send(challenge) => (Some(challenge), None),
                ResponderStep::Done(auth_ok, keyed) => (Some(auth_ok), Some(*keyed)),
            },
            Phase::Dialling | Phase::Reaching(_) | Phase::Session(_) => (None, None),
        };
        if keyed.is_none() {
            link.asked = cx.now();
        }
        if let Some(reply) = reply {
            self.send_frame(cx, conn, reply);
        }
        Ok(keyed)
    }

    /// The handshake is complete: the connection becomes a session.
    pub(super) fn authenticated(&mut self, cx: &mut Cx<'_>, conn: ConnId, keyed: Keyed) {
        let Some(link) = self.conns.get_mut(&conn) else { return };
        cx.local.waits.cancel(&Wait::Handshake(conn));
        cx.host.counters.handshakes += 1;
        let session = Session::new(keyed, cx.local.caps, link.in_flight, cx.now() - link.asked, cx.run());
        link.phase = Phase::Session(Box::new(session));
        self.session_count += 1;
        if let Some(remote) = link.remote {
            self.half_open.remove(remote, conn);
        }
    }

    /// Bytes of a handshake have left. False where the connection has a session, which counts them itself.
    pub(super) fn transmitted(&mut self, conn: ConnId, bytes: usize) -> bool {
        let Some(link) = self.conns.get_mut(&conn) else { return true };
        let before = !matches!(link.phase, Phase::Session(_));
        if before {
            link.in_flight = link.in_flight.saturating_sub(bytes);
        }
        before
    }

    // Ends

    /// Takes a connection out of the table, and asks the driver to close it, unless it never was.
    pub(super) fn end(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: CloseReason) -> Option<Box<Link<T>>> {
        let link = self.conns.remove(&conn)?;
        match &link.phase {
            Phase::Dialling | Phase::Reaching(_) => cx.local.waits.cancel(&Wait::Connect(conn)),
            Phase::Initiating(_) => cx.local.waits.cancel(&Wait::Handshake(conn)),
            Phase::Responding(_) => {
                cx.local.waits.cancel(&Wait::Handshake(conn));
                if let Some(remote) = link.remote {
                    self.half_open.remove(remote, conn);
                }
            }
            Phase::Session(_) => {
                self.session_count -= 1;
                cx.local.waits.cancel(&Wait::Admission(conn));
            }
        }
        if let Some(how) = reason.how(self.has_room_for_unauthenticated(cx)) {
            self.close(cx, conn, how, link.session().is_some());
        }
        Some(link)
    }

    fn close(&mut self, cx: &mut Cx<'_>, conn: ConnId, mut how: Close, authenticated: bool) {
        if let Close::Graceful { linger, read_at_most } = &mut how {
            if self.closing.len() >= self.closing_most {
                how = Close::Abort;
            } else {
                if let Some(deadline) = cx.local.timers.get(&Timer::Stop) {
                    *linger = deadline - cx.now();
                }
                if authenticated {
                    *read_at_most = LINGER_BYTES_OF_SESSION;
                }
                self.closing.insert(conn);
            }
        }
        cx.host.actions.push_back(Action::Close { conn, how });
    }

    /// Whether a hint for the log of an unauthenticated peer may be waited for: not where this node stops, and not where many are turned
    /// away, since half of the room is for those who proved themselves.
    fn has_room_for_unauthenticated(&self, cx: &Cx<'_>) -> bool {
        cx.is_running() && self.closing.len() < cx.local.settings.limits.closing_connections.div_ceil(2)
    }

    /// The driver is done with a connection: whether it was closed gracefully.
    pub(super) fn is_closed(&mut self, conn: ConnId) -> bool {
        self.closing.remove(&conn)
    }

    /// A stop begins. What was closed before has been told why, and the driver goes on to close it: nobody's stop waits for it. But all of
    /// the sessions there are hear of the stop, whoever comes meanwhile.
    pub(super) fn stop(&mut self, limits: &Limits) {
        self.closing.clear();
        self.closing_most = limits.closing_connections.saturating_add(self.session_count);
    }

    /// Aborts every connection.
    pub(crate) fn abort(&mut self, host: &mut Host) {
        self.session_count = 0;
        while let Some((conn, _)) = self.conns.pop_first() {
            host.actions.push_back(Action::Close { conn, how: Close::Abort });
        }
    }

    /// Waits for no graceful close any more.
    pub(crate) fn forget_closing(&mut self) {
        self.closing.clear();
    }
}

impl<T: Hash> Abstract for Links<T> {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { conns, half_open, session_count, closing, closing_most: _ } = self;
        to.write((half_open.count, session_count, closing.len()));
        for conn in closing {
            to.write(to.place(*conn));
        }
        for (conn, link) in conns {
            to.write(to.place(*conn));
            to.part(&**link);
        }
    }
}

impl<T: Hash> Abstract for Link<T> {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { target, remote, since: _, asked, frames, in_flight, phase } = self;
        to.write((target, remote.map(|remote| remote.ip()), frames.buffered(), in_flight, discriminant(phase)));
        match phase {
            Phase::Dialling => {}
            Phase::Initiating(handshake) => {
                let proved = handshake.proved().map(|root| to.secrets.use_of(root));
                to.write((handshake.is_half_done(), proved, to.age(*asked)));
            }
            Phase::Responding(handshake) => to.write((handshake.is_half_done(), to.age(*asked))),
            Phase::Reaching(session) => to.write(to.place(*session)),
            Phase::Session(session) => to.part(&**session),
        }
    }
}
