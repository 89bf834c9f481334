//! Each rule that a stranger can break, and each refusal, through the machine: what the application hears of it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use crate::net::{MS, Net, SECOND, Wire, address, config, id};
use bytes::Bytes;
use noex_proto::{
    Action, ClusterConfig, ClusterError, ClusterEvent, ConnId, Input, Instant, LocalFault, Machine, PeerFault, Refusal,
    Unreached, WallTime,
};

/// The first frame of a dialler that has a secret.
#[derive(Clone)]
pub(crate) struct Hello {
    pub(crate) flags: u8,
    pub(crate) id: &'static [u8],
    pub(crate) interval_ms: u32,
    pub(crate) nonce: [u8; 32],
    pub(crate) target: &'static [u8],
    pub(crate) zero: u8,
}

pub(crate) const HELLO: Hello =
    Hello { flags: 1, id: b"b@10.0.0.2:4369", interval_ms: 1000, nonce: [7; 32], target: b"a@10.0.0.1:4369", zero: 0 };

/// Where the responder's nonce stands in its first frame.
const NONCE: std::ops::Range<usize> = 13..45;

impl Hello {
    pub(crate) fn frame(&self) -> Bytes {
        let field = |field: &[u8]| [&u16::try_from(field.len()).unwrap().to_be_bytes(), field].concat();
        framed(&[
            b"\x01NOEX\x01\x01",
            &[self.flags, self.zero],
            &self.nonce,
            &[9; 16],
            &[0; 8],
            &self.interval_ms.to_be_bytes(),
            &field(self.id),
            &field(self.target),
            &field(b""),
        ])
    }
}

fn framed(parts: &[&[u8]]) -> Bytes {
    let frame = parts.concat();
    [&u32::try_from(frame.len()).unwrap().to_be_bytes(), &frame[..]].concat().into()
}

/// What a node with a secret sends a stranger who sends these bytes, and what it reports.
fn answer(net: &mut Net, bytes: impl Into<Bytes>) -> (Vec<u8>, Vec<ClusterError>) {
    let conn = net.stranger(0, address(1));
    net.say(0, conn, bytes);
    (net.sent_on(0, conn), net.errors(0))
}

fn node() -> Net {
    let mut net = Net::new(1);
    net.start(0, config("a", 0));
    net
}

#[test]
fn each_fault_of_a_first_frame_is_reported_and_few_are_answered() {
    let (challenge, errors) = answer(&mut node(), HELLO.frame());
    assert_eq!((challenge[4], errors.len()), (2, 0));
    // The same node draws the same nonce.
    let nonce = challenge[NONCE].try_into().unwrap();
    let cases: [(Hello, PeerFault, &[u8]); 9] = [
        (Hello { flags: 0, ..HELLO }, PeerFault::AuthenticationMissing, &[0, 0, 0, 2, 5, 2]),
        (Hello { flags: 3, ..HELLO }, PeerFault::ReservedFlags, &[]),
        (Hello { target: b"x@10.0.0.1:4369", ..HELLO }, PeerFault::WrongTarget, &[0, 0, 0, 2, 5, 5]),
        (Hello { id: b"b@10.0.0.2:04369", ..HELLO }, PeerFault::InvalidNodeId, &[]),
        (Hello { id: b"b@EXAMPLE.org:1", ..HELLO }, PeerFault::InvalidNodeId, &[]),
        (Hello { interval_ms: 99, ..HELLO }, PeerFault::IntervalOutOfBounds, &[]),
        (Hello { interval_ms: 600_001, ..HELLO }, PeerFault::IntervalOutOfBounds, &[]),
        (Hello { nonce, ..HELLO }, PeerFault::NonceReused, &[]),
        (Hello { zero: 1, ..HELLO }, PeerFault::MalformedHandshake, &[]),
    ];
    for (hello, fault, reply) in cases {
        let (sent, errors) = answer(&mut node(), hello.frame());
        // What cannot be read to its end names nobody.
        let unread = matches!(fault, PeerFault::InvalidNodeId | PeerFault::MalformedHandshake | PeerFault::ReservedFlags);
        let claimed = (!unread).then(|| id("b", 1));
        let wanted = (fault == PeerFault::WrongTarget).then(|| id("x", 0));
        assert_eq!(errors, [ClusterError::Peer { addr: address(1), claimed, fault, id: None, wanted }]);
        assert_eq!(sent, reply, "{fault:?}");
    }
}

