//! What a peer can make the machine allocate, counted by the allocator.

use std::format;
use std::iter;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;

use super::{Bench, Control, INTERVAL, SECRET, heartbeat, members, node};
use crate::id::incarnation::Incarnation;
use crate::mesh::gossip::Answer;
use crate::mesh::send_queue::SendQueue;
use crate::wire::frame::RECORD_MAX;
use crate::wire::handshake::{Initiator, LocalHello};
use crate::wire::keys::{Secrets, hmac};
use crate::wire::message::{Assembler, kind};
use crate::wire::record::{BODY_MAX, MESSAGES_MAX, PIECE, RecordBuilder, Sealer};
use crate::{Action, ConnId, Input, Limits, NodeId, Secret};

/// The most that one unauthenticated connection may hold.
const STRANGER: i64 = 4096;
/// What any message may make the machine allocate, and how often its own size on top.
const MESSAGE: u64 = 64 * 1024;
const TIMES: u64 = 4;
/// About as many of the shortest members as fit one record.
const PAGE: usize = 2300;
/// How many of them are taken in at once.
const STEP: usize = 16;

fn stranger(bench: &mut Bench, address: [u8; 4]) -> ConnId {
    let conn = bench.machine.next_conn();
    bench.feed(Input::Accepted { conn, remote: SocketAddr::from((address, 1)) });
    // The test's own log is no part of the machine.
    bench.actions = Vec::new();
    conn
}

/// The bytes come in chunks of this size, each in an allocation of its own, as from a driver.
fn trickle(bench: &mut Bench, conn: ConnId, bytes: &[u8], size: usize) {
    for chunk in bytes.chunks(size) {
        bench.receive(conn, Bytes::copy_from_slice(chunk));
        bench.actions = Vec::new();
    }
}

fn hello(id: &NodeId) -> Vec<u8> {
    let secrets = Secrets::new(Some(&Secret::from(SECRET)), &[]);
    let hello =
        LocalHello { caps: 0, context: "noex", id, incarnation: Incarnation([1; 16]), interval: INTERVAL, secrets: &secrets };
    Initiator::start(&hello, [7; 32], None).1.to_vec()
}

/// What strangers may send: nothing, parts of frames as long as they may be, whole ones, a good beginning with a bad end.
fn strange_bytes() -> Vec<(&'static str, Vec<u8>)> {
    let longest = format!("{}@{}:65535", "n".repeat(64), vec!["l".repeat(62); 4].join("."));
    let hello = hello(&longest.parse().expect("an id"));
    let part = |length: u32, sent: usize| [length.to_be_bytes().to_vec(), vec![1; sent]].concat();
    let proof = |sent: usize| [hello.clone(), part(1024, sent)].concat();
    vec![
        ("nothing", vec![]),
        ("a part of a length", vec![0, 0]),
        ("the longest frame but for a byte", part(1024, 1023)),
        ("the longest frame", part(1024, 1024)),
        ("a first frame", hello.clone()),
        ("a first frame and all but a byte of the longest second", proof(1023)),
        ("both", proof(1024)),
        ("a frame that is too long, with much behind it", part(1025, 100_000)),
        ("a first frame, and another", [hello.clone(), hello.clone()].concat()),
        ("much of anything", iter::repeat_n(hello.clone(), 100).flatten().collect()),
    ]
}

#[test]
fn a_stranger_makes_the_machine_hold_at_most_4_kib() {
    for (what, bytes) in strange_bytes() {
        for size in [1, 7, 512, 65_536] {
            let mut bench = Bench::new(Limits::default());
            // The tables that there are once for all have their first entries.
            stranger(&mut bench, [10, 9, 9, 9]);
            let mut most = 0;
            let AllocationInfo { bytes_current, .. } = measure(|| {
                let conn = stranger(&mut bench, [10, 0, 1, 1]);
                for chunk in bytes.chunks(size) {
                    most = most.max(measure(|| trickle(&mut bench, conn, chunk, size)).bytes_max);
                }
            });
            assert!(bytes_current <= STRANGER, "{what}, by {size}: {bytes_current} are held");
            // While it reads, the chunk itself is in memory too, which the driver made.
            let limit = 2 * STRANGER as u64 + size.min(bytes.len()) as u64;
            assert!(most <= limit, "{what}, by {size}: {most} while reading");
        }
    }
}

