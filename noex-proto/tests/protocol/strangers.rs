//! What strangers can do to a node: next to nothing.

use std::net::SocketAddr;
use std::time::Duration;

use crate::net::{MS, Net, SECOND, Wire, address, config, id};
use noex_proto::{ClusterError, ClusterEvent, ConnId, Input, Limits, PeerFault, Refusal};

const BUSY: [u8; 6] = [0, 0, 0, 2, 5, 4];

fn from(network: u8, number: usize) -> SocketAddr {
    SocketAddr::from(([192, network, u8::try_from(number / 250).unwrap(), u8::try_from(number % 250).unwrap()], 1234))
}

/// A node that has gone through a session already, so that what it holds can be compared.
fn lone() -> Net {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.run(SECOND);
    net
}

/// How much the machine holds: the number of fields and elements that it would print of itself.
fn size(net: &mut Net) -> usize {
    // Until it has looked up a few times after a long gap, it also holds back its judgement of peers.
    for _ in 0..10 {
        net.run(100 * MS);
        net.feed(0, Input::Tick);
    }
    format!("{:?}", net.nodes[0].machine).matches([',', '{', '(', '[']).count()
}

fn fault(addr: SocketAddr, fault: PeerFault) -> ClusterError {
    ClusterError::Peer { addr, claimed: None, fault, id: None, wanted: None }
}

fn open_conns(net: &Net, conns: &[ConnId]) -> usize {
    conns.iter().filter(|conn| !net.is_closed(0, **conn)).count()
}

#[test]
fn garbage_is_answered_by_a_close() {
    let cases: [(&[u8], PeerFault); 9] = [
        (&[0xff; 4], PeerFault::InvalidMagic),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", PeerFault::InvalidMagic),
        (&[0, 0, 0, 0], PeerFault::InvalidMagic),
        (&[0, 0, 4, 1], PeerFault::InvalidMagic),
        (&[0, 0, 0, 1, 0x10], PeerFault::InvalidMagic),
        (&[0, 0, 0, 1, 3], PeerFault::UnexpectedMessage),
        (&[0, 0, 0, 1, 1], PeerFault::InvalidMagic),
        (b"\0\0\0\x05\x01NOEY", PeerFault::InvalidMagic),
        (b"\0\0\0\x07\x01NOEX\x01\x01", PeerFault::MalformedHandshake),
    ];
    for (bytes, expected) in cases {
        let mut net = lone();
        net.run(SECOND);
        let before = size(&mut net);
        let conn = net.stranger(0, from(0, 1));
        net.say(0, conn, bytes);
        assert!(net.is_closed(0, conn));
        assert!(net.sent_on(0, conn).is_empty(), "a reply");
        assert_eq!(net.errors(0), [fault(from(0, 1), expected)]);
        net.run(10 * SECOND);
        assert_eq!(size(&mut net), before);
        assert_eq!(net.nodes[0].machine.poll_timeout(), None, "nothing is remembered");
    }
}

#[test]
fn random_bytes_are_closed_or_wait_for_the_deadline() {
    let mut net = lone();
    let before = size(&mut net);
    let mut state = 1_u64;
    let mut conns = vec![];
    for number in 0..500 {
        let conn = net.stranger(0, from(0, number));
        let bytes: Vec<u8> = (0..number)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8 & if number % 2 == 0 { 0xff } else { 3 }
            })
            .collect();
        for piece in bytes.chunks(7) {
            net.say(0, conn, piece.to_vec());
        }
        conns.push(conn);
    }
    net.run(5 * SECOND);
    assert_eq!(open_conns(&net, &conns), 0);
    net.run(5 * SECOND);
    assert_eq!(size(&mut net), before);
    assert_eq!(net.nodes[0].machine.poll_timeout(), None);
}

#[test]
fn the_deadline_of_five_seconds_is_not_moved_by_a_trickle() {
    let mut net = lone();
    let silent = net.stranger(0, from(0, 1));
    let trickling = net.stranger(0, from(0, 2));
    for byte in [0, 0, 0, 100] {
        net.run(SECOND);
        net.say(0, trickling, vec![byte]);
    }
    net.run(999 * MS);
    assert_eq!(open_conns(&net, &[silent, trickling]), 2);
    net.say(0, trickling, vec![1]);
    net.run(MS);
    assert_eq!(open_conns(&net, &[silent, trickling]), 0);
    let overdue = |number| fault(from(0, number), PeerFault::HandshakeTimeout);
    assert_eq!(net.errors(0), [overdue(1), overdue(2)]);
}

#[test]
fn a_frame_may_trickle_in_at_a_thousand_and_twenty_four_bytes_and_not_one_more() {
    // A length within the limit holds nothing but what has come.
    let mut net = lone();
    let conn = net.stranger(0, from(0, 1));
    net.say(0, conn, vec![0, 0, 4, 0]);
    assert_eq!(open_conns(&net, &[conn]), 1);
    net.say(0, conn, [&b"\x01NOEX\x01\x01"[..], &[0; 1017]].concat());
    assert_eq!(net.errors(0), [fault(from(0, 1), PeerFault::MalformedHandshake)]);
}

