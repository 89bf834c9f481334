//! One authenticated session: records in, records out, payloads, credit.

use alloc::boxed::Box;
use core::hash::Hasher;
use core::time::Duration;

use bytes::Bytes;

use super::close::{CloseReason, Ended};
use super::cx::{Above, Cx, Outward, SIGNALS};
use super::detector::Watch;
use super::event::PeerKey;
use super::gossip::Answer;
use super::pairing::Stage;
use crate::id::incarnation::Incarnation;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::mesh::send_queue::{SendQueue, Signals};
use crate::time::RunTime;
use crate::wire::handshake::Keyed;
use crate::wire::keys::Root;
use crate::wire::message::{Assembler, Control};
use crate::wire::record::{Opener, RecordBuilder, Sealer};
use crate::{Action, ConnId, Instant, NodeId, PeerFault};

/// An authenticated session. What other parts keep for each session is kept here, in types of theirs.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// The secret it was authenticated with.
    pub(crate) root: Root,
    /// How long the last exchange of the handshake took, in milliseconds.
    pub(crate) round_trip_ms: u32,
    sealer: Sealer,
    pub(super) opener: Opener,
    pub(super) queue: SendQueue,
    /// What both ends announced that they can do.
    pub(super) caps: u64,
    /// The payload or signal of which pieces have come.
    incoming: Option<Box<Incoming>>,
    /// How far its admission has come.
    pub(super) stage: Stage,
    /// It is in use, and is asked for a sign of life because another incarnation came.
    pub(super) probing: bool,
    pub(super) watch: Watch,
    /// The rest of an answer to a question for members.
    pub(super) answer: Option<Box<Answer>>,
}

/// A payload or a signal of which pieces have come.
#[derive(Clone, Debug)]
struct Incoming {
    assembler: Assembler,
    /// What it is: a payload or a signal.
    kind: u8,
    /// When its first piece came.
    since: Instant,
}

impl Session {
    /// `caps` is what this node announced. `in_flight` bytes of its handshake have not left yet.
    pub(super) fn new(keyed: Keyed, caps: u64, in_flight: usize, round_trip: Duration, run: RunTime) -> Self {
        Self {
            id: keyed.id,
            incarnation: keyed.incarnation,
            root: keyed.root,
            round_trip_ms: u32::try_from(round_trip.as_millis()).unwrap_or(u32::MAX),
            sealer: keyed.sealer,
            opener: keyed.opener,
            queue: SendQueue::after(in_flight),
            caps: keyed.caps & caps,
            incoming: None,
            stage: Stage::AwaitOffer,
            probing: false,
            watch: Watch::new(keyed.interval_ms, run),
            answer: None,
        }
    }

    pub(crate) const fn is_up(&self) -> bool {
        matches!(self.stage, Stage::Up)
    }

    /// The peer's heartbeat interval.
    pub(crate) const fn interval(&self) -> Duration {
        self.watch.interval()
    }

    pub(crate) const fn queue(&self) -> &SendQueue {
        &self.queue
    }

    /// How long a probe of it may take: four round trips, within bounds.
    pub(super) fn probe_timeout(&self) -> Duration {
        let round_trip = Duration::from_millis(self.round_trip_ms.into());
        (round_trip * 4).clamp(Duration::from_secs(2), Duration::from_secs(8))
    }