#[test]
fn a_thousand_attempts_from_one_address_hold_what_the_limits_say() {
    let limits = Limits::default();
    let (most, closing) = (limits.half_open_per_address as i64, limits.closing_connections as i64);
    for (what, bytes) in strange_bytes() {
        let mut bench = Bench::new(Limits::default());
        let AllocationInfo { bytes_current, bytes_max, .. } = measure(|| {
            for _ in 0..1000 {
                let conn = stranger(&mut bench, [10, 0, 1, 1]);
                trickle(&mut bench, conn, &bytes, 512);
            }
        });
        // Of a connection that is being closed its number is kept, in a tree of numbers.
        let limit = most * STRANGER + closing * 32;
        assert!(bytes_current <= limit, "{what}: {bytes_current} are held, over {limit}");
        assert!(bytes_max <= limit as u64 + 2 * STRANGER as u64, "{what}: {bytes_max} at one time");
    }
}

/// What a member's messages make the machine allocate: in all, whatever it gives back, and what it holds in the end and at most. And their
/// size on the wire.
#[derive(Clone, Copy, Debug, Default)]
struct Cost {
    held: i64,
    peak: u64,
    size: u64,
    total: u64,
}

fn cost(bench: &mut Bench, conn: ConnId, records: impl IntoIterator<Item = RecordBuilder>) -> Cost {
    let mut cost = Cost::default();
    for record in records {
        let record = bench.members.get_mut(&conn).expect("a member").sealer.seal(record);
        let size = record.len() as u64;
        let AllocationInfo { bytes_current, bytes_max, bytes_total, .. } = measure(|| {
            bench.machine.handle(bench.now, Input::Received { conn, data: record, wall: Default::default() });
            while bench.machine.poll_action().is_some() {}
        });
        // Less than nothing where the record, which the driver made, is freed.
        cost.held += bytes_current;
        cost.peak = cost.peak.max(bytes_max);
        cost.size += size;
        cost.total += bytes_total;
    }
    cost
}

fn within(what: &str, Cost { size, total, .. }: Cost) {
    let limit = TIMES * size + MESSAGE;
    assert!(total <= limit, "{what} of {size} bytes: {total} are allocated, over {limit}");
}

fn record(kind: u8, body: &[u8]) -> RecordBuilder {
    let mut record = RecordBuilder::with_capacity(body.len());
    record.push_bytes(kind, body);
    record
}

/// Ids as short as they can be, so that as many as can be fit a page: the longest that a record has room for.
fn page(last: bool, first: usize) -> RecordBuilder {
    let members =
        (first..first + PAGE).map(|number| (format!("a@{}.b:1", base36(number)).parse().expect("an id"), Incarnation([1; 16])));
    let page = Control::Members { digest: 1, last, members: members.collect() };
    let mut record = RecordBuilder::with_capacity(RECORD_MAX);
    record.push(page.kind(), |body| page.encode_into(body));
    record
}

fn base36(mut number: usize) -> std::string::String {
    let mut text = std::string::String::new();
    loop {
        text.push(char::from_digit((number % 36) as u32, 36).expect("a digit"));
        number /= 36;
        if number == 0 {
            return text;
        }
    }
}

