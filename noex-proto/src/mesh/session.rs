//! One authenticated session: records in, records out, payloads, credit.

use alloc::boxed::Box;
use core::hash::Hasher;
use core::time::Duration;

use bytes::Bytes;

use super::close::{CloseReason, Ended};
use super::cx::Cx;
use super::detector::Watch;
use super::gossip::Answer;
use super::pairing::Stage;
use crate::id::incarnation::Incarnation;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::mesh::send_queue::SendQueue;
use crate::time::RunTime;
use crate::wire::handshake::Keyed;
use crate::wire::keys::Root;
use crate::wire::message::{Assembler, Control};
use crate::wire::record::{Opener, Sealer};
use crate::{Action, ConnId, NodeId, PeerFault};

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
    pub(super) assembler: Assembler,
    /// How far its admission has come.
    pub(super) stage: Stage,
    /// It is in use, and is asked for a sign of life because another incarnation came.
    pub(super) probing: bool,
    pub(super) watch: Watch,
    /// The rest of an answer to a question for members.
    pub(super) answer: Option<Box<Answer>>,
}

impl Session {
    /// `in_flight` bytes of its handshake have not left yet.
    pub(super) fn new(keyed: Keyed, in_flight: usize, round_trip: Duration, run: RunTime) -> Self {
        Self {
            id: keyed.id,
            incarnation: keyed.incarnation,
            root: keyed.root,
            round_trip_ms: u32::try_from(round_trip.as_millis()).unwrap_or(u32::MAX),
            sealer: keyed.sealer,
            opener: keyed.opener,
            queue: SendQueue::after(in_flight),
            assembler: Assembler::default(),
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
        if self.queue.is_finished() {
            return;
        }
        let (window, heartbeat) = (cx.local.settings.limits.send_window_bytes, cx.heartbeat(digest));
        let mut finished = false;
        while let Some((record, last)) = self.queue.next_record(window, &heartbeat) {
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

    /// A piece of a payload came in: the payload, if it is whole now.
    pub(super) fn piece(&mut self, record: &Bytes, body: &[u8], more: bool, limit: usize) -> Result<Option<Bytes>, PeerFault> {
        if !self.is_up() {
            return Err(PeerFault::UnexpectedMessage);
        }
        self.assembler.push(record, body, more, limit)
    }
}

impl Abstract for Session {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { id, incarnation, root, round_trip_ms, sealer: _, opener: _, queue, assembler, stage, probing, watch, answer } =
            self;
        to.write((id, incarnation, assembler.len(), probing, to.secrets.use_of(root)));
        to.write(to.grains(Duration::from_millis((*round_trip_ms).into())));
        queue.hash_abstraction(to.hasher());
        to.part(stage);
        to.part(watch);
        if let Some(answer) = answer {
            to.part(&**answer);
        }
    }
}
