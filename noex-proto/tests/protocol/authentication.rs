//! Who is let in: a golden session, every way to fail the proof, attacks on the path, and the rotation of secrets.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

use crate::net::{Host, MS, Net, SECOND, Wire, address, config, id};
use bytes::Bytes;
use noex_proto::{
    ClusterConfig, ClusterError, ClusterEvent, Input, Instant, LocalFault, Machine, NodeDownReason, NodeId, PeerFault, Refusal,
    Secret, SecretUse, Unreached,
};

const OLD: &str = "correct horse battery staple";
const NEW: &str = "a quite different secret";

/// Every piece that was sent, with its sender and its receiver.
type Log = Rc<RefCell<Vec<(Host, Host, Bytes)>>>;

fn listen(net: &mut Net) -> Log {
    let log = Log::default();
    let copy = Rc::clone(&log);
    net.wire = Some(Wire(Box::new(move |from, to, data| {
        copy.borrow_mut().push((from, to, data.clone()));
        data
    })));
    log
}

/// What one host sent to the other, in one string of bytes.
fn stream(log: &Log, from: Host) -> Vec<u8> {
    log.borrow().iter().filter(|(sender, ..)| *sender == from).flat_map(|(.., data)| data.to_vec()).collect()
}

fn hex(data: &[u8]) -> String {
    data.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// `b` dials `a`. The greater id, `b`, decides.
fn pair(a: ClusterConfig, b: ClusterConfig) -> Net {
    let mut net = Net::new(3);
    net.start(0, a);
    net.start(1, b.seeds([id("a", 0).to_string()]));
    net
}

fn seed_unreachable(why: Unreached) -> ClusterError {
    ClusterError::SeedUnreachable { seed: id("a", 0).into(), why }
}

fn fault_of_b(fault: PeerFault, claimed: bool) -> ClusterError {
    ClusterError::Peer {
        addr: "10.0.0.2:50000".parse().unwrap(),
        claimed: claimed.then(|| id("b", 1)),
        fault,
        id: None,
        wanted: None,
    }
}

fn fault_of_a(fault: PeerFault) -> ClusterError {
    ClusterError::Peer { addr: address(0), claimed: None, fault, id: None, wanted: None }
}

fn refused_by_a(reason: Refusal) -> ClusterError {
    ClusterError::Refused { addr: address(0), reason }
}

#[test]
fn a_whole_session_byte_for_byte() {
    let mut net = Net::new(2);
    let log = listen(&mut net);
    net.start(0, config("a", 0));
    net.feed(0, Input::SetProcessCount(7));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(20 * MS);
    net.send(0, &id("b", 1), "from a").unwrap();
    net.send(1, &id("a", 0), "from b").unwrap();
    net.run(1100 * MS);
    net.feed(1, Input::Stop);
    net.run(SECOND);
    assert_eq!(net.downs(0), [(id("b", 1), NodeDownReason::GracefulShutdown)]);
    let mut found = String::new();
    for (from, _, data) in log.borrow().iter() {
        writeln!(found, "{} {}", ["a>b", "b>a"][*from], hex(data)).unwrap();
    }
    assert!(found == include_str!("golden/session.txt"), "the bytes on the wire have changed:\n{found}");
}

#[test]
fn both_sides_hear_why_the_proof_failed_and_nobody_else_is_disturbed() {
    let cases = [
        (config("a", 0), config("b", 1).cluster_secret(NEW), PeerFault::AuthenticationFailed, Refusal::AuthenticationFailed),
        (config("a", 0), config("b", 1).cluster_name("another"), PeerFault::AuthenticationFailed, Refusal::AuthenticationFailed),
        (config("a", 0), open("b", 1), PeerFault::AuthenticationMissing, Refusal::AuthenticationRequired),
        (open("a", 0), config("b", 1), PeerFault::AuthenticationNotOffered, Refusal::AuthenticationNotOffered),
        (open("a", 0), open("b", 1).cluster_name("another"), PeerFault::AuthenticationFailed, Refusal::AuthenticationFailed),
    ];
    for (place, (a, b, fault, refusal)) in cases.into_iter().enumerate() {
        let mut net = Net::new(3);
        let c = if place < 3 { config("c", 2) } else { open("c", 2) };
        net.start(0, a);
        net.start(2, c.seeds([id("a", 0).to_string()]));
        net.run(2 * SECOND);
        net.clear_events();
        net.start(1, b.seeds([id("a", 0).to_string()]));
        net.run(400 * MS);
        assert_eq!(net.errors(0), [fault_of_b(fault, true)]);
        let errors: Vec<_> = net.errors(1).into_iter().filter(|error| !matches!(error, ClusterError::Local(_))).collect();
        assert_eq!(errors, [refused_by_a(refusal), seed_unreachable(Unreached::Refused(refusal))]);
        net.run(60 * SECOND);
        assert_eq!((net.total_ups(), net.total_downs()), (0, 0));
        assert!(net.is_up(0, &id("c", 2)) && net.is_up(2, &id("a", 0)));
        assert_eq!(net.errors(2), [], "{fault:?}");
        assert_eq!(net.errors(1).iter().filter(|error| matches!(error, ClusterError::SeedUnreachable { .. })).count(), 1);
    }
}

/// A path that changes one byte of what `from` sends in its first connection.
fn change_byte(from: Host, at: usize, change: impl Fn(u8) -> u8 + 'static) -> impl FnMut(Host, Host, Bytes) -> Bytes + 'static {
    let mut sent = 0;
    move |sender, _, data| {
        if sender != from {
            return data;
        }
        let mut data = data.to_vec();
        if let Some(byte) = at.checked_sub(sent).and_then(|at| data.get_mut(at)) {
            *byte = change(*byte);
        }
        sent += data.len();
        data.into()
    }
}

#[test]
fn another_version_in_hello() {
    for at in [9, 10] {
        let mut net = pair(config("a", 0), config("b", 1));
        net.wire = Some(Wire(Box::new(change_byte(1, at, move |_| 9 * u8::from(at == 9)))));
        net.run(400 * MS);
        assert_eq!(net.errors(0), [fault_of_b(PeerFault::VersionMismatch, false)]);
        assert_eq!(net.errors(1), [refused_by_a(Refusal::Version), seed_unreachable(Unreached::Refused(Refusal::Version))]);
        assert_eq!(net.total_ups(), 0);
    }
}

#[test]
fn another_version_in_challenge() {
    let mut net = pair(config("a", 0), config("b", 1));
    net.wire = Some(Wire(Box::new(change_byte(0, 9, |_| 2))));
    net.run(400 * MS);
    assert_eq!(net.errors(0), [], "all that it sees is that the stranger has gone");
    assert_eq!(
        net.errors(1),
        [fault_of_a(PeerFault::VersionMismatch), seed_unreachable(Unreached::Fault(PeerFault::VersionMismatch))]
    );
    assert_eq!(net.total_ups(), 0);
}

/// The ups and the payloads of each side after a conversation on one connection, in which the path may do anything.
fn converse(wire: impl FnMut(Host, Host, Bytes) -> Bytes + 'static) -> [(usize, Vec<Bytes>); 2] {
    let mut net = pair(config("a", 0), config("b", 1));
    net.wire = Some(Wire(Box::new(wire)));
    net.run(15 * MS);
    for (from, to) in [(0, id("b", 1)), (1, id("a", 0))] {
        for payload in ["one", "two", "three"] {
            let _ = net.send(from, &to, payload);
            net.run(2 * MS);
        }
    }
    net.run(20 * MS);
    [0, 1].map(|host| (net.ups(host), net.nodes[host].messages.iter().map(|(_, payload)| payload.clone()).collect()))
}

/// The frames and records of a stream: where each ends.
fn ends_of_frames(stream: &[u8]) -> Vec<usize> {
    let mut ends = vec![];
    let mut at = 0;
    while at < stream.len() {
        at += 4 + u32::from_be_bytes(stream[at..at + 4].try_into().unwrap()) as usize;
        ends.push(at);
    }
    ends
}

#[test]
fn whatever_byte_is_changed_the_frame_it_stands_in_and_all_that_follow_say_nothing() {
    let log = Log::default();
    let copy = Rc::clone(&log);
    let whole = converse(move |from, to, data| {
        copy.borrow_mut().push((from, to, data.clone()));
        data
    });
    let payloads: Vec<Bytes> = ["one", "two", "three"].map(Bytes::from).to_vec();
    assert_eq!(whole, [(1, payloads.clone()), (1, payloads)]);
    for from in [0, 1] {
        let to = 1 - from;
        let mut start = 0;
        for end in ends_of_frames(&stream(&log, from)) {
            let mut sent = 0;
            let cut = converse(move |sender, _, mut data| {
                if sender == from {
                    let room = start - sent;
                    data.truncate(room.min(data.len()));
                    sent += data.len();
                }
                data
            });
            for at in start..end {
                let found = converse(change_byte(from, at, move |byte| byte ^ 1 << (at % 8)));
                assert_eq!(found[to], cut[to], "byte {at} of {from}");
            }
            start = end;
        }
    }
}

#[test]
fn a_recorded_session_is_worth_nothing_to_the_responder() {
    let mut net = pair(config("a", 0), config("b", 1));
    let log = listen(&mut net);
    net.run(20 * MS);
    net.send(1, &id("a", 0), "precious").unwrap();
    net.run(20 * MS);
    let recorded = stream(&log, 1);
    let before = net.nodes[0].machine.counters();
    for restarted in [false, true] {
        if restarted {
            net.crash(0);
            net.start(0, config("a", 0));
            net.crash(1);
        }
        net.nodes[0].events.clear();
        net.nodes[0].messages.clear();
        let conn = net.stranger(0, address(2));
        net.say(0, conn, recorded.clone());
        assert!(net.is_closed(0, conn));
        assert_eq!(
            net.errors(0),
            [ClusterError::Peer {
                addr: address(2),
                claimed: Some(id("b", 1)),
                fault: PeerFault::AuthenticationFailed,
                id: None,
                wanted: None
            }]
        );
        assert!(hex(&net.sent_on(0, conn)).ends_with("000000020506"), "the proof does not fit");
        assert_eq!(net.nodes[0].messages, []);
        assert_eq!(net.ups(0), 0);
    }
    assert_eq!(before.ups, 1);
}

#[test]
fn a_recorded_responder_is_worth_nothing_to_an_initiator() {
    let mut net = pair(config("a", 0), config("b", 1));
    let log = listen(&mut net);
    net.run(20 * MS);
    let recorded: Vec<Bytes> = log.borrow().iter().filter(|(from, ..)| *from == 0).map(|(.., data)| data.clone()).collect();
    let mut frames = recorded.into_iter();
    let mut net = pair(config("a", 0), config("b", 1).heartbeat_interval(2 * SECOND));
    net.wire = Some(Wire(Box::new(move |from, _, data| if from == 0 { frames.next().unwrap_or(data) } else { data })));
    net.run(400 * MS);
    // The recorded AUTH_OK comes in place of the REJECT.
    assert_eq!(
        net.errors(1),
        [fault_of_a(PeerFault::AuthenticationFailed), seed_unreachable(Unreached::Fault(PeerFault::AuthenticationFailed))]
    );
    assert_eq!(net.total_ups(), 0);
}

#[test]
fn a_session_that_is_reflected_is_refused() {
    // Each frame comes back to its sender, or the whole connection is led to the sender's own port.
    let mut net = Net::new(2);
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.start(0, config("a", 0));
    let back = Rc::new(RefCell::new(Vec::<Bytes>::new()));
    let copy = Rc::clone(&back);
    net.wire = Some(Wire(Box::new(move |from, _, data| {
        if from == 1 {
            copy.borrow_mut().push(data.clone());
            return data;
        }
        copy.borrow_mut().pop().unwrap_or(data)
    })));
    net.run(400 * MS);
    assert_eq!(net.total_ups(), 0);
    assert!(net.errors(1).contains(&fault_of_a(PeerFault::UnexpectedMessage)), "{:?}", net.errors(1));

    let mut net = Net::new(2);
    net.names.insert("a".into(), vec![address(1)]);
    net.start(1, config("b", 1).seeds(["a@a:4369"]));
    net.run(10 * SECOND);
    assert_eq!(net.total_ups(), 0);
    assert_eq!(net.errors(1), [], "it met itself: that is no fault");
}

#[test]
fn a_record_of_the_other_direction_or_of_another_session_is_refused() {
    for of_other_session in [false, true] {
        let mut net = pair(config("a", 0), config("b", 1));
        let log = listen(&mut net);
        net.run(20 * MS);
        net.send(1, &id("a", 0), "precious").unwrap();
        net.send(0, &id("b", 1), "precious").unwrap();
        net.run(5 * MS);
        let from = if of_other_session { 1 } else { 0 };
        let record = log.borrow().iter().rev().find(|(sender, ..)| *sender == from).unwrap().2.clone();
        if of_other_session {
            net.reset(0, 1);
            net.run_until(10 * SECOND, |net| net.is_mesh(&[0, 1]));
            net.run(20 * MS);
        }
        net.clear_events();
        net.nodes[0].messages.clear();
        net.wire = Some(Wire(Box::new(move |sender, _, data| if sender == 1 { record.clone() } else { data })));
        net.send(1, &id("a", 0), "precious").unwrap();
        net.run(5 * MS);
        assert_eq!(net.nodes[0].messages, []);
        let errors = net.errors(0);
        let [ClusterError::Peer { fault: PeerFault::BadTag, id: Some(found), .. }] = &errors[..] else { panic!("{errors:?}") };
        assert_eq!(*found, id("b", 1));
        assert_eq!(net.downs(0), [(id("b", 1), NodeDownReason::ConnectionClosed)]);
    }
}

fn set_secrets(net: &mut Net, host: Host, primary: &str, accepted: &[&str]) {
    let now = net.now;
    let accepted = accepted.iter().map(|secret| Secret::from(*secret)).collect();
    net.nodes[host].machine.set_secrets(now, Secret::from(primary), accepted).unwrap();
    net.perform(host);
}

fn secret_use(net: &Net, host: Host, of: &NodeId) -> SecretUse {
    net.nodes[host].machine.secret_use(of).unwrap().unwrap()
}

#[test]
fn secrets_are_rotated_in_three_steps_without_a_down_and_who_was_left_behind_is_refused() {
    // Five that are rotated, and the one that is forgotten.
    const LEFT: Host = 5;
    let mut net = Net::new(6);
    let seeds = [id("n", 0).to_string()];
    for host in 0..=LEFT {
        net.start(host, config("n", host).seeds(&seeds));
    }
    net.run(5 * SECOND);
    assert!(net.is_mesh(&[0, 1, 2, 3, 4, LEFT]));
    net.clear_events();
    let steps: [(&str, &[&str], SecretUse); 3] =
        [(OLD, &[NEW], SecretUse::Primary), (NEW, &[OLD], SecretUse::Accepted(0)), (NEW, &[], SecretUse::Retired)];
    for (primary, accepted, used) in steps {
        for host in 0..LEFT {
            set_secrets(&mut net, host, primary, accepted);
            net.run(3 * SECOND);
        }
        for (host, other) in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0)] {
            assert_eq!(secret_use(&net, host, &id("n", other)), used);
        }
        assert_eq!(secret_use(&net, LEFT, &id("n", 0)), SecretUse::Primary);
    }
    assert_eq!((net.total_ups(), net.total_downs()), (0, 0), "{:#?}", net.all_events());
    // A new session takes the new secret.
    net.reset(0, 1);
    net.run_until(10 * SECOND, |net| net.is_mesh(&[0, 1, 2, 3, 4, LEFT]));
    assert_eq!(secret_use(&net, 0, &id("n", 1)), SecretUse::Primary);
    assert_eq!(secret_use(&net, 1, &id("n", 0)), SecretUse::Primary);
    net.clear_events();
    // The one that was left behind knows none of it.
    for host in 0..LEFT {
        net.reset(LEFT, host);
    }
    net.run(30 * SECOND);
    let (fault, refusal) = (PeerFault::AuthenticationFailed, Refusal::AuthenticationFailed);
    let failed = |error: &ClusterError| {
        matches!(error, ClusterError::Peer { fault: found, .. } if *found == fault)
            || matches!(error, ClusterError::Refused { reason, .. } if *reason == refusal)
    };
    for host in 0..LEFT {
        assert!(!net.is_up(host, &id("n", LEFT)));
        assert!(net.errors(host).iter().any(failed), "{host}: {:?}", net.errors(host));
        assert_eq!(net.downs(host), [(id("n", LEFT), NodeDownReason::ConnectionClosed)]);
    }
    assert!(net.errors(LEFT).iter().any(failed), "{:?}", net.errors(LEFT));
    assert!(
        net.errors(LEFT).iter().filter(|error| failed(error)).all(|error| error.to_string().contains("authentication failed"))
    );
    assert_eq!(net.ups(LEFT), 0);
}

