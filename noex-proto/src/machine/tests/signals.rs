//! Signals of the layer above: when they may come, how large ones come together, and how they leave.

use std::vec;
use std::vec::Vec;

use super::{ADDRESS, Bench, MS, intro, node};
use crate::machine::Run;
use crate::mesh::cx::{Above, Cx, Outward, SIGNALS};
use crate::mesh::event::{MeshEvent, PeerKey};
use crate::wire::message::kind;
use crate::wire::record::RecordBuilder;
use crate::wire::signal::HEAD_MAX;
use crate::{Bytes, ConnId, Instant, Limits, PeerFault, WallTime};

const LIMIT: usize = 100;

/// A node is up, and each end announces that it takes signals, or does not.
fn up(own: u64, of_peer: u64) -> (Bench, ConnId) {
    let mut bench = Bench::new(Limits { message_bytes: LIMIT, ..Limits::default() });
    let Run::Active(active) = &mut bench.machine.run else { panic!("it runs") };
    active.local.caps = own;
    bench.caps = of_peer;
    let conn = bench.authenticate(&node("z"), 1, ADDRESS);
    bench.say(conn, &[intro(1)]);
    bench.actions.clear();
    (bench, conn)
}

/// Does something with the node by hand. What it tells the layers above.
fn told(bench: &mut Bench, above: &mut dyn Above, act: impl FnOnce(&mut crate::mesh::node::Node, &mut Cx<'_>)) -> Vec<MeshEvent> {
    let machine = &mut bench.machine;
    let Run::Active(active) = &mut machine.run else { panic!("it runs") };
    active.local.now = bench.now;
    act(&mut active.node, &mut Cx { host: &mut machine.host, local: &mut active.local, above });
    machine.host.events.drain(..).collect()
}

fn sealed(bench: &mut Bench, conn: ConnId, messages: &[(u8, usize)]) -> Bytes {
    let mut record = RecordBuilder::with_capacity(0);
    for (of, len) in messages {
        // A control message's body is a map, here an empty one.
        let byte = if *of == kind::GOODBYE { 0xA0 } else { 7 };
        record.push_bytes(*of, &vec![byte; *len]);
    }
    bench.members.get_mut(&conn).expect("a member").sealer.seal(record)
}

/// The peer says this in one record: what came of it.
fn say(bench: &mut Bench, conn: ConnId, messages: &[(u8, usize)]) -> Vec<MeshEvent> {
    let mut data = sealed(bench, conn, messages);
    told(bench, &mut (), |node, cx| while node.read(cx, conn, &mut data, WallTime::default()) {})
}

/// The faults that the peer is blamed for where it says this.
fn faults(caps: (u64, u64), messages: &[(u8, usize)]) -> Vec<PeerFault> {
    let (mut bench, conn) = up(caps.0, caps.1);
    let record = sealed(&mut bench, conn, messages);
    bench.receive(conn, record);
    bench.faults()
}

const BOTH: (u64, u64) = (SIGNALS, SIGNALS);
/// What the process layer finds of these signals, once they are whole.
const NO_SENSE: PeerFault = PeerFault::MalformedBody;
const MORE_PAYLOAD: u8 = kind::PAYLOAD | kind::MORE;
const MORE_SIGNAL: u8 = kind::SIGNAL | kind::MORE;

#[test]
fn signals_are_taken_where_both_ends_said_so() {
    for caps in [(0, 0), (SIGNALS, 0), (0, SIGNALS), (SIGNALS, 2)] {
        assert_eq!(faults(caps, &[(kind::SIGNAL, 3)]), [PeerFault::UnknownMessage], "{caps:?}");
    }
    assert_eq!(faults(BOTH, &[(kind::SIGNAL, 3)]), [NO_SENSE]);
}

#[test]
fn a_signal_before_the_session_is_up_is_a_fault() {
    let (mut bench, _) = up(SIGNALS, SIGNALS);
    let conn = bench.authenticate(&node("y"), 1, ADDRESS);
    let record = sealed(&mut bench, conn, &[(kind::SIGNAL, 3)]);
    bench.receive(conn, record);
    assert_eq!(bench.faults(), [PeerFault::UnexpectedMessage]);
}

#[test]
fn a_signal_is_whole_with_its_last_piece_and_came_with_its_first() {
    let (mut bench, conn) = up(SIGNALS, SIGNALS);
    let began = bench.now;
    assert!(say(&mut bench, conn, &[(MORE_SIGNAL, 3)]).is_empty());
    bench.now = bench.now + 5 * MS;
    let events = say(&mut bench, conn, &[(kind::SIGNAL, 4), (kind::SIGNAL, 1)]);
    let now = bench.now;
    let came = |event: &MeshEvent| match event {
        MeshEvent::Signal { peer, bytes, since } => (peer.0, bytes.len(), *since),
        other => panic!("{other:?}"),
    };
    let came: Vec<(ConnId, usize, Instant)> = events.iter().map(came).collect();
    assert_eq!(came, [(conn, 7, began), (conn, 1, now)]);
}

#[test]
fn nothing_else_may_stand_between_the_pieces() {
    for messages in [
        [(MORE_SIGNAL, 3), (kind::PAYLOAD, 1)],
        [(MORE_SIGNAL, 3), (MORE_PAYLOAD, 1)],
        [(MORE_PAYLOAD, 3), (kind::SIGNAL, 1)],
        [(MORE_PAYLOAD, 3), (MORE_SIGNAL, 1)],
    ] {
        assert_eq!(faults(BOTH, &messages), [PeerFault::UnexpectedMessage], "{messages:?}");
    }
    assert_eq!(faults(BOTH, &[(MORE_PAYLOAD, 3), (kind::PAYLOAD, 0), (MORE_SIGNAL, 3), (kind::SIGNAL, 0)]), [NO_SENSE]);
}

#[test]
fn a_signal_may_be_longer_than_a_payload_by_the_longest_head() {
    assert_eq!(faults(BOTH, &[(MORE_SIGNAL, LIMIT), (kind::SIGNAL, HEAD_MAX)]), [NO_SENSE]);
    assert_eq!(faults(BOTH, &[(MORE_SIGNAL, LIMIT), (kind::SIGNAL, HEAD_MAX + 1)]), [PeerFault::MessageTooLarge]);
}

#[test]
fn nothing_of_a_record_is_taken_behind_what_is_a_fault() {
    let (mut bench, conn) = up(SIGNALS, SIGNALS);
    let messages = bench.machine.subscribe_messages();
    // Given: two casts to nobody and two payloads, and between them the answer to a call that was never made.
    let cast = [0x83, 0, 1, 0];
    let mut record = RecordBuilder::with_capacity(0);
    for (of, body) in [
        (kind::SIGNAL, &cast[..]),
        (kind::PAYLOAD, b"before"),
        (kind::SIGNAL, &[0x82, 2, 1]),
        (kind::SIGNAL, &cast[..]),
        (kind::PAYLOAD, b"behind"),
    ] {
        record.push_bytes(of, body);
    }
    let data = bench.members.get_mut(&conn).expect("a member").sealer.seal(record);
    bench.receive(conn, data);
    assert_eq!(bench.faults(), [PeerFault::NeverAsked]);
    assert_eq!(bench.machine.counters().casts_dropped, 1);
    let payload = |message: Option<Result<crate::Message, _>>| message.map(|message| message.expect("there is room").payload);
    assert_eq!(payload(bench.machine.poll_message(messages)).as_deref(), Some(&b"before"[..]));
    assert_eq!(bench.machine.poll_message(messages), None);
}

#[test]
fn nothing_of_a_record_is_told_behind_a_goodbye() {
    let (mut bench, conn) = up(SIGNALS, SIGNALS);
    let events = say(&mut bench, conn, &[(kind::SIGNAL, 1), (kind::GOODBYE, 1), (kind::SIGNAL, 1), (kind::PAYLOAD, 1)]);
    assert!(matches!(events[..], [MeshEvent::Signal { .. }, MeshEvent::Down { .. }]), "{events:?}");
}

#[test]
fn a_signal_leaves_when_the_layer_above_says_so_and_not_to_those_that_take_none() {
    #[derive(Debug)]
    struct Waiting(usize);
    impl Above for Waiting {
        fn waits(&self, _: PeerKey) -> usize {
            self.0
        }

        fn is_in_transit(&self, _: PeerKey) -> bool {
            false
        }

        fn write_next(&mut self, _: &mut Outward<'_>, _: PeerKey, record: &mut RecordBuilder) -> bool {
            let waits = std::mem::take(&mut self.0);
            if waits > 0 {
                record.push_bytes(kind::SIGNAL, &vec![7; waits]);
            }
            waits > 0
        }
    }
    for (caps, left) in [(SIGNALS, 0), (0, 9)] {
        let (mut bench, conn) = up(caps, SIGNALS);
        let mut above = Waiting(9);
        told(&mut bench, &mut above, |node, cx| node.send_signals(cx, PeerKey(conn)));
        assert_eq!((above.0, bench.machine.poll_action().is_some()), (left, left == 0));
    }
}

#[test]
fn a_peer_that_breaks_a_rule_of_the_layer_above_is_down() {
    let (mut bench, conn) = up(SIGNALS, SIGNALS);
    let events = told(&mut bench, &mut (), |node, cx| node.blame(cx, PeerKey(conn), PeerFault::MalformedRecord));
    let [MeshEvent::Error(_), MeshEvent::Down { peer, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*peer, PeerKey(conn));
}