#[test]
fn a_message_makes_the_machine_allocate_at_most_four_times_its_size_and_64_kib() {
    let up = || {
        let mut bench = Bench::new(Limits::default());
        let conn = bench.up("b");
        bench.machine.subscribe_messages();
        (bench, conn)
    };

    for size in [0, 1, 1000, PIECE] {
        let (mut bench, conn) = up();
        within("a payload", cost(&mut bench, conn, [record(kind::PAYLOAD, &vec![7; size])]));
    }
    for total in [2 * PIECE, 1 << 20, 16 << 20] {
        let (mut bench, conn) = up();
        let pieces = total / PIECE;
        let records = (1..=pieces).map(|number| {
            let more = if number < pieces { kind::MORE } else { 0 };
            record(kind::PAYLOAD | more, &vec![7; PIECE])
        });
        within("a payload in pieces", cost(&mut bench, conn, records));
    }
    // As many messages as fit a record, and none of them says anything.
    let (mut bench, conn) = up();
    let mut many = RecordBuilder::with_capacity(RECORD_MAX);
    while many.room().is_some() {
        many.push_bytes(0x60, &[]);
    }
    within("many messages", cost(&mut bench, conn, [many]));

    // Bodies that claim or nest more than they are.
    let mut deep = b"\xa1\x61x".to_vec();
    deep.resize(BODY_MAX, 0x81);
    let mut wide = b"\xa3\x61d\x00\x61l\xf5\x61m\x9b\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    wide.resize(BODY_MAX, 0x80);
    let mut text = b"\xa1\x7a\x00\x00\xff\x00".to_vec();
    text.resize(BODY_MAX, b'x');
    for kind in [kind::HEARTBEAT, kind::MEMBERS, kind::MEMBERS_REQUEST, kind::PING, kind::INTRO, kind::REFUSED, kind::GOODBYE] {
        for body in [&deep, &wide, &text] {
            let (mut bench, conn) = up();
            within("a strange body", cost(&mut bench, conn, [record(kind, body)]));
        }
    }
}

fn request() -> RecordBuilder {
    let request = Control::MembersRequest { digest: 5 };
    let mut record = RecordBuilder::with_capacity(0);
    record.push(request.kind(), |body| request.encode_into(body));
    record
}

/// Each new member gets its place in the tables, of up to a KiB, where there is one: in steps, none of which takes much.
#[test]
fn a_page_of_members_is_taken_in_by_small_steps_and_no_more_than_there_may_be() {
    let limits = Limits { members: 3000, ..Limits::default() };
    for joining in [true, false] {
        let mut bench = Bench::new(limits.clone());
        let conn = if joining { bench.up_as(&node("b"), 1, [10, 0, 1, 1]) } else { bench.up("b") };
        if !joining {
            bench.run(INTERVAL / 2 + INTERVAL / 32);
            bench.say(conn, &[heartbeat(5), heartbeat(5)]);
        }
        assert_eq!(bench.requests(conn), 1);
        let known = |bench: &Bench| bench.machine.node_ids().expect("running").len();
        let before = known(&bench);
        within("a page of members", cost(&mut bench, conn, [page(false, 0)]));
        assert_eq!(known(&bench), before + STEP);
        // A page of one that does not say how many there are, while others wait.
        let mut one = b"\xa3\x61d\x00\x61l\xf4\x61m\x9f\x82\x67z@z.z:1\x50".to_vec();
        one.extend([[1; 16].as_slice(), b"\xff"].concat());
        let one = cost(&mut bench, conn, [record(kind::MEMBERS, &one)]);
        within("a page of one", one);
        assert!(one.held <= 32 * 1024, "{one:?}");
        within("another page of members", cost(&mut bench, conn, [page(true, PAGE)]));
        for _ in 0..3001 / STEP {
            let before = known(&bench);
            bench.run(Duration::from_millis(1));
            assert!(known(&bench) <= before + STEP, "{} new in a step", known(&bench) - before);
        }
        bench.run(Duration::from_millis(100));
        assert_eq!(known(&bench), 3001, "no more than the members there may be, and the first that told of them");
        // What was not asked for is read and dropped.
        let unasked = cost(&mut bench, conn, [page(true, 3 * PAGE)]);
        within("what was not asked for", unasked);
        assert!(unasked.held <= 0, "{unasked:?}");
    }
}

#[test]
fn an_answer_is_made_page_by_page_and_is_given_twice_in_an_interval_at_most() {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up("b");
    for number in 0..600_u16 {
        let [high, low] = number.to_be_bytes();
        let id: NodeId = format!("c{number}@10.0.2.1:1").parse().expect("an id");
        let other = bench.up_as(&id, 1, [10, 1, high, low]);
        if bench.requests(other) > 0 {
            bench.say(other, &[members(vec![])]);
        }
        bench.actions = Vec::new();
    }
    let answer = cost(&mut bench, conn, [request()]);
    within("a question for members", answer);
    let place = size_of::<Answer>() as i64;
    assert!(answer.held <= place, "nothing once it is released but where it goes on: {answer:?}");
    within("another", cost(&mut bench, conn, [request()]));
}