#[test]
fn the_longest_handshake_that_fits_its_frames_is_heard_to_its_end() {
    // A first frame within its own rules is far from the limit on frames; what follows it may be as long as the limit.
    let mut net = node();
    let conn = net.stranger(0, address(1));
    net.say(0, conn, HELLO.frame());
    net.say(0, conn, framed(&[&[3], &[0; 1023]]));
    assert_eq!(
        net.errors(0),
        [ClusterError::Peer {
            addr: address(1),
            claimed: Some(id("b", 1)),
            fault: PeerFault::MalformedHandshake,
            id: None,
            wanted: None
        }]
    );
    assert!(net.is_closed(0, conn));
}

/// A node that dials its seed, and the number of the dial once it is made.
fn dialler() -> (Machine, noex_proto::SubscriptionId, ConnId) {
    let mut machine = Machine::new();
    let events = machine.subscribe_events();
    let seeds = [id("s", 9).to_string()];
    machine.start(Instant::START, config("a", 0).seeds(seeds)).unwrap();
    machine.handle(Instant::START, Input::Listening { entropy: [1; 32], local: address(0), network: Box::default() });
    let conn = dialled(&mut machine).unwrap();
    machine.handle(Instant::START, Input::Connected { conn, remote: address(9) });
    (machine, events, conn)
}

/// The number of the dial that is among the machine's actions.
fn dialled(machine: &mut Machine) -> Option<ConnId> {
    std::iter::from_fn(|| machine.poll_action()).find_map(|action| match action {
        Action::Connect { conn, .. } => Some(conn),
        _ => None,
    })
}

fn errors(machine: &mut Machine, events: noex_proto::SubscriptionId) -> Vec<ClusterError> {
    let errors = std::iter::from_fn(|| machine.poll_event(events)).filter_map(|event| match event {
        ClusterEvent::Error(error) => Some(error),
        _ => None,
    });
    errors.collect()
}

#[test]
fn each_rejection_is_reported_with_its_reason() {
    let reasons = [
        Refusal::Version,
        Refusal::AuthenticationRequired,
        Refusal::AuthenticationNotOffered,
        Refusal::Busy,
        Refusal::NotTheTarget,
        Refusal::AuthenticationFailed,
        Refusal::Unknown(7),
    ];
    for (reason, code) in reasons.into_iter().zip(1..) {
        let (mut machine, events, conn) = dialler();
        let data = Bytes::copy_from_slice(&[0, 0, 0, 2, 5, code]);
        machine.handle(Instant::START, Input::Received { conn, data, wall: WallTime::default() });
        let refused = ClusterError::Refused { addr: address(9), reason };
        let unreachable = ClusterError::SeedUnreachable { seed: id("s", 9).into(), why: Unreached::Refused(reason) };
        let busy = reason == Refusal::Busy;
        let expected = if busy { vec![refused] } else { vec![refused, unreachable] };
        assert_eq!(errors(&mut machine, events), expected);
    }
}

#[test]
fn a_seed_that_hangs_up_is_unreachable() {
    let (mut machine, events, conn) = dialler();
    machine.handle(Instant::START, Input::Closed { conn });
    let closed = ClusterError::SeedUnreachable { seed: id("s", 9).into(), why: Unreached::Closed };
    assert_eq!(errors(&mut machine, events), [closed]);
}

