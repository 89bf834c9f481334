//! The flight recorder: what a recording holds, what it never holds, and what its reader refuses.

use std::time::Duration;

use crate::faults::{HELLO, Hello};
use crate::net::{MS, Net, SECOND, address, config, id};
use bytes::Bytes;
use noex_proto::{
    Action, Close, ClusterConfig, ClusterEvent, ConnId, ConnectError, Input, Instant, Machine, Recorded, Recording,
    RecordingError, Secret,
};

const PRIMARY: &str = "correct horse battery staple";
const NEXT: &str = "the secret of tomorrow";

/// A node goes through a session, a rotation, payloads, and the crash and restart of its peer.
fn run(limit: usize) -> (Bytes, Vec<ClusterEvent>) {
    let mut net = Net::new(2);
    net.nodes[0].machine = Machine::with_recorder(limit);
    net.start(0, config("a", 0).heartbeat_interval(Duration::from_micros(1_000_700)));
    let peer = config("b", 1).seeds([id("a", 0).to_string()]);
    net.start(1, peer.clone());
    net.run(100 * MS);
    let now = net.now;
    let machine = &mut net.nodes[0].machine;
    machine.set_secrets(now, Secret::from(PRIMARY), vec![Secret::from(NEXT)]).unwrap();
    machine.send(now, &id("b", 1), Bytes::from_static(b"a payload")).unwrap();
    net.run(5 * SECOND);
    net.crash(1);
    net.run(SECOND);
    net.start(1, peer);
    net.run(SECOND);
    let events = net.nodes[0].events.iter().map(|(_, event)| event.clone()).collect();
    (net.nodes[0].machine.take_recording(), events)
}

fn secrets() -> impl Iterator<Item = Secret> {
    [PRIMARY, PRIMARY, NEXT].into_iter().map(Secret::from)
}

/// The events of a fresh machine that is fed these inputs.
fn replay(inputs: Vec<Recorded>, mut secrets: impl Iterator<Item = Secret>) -> Vec<ClusterEvent> {
    let mut machine = Machine::new();
    let mut events = Vec::new();
    for recorded in inputs {
        machine.handle(recorded.at, recorded.into_input(&mut secrets).unwrap());
        events.extend(std::iter::from_fn(|| machine.poll_action()).filter_map(|action| match action {
            Action::Event(event) => Some(event),
            _ => None,
        }));
    }
    events
}

fn read(bytes: &[u8]) -> Result<Vec<Recorded>, RecordingError> {
    Recording::new(bytes)?.collect()
}

#[test]
fn a_replayed_run_is_told_alike_also_with_a_rotation_and_a_restarted_peer() {
    let (recording, events) = run(1 << 20);
    assert!(events.iter().filter(|event| matches!(event, ClusterEvent::NodeUp(_))).count() == 2, "{events:#?}");
    let inputs = read(&recording).unwrap();
    assert_eq!(inputs.iter().map(|recorded| recorded.secrets).sum::<usize>(), 3);
    assert_eq!(replay(inputs, secrets()), events);
}

#[test]
fn another_secret_leads_to_another_number_of_actions() {
    let (recording, _) = run(1 << 20);
    let mut machine = Machine::new();
    let mut wrong = std::iter::repeat(Secret::from("not the secret of this one"));
    let same = read(&recording).unwrap().into_iter().all(|recorded| {
        let (at, count) = (recorded.at, recorded.actions);
        machine.handle(at, recorded.into_input(&mut wrong).unwrap());
        count == Some(std::iter::from_fn(|| machine.poll_action()).count())
    });
    assert!(!same);
}

#[test]
fn no_secret_stands_in_a_recording() {
    let (recording, _) = run(1 << 20);
    let holds = |text: &str| recording.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("a payload") && holds("set_secrets"), "what is looked for can be found");
    assert!(!holds(PRIMARY) && !holds(NEXT));
    // Not even a part of one.
    assert!(!holds(&PRIMARY[..6]) && !holds(&NEXT[4..14]));
}

#[test]
fn each_input_says_how_many_secrets_belong_into_it() {
    for (config, count) in [
        (ClusterConfig::new("a"), 0),
        (ClusterConfig::new("a").cluster_secret(PRIMARY), 1),
        (ClusterConfig::new("a").cluster_secret(PRIMARY).accepted_secrets([NEXT, NEXT]), 3),
    ] {
        let mut machine = Machine::with_recorder(10_000);
        machine.handle(Instant::START, Input::Start(Box::new(config)));
        let recording = machine.take_recording();
        assert_eq!(read(&recording).unwrap()[0].secrets, count);
    }
}