/// So many members with a session each that is at rest; the half of them that others told of first, so that the machine meant to dial
/// them.
fn at_rest(sessions: usize) -> Bench {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up("b");
    let id = |number: usize| -> NodeId { format!("node{number:04}@10.0.2.{}:4369", number % 250).parse().expect("an id") };
    bench.say(conn, &[heartbeat(5), heartbeat(5)]);
    let told = (1..sessions).step_by(2).map(|number| (id(number), Incarnation([1; 16])));
    bench.say(conn, &[members(told.collect())]);
    bench.run(Duration::from_millis(100));
    for number in 1..sessions {
        let [high, low] = u16::try_from(number).expect("few").to_be_bytes();
        bench.up_as(&id(number), 1, [10, 1, high, low]);
        bench.actions = Vec::new();
    }
    for _ in 0..4 {
        let conns: Vec<ConnId> = bench.members.keys().copied().collect();
        for conn in conns {
            bench.say(conn, &[heartbeat(5)]);
        }
        bench.run(INTERVAL);
        bench.actions = Vec::new();
    }
    assert_eq!(bench.machine.connected_node_count(), Ok(sessions));
    bench
}

#[test]
#[expect(clippy::disallowed_macros, reason = "`.ci/compare` reads it")]
fn a_thousand_idle_sessions_take_at_most_a_mib() {
    let Bench { machine, members, .. } = at_rest(1000);
    drop(members);
    let held = -measure(|| drop(machine)).bytes_current;
    std::println!("{held} bytes are held by 1,000 idle sessions");
    assert!(held <= 1 << 20, "{held} bytes are held");
    assert!(held > 500_000, "only {held} bytes are held: a session is not what it was");
}

/// The numbers of allocations and of heartbeats sent, in one interval, by ticks alone.
fn allocations(bench: &mut Bench) -> (u64, u64) {
    let (mut allocated, mut heartbeats) = (0, 0);
    let end = bench.now + INTERVAL;
    while let Some(due) = bench.machine.poll_timeout().filter(|due| *due < end) {
        bench.now = due;
        let mut sent = Vec::with_capacity(1000);
        let info = measure(|| {
            bench.machine.handle(due, Input::Tick);
            while let Some(action) = bench.machine.poll_action() {
                let Action::Transmit { conn, data } = action else { panic!("{action:?}") };
                bench.machine.handle(due, Input::Transmitted { bytes: data.len(), conn });
                sent.push(data);
            }
        });
        allocated += info.count_total;
        heartbeats += sent.len() as u64;
    }
    (allocated, heartbeats)
}

/// What a heartbeat allocates at its sender is the record that is handed over, and nothing at its receiver.
#[test]
fn a_heartbeat_at_rest_allocates_its_record_and_nothing_else() {
    let mut bench = at_rest(1);
    for _ in 0..10 {
        let (&conn, member) = bench.members.iter_mut().next().expect("a member");
        let mut record = RecordBuilder::with_capacity(100);
        record.push(kind::HEARTBEAT, |body| heartbeat(5).encode_into(body));
        let data = member.sealer.seal(record);
        let wall = Default::default();
        let received = measure(|| bench.machine.handle(bench.now, Input::Received { conn, data, wall }));
        assert_eq!(received.count_total, 0, "{received:?}");
        let (allocated, heartbeats) = allocations(&mut bench);
        assert!((1..=2).contains(&heartbeats), "{heartbeats}");
        assert_eq!(allocated, heartbeats);
    }
    // With many sessions the tables of deadlines, which are trees, take and give back a node now and then.
    let (allocated, heartbeats) = allocations(&mut at_rest(1000));
    assert!(heartbeats >= 1000);
    assert!(allocated * 4 <= heartbeats * 5, "{allocated} allocations for {heartbeats} heartbeats");
}