#[test]
fn a_reflected_first_frame_of_a_responder_is_a_fault() {
    // A rogue at the seed's address answers with the dialler's own nonce.
    let (mut machine, events, conn) = dialler();
    let hello = std::iter::from_fn(|| machine.poll_action())
        .find_map(|action| match action {
            Action::Transmit { data, .. } => Some(data),
            _ => None,
        })
        .unwrap();
    let nonce = &hello[13..45];
    let other = id("s", 9).to_string();
    let len = u16::try_from(other.len()).unwrap().to_be_bytes();
    let interval = 1000_u32.to_be_bytes();
    let fields: [&[u8]; 8] = [b"\x02NOEX\x01\x01\x01\x01", nonce, &[9; 16], &[0; 8], &interval, &len, other.as_bytes(), &[0, 0]];
    let challenge = framed(&fields);
    machine.handle(Instant::START, Input::Received { conn, data: challenge, wall: WallTime::default() });
    let fault = PeerFault::NonceReused;
    let unreachable = ClusterError::SeedUnreachable { seed: id("s", 9).into(), why: Unreached::Fault(fault) };
    assert_eq!(
        errors(&mut machine, events),
        [ClusterError::Peer { addr: address(9), claimed: None, fault, id: None, wanted: None }, unreachable]
    );
}

#[test]
fn a_node_that_can_tell_only_its_loopback_address_says_so() {
    let mut machine = Machine::new();
    let events = machine.subscribe_events();
    machine.start(Instant::START, ClusterConfig::new("a").host("0.0.0.0").cluster_secret("sixteen bytes, at least")).unwrap();
    let local = "0.0.0.0:4369".parse().unwrap();
    machine.handle(Instant::START, Input::Listening { entropy: [1; 32], local, network: Box::default() });
    assert_eq!(errors(&mut machine, events), [ClusterError::Local(LocalFault::LoopbackAdvertised)]);
}

#[test]
fn what_the_driver_reports_is_heard() {
    let mut net = node();
    let fault = LocalFault::Accept { cause: "too many open files".into() };
    net.feed(0, Input::Report(fault.clone()));
    net.run(10 * MS);
    assert_eq!(net.errors(0), [ClusterError::Local(fault)]);
}

#[test]
fn the_first_frame_to_a_known_node_names_it_and_that_to_a_seed_does_not() {
    let mut net = Net::new(2);
    let hellos = Rc::new(RefCell::new([const { Vec::new() }; 2]));
    let sent = Rc::clone(&hellos);
    net.wire = Some(Wire(Box::new(move |from, _, data| {
        if data.get(4) == Some(&1) {
            let name = [b"b@10.0.0.2:4369", b"a@10.0.0.1:4369"][from];
            sent.borrow_mut()[from].push(data.windows(name.len()).any(|bytes| bytes == name));
        }
        data
    })));
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([format!("any@{}", address(0))]));
    net.run(100 * MS);
    assert!(net.is_mesh(&[0, 1]));
    net.reset(0, 1);
    net.run(5 * SECOND);
    assert!(net.is_mesh(&[0, 1]));
    let [of_a, of_b] = &*hellos.borrow();
    assert!(!of_a.is_empty() && of_a.iter().all(|named| *named), "{of_a:?}");
    assert!(!of_b.is_empty() && of_b.iter().all(|named| !*named), "{of_b:?}");
}

#[test]
fn a_seed_that_answers_each_dial_by_the_same_fault_is_reported_once() {
    let (mut machine, events, mut conn) = dialler();
    let addr = address(9);
    for _ in 0..5 {
        let now = machine.now();
        // A frame of no bytes.
        machine.handle(now, Input::Received { conn, data: Bytes::from_static(&[0; 4]), wall: WallTime::default() });
        conn = loop {
            if let Some(conn) = dialled(&mut machine) {
                break conn;
            }
            let due = machine.poll_timeout().unwrap();
            machine.handle(due, Input::Tick);
        };
        let now = machine.now();
        machine.handle(now, Input::Connected { conn, remote: addr });
    }
    let fault = PeerFault::InvalidMagic;
    let unreachable = ClusterError::SeedUnreachable { seed: id("s", 9).into(), why: Unreached::Fault(fault) };
    assert_eq!(
        errors(&mut machine, events),
        [ClusterError::Peer { addr, claimed: None, fault, id: None, wanted: None }, unreachable]
    );
}

