//! What a send queue puts into records, and in which order.

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
    let kinds: Vec<Vec<u8>> = records(&mut queue).iter().map(|record| record.iter().map(|(kind, _)| *kind).collect()).collect();
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
    let expected = [vec![payload], vec![signal], vec![payload], vec![signal], vec![payload, (kind::PAYLOAD, 1)], vec![signal]];
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