#[test]
fn messages_that_wait_hold_what_the_limit_says() {
    // Given: small payloads, which are copied out of their records, and such as keep a record alive that is longer by what is ignored and
    // comes in two reads.
    for (payload, first_read) in [(1024, MESSAGES_MAX), (16 * 1024, MESSAGES_MAX), (16 * 1024, 65_000), (16 * 1024, 33_000)] {
        let limit = 1 << 20;
        let mut bench = Bench::new(Limits { message_bytes: limit, message_bytes_per_subscriber: limit, ..Limits::default() });
        let b = bench.up("b");
        let _subscription = bench.machine.subscribe_messages();
        let held = measure(|| {
            for _ in 0..limit / payload + 1 {
                let mut record = RecordBuilder::with_capacity(MESSAGES_MAX);
                record.push_bytes(kind::PAYLOAD, &vec![7; payload]);
                record.push_bytes(0x60, &vec![0; BODY_MAX - 5 - payload]);
                let data = bench.members.get_mut(&b).expect("up").sealer.seal(record);
                for read in [&data[..first_read], &data[first_read..]] {
                    let data = Bytes::copy_from_slice(read);
                    bench.machine.handle(bench.now, Input::Received { conn: b, data, wall: Default::default() });
                }
                while bench.machine.poll_action().is_some() {}
            }
        });
        assert!(bench.machine.usage().message_bytes_per_subscriber > limit - 2 * payload);
        assert!(held.bytes_current < 4 * limit as i64 + limit as i64 / 8, "{payload} {first_read}: {held:?}");
    }
}

#[test]
fn a_payload_in_pieces_holds_no_more_than_its_limit() {
    let limit = 1 << 20;
    let mut assembler = Assembler::default();
    let held = measure(|| {
        let record = Bytes::from(vec![7; (limit - 1) / 16]);
        let byte = Bytes::from_static(b"7");
        for piece in iter::repeat_n(&record, 16).chain(iter::repeat_n(&byte, limit % ((limit - 1) / 16))) {
            assembler.push(piece, piece, true, limit).expect("within the limit");
        }
    });
    assert_eq!(assembler.len(), limit);
    assert_eq!(held.bytes_current, limit as i64);
}

#[test]
fn a_record_holds_just_its_size() {
    static PAYLOAD: [u8; 70_000] = [7; 70_000];
    let last = MESSAGES_MAX - 15 * 4099 - 5;
    let queues: [(bool, Vec<usize>); 4] = [
        (true, vec![]),
        // This payload goes with the next records, since it has to be cut.
        (true, vec![70_000]),
        (false, vec![70_000]),
        (false, iter::repeat_n(4094, 15).chain([last, 1]).collect()),
    ];
    for (beats, payloads) in queues {
        let mut queue = SendQueue::default();
        if beats {
            queue.push_heartbeat();
        }
        payloads.iter().for_each(|len| queue.push_payload(Bytes::from_static(&PAYLOAD[..*len])));
        let mut sealer = Sealer::new(hmac(&[7; 32]));
        let mut data = Bytes::new();
        let held = measure(|| {
            let (record, _) = queue.next_record(1 << 20, &heartbeat(1), &mut ()).expect("a record");
            data = sealer.seal(record);
        });
        assert_eq!(held.bytes_current, data.len() as i64, "{payloads:?}");
        let cut = payloads.contains(&PAYLOAD.len());
        assert!(cut || held.count_total == 1, "{payloads:?}: {held:?}");
    }
}

#[test]
fn a_queue_that_was_long_gives_its_room_back() {
    let mut queue = SendQueue::default();
    let mut sealer = Sealer::new(hmac(&[7; 32]));
    let held = measure(|| {
        while queue.has_room(0, 1 << 20) {
            queue.push_payload(Bytes::new());
        }
        while let Some((record, _)) = queue.next_record(1 << 20, &heartbeat(1), &mut ()) {
            drop(sealer.seal(record));
        }
    });
    assert!(held.bytes_current < 1024, "{held:?}");

    let mut bench = Bench::new(Limits { message_bytes: 1 << 20, message_bytes_per_subscriber: 1 << 20, ..Limits::default() });
    let b = bench.up("b");
    let subscription = bench.machine.subscribe_messages();
    let held = measure(|| {
        for _ in 0..1 << 14 {
            let mut record = RecordBuilder::with_capacity(5);
            record.push_bytes(kind::PAYLOAD, &[]);
            let data = bench.members.get_mut(&b).expect("up").sealer.seal(record);
            bench.machine.handle(bench.now, Input::Received { conn: b, data, wall: Default::default() });
            while bench.machine.poll_action().is_some() {}
        }
        while bench.machine.poll_message(subscription).is_some() {}
    });
    assert!(held.bytes_current < 2048, "{held:?}");
}