#[test]
fn what_is_not_noex_is_told_as_that() {
    let first_bytes: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        // A greeting of TLS; of SSH; of a database; an empty line; zeros; a word.
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\0\0\0\x12\0\x03\0\0user\0postgres\0",
        b"\r\n\r\n",
        &[0; 16],
        b"PING\r\n",
    ];
    for bytes in first_bytes {
        let (sent, errors) = answer(&mut node(), bytes);
        let fault = PeerFault::InvalidMagic;
        assert_eq!(errors, [ClusterError::Peer { addr: address(1), claimed: None, fault, id: None, wanted: None }], "{bytes:?}");
        assert!(sent.is_empty(), "{sent:?}");
    }
    // What began well is told by what is wrong with it.
    let mut net = node();
    let conn = net.stranger(0, address(1));
    net.say(0, conn, HELLO.frame());
    net.say(0, conn, &b"GET / HTTP/1.1"[..]);
    let [ClusterError::Peer { fault: PeerFault::FrameTooLong, .. }] = &net.errors(0)[..] else { panic!("{:?}", net.errors(0)) };
}

#[test]
fn the_same_of_the_same_dialler_is_reported_once_an_hour() {
    let mut net = node();
    let old = Hello { target: b"old@10.0.0.1:4369", ..HELLO };
    let dial = |net: &mut Net, host: usize, bytes: Bytes| {
        // From another port each time.
        let port = 40_000 + u16::try_from(net.nodes[0].machine.counters().accepted).unwrap();
        let conn = net.stranger(0, SocketAddr::new(address(host).ip(), port));
        net.say(0, conn, bytes);
    };
    let told = |net: &mut Net| {
        let told: Vec<String> = net.errors(0).iter().map(ToString::to_string).collect();
        net.clear_events();
        told
    };
    // An address has a new owner, and a peer that was there before goes on to dial the old one.
    for _ in 0..100 {
        dial(&mut net, 1, old.frame());
        net.run(35 * SECOND);
    }
    assert_eq!(told(&mut net), ["peer 10.0.0.2 (claims to be b@10.0.0.2:4369) wanted old@10.0.0.1:4369, which is not here"]);
    assert_eq!(net.nodes[0].machine.counters().faults, 100, "all are counted");
    // Another node that it wants, another identity that it claims, another address, or another fault is news.
    dial(&mut net, 1, Hello { target: b"older@10.0.0.1:4369", ..HELLO }.frame());
    dial(&mut net, 1, Hello { id: b"c@10.0.0.2:4369", ..old.clone() }.frame());
    dial(&mut net, 2, old.frame());
    dial(&mut net, 1, Hello { flags: 0, ..HELLO }.frame());
    dial(&mut net, 1, Bytes::from_static(b"GET / HTTP/1.1"));
    dial(&mut net, 1, Bytes::from_static(b"SSH-2.0-OpenSSH_9.6"));
    let news = told(&mut net);
    assert_eq!(news.len(), 5, "{news:#?}");
    assert!(
        news[3].ends_with("(claims to be b@10.0.0.2:4369): it offers no authentication, which is required here"),
        "{news:#?}"
    );
    assert!(news[4].ends_with(": not the noex protocol"), "{news:#?}");
    // An identity that is none is not repeated.
    dial(&mut net, 3, Hello { target: b"Old@EXAMPLE.org:1", ..HELLO }.frame());
    let [text] = &told(&mut net)[..] else { panic!("not told") };
    assert!(text.ends_with("(claims to be b@10.0.0.2:4369): another node than was wanted"), "{text}");
    // After an hour it is told again.
    net.run(100 * SECOND);
    dial(&mut net, 1, old.frame());
    assert_eq!(told(&mut net).len(), 1);
}