#[test]
fn of_many_from_one_address_the_oldest_make_room() {
    let mut net = lone();
    let before = size(&mut net);
    let conns: Vec<ConnId> = (0..300).map(|_| net.stranger(0, from(0, 1))).collect();
    assert_eq!(open_conns(&net, &conns), 64);
    assert_eq!(open_conns(&net, &conns[236..]), 64, "the youngest are left");
    for conn in &conns[..236] {
        assert_eq!(net.sent_on(0, *conn), BUSY);
    }
    assert_eq!(net.nodes[0].machine.counters().evicted, 236);
    assert_eq!(net.errors(0), [], "to make room is no fault");
    // Another address is not touched by that.
    let other = net.stranger(0, from(0, 2));
    assert_eq!(open_conns(&net, &conns), 64);
    net.run(5 * SECOND);
    assert_eq!(open_conns(&net, &[other]), 0);
    net.run(5 * SECOND);
    assert_eq!(size(&mut net), before);
    assert_eq!(net.nodes[0].machine.poll_timeout(), None);
}

#[test]
fn all_of_one_ipv6_network_count_as_one_address() {
    let mut net = lone();
    let v6 = |network: u16, number: u16| SocketAddr::from(([0x2001, 0xdb8, 0, network, 0, 0, 0, number], 1));
    let conns: Vec<ConnId> = (0..100).map(|number| net.stranger(0, v6(1, number))).collect();
    assert_eq!(open_conns(&net, &conns), 64);
    let others: Vec<ConnId> = (0..64).map(|number| net.stranger(0, v6(2, number))).collect();
    assert_eq!((open_conns(&net, &conns), open_conns(&net, &others)), (64, 64));
    // An IPv4 address in the clothes of IPv6 is that IPv4 address.
    let mapped: Vec<ConnId> = (0..70)
        .map(|number| {
            let IpAddrs(plain, mapped) = IpAddrs::new();
            net.stranger(0, if number % 2 == 0 { plain } else { mapped })
        })
        .collect();
    assert_eq!(open_conns(&net, &mapped), 64);
}

struct IpAddrs(SocketAddr, SocketAddr);

impl IpAddrs {
    fn new() -> Self {
        Self("192.0.2.1:1".parse().unwrap(), "[::ffff:192.0.2.1]:1".parse().unwrap())
    }
}

#[test]
fn in_all_at_most_256_wait_and_the_address_with_the_most_makes_room() {
    let mut net = lone();
    // Three from one address, then one each from many.
    let crowd: Vec<ConnId> = (0..3).map(|_| net.stranger(0, from(7, 7))).collect();
    net.run(1500 * MS);
    let many: Vec<ConnId> = (0..253).map(|number| net.stranger(0, from(0, number))).collect();
    net.run(1100 * MS);
    assert_eq!(open_conns(&net, &crowd) + open_conns(&net, &many), 256);
    let mut next = 1000;
    let mut come = |net: &mut Net| {
        next += 1;
        net.stranger(0, from(1, next))
    };
    let mut late = vec![come(&mut net)];
    assert_eq!([0, 1, 2].map(|i| net.is_closed(0, crowd[i])), [true, false, false]);
    late.push(come(&mut net));
    assert_eq!([0, 1, 2].map(|i| net.is_closed(0, crowd[i])), [true, true, false]);
    // Now each address has one: the oldest goes.
    late.push(come(&mut net));
    assert_eq!([0, 1, 2].map(|i| net.is_closed(0, crowd[i])), [true, true, true]);
    late.push(come(&mut net));
    assert_eq!(many.iter().position(|conn| net.is_closed(0, *conn)), Some(0));
    late.push(come(&mut net));
    assert_eq!([0, 1, 2].map(|i| net.is_closed(0, many[i])), [true, true, false]);
    assert_eq!(open_conns(&net, &crowd) + open_conns(&net, &many) + open_conns(&net, &late), 256);
    assert_eq!(open_conns(&net, &late), 5, "none younger than a second while an older one exists");
    assert_eq!(net.sent_on(0, many[0]), BUSY);
}

#[test]
fn a_crowd_that_is_young_makes_room_only_when_nobody_is_older() {
    let mut net = lone();
    let old = net.stranger(0, from(9, 9));
    net.run(SECOND);
    let crowd: Vec<ConnId> = (0..4)
        .flat_map(|network| (0..64).map(move |_| network))
        .take(255)
        .map(|network| net.stranger(0, from(network, 1)))
        .collect();
    assert_eq!(open_conns(&net, &crowd), 255);
    let first = net.stranger(0, from(20, 1));
    assert!(net.is_closed(0, old), "the only one of age, though its address has but one");
    assert_eq!(open_conns(&net, &crowd), 255);
    let second = net.stranger(0, from(21, 1));
    assert_eq!(open_conns(&net, &crowd), 254, "all are young: one of the address with the most goes");
    assert!(net.is_closed(0, crowd[0]), "its oldest");
    assert_eq!(open_conns(&net, &[first, second]), 2);
}

