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
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::wire::keys::hmac;
    use crate::wire::message::Members;
    use crate::wire::record::{BODY_MAX, Opener, Sealer};

    const BEAT: Control = Control::Heartbeat { digest: 1, process_count: 0, uptime_ms: 0 };
    const GOODBYE: Control = Control::Goodbye;
    const WINDOW: usize = 1 << 20;

    const MORE_PAYLOAD: u8 = kind::PAYLOAD | kind::MORE;
    const MORE_SIGNAL: u8 = kind::SIGNAL | kind::MORE;

    /// Signals of these sizes.
    #[derive(Default)]
    struct Above {
        line: VecDeque<usize>,
        transit: Option<usize>,
    }

    impl Signals for Above {
        fn waits(&self) -> usize {
            (self.line.iter().sum::<usize>() + self.line.len() + self.transit.unwrap_or(0)).min(PIECE)
        }

        fn is_in_transit(&self) -> bool {
            self.transit.is_some()
        }

        fn write_next(&mut self, record: &mut RecordBuilder) -> bool {
            let room = record.room().unwrap_or(0).min(PIECE);
            let begins = self.transit.is_none();
            let Some(size) = self.transit.or_else(|| self.line.front().copied()) else { return false };
            if record.room().is_none() || size > room && !record.is_empty() {
                return false;
            }
            if begins {
                self.line.pop_front();
            }
            self.transit = (size > room).then(|| size - room);
            let kind = if size > room { MORE_SIGNAL } else { kind::SIGNAL };
            record.push_bytes(kind, &vec![0; size.min(room)]);
            true
        }
    }

    /// The messages of the next record: kinds and sizes.
    fn next(queue: &mut SendQueue) -> Option<Vec<(u8, usize)>> {
        next_with(queue, &mut ())
    }

    fn next_with(queue: &mut SendQueue, signals: &mut impl Signals) -> Option<Vec<(u8, usize)>> {
        let (record, _) = queue.next_record(WINDOW, &BEAT, signals)?;
        let sealed = Sealer::new(hmac(&[])).seal(record);
        let mut opener = Opener::new(hmac(&[]));
        let messages = opener.open(&sealed[4..]).expect("well sealed");
        Some(messages.map(|message| message.map(|(kind, body)| (kind, body.len())).expect("well formed")).collect())
    }

    /// The records until nothing waits.
    fn records(queue: &mut SendQueue) -> Vec<Vec<(u8, usize)>> {
        core::iter::from_fn(|| next(queue)).collect()
    }

    fn payload(len: usize) -> Bytes {
        vec![7; len].into()
    }

    #[test]
    fn a_payload_finds_room_up_to_the_limit_and_alone_always() {
        let mut queue = SendQueue::default();
        assert!(queue.has_room(1000, 0));
        queue.push_payload(payload(100));
        assert_eq!(queue.queued(), 100 + PAYLOAD_OVERHEAD);
        let limit = queue.queued() + 1000 + PAYLOAD_OVERHEAD;
        assert!(queue.has_room(1000, limit) && !queue.has_room(1001, limit));
    }

    #[test]
    fn a_queue_has_drained_at_half_of_its_limit_and_where_any_payload_finds_room() {
        let mut queue = SendQueue::default();
        assert!(queue.has_drained(1000, 1000), "an empty one always has room");
        queue.push_payload(payload(500 - PAYLOAD_OVERHEAD));
        assert!(queue.has_drained(100, 1000) && !queue.has_drained(100, 999));
        let largest = 500 - PAYLOAD_OVERHEAD;
        assert!(queue.has_drained(largest, 1000) && queue.has_room(largest, 1000));
        assert!(!queue.has_drained(largest + 1, 1000) && !queue.has_room(largest + 1, 1000));
    }

    #[test]
    fn while_bytes_are_on_their_way_only_what_is_urgent_or_long_goes() {
        let mut queue = SendQueue::default();
        queue.released(1);
        queue.push_payload(payload(BATCH - 1 - PAYLOAD_OVERHEAD));
        assert_eq!(next(&mut queue.clone()), None);

        let mut long = SendQueue::default();
        long.released(1);
        long.push_payload(payload(BATCH - PAYLOAD_OVERHEAD));
        assert_eq!(next(&mut long).map(|record| record.len()), Some(1));

        let urgent: [fn(&mut SendQueue); 3] =
            [SendQueue::push_heartbeat, |queue| queue.push_control(Control::Ping(1)), |queue| queue.push_last(GOODBYE)];
        for push in urgent {
            let mut queue = queue.clone();
            push(&mut queue);
            assert_eq!(next(&mut queue).map(|record| record.len()), Some(2), "the payload goes with it");
        }
    }

    #[test]
    fn a_page_of_members_begins_a_record() {
        let mut queue = SendQueue::default();
        let page = Control::Members { digest: 1, last: true, members: Members::new() };
        for control in [Control::Ping(1), page, Control::Ping(2)] {
            queue.push_control(control);
        }
        let kinds: Vec<Vec<u8>> =
            records(&mut queue).iter().map(|record| record.iter().map(|(kind, _)| *kind).collect()).collect();
        assert_eq!(kinds, [vec![kind::PING], vec![kind::MEMBERS, kind::PING]]);
    }

    #[test]
    fn a_heartbeat_shares_a_record_that_has_room_for_any() {
        for (room, records_made) in [(SMALL_CONTROL, 1), (SMALL_CONTROL - 1, 2)] {
            // Given: pings, of which one takes 7 bytes or 8, that leave just this room.
            let fill = BODY_MAX - room;
            let long = fill % 7;
            let mut queue = SendQueue::default();
            for number in core::iter::repeat_n(24, long).chain(core::iter::repeat_n(0, (fill - 8 * long) / 7)) {
                queue.push_control(Control::Ping(number));
            }
            queue.push_heartbeat();
            let records = records(&mut queue);
            assert_eq!(records.len(), records_made, "room for {room}");
            assert_eq!(records[records_made - 1].last().map(|(kind, _)| *kind), Some(kind::HEARTBEAT));
        }
    }

    #[test]
    fn a_payload_is_split_only_where_it_has_no_room_in_a_record_of_its_own() {
        let mut queue = SendQueue::default();
        queue.push_heartbeat();
        queue.push_payload(payload(PIECE));
        queue.push_payload(payload(PIECE));
        queue.push_payload(payload(PIECE + 1));
        let beat = (kind::HEARTBEAT, BEAT.body_len());
        let more = kind::PAYLOAD | kind::MORE;
        let whole = (kind::PAYLOAD, PIECE);
        assert_eq!(records(&mut queue), [vec![beat, whole], vec![whole], vec![(more, PIECE)], vec![(kind::PAYLOAD, 1)]]);

        queue.push_heartbeat();
        queue.push_payload(payload(PIECE + 1));
        assert_eq!(records(&mut queue), [vec![beat], vec![(more, PIECE)], vec![(kind::PAYLOAD, 1)]]);
        assert_eq!((queue.queued(), queue.is_finished()), (0, true));
    }

    #[test]
    fn payloads_and_signals_take_turns_record_by_record() {
        let mut queue = SendQueue::default();
        let mut signals = Above { line: vec![PIECE - 10; 3].into(), transit: None };
        for _ in 0..3 {
            queue.push_payload(payload(PIECE - 20));
        }
        queue.push_payload(payload(1));
        let records: Vec<_> = core::iter::from_fn(|| next_with(&mut queue, &mut signals)).collect();
        let (payload, signal) = ((kind::PAYLOAD, PIECE - 20), (kind::SIGNAL, PIECE - 10));
        let expected =
            [vec![payload], vec![signal], vec![payload], vec![signal], vec![payload, (kind::PAYLOAD, 1)], vec![signal]];
        assert_eq!(records, expected);

        // What is small shares a record, and needs no turn.
        queue.push_payload(self::payload(5));
        signals.line.extend([7, 8]);
        let record = next_with(&mut queue, &mut signals);
        assert_eq!(record, Some(vec![(kind::PAYLOAD, 5), (kind::SIGNAL, 7), (kind::SIGNAL, 8)]));
    }

    #[test]
    fn nothing_stands_between_the_pieces_of_a_payload_or_of_a_signal() {
        let mut queue = SendQueue::default();
        let mut signals = Above { line: vec![PIECE + 1, 9].into(), transit: None };
        queue.push_payload(payload(2 * PIECE + 3));
        queue.push_payload(payload(4));
        let mut records: Vec<_> = core::iter::from_fn(|| next_with(&mut queue, &mut signals)).collect();
        let expected = [
            vec![(MORE_PAYLOAD, PIECE)],
            vec![(MORE_PAYLOAD, PIECE)],
            // A large signal begins a record.
            vec![(kind::PAYLOAD, 3), (kind::PAYLOAD, 4)],
            vec![(MORE_SIGNAL, PIECE)],
            vec![(kind::SIGNAL, 1), (kind::SIGNAL, 9)],
        ];
        assert_eq!(records, expected);

        // A signal is in transit: the payload waits for its last piece, though it would fit.
        signals.line.push_back(PIECE + 1);
        records = vec![next_with(&mut queue, &mut signals).expect("a record")];
        queue.push_payload(payload(5));
        queue.push_heartbeat();
        records.extend(next_with(&mut queue, &mut signals));
        assert_eq!(records[0], [(MORE_SIGNAL, PIECE)]);
        assert_eq!(records[1], [(kind::HEARTBEAT, BEAT.body_len()), (kind::SIGNAL, 1), (kind::PAYLOAD, 5)]);
    }

    /// Names of which so many records are full, and some more.
    struct Names(usize);

    impl Signals for Names {
        fn names_wait(&self) -> bool {
            self.0 > 0
        }

        fn write_names(&mut self, record: &mut RecordBuilder) -> bool {
            let room = record.room().unwrap_or(0);
            let size = self.0.min(room).min(PIECE);
            record.push_bytes(kind::NAMES, &vec![0; size]);
            self.0 -= size;
            true
        }

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

    #[test]
    fn names_overtake_what_is_queued_in_every_second_record() {
        let mut queue = SendQueue::default();
        let mut names = Names(2 * PIECE + 1);
        for _ in 0..2 {
            queue.push_payload(payload(PIECE - 100));
        }
        queue.push_last(GOODBYE);
        let records: Vec<_> = core::iter::from_fn(|| next_with(&mut queue, &mut names)).collect();
        let (payload, full) = ((kind::PAYLOAD, PIECE - 100), (kind::NAMES, PIECE));
        let left = BODY_MAX - PIECE + 100 - MESSAGE_HEAD;
        let last = vec![(kind::NAMES, PIECE + 1 - left), payload, (kind::GOODBYE, GOODBYE.body_len())];
        // What is left of a record of the others is for names.
        let expected = [vec![full], vec![payload, (kind::NAMES, left)], vec![(kind::NAMES, PIECE + 1 - left)]];
        assert_eq!(records[..3], expected, "{records:?} {last:?}");
        assert_eq!(records[3..], [vec![payload, (kind::GOODBYE, GOODBYE.body_len())]]);

        // With nothing else to send, all records are theirs.
        let mut names = Names(2 * PIECE);
        let records: Vec<_> = core::iter::from_fn(|| next_with(&mut queue, &mut names)).collect();
        assert_eq!(records, [vec![full], vec![full]]);
    }

    #[test]
    fn the_last_message_comes_after_all_signals() {
        let mut queue = SendQueue::default();
        let mut signals = Above { line: vec![PIECE - 1, 5].into(), transit: None };
        queue.push_last(GOODBYE);
        let kinds = core::iter::from_fn(|| next_with(&mut queue, &mut signals)).flatten().map(|(kind, _)| kind);
        assert_eq!(kinds.collect::<Vec<_>>(), [kind::SIGNAL, kind::SIGNAL, kind::GOODBYE]);
    }

    #[test]
    fn signals_wait_for_a_batch_and_for_room_in_the_window_as_payloads_do() {
        let mut queue = SendQueue::default();
        let mut signals = Above { line: vec![BATCH - 2].into(), transit: None };
        queue.released(1);
        assert_eq!(next_with(&mut queue, &mut signals), None);
        signals.line.push_back(0);
        assert_eq!(next_with(&mut queue, &mut signals).map(|record| record.len()), Some(2));
        queue.released(WINDOW);
        signals.line.push_back(PIECE);
        assert_eq!(next_with(&mut queue, &mut signals), None);
    }

    #[test]
    fn what_the_layer_above_gives_up_makes_no_record() {
        struct GivenUp;
        impl Signals for GivenUp {
            fn waits(&self) -> usize {
                1
            }

            fn is_in_transit(&self) -> bool {
                false
            }

            fn write_next(&mut self, _: &mut RecordBuilder) -> bool {
                false
            }
        }
        assert_eq!(next_with(&mut SendQueue::default(), &mut GivenUp), None);
    }

    #[test]
    fn the_last_message_comes_after_all_others() {
        let mut queue = SendQueue::default();
        queue.push_last(GOODBYE);
        queue.push_payload(payload(PIECE));
        queue.push_payload(payload(1));
        queue.push_heartbeat();
        let kinds: Vec<u8> = records(&mut queue).concat().iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [kind::HEARTBEAT, kind::PAYLOAD, kind::PAYLOAD, kind::GOODBYE]);
    }
}