#[test]
fn a_number_of_secrets_that_an_input_cannot_have_is_no_input() {
    // What is read of a recording of this input with another number of secrets.
    let read_with = |input: Input, number: &[u8]| {
        let mut machine = Machine::with_recorder(10_000);
        machine.handle(Instant::START, input);
        let recording = machine.take_recording();
        let (before, _actions) = recording.split_at(recording.len() - 1);
        let (before, _number) = before.split_at(before.len() - 1);
        read(&[before, number, &[0]].concat())
    };
    let rotation = || Input::SetSecrets { accepted: vec![], primary: Secret::from(PRIMARY) };
    for number in 1..=9 {
        assert_eq!(read_with(rotation(), &[number]).unwrap()[0].secrets, usize::from(number));
    }
    // A thousand million; as many as can be.
    for number in [&[0][..], &[10], &[0x1a, 0x3b, 0x9a, 0xca, 0], &[0x1b, 255, 255, 255, 255, 255, 255, 255, 255]] {
        let error = read_with(rotation(), number).unwrap_err();
        assert!(
            matches!(&error, RecordingError::Malformed { at: 23, cause } if cause.ends_with("secrets, which it cannot have")),
            "{error}"
        );
    }
    assert_eq!(read_with(Input::Tick, &[0]).unwrap()[0].secrets, 0);
    assert!(matches!(read_with(Input::Tick, &[1]), Err(RecordingError::Malformed { .. })));
}

#[test]
fn too_few_secrets_are_noticed() {
    let (recording, _) = run(1 << 20);
    let rotation = read(&recording).unwrap().into_iter().find(|recorded| recorded.secrets == 2).unwrap();
    assert!(rotation.clone().into_input(&mut secrets().take(1)).is_none());
    assert!(rotation.into_input(&mut secrets().take(2)).is_some());
}

#[test]
fn a_recording_ends_at_its_limit_and_says_so() {
    let (whole, events) = run(1 << 20);
    for limit in [0, 30, 1000, whole.len() / 2, whole.len() + 9] {
        let (recording, _) = run(limit);
        let mut reader = Recording::new(&recording).unwrap();
        let inputs: Vec<Recorded> = reader.by_ref().map(Result::unwrap).collect();
        // The first line is there in any case.
        assert!(recording.len() <= limit.max(30), "{} of {limit}", recording.len());
        assert_eq!(reader.is_full(), limit < whole.len());
        let told = replay(inputs, secrets());
        assert_eq!(told, events[..told.len()]);
    }
}

/// A node whose recording is taken piece by piece, so many times, and all that was taken.
fn in_pieces(limit: usize, pieces: u32, every: Duration) -> (Net, Vec<u8>) {
    let mut net = Net::new(2);
    net.nodes[0].machine = Machine::with_recorder(limit);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    let mut whole = Vec::new();
    for _ in 0..pieces {
        net.run(every);
        whole.extend_from_slice(&net.nodes[0].machine.take_recording());
    }
    (net, whole)
}

#[test]
fn pieces_that_are_taken_meanwhile_are_the_recording() {
    let (net, whole) = in_pieces(1 << 20, 50, 10 * MS);
    let told: Vec<_> = net.nodes[0].events.iter().map(|(_, event)| event.clone()).collect();
    assert_eq!(replay(read(&whole).unwrap(), secrets()), told);
    assert!(Machine::new().take_recording().is_empty());
}

#[test]
fn the_limit_is_that_of_all_pieces_together() {
    let limit = 2000;
    let (_, whole) = in_pieces(limit, 500, 100 * MS);
    assert!((limit / 2..=limit).contains(&whole.len()), "{} of {limit}", whole.len());
}

#[test]
fn a_recording_that_is_cut_anywhere_gives_the_inputs_before_and_says_where_it_ends() {
    let (recording, _) = run(1 << 20);
    let head = recording.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut whole = Recording::new(&recording).unwrap();
    let mut starts = vec![whole.offset()];
    while whole.next().is_some() {
        starts.push(whole.offset());
    }
    for cut in head..recording.len().min(4000) {
        let last = *starts.iter().rfind(|start| **start <= cut).unwrap();
        let mut reader = Recording::new(&recording[..cut]).unwrap();
        let count = reader.by_ref().filter(Result::is_ok).count();
        match read(&recording[..cut]) {
            Ok(inputs) => assert_eq!(inputs.len(), count),
            Err(error) => assert_eq!(error, RecordingError::Truncated { at: last }, "cut at {cut}"),
        }
        assert!(reader.next().is_none(), "it ends after an error");
    }
}

