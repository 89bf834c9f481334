//! What nodes really send, and what the texts show, has the shapes of `docs/wire.cddl`, by the judgement of a validator that knows
//! nothing of noex.
#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(dead_code, reason = "only what captures messages is used here")]
#[path = "../../../noex-proto/tests/protocol/net/mod.rs"]
mod net;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use cddl_cat::cbor::validate_cbor_bytes;
use net::{Host, MS, Net, SECOND, Wire, config, id};
use noex_proto::{ClaimOptions, ClusterConfig, Destination, ExitReason, Input, MailboxItem, ProcessName, ProtocolHash};

/// The rules by the type of the message.
const RULES: [(u8, &str); 11] = [
    (0x10, "heartbeat"),
    (0x11, "members"),
    (0x12, "members-request"),
    (0x13, "ping"),
    (0x14, "pong"),
    (0x15, "offer"),
    (0x16, "intro"),
    (0x17, "names"),
    (0x18, "names-ack"),
    (0x1D, "refused"),
    (0x1F, "goodbye"),
];

const HANDSHAKE: std::ops::RangeInclusive<u8> = 1..=5;

type Log = Rc<RefCell<Vec<Bytes>>>;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)).unwrap()
}

fn cddl() -> String {
    read("docs/wire.cddl")
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|digit| *digit != ' ').collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap()).collect()
}

fn captured(hosts: usize) -> (Net, Log) {
    let mut net = Net::new(hosts);
    let log = Log::default();
    let copy = Rc::clone(&log);
    net.wire = Some(Wire(Box::new(move |_: Host, _: Host, data: Bytes| {
        copy.borrow_mut().push(data.clone());
        data
    })));
    (net, log)
}

/// The bodies in what was sent, by type. Records are not encrypted, so that no key is needed to read them.
fn bodies(log: &Log) -> BTreeMap<u8, Vec<Vec<u8>>> {
    let mut bodies = BTreeMap::<u8, Vec<Vec<u8>>>::new();
    for sent in log.borrow().iter() {
        let (head, frame) = sent.split_first_chunk::<4>().unwrap();
        assert_eq!(u32::from_be_bytes(*head) as usize, frame.len(), "each frame is sent by itself");
        if HANDSHAKE.contains(&frame[0]) {
            continue;
        }
        let mut messages = &frame[..frame.len() - 16];
        while let [kind, a, b, c, d, rest @ ..] = messages {
            let (body, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
            bodies.entry(*kind).or_default().push(body.to_vec());
            messages = rest;
        }
    }
    bodies
}

/// A node calls, casts to, watches and stops a process of another, which has a name: that takes each signal there is.
fn signals_of(net: &mut Net) {
    const PROTOCOL: ProtocolHash = ProtocolHash(*b"protocol");
    let now = net.clock(0);
    let process = net.nodes[0].machine.open(now, PROTOCOL).unwrap();
    let name = ProcessName::new("db").unwrap();
    net.nodes[0].machine.claim(now, process.number(), &name, &ClaimOptions::default()).unwrap();
    net.perform(0);
    let to = Destination::Process(process.clone());
    let nobody = Destination::Named { node: id("a", 0), name: ProcessName::new("nobody").unwrap() };
    let (now, deadline) = (net.clock(1), net.clock(1) + 5 * SECOND);
    let machine = &mut net.nodes[1].machine;
    machine.cast(now, &to, PROTOCOL, Bytes::from_static(b"body")).unwrap();
    let calls = [&to, &to, &nobody].map(|to| machine.call(now, to, PROTOCOL, Bytes::from_static(b"body"), deadline).unwrap());
    let monitors = [&to, &to].map(|to| machine.monitor(now, None, to).unwrap());
    machine.request_stop(now, &to, ExitReason::error("asked to")).unwrap();
    net.perform(1);
    net.run(100 * MS);
    let now = net.clock(1);
    net.nodes[1].machine.cancel(now, calls[1]);
    net.nodes[1].machine.demonitor(now, None, monitors[1]);
    net.perform(1);
    net.run(100 * MS);
    let now = net.clock(0);
    for item in net.nodes[0].machine.take(now, process.number(), 9) {
        if let MailboxItem::Call { request, .. } = item {
            net.nodes[0].machine.answer(now, request, Bytes::from_static(b"answer"), false).unwrap();
        }
    }
    net.nodes[0].machine.exit(now, process.number(), ExitReason::error("done"), 9);
    net.perform(0);
    net.run(100 * MS);
}

/// Three nodes join, a process with an identity that is in use comes, all leave: that takes each message there is.
fn session() -> BTreeMap<u8, Vec<Vec<u8>>> {
    let (mut net, log) = captured(4);
    let seeded = |name, host| -> ClusterConfig { config(name, host).seeds([id("a", 0).to_string()]) };
    net.start(0, config("a", 0));
    net.feed(0, Input::SetProcessCount(u64::MAX));
    for (host, name) in [(1, "b"), (2, "c")] {
        net.start(host, seeded(name, host));
        net.run(2 * SECOND);
    }
    assert!(net.is_mesh(&[0, 1, 2]));
    net.start(3, seeded("b", 3).advertise_host("10.0.0.2"));
    net.run(5 * SECOND);
    net.send(0, &id("b", 1), vec![7; 200_000]).unwrap();
    net.run(100 * MS);
    signals_of(&mut net);
    for host in 0..3 {
        net.feed(host, Input::Stop);
        net.run(SECOND);
    }
    bodies(&log)
}

#[test]
fn what_nodes_send_has_the_shapes_of_the_cddl() {
    let cddl = cddl();
    let mut bodies = session();
    for (kind, rule) in RULES {
        let bodies = bodies.remove(&kind).unwrap_or_default();
        assert!(!bodies.is_empty(), "no {rule} was sent");
        for body in bodies {
            validate_cbor_bytes(rule, &cddl, &body).unwrap_or_else(|error| panic!("{rule} {body:02x?}: {error}"));
            validate_cbor_bytes("control", &cddl, &body).unwrap();
        }
    }
    let signals = bodies.remove(&0x21).unwrap_or_default();
    for signal in &signals {
        validate_cbor_bytes("signal", &cddl, signal).unwrap_or_else(|error| panic!("{signal:02x?}: {error}"));
    }
    let kinds: BTreeSet<u8> = signals.iter().map(|signal| signal[1]).collect();
    assert_eq!(kinds, (0..=8).collect(), "each signal there is");
    assert_eq!(bodies.into_keys().collect::<Vec<_>>(), [0x20, 0xA0], "besides payloads, whole or the last piece, and pieces");
}

#[test]
fn the_validator_refuses_other_shapes() {
    let cddl = cddl();
    let refused: [(&str, &[u8]); 9] = [
        ("heartbeat", b"\x82\x01\x02"),
        ("members", b"\xa3\x61d\x00\x61l\xf5\x61m\x81\x82\x61a\x41\x00"),
        ("members-request", b"\xa0"),
        ("ping", b"\x81\x20"),
        ("pong", b"\x82\x01\x02"),
        ("offer", b"\x83\x01\xf5\x00"),
        ("intro", b"\xa1\x61c\x01"),
        ("refused", b"\xa1\x61c\x19\x01\x00"),
        ("goodbye", b"\x80"),
    ];
    for (rule, body) in refused {
        assert!(validate_cbor_bytes(rule, &cddl, body).is_err(), "{rule}");
    }
    // A later version may say more in a map.
    validate_cbor_bytes("refused", &cddl, b"\xa2\x61c\x01\x61z\x80").unwrap();
}

/// The rule of a signal, by its name.
fn rule(signal: &str) -> String {
    signal.split(' ').next().unwrap().to_lowercase()
}

/// The known answers of the text: the name of each signal, and its bytes.
fn signals(text: &str) -> Vec<(&str, &str)> {
    let table = text.split_once("\nSignals:\n\n").unwrap().1.split_once("\n\n").unwrap().0;
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix("` |")?.split_once(" | `"));
    rows.collect()
}

