//! What waits to be sent to one peer: control messages first, then payloads and the signals of the layer above, large ones
//! in pieces, then the last message of the session.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::hash::{Hash, Hasher};

use bytes::{Buf, Bytes};

use crate::wire::message::{Control, kind};
use crate::wire::record::{MESSAGE_HEAD, MESSAGES_MAX, PIECE, RecordBuilder};

/// While bytes are on their way out, smaller records than this wait, so that a burst of small messages shares a record and its tag.
const BATCH: usize = 16 * 1024;

/// The most that a control message other than a page of members takes; such a page has a record to itself.
const SMALL_CONTROL: usize = 128;

/// What is reserved for names, mostly one or two.
const NAMES: usize = 128;

/// What a payload costs in the queue beyond its bytes, so that empty ones are bounded too.
pub(crate) const PAYLOAD_OVERHEAD: usize = 64;

/// The payloads that an empty queue keeps room for.
const AT_REST: usize = 16;

/// The signals of the layer above for one peer. They stay there until they are written into a record.
pub(crate) trait Signals {
    /// How many bytes wait, or the size of a piece if it is more; 0 where nothing waits.
    fn waits(&self) -> usize;

    /// Whether a large one is in transit, of which pieces have left and others wait.
    fn is_in_transit(&self) -> bool;

    /// Whether there is something about names that was not told.
    fn names_wait(&self) -> bool {
        false
    }

    /// Adds what was not told about names to a record, as much as fits. Whether that is anything.
    fn write_names(&mut self, _: &mut RecordBuilder) -> bool {
        false
    }

    /// Adds the next one to a record, or the next piece of the one in transit; an empty record may begin one that does not fit.
    /// False where none fits, or none waits.
    fn write_next(&mut self, record: &mut RecordBuilder) -> bool;
}

/// The peer takes no signals.
impl Signals for () {
    fn waits(&self) -> usize {
        0
    }

    fn is_in_transit(&self) -> bool {
        false
    }

    fn write_next(&mut self, _: &mut RecordBuilder) -> bool {
        false
    }
}

/// The bounded queue to one peer. The limits are checked where messages are queued.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendQueue {
    control: VecDeque<Control>,
    /// A heartbeat waits. What it says is as of its release, and one is as good as two.
    heartbeat: bool,
    /// Bytes released to the adapter and not yet reported as sent.
    in_flight: usize,
    /// The last message of the session, after which nothing is queued.
    last: Option<Box<Control>>,
    payloads: VecDeque<Bytes>,
    /// The cost of all queued payloads.
    queued: usize,
    /// The first payload is in transit: pieces of it have left. Neither a signal nor another payload may stand between them.
    in_transit: bool,
    /// Whose turn the next record is, where payloads and signals wait: that of the signals.
    signals_next: bool,
    /// The last record began with names, while something else waited: the next one is that's.
    names_last: bool,
}

impl SendQueue {
    /// An empty queue on a connection of which so many bytes are in flight.
    pub(crate) fn after(in_flight: usize) -> Self {
        Self { in_flight, ..Self::default() }
    }

    /// Writes what waits, without the times that heartbeats and introductions tell.
    pub(crate) fn hash_abstraction(&self, state: &mut impl Hasher) {
        let Self { control, heartbeat, in_flight, last, payloads, queued, in_transit, signals_next, names_last } = self;
        (
            heartbeat,
            in_flight,
            queued,
            in_transit,
            signals_next,
            names_last,
            payloads.len(),
            last.as_ref().map(|last| last.kind()),
        )
            .hash(state);
        for control in control {
            control.kind().hash(state);
        }
    }

    /// Panics where the cost of the payloads is not what is remembered.
    #[cfg(debug_assertions)]
    pub(crate) fn audit(&self) {
        let cost: usize = self.payloads.iter().map(|payload| payload.len() + PAYLOAD_OVERHEAD).sum();
        assert_eq!(self.queued, cost, "queued bytes");
    }

    pub(crate) fn control_len(&self) -> usize {
        self.control.len()
    }

    /// Whether this many answers to PING wait. What this node asks by itself is no fault of the peer.
    pub(crate) fn has_pongs(&self, limit: usize) -> bool {
        let pongs = || self.control.iter().filter(|control| matches!(control, Control::Pong { .. })).count();
        self.control.len() >= limit && pongs() >= limit
    }

    /// The cost of all queued payloads.
    pub(crate) const fn queued(&self) -> usize {
        self.queued
    }

    /// Bytes released to the adapter and not yet reported as sent.
    pub(crate) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether everything has been released, the last message included.
    pub(crate) fn is_finished(&self) -> bool {
        !self.heartbeat && self.last.is_none() && self.control.is_empty() && self.payloads.is_empty()
    }

    /// Whether a payload of this size finds room. One payload always does in an empty queue.
    pub(crate) fn has_room(&self, size: usize, limit: usize) -> bool {
        self.queued == 0 || self.queued + size + PAYLOAD_OVERHEAD <= limit
    }

    /// Whether it has drained to its low-water mark: half of the limit is free, and a payload of any size up to `largest` finds room. So who waits
    /// for room is not woken for each record, and is not refused thereafter.
    pub(crate) fn has_drained(&self, largest: usize, limit: usize) -> bool {
        self.queued <= (limit / 2).min(limit.saturating_sub(largest + PAYLOAD_OVERHEAD))
    }

    /// Whether a page of members is still to be released.
    pub(crate) fn has_members(&self) -> bool {
        self.control.iter().any(|control| matches!(control, Control::Members { .. }))
    }