#[test]
fn the_zone_of_an_address_is_replayed() {
    let now = Instant::START;
    let mut machine = Machine::with_recorder(1 << 20);
    machine.start(now, ClusterConfig::new("a").host("::").advertise_host("10.0.0.1")).unwrap();
    let local = "[::]:4369".parse().unwrap();
    machine.handle(now, Input::Listening { entropy: [1; 32], local, network: Box::default() });
    // Given: a stranger on the second interface, whose address is in the event of its fault.
    let conn = machine.next_conn();
    machine.handle(now, Input::Accepted { conn, remote: "[fe80::1%2]:5000".parse().unwrap() });
    machine.handle(now, Input::Received { conn, data: Bytes::from_static(b"GET / HTTP/1.0"), wall: Default::default() });
    let inputs = read(&machine.take_recording()).unwrap();
    let events = replay(inputs, std::iter::empty());
    assert!(events.iter().any(|event| event.to_string().contains("[fe80::1%2]:5000")), "{events:?}");
}

#[test]
fn what_is_no_recording_of_this_format_is_refused() {
    assert_eq!(read(b"").unwrap_err(), RecordingError::NotARecording);
    assert_eq!(read(b"{\"seed\":1}").unwrap_err(), RecordingError::NotARecording);
    // An earlier format is refused as a later one is, with its number.
    for (found, version) in [("1", "0.1.0"), ("3", "0.9.0")] {
        let other = read(format!("noex-recording {found} {version}\nanything").as_bytes()).unwrap_err();
        assert_eq!(other, RecordingError::Format { found: found.into(), version: version.into() });
        assert!(other.to_string().contains(version), "{other}");
    }
    assert!(Recording::is_recording(b"noex-recording 2 0.9.0\n") && !Recording::is_recording(b"noex-record"));

    let (recording, _) = run(1 << 20);
    let mut reader = Recording::new(&recording).unwrap();
    assert_eq!(reader.version(), env!("CARGO_PKG_VERSION"));
    reader.next().unwrap().unwrap();
    let at = reader.offset();
    // The entry itself, and the number of actions before it.
    for damage in [at, at - 1] {
        let damaged = [&recording[..damage], &[0xff], &recording[damage + 1..]].concat();
        let error = read(&damaged).unwrap_err();
        assert!(matches!(error, RecordingError::Malformed { at: found, .. } if found <= at), "{error}");
    }
}

#[test]
fn what_comes_for_a_closed_connection_is_not_recorded_and_tells_no_time() {
    let mut net = Net::new(1);
    net.nodes[0].machine = Machine::with_recorder(1 << 20);
    net.start(0, config("a", 0));
    // Given: an unauthenticated peer that is refused, and stays.
    let conn = net.stranger(0, address(1));
    net.say(0, conn, Hello { flags: 0, ..HELLO }.frame());
    assert_eq!(net.sent_on(0, conn), [0, 0, 0, 2, 5, 2]);
    let Some((_, Close::Graceful { read_at_most, .. })) = net.nodes[0].closes.first() else { panic!("not refused") };
    assert_eq!(*read_at_most, 64 * 1024, "who proved nothing has little to say");
    let stale = |net: &mut Net, conn| {
        let now = net.nodes[0].machine.now();
        net.nodes[0].machine.take_recording();
        for _ in 0..1000 {
            net.say(0, conn, vec![0; 1000]);
            net.feed(0, Input::Transmitted { bytes: 1000, conn });
            net.feed(0, Input::Connected { conn, remote: address(1) });
            net.feed(0, Input::DialFailed { conn, error: ConnectError::Refused });
        }
        let next = net.nodes[0].machine.next_conn();
        net.feed(0, Input::Accepted { conn: ConnId(next.0 + 1), remote: address(1) });
        assert_eq!((net.nodes[0].machine.take_recording().len(), net.nodes[0].machine.now()), (0, now));
    };
    // When it writes on: before the close is done, after it, and after a stop. The same of one that never was.
    net.run(SECOND);
    stale(&mut net, conn);
    stale(&mut net, ConnId(77));
    net.feed(0, Input::Closed { conn });
    assert!(!net.nodes[0].machine.take_recording().is_empty(), "that the close is done counts");
    net.run(SECOND);
    stale(&mut net, conn);
    net.feed(0, Input::Stop);
    stale(&mut net, conn);
    net.feed(0, Input::Closed { conn });
    assert!(net.nodes[0].machine.take_recording().is_empty());
}

#[test]
fn a_session_that_closes_may_have_much_on_its_way() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(SECOND);
    net.feed(0, Input::Stop);
    let closes = &net.nodes[0].closes;
    assert!(matches!(closes[..], [(_, Close::Graceful { read_at_most: 0x100_0000, .. })]), "{closes:?}");
}