#[test]
fn a_node_joins_through_a_flood_of_strangers_who_are_reported_at_a_bounded_rate() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0).forget_after(60 * SECOND));
    net.run(SECOND);
    let before = size(&mut net);
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    let mut conns = vec![];
    let mut faults = 0;
    // A hundred per millisecond, each from another address, most of them rude.
    for millisecond in 0..100 {
        for number in 0..100 {
            let conn = net.stranger(0, from(millisecond, number));
            conns.push(conn);
            if number % 10 != 0 {
                net.say(0, conn, vec![0xff; 4]);
                faults += 1;
            }
        }
        assert!(open_conns(&net, &conns) <= 256);
        net.run(MS);
    }
    assert!(net.is_mesh(&[0, 1]), "{:#?}", net.nodes[1].events);
    net.run(30 * SECOND);
    assert_eq!(open_conns(&net, &conns), 0);
    let reported = net.errors(0);
    let suppressed: u64 = reported
        .iter()
        .filter_map(|error| match error {
            ClusterError::Suppressed { count } => Some(*count),
            _ => None,
        })
        .sum();
    let told = reported.iter().filter(|error| matches!(error, ClusterError::Peer { .. })).count() as u64;
    let counters = net.nodes[0].machine.counters();
    assert_eq!(counters.reports_held_back, suppressed);
    assert_eq!(told + suppressed, counters.faults, "each fault is reported or summed up");
    assert!(counters.faults >= faults);
    // In no second more than the limit and one sum.
    let times: Vec<Duration> =
        net.nodes[0].events.iter().filter(|(_, event)| matches!(event, ClusterEvent::Error(_))).map(|(at, _)| *at).collect();
    for (i, at) in times.iter().enumerate() {
        let within = times[i..].iter().take_while(|later| **later < *at + SECOND).count();
        assert!(within <= 2 * 16 + 1, "{within} in a second");
    }
    net.feed(1, Input::Stop);
    net.run(2 * SECOND);
    // It remembers who left, for as long as it is told to.
    assert_ne!(size(&mut net), before);
    net.run(60 * SECOND);
    assert_eq!(size(&mut net), before);
}

#[test]
fn sums_of_held_back_reports_are_exact() {
    let limits = Limits::default().error_reports_per_second(3);
    let mut net = Net::new(1);
    net.start(0, config("a", 0).limits(limits));
    net.run(SECOND);
    for number in 0..10 {
        let conn = net.stranger(0, from(0, number));
        net.say(0, conn, vec![0xff; 4]);
    }
    let told: Vec<_> = (0..3).map(|number| fault(from(0, number), PeerFault::InvalidMagic)).collect();
    assert_eq!(net.errors(0), told);
    net.run(SECOND);
    assert_eq!(net.errors(0)[3..], [ClusterError::Suppressed { count: 7 }]);
    net.run(10 * SECOND);
    assert_eq!(net.errors(0).len(), 4, "and nothing more");
    assert_eq!(net.nodes[0].machine.poll_timeout(), None);
}

#[test]
fn a_busy_responder_is_no_failure() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    // The node's connection is the oldest of its address when others come from there.
    net.run(MS);
    let crowd: Vec<ConnId> = (0..64).map(|_| net.stranger(0, "10.0.0.2:1".parse().unwrap())).collect();
    net.run(10 * MS);
    assert_eq!(net.errors(1), [ClusterError::Refused { addr: address(0), reason: Refusal::Busy }]);
    assert_eq!(net.nodes[1].machine.counters().dial_failures, 0);
    for conn in crowd {
        net.feed(0, Input::Closed { conn });
    }
    net.run(2 * SECOND);
    assert!(net.is_mesh(&[0, 1]));
}

#[test]
fn a_session_that_is_never_offered_or_never_introduced_ends_after_ten_seconds() {
    // The greater, `b`, waits for an offer, then for an introduction; the lesser for an introduction. What comes later is held back.
    for (from, frames, waits) in [(0, 2, 1), (0, 3, 1), (1, 2, 0)] {
        let mut net = Net::new(2);
        net.start(0, config("a", 0).heartbeat_interval(10 * SECOND));
        net.start(1, config("b", 1).heartbeat_interval(10 * SECOND).seeds([id("a", 0).to_string()]));
        let mut sent = 0;
        net.wire = Some(Wire(Box::new(move |sender, _, data| {
            if sender != from {
                return data;
            }
            sent += 1;
            if sent <= frames { data } else { bytes::Bytes::new() }
        })));
        net.run(9990 * MS);
        let overdue = |error: &ClusterError| matches!(error, ClusterError::Peer { fault: PeerFault::HandshakeTimeout, id: Some(found), .. } if found.name() == ["a", "b"][from]);
        assert!(!net.errors(waits).iter().any(overdue), "{from} {frames} {:#?}", net.all_events());
        net.run(50 * MS);
        assert_eq!(net.errors(waits).iter().filter(|error| overdue(error)).count(), 1, "{from} {frames} {:#?}", net.all_events());
    }
}