    pub(crate) fn push_heartbeat(&mut self) {
        self.heartbeat = true;
    }

    pub(crate) fn push_control(&mut self, control: Control) {
        self.control.push_back(control);
    }

    /// Queues a control message, in the place of one of its kind if that still waits.
    pub(crate) fn replace_control(&mut self, control: Control) {
        match self.control.iter_mut().find(|waiting| waiting.kind() == control.kind()) {
            Some(waiting) => *waiting = control,
            None => self.control.push_back(control),
        }
    }

    pub(crate) fn push_payload(&mut self, payload: Bytes) {
        self.queued += payload.len() + PAYLOAD_OVERHEAD;
        self.payloads.push_back(payload);
    }

    pub(crate) fn push_last(&mut self, control: Control) {
        self.last = Some(Box::new(control));
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(bytes);
    }

    pub(crate) fn released(&mut self, bytes: usize) {
        self.in_flight += bytes;
    }

    /// How many bytes all that waits takes, or the most that the messages of a record do. Where it is one record, that record is an
    /// allocation of just its size.
    fn waiting(&self, heartbeat: &Control, signals: usize, names: bool) -> usize {
        let heartbeat = self.heartbeat.then_some(heartbeat);
        let controls = self.control.iter().chain(heartbeat).chain(self.last.as_deref()).map(Control::body_len);
        let bodies = controls
            .chain(self.payloads.iter().map(Bytes::len))
            .chain((signals > 0).then_some(signals))
            .chain(names.then_some(NAMES));
        let mut waiting = 0;
        for body in bodies {
            waiting += MESSAGE_HEAD + body;
            if waiting >= MESSAGES_MAX {
                return MESSAGES_MAX;
            }
        }
        waiting
    }

    /// The messages of the next record, if one may be released now, and whether the last of the session is among them.
    /// `heartbeat` is what a heartbeat says now. Where payloads and signals wait, a record is theirs in turn; what is left
    /// of its room is the others'.
    pub(crate) fn next_record(
        &mut self,
        window: usize,
        heartbeat: &Control,
        signals: &mut impl Signals,
    ) -> Option<(RecordBuilder, bool)> {
        if self.in_flight >= window {
            return None;
        }
        let (waits, names) = (signals.waits(), signals.names_wait());
        if self.is_finished() && waits == 0 && !names {
            return None;
        }
        let is_urgent = self.heartbeat || !self.control.is_empty() || self.last.is_some();
        if self.in_flight > 0 && !is_urgent && self.queued + waits < BATCH {
            return None;
        }
        let mut record = RecordBuilder::with_capacity(self.waiting(heartbeat, waits, names));
        while let Some(control) = self.control.pop_front() {
            let fits = match control {
                Control::Members { .. } => record.is_empty(),
                _ => record.room() >= Some(SMALL_CONTROL),
            };
            if !fits {
                self.control.push_front(control);
                return Some((record, false));
            }
            record.push(control.kind(), |body| control.encode_into(body));
        }
        // At rest there is none: what held them is not kept for ever.
        self.control = VecDeque::new();
        if self.heartbeat {
            if record.room() < Some(SMALL_CONTROL) {
                return Some((record, false));
            }
            record.push(heartbeat.kind(), |body| heartbeat.encode_into(body));
            self.heartbeat = false;
        }
        // Names overtake the others, but of two records only one is theirs.
        let are_first = names && !self.names_last;
        self.names_last = are_first && signals.write_names(&mut record) && (waits > 0 || !self.payloads.is_empty());
        if waits == 0 {
            self.write_payloads(&mut record);
        } else if signals.is_in_transit() || self.signals_next && !self.in_transit {
            self.signals_next = false;
            while signals.write_next(&mut record) && !signals.is_in_transit() {}
            if !signals.is_in_transit() {
                self.write_payloads(&mut record);
            }
        } else {
            self.signals_next = true;
            self.write_payloads(&mut record);
            while !self.in_transit && signals.write_next(&mut record) && !signals.is_in_transit() {}
        }
        if names && !are_first {
            signals.write_names(&mut record);
        }
        let is_all = self.payloads.is_empty() && (waits == 0 || signals.waits() == 0) && !signals.names_wait();
        let is_last = is_all && record.room() >= Some(SMALL_CONTROL) && self.last.is_some();
        if is_last && let Some(last) = self.last.take() {
            record.push(last.kind(), |body| last.encode_into(body));
        }
        // What waited above may have been given up instead of written.
        (!record.is_empty()).then_some((record, is_last))
    }

    /// Adds the payloads that fit, or the next piece of a large one.
    fn write_payloads(&mut self, record: &mut RecordBuilder) {
        while let Some(payload) = self.payloads.front_mut() {
            let room = record.room().unwrap_or(0).min(PIECE);
            if payload.len() > room && !record.is_empty() || record.room().is_none() {
                break;
            }
            if payload.len() > room {
                record.push_bytes(kind::PAYLOAD | kind::MORE, &payload[..room]);
                payload.advance(room);
                self.queued -= room;
                self.in_transit = true;
                return;
            }
            record.push_bytes(kind::PAYLOAD, payload);
            self.queued -= payload.len() + PAYLOAD_OVERHEAD;
            self.payloads.pop_front();
            self.in_transit = false;
        }
        if self.payloads.is_empty() {
            self.payloads.shrink_to(AT_REST);
        }
    }
}

#[cfg(test)]
mod tests;