#[test]
fn the_signals_in_the_text_are_those_of_the_code_and_have_the_shapes_of_the_cddl() {
    let (cddl, text, code) = (cddl(), read("docs/wire.md"), read("noex-proto/src/wire/signal.rs"));
    let signals = signals(&text);
    let test = code.split_once("fn signals_have_these_bytes()").unwrap().1.split_once("];").unwrap().0;
    let in_code: Vec<&str> = test.split('"').filter(|text| text.starts_with('8')).collect();
    assert_eq!(signals.iter().map(|(_, hex)| *hex).collect::<Vec<_>>(), in_code);
    let rules = cddl.lines().find_map(|line| line.strip_prefix("signal = ")).unwrap().split(" / ");
    assert_eq!(signals.iter().map(|(name, _)| rule(name)).collect::<Vec<_>>(), rules.collect::<Vec<_>>());
    for (name, hex) in signals {
        for rule in ["signal", &rule(name)] {
            validate_cbor_bytes(rule, &cddl, &bytes(hex)).unwrap_or_else(|error| panic!("{name} {hex}: {error}"));
        }
    }
}

#[test]
fn the_validator_refuses_what_is_no_signal() {
    let cddl = cddl();
    let long = "x".repeat(257);
    let down_of = |text: &str| [&[0x84, 7, 1, 2, 0x79, 1, 1], text.as_bytes()].concat();
    let refused: [&[u8]; 9] = [
        b"\x82\x09\x01",          // an unknown one
        b"\x81\x04",              // no number
        b"\x83\x04\x01\x00",      // an item too many
        b"\x83\x05\x01\x60",      // an empty name
        b"\x84\x07\x01\x04\x60",  // a reason that only the other node can know
        b"\x84\x07\x01\x00\x61a", // a text where there is none
        b"\x84\x03\x01\x09\x60",  // a process that took a call and never was
        b"\x84\x08\x07\x03\x60",  // a process that is asked to end as if it never was
        &down_of(&long),
    ];
    for signal in refused {
        assert!(validate_cbor_bytes("signal", &cddl, signal).is_err(), "{signal:02x?}");
    }
    validate_cbor_bytes("signal", &cddl, b"\x84\x07\x01\x02\x61a").unwrap();
}