#[test]
fn in_the_middle_of_a_rotation_every_new_session_is_authenticated_too() {
    // Each state that two nodes can be in at one time, in each direction of the dial.
    let states: [(&str, &[&str]); 4] = [(OLD, &[]), (OLD, &[NEW]), (NEW, &[OLD]), (NEW, &[])];
    for (a, b) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 1), (2, 2), (2, 3), (3, 2), (3, 3)] {
        let with = |config: ClusterConfig, state: usize| {
            config.cluster_secret(states[state].0).accepted_secrets(states[state].1.iter().copied())
        };
        let mut net = pair(with(config("a", 0), a), with(config("b", 1), b));
        net.run(20 * MS);
        assert!(net.is_mesh(&[0, 1]), "{a} {b}");
        let same = states[a].0 == states[b].0;
        assert_eq!(secret_use(&net, 1, &id("a", 0)), SecretUse::Primary);
        assert_eq!(secret_use(&net, 0, &id("b", 1)), if same { SecretUse::Primary } else { SecretUse::Accepted(0) });
    }
}

fn open(name: &str, host: Host) -> ClusterConfig {
    ClusterConfig::new(name).host(address(host).ip().to_string()).heartbeat_interval(SECOND)
}

#[test]
fn without_a_secret_it_works_and_warns_once_where_it_listens_beyond_loopback() {
    let mut net = pair(open("a", 0), open("b", 1));
    net.run(60 * SECOND);
    assert!(net.is_mesh(&[0, 1]));
    for host in [0, 1] {
        assert_eq!(net.errors(host), [ClusterError::Local(LocalFault::NoSecret)]);
    }
    assert_eq!(secret_use(&net, 0, &id("b", 1)), SecretUse::Open);
    assert_eq!((net.total_ups(), net.total_downs()), (2, 0));

    let mut machine = Machine::new();
    machine.start(Instant::START, ClusterConfig::new("a").host("127.0.0.1")).unwrap();
    let events = machine.subscribe_events();
    let local = "127.0.0.1:4369".parse().unwrap();
    machine.handle(Instant::START, Input::Listening { entropy: [0; 32], local, network: Box::default() });
    let errors = std::iter::from_fn(|| machine.poll_event(events)).filter(|event| matches!(event, ClusterEvent::Error(_)));
    assert_eq!(errors.collect::<Vec<_>>(), [], "nobody else can reach it");
}