    /// Releases what the credit window allows. Once its last message is released, the session is over.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>, conn: ConnId, digest: u64) {
        let signals = (self.takes_signals() && self.is_up()).then_some(PeerKey(conn));
        let is_silent = |peer| cx.above.waits(peer) == 0 && !cx.above.names_wait(peer);
        if self.queue.is_finished() && signals.is_none_or(is_silent) {
            return;
        }
        let (window, heartbeat) = (cx.local.settings.limits.send_window_bytes, cx.heartbeat(digest));
        let mut finished = false;
        while let Some((record, last)) = match signals {
            None => self.queue.next_record(window, &heartbeat, &mut ()),
            Some(peer) => self.queue.next_record(window, &heartbeat, &mut ToPeer::new(cx, peer)),
        } {
            let data = self.sealer.seal(record);
            self.queue.released(data.len());
            cx.host.actions.push_back(Action::Transmit { conn, data });
            finished |= last;
        }
        if finished {
            let ended = match self.stage {
                Stage::Last(ended) => ended,
                _ => Ended::Harmless,
            };
            cx.close(conn, CloseReason::Said(ended));
        }
    }

    /// Queues an answer to PING. A peer that makes this node queue more than it reads breaks a rule.
    pub(super) fn push_pong(&mut self, limit: usize, echo: u64, leaving: bool) -> Result<(), PeerFault> {
        if self.queue.has_pongs(limit) {
            return Err(PeerFault::ControlFlood);
        }
        self.queue.push_control(Control::Pong { echo, leaving });
        Ok(())
    }

    /// A piece of a payload or a signal came in: it, if it is whole now, and when its first piece came.
    pub(super) fn piece(
        &mut self,
        record: &Bytes,
        body: &[u8],
        (kind, more): (u8, bool),
        limit: usize,
        now: Instant,
    ) -> Result<Option<(Bytes, Instant)>, PeerFault> {
        // One of them is in transit at a time.
        if !self.is_up() || self.incoming.as_ref().is_some_and(|incoming| incoming.kind != kind) {
            return Err(PeerFault::UnexpectedMessage);
        }
        if self.incoming.is_none() && !more {
            return Ok(Assembler::default().push(record, body, false, limit)?.map(|whole| (whole, now)));
        }
        let begin = || Box::new(Incoming { assembler: Assembler::default(), kind, since: now });
        let incoming = self.incoming.get_or_insert_with(begin);
        let whole = incoming.assembler.push(record, body, more, limit)?.map(|whole| (whole, incoming.since));
        if whole.is_some() {
            self.incoming = None;
        }
        Ok(whole)
    }

    /// Whether both ends take signals.
    pub(super) const fn takes_signals(&self) -> bool {
        self.caps & SIGNALS != 0
    }
}

/// The signals for one peer.
struct ToPeer<'a> {
    above: &'a mut dyn Above,
    outward: Outward<'a>,
    run: RunTime,
    peer: PeerKey,
}

impl<'a> ToPeer<'a> {
    fn new(cx: &'a mut Cx<'_>, peer: PeerKey) -> Self {
        let outward = Outward { host: cx.host, limits: &cx.local.settings.limits, now: cx.local.now };
        Self { above: cx.above, outward, run: cx.local.run, peer }
    }
}

impl Signals for ToPeer<'_> {
    fn waits(&self) -> usize {
        self.above.waits(self.peer)
    }

    fn is_in_transit(&self) -> bool {
        self.above.is_in_transit(self.peer)
    }

    fn names_wait(&self) -> bool {
        self.above.names_wait(self.peer)
    }

    fn write_names(&mut self, record: &mut RecordBuilder) -> bool {
        self.above.write_names(self.peer, self.run, record)
    }

    fn write_next(&mut self, record: &mut RecordBuilder) -> bool {
        self.above.write_next(&mut self.outward, self.peer, record)
    }
}

impl Abstract for Session {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self {
            id,
            incarnation,
            root,
            round_trip_ms,
            sealer: _,
            opener: _,
            queue,
            caps,
            incoming,
            stage,
            probing,
            watch,
            answer,
        } = self;
        let incoming = incoming.as_ref().map(|incoming| (incoming.kind, incoming.assembler.len(), to.age(incoming.since)));
        to.write((id, incarnation, caps, incoming, probing, to.secrets.use_of(root)));
        to.write(to.grains(Duration::from_millis((*round_trip_ms).into())));
        queue.hash_abstraction(to.hasher());
        to.part(stage);
        to.part(watch);
        if let Some(answer) = answer {
            to.part(&**answer);
        }
    }
}
