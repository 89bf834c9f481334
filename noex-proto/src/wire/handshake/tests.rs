use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::Secret;
use crate::id::incarnation::Incarnation;
use crate::wire::record::RecordBuilder;
use bytes::Bytes;

const NONCE_I: [u8; 32] = [0x11; 32];
const NONCE_R: [u8; 32] = [0x22; 32];

/// What one side says, owned.
#[derive(Clone, Debug)]
struct Side {
    caps: u64,
    context: &'static str,
    id: NodeId,
    incarnation: Incarnation,
    interval_ms: u64,
    secrets: Secrets,
}

impl Side {
    fn local(&self) -> LocalHello<'_> {
        LocalHello {
            caps: self.caps,
            context: self.context,
            id: &self.id,
            incarnation: self.incarnation,
            interval: Duration::from_millis(self.interval_ms),
            secrets: &self.secrets,
        }
    }

    fn initiate(&self, target: Option<&NodeId>) -> (Initiator, Bytes) {
        Initiator::start(&self.local(), NONCE_I, target)
    }
}

fn id(text: &str) -> NodeId {
    text.parse().expect("valid")
}

fn root(secret: &str) -> Root {
    Root::from_secret(&Secret::from(secret))
}

fn with_secrets(primary: &str, accepted: &[&str]) -> Secrets {
    Secrets { accepted: accepted.iter().copied().map(root).collect(), primary: root(primary), required: true }
}

fn sides() -> (Side, Side) {
    let secrets = with_secrets("correct horse battery staple 0123", &[]);
    let i = Side {
        caps: 3,
        context: "prod",
        id: id("a@127.0.0.1:4369"),
        incarnation: Incarnation([0xa1; 16]),
        interval_ms: 5000,
        secrets,
    };
    let r = Side { caps: 7, id: id("b@127.0.0.1:4370"), incarnation: Incarnation([0xb2; 16]), interval_ms: 1000, ..i.clone() };
    (i, r)
}

fn fault<T>(fault: PeerFault, reject: Option<RejectCode>) -> Result<T, HandshakeFailure> {
    Err(HandshakeFailure::Fault { fault, reject })
}

fn answer(step: ResponderStep) -> Bytes {
    match step {
        ResponderStep::Send(frame) => frame,
        ResponderStep::Done(..) => panic!("done too early"),
    }
}

fn proof(step: InitiatorStep) -> Bytes {
    match step {
        InitiatorStep::Send(frame) => frame,
        InitiatorStep::Done(_) => panic!("done too early"),
    }
}

/// The four frames in order, each of which `tamper` may change on its way, and what each side came to.
struct Outcome {
    initiator: Result<Box<Keyed>, HandshakeFailure>,
    responder: Result<Box<Keyed>, HandshakeFailure>,
    sent: Vec<Bytes>,
}

/// What the side that did not fail is left with.
const WAITING: HandshakeFailure = HandshakeFailure::Fault { fault: PeerFault::HandshakeTimeout, reject: None };

fn run(i: &Side, r: &Side, target: Option<&NodeId>, mut tamper: impl FnMut(usize, &mut Vec<u8>)) -> Outcome {
    let mut sent = Vec::new();
    let mut deliver = |frame: Bytes| {
        let mut arrived = frame[4..].to_vec();
        tamper(sent.len(), &mut arrived);
        sent.push(frame);
        arrived
    };
    let (mut initiator, hello) = i.initiate(target);
    let mut responder = Responder::new(NONCE_R);
    let (initiator, responder) = (|| {
        let challenge = match responder.on_frame(&r.local(), &deliver(hello)) {
            Ok(step) => answer(step),
            Err(failure) => return (Err(WAITING), Err(failure)),
        };
        let auth = match initiator.on_frame(&i.local(), &deliver(challenge)) {
            Ok(step) => proof(step),
            Err(failure) => return (Err(failure), Err(WAITING)),
        };
        let (auth_ok, keyed_r) = match responder.on_frame(&r.local(), &deliver(auth)) {
            Ok(ResponderStep::Done(auth_ok, keyed)) => (auth_ok, keyed),
            Ok(ResponderStep::Send(_)) => panic!("a second challenge"),
            Err(failure) => return (Err(WAITING), Err(failure)),
        };
        match initiator.on_frame(&i.local(), &deliver(auth_ok)) {
            Ok(InitiatorStep::Done(keyed_i)) => (Ok(keyed_i), Ok(keyed_r)),
            Ok(InitiatorStep::Send(_)) => panic!("a second proof"),
            Err(failure) => (Err(failure), Ok(keyed_r)),
        }
    })();
    Outcome { initiator, responder, sent }
}

fn untouched(_: usize, _: &mut Vec<u8>) {}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

#[test]
fn known_answers() {
    let (i, r) = sides();
    let Outcome { initiator, responder, sent } = run(&i, &r, Some(&r.id), untouched);
    let (mut at_i, mut at_r) = (initiator.expect("keyed"), responder.expect("keyed"));
    let expected = [
        "0000006b 01 4e4f4558 01 01 01 00
         1111111111111111111111111111111111111111111111111111111111111111 a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1
         0000000000000003 00001388 0010 61403132372e302e302e313a34333639 0010 62403132372e302e302e313a34333730 0000",
        "00000059 02 4e4f4558 01 01 01 01
         2222222222222222222222222222222222222222222222222222222222222222 b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2
         0000000000000007 000003e8 0010 62403132372e302e302e313a34333730 0000",
        "00000021 03 2fb43ed23f80efc3568bd116a59b57960f75a56c6077964f0cb3f54cb5ed1117",
        "00000022 04 00 ea0efa55b635184661991a528cd51494349ace296a770575847c09e68a01e075",
    ];
    for (frame, expected) in sent.iter().zip(expected) {
        assert_eq!(frame[..], hex(expected));
    }
    assert_eq!((sent[0].len() - 4, sent[1].len() - 4), (107, 89));

    let mut transcript = crate::wire::keys::Transcript::new("prod");
    transcript.add(&sent[0][4..]);
    transcript.add(&sent[1][4..]);
    assert_eq!(transcript.finish()[..], hex("780458ff76428af0b3d7920857f4f6d846e025bc03c8d0db0148dd0e336595f2"));

    let mut builder = RecordBuilder::with_capacity(7);
    builder.push_bytes(0x10, b"hb");
    let record = at_i.sealer.seal(builder);
    assert_eq!(record[..], hex("0000001710000000026862413d2717afc1d5e06a5a18e625c762ab"));
    let messages: Vec<_> = at_r.opener.open(&record[4..]).expect("good").collect();
    assert_eq!(messages, [Ok((0x10, &b"hb"[..]))]);

    assert_eq!(
        (&at_i.id, at_i.incarnation, at_i.interval_ms, at_i.caps, at_i.version),
        (&r.id, Incarnation([0xb2; 16]), 1000, 7, 1)
    );
    assert_eq!(
        (&at_r.id, at_r.incarnation, at_r.interval_ms, at_r.caps, at_r.version),
        (&i.id, Incarnation([0xa1; 16]), 5000, 3, 1)
    );
    assert_eq!((&at_i.root, &at_r.root), (&i.secrets.primary, &i.secrets.primary));

    let mut back = RecordBuilder::with_capacity(5);
    back.push_bytes(0x20, b"");
    let back = at_r.sealer.seal(back);
    assert_eq!(at_r.opener.open(&back[4..]), Err(PeerFault::BadTag), "a record sent back is no record");
    assert!(at_i.opener.open(&back[4..]).is_ok());
}

#[test]
fn a_seed_has_no_target_and_the_open_mode_runs_the_same_path() {
    let (mut i, mut r) = sides();
    (i.secrets, r.secrets) = (Secrets::open(), Secrets::open());
    let outcome = run(&i, &r, None, untouched);
    assert_eq!(outcome.sent[0][4 + 7], 0, "flags");
    assert_eq!(outcome.responder.expect("keyed").root, Root::open());
    assert!(outcome.initiator.is_ok());
}

/// Every bit of every frame matters: at least one side ends without keys.
#[test]
fn any_tampering_is_noticed() {
    let (i, r) = sides();
    let lens: Vec<usize> = run(&i, &r, Some(&r.id), untouched).sent.iter().map(|frame| frame.len() - 4).collect();
    for (frame, len) in lens.into_iter().enumerate() {
        for bit in 0..len * 8 {
            let outcome = run(&i, &r, Some(&r.id), |at, bytes| {
                if at == frame {
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
            });
            assert!(outcome.initiator.is_err(), "frame {frame}, bit {bit}");
            assert_eq!(outcome.responder.is_err(), frame < 3, "frame {frame}, bit {bit}");
        }
    }
}

#[test]
fn a_missing_or_further_byte_is_noticed() {
    let (i, r) = sides();
    for frame in 0..4 {
        for longer in [false, true] {
            let outcome = run(&i, &r, None, |at, bytes| {
                if at == frame {
                    if longer { bytes.push(0) } else { bytes.truncate(bytes.len() - 1) }
                }
            });
            let failed = if frame.is_multiple_of(2) { outcome.responder } else { outcome.initiator };
            assert_eq!(failed.map(|_| ()), fault(PeerFault::MalformedHandshake, None), "frame {frame}");
        }
    }
}

#[test]
fn another_secret_or_cluster_name_fails_alike() {
    let (i, r) = sides();
    let expected = fault(PeerFault::AuthenticationFailed, Some(RejectCode::AuthenticationFailed));
    let other_secret = Side { secrets: with_secrets("another secret of some length", &[]), ..i.clone() };
    assert_eq!(run(&other_secret, &r, None, untouched).responder.map(|_| ()), expected);
    let other_name = Side { context: "test", ..i };
    assert_eq!(run(&other_name, &r, None, untouched).responder.map(|_| ()), expected);
}

#[test]
fn any_accepted_secret_will_do_and_is_named() {
    let (i, mut r) = sides();
    for (primary, accepted) in
        [("new", &["old", "correct horse battery staple 0123"][..]), ("new", &["correct horse battery staple 0123", "old"])]
    {
        r.secrets = with_secrets(primary, accepted);
        let outcome = run(&i, &r, None, untouched);
        assert_eq!(outcome.responder.expect("keyed").root, i.secrets.primary);
        assert_eq!(outcome.initiator.expect("keyed").root, i.secrets.primary);
    }
}

#[test]
fn whether_a_secret_is_required_is_not_negotiated() {
    let (i, r) = sides();
    let open = |side: &Side| Side { secrets: Secrets::open(), ..side.clone() };
    let outcome = run(&open(&i), &r, None, untouched);
    assert_eq!(outcome.responder.map(|_| ()), fault(PeerFault::AuthenticationMissing, Some(RejectCode::AuthenticationRequired)));
    let outcome = run(&i, &open(&r), None, untouched);
    assert_eq!(
        outcome.responder.map(|_| ()),
        fault(PeerFault::AuthenticationNotOffered, Some(RejectCode::AuthenticationNotOffered))
    );
    // The responder is not believed either.
    let flip = |frame, byte: usize| {
        move |at, bytes: &mut Vec<u8>| {
            if at == frame {
                bytes[byte] ^= 1
            }
        }
    };
    let lie = |frame, byte| flip(frame, byte);
    let outcome = run(&i, &r, None, lie(1, 8));
    assert_eq!(outcome.initiator.map(|_| ()), fault(PeerFault::AuthenticationMissing, None));
    let outcome = run(&open(&i), &open(&r), None, lie(1, 8));
    assert_eq!(outcome.initiator.map(|_| ()), fault(PeerFault::AuthenticationNotOffered, None));
}

#[test]
fn the_wrong_target() {
    let (i, r) = sides();
    let outcome = run(&i, &r, Some(&id("c@127.0.0.1:4370")), untouched);
    assert_eq!(outcome.responder.map(|_| ()), fault(PeerFault::WrongTarget, Some(RejectCode::WrongTarget)));
    // A responder that answers all the same is found out by what it says.
    let (mut initiator, _) = i.initiate(Some(&id("c@127.0.0.1:4370")));
    let (_, hello) = i.initiate(None);
    let challenge = answer(Responder::new(NONCE_R).on_frame(&r.local(), &hello[4..]).expect("good"));
    assert_eq!(initiator.on_frame(&i.local(), &challenge[4..]).map(|_| ()), fault(PeerFault::WrongTarget, None));
}

/// Changes one frame's bytes and says what the side that gets it comes to.
fn changed(frame: usize, change: impl Fn(&mut Vec<u8>)) -> Result<(), HandshakeFailure> {
    let (i, r) = sides();
    let outcome = run(&i, &r, None, |at, bytes| {
        if at == frame {
            change(bytes);
        }
    });
    if frame.is_multiple_of(2) { outcome.responder.map(|_| ()) } else { outcome.initiator.map(|_| ()) }
}

/// What is done to a frame.
type Change = fn(&mut Vec<u8>);

#[test]
fn rules_of_hello() {
    let cases: Vec<(&str, Change, PeerFault, Option<RejectCode>)> = vec![
        ("magic", |f| f[1] = b'X', PeerFault::InvalidMagic, None),
        ("range above", |f| (f[5], f[6]) = (2, 9), PeerFault::VersionMismatch, Some(RejectCode::Version)),
        ("range below", |f| (f[5], f[6]) = (0, 0), PeerFault::VersionMismatch, Some(RejectCode::Version)),
        ("range empty", |f| (f[5], f[6]) = (2, 1), PeerFault::VersionMismatch, Some(RejectCode::Version)),
        ("later layout", |f| *f = b"\x01NOEX\x02\x03".to_vec(), PeerFault::VersionMismatch, Some(RejectCode::Version)),
        ("flags", |f| f[7] = 3, PeerFault::ReservedFlags, None),
        ("zero", |f| f[8] = 1, PeerFault::MalformedHandshake, None),
        ("short interval", |f| f[65..69].copy_from_slice(&99u32.to_be_bytes()), PeerFault::IntervalOutOfBounds, None),
        ("long interval", |f| f[65..69].copy_from_slice(&600_001u32.to_be_bytes()), PeerFault::IntervalOutOfBounds, None),
        ("id", |f| f[72] = b'_', PeerFault::InvalidNodeId, None),
        ("UTF-8", |f| f[72] = 0xFF, PeerFault::InvalidNodeId, None),
        ("nonce", |f| f[9..41].copy_from_slice(&NONCE_R), PeerFault::NonceReused, None),
        ("length of id", |f| f[69] = 1, PeerFault::MalformedHandshake, None),
        ("prefix only", |f| f.truncate(5), PeerFault::MalformedHandshake, None),
        ("empty", Vec::clear, PeerFault::FrameTooShort, None),
        ("type", |f| f[0] = 3, PeerFault::UnexpectedMessage, None),
        ("REJECT", |f| *f = vec![5, 1], PeerFault::UnexpectedMessage, None),
        ("unknown type", |f| f[0] = 0x47, PeerFault::InvalidMagic, None),
    ];
    for (what, change, expected, reject) in cases {
        assert_eq!(changed(0, change), fault(expected, reject), "{what}");
    }
}

#[test]
fn rules_of_challenge() {
    let cases: Vec<(&str, Change, PeerFault)> = vec![
        ("magic", |f| f[1] = b'X', PeerFault::InvalidMagic),
        ("version", |f| f[5] = 2, PeerFault::VersionMismatch),
        ("range", |f| (f[6], f[7]) = (2, 2), PeerFault::VersionMismatch),
        ("flags", |f| f[8] = 0x81, PeerFault::ReservedFlags),
        ("interval", |f| f[65..69].copy_from_slice(&[0; 4]), PeerFault::IntervalOutOfBounds),
        ("id", |f| f[72] = b'_', PeerFault::InvalidNodeId),
        ("nonce", |f| f[9..41].copy_from_slice(&NONCE_I), PeerFault::NonceReused),
        ("type", |f| f[0] = 4, PeerFault::UnexpectedMessage),
    ];
    for (what, change, expected) in cases {
        assert_eq!(changed(1, change), fault(expected, None), "{what}");
    }
}

/// Breaks each two of these rules, which stand in the order of the checks, in one frame.
fn the_first_broken_rule_is_told(frame: usize, rules: &[(Change, PeerFault, Option<RejectCode>)]) {
    let (i, r) = sides();
    for (at, (first, expected, reject)) in rules.iter().enumerate() {
        for (second, also, _) in &rules[at..] {
            let outcome = run(&i, &r, Some(&r.id), |sent, bytes| {
                if sent == frame {
                    first(bytes);
                    second(bytes);
                }
            });
            let found = if frame == 0 { outcome.responder } else { outcome.initiator };
            assert_eq!(found.map(|_| ()), fault(*expected, *reject), "{expected:?} and {also:?}");
        }
    }
}

#[test]
fn of_the_rules_of_hello_the_first_that_is_broken_is_told() {
    the_first_broken_rule_is_told(
        0,
        &[
            (|f| f[0] = 3, PeerFault::UnexpectedMessage, None),
            (|f| f[1] = b'X', PeerFault::InvalidMagic, None),
            (|f| f[5] = 2, PeerFault::VersionMismatch, Some(RejectCode::Version)),
            (|f| f.push(0), PeerFault::MalformedHandshake, None),
            (|f| f[7] |= 2, PeerFault::ReservedFlags, None),
            (|f| f[73] = 0xFF, PeerFault::InvalidNodeId, None),
            (|f| f[8] = 1, PeerFault::MalformedHandshake, None),
            (|f| f[7] &= !1, PeerFault::AuthenticationMissing, Some(RejectCode::AuthenticationRequired)),
            (|f| f[65..69].fill(0), PeerFault::IntervalOutOfBounds, None),
            (|f| f[72] = b'_', PeerFault::InvalidNodeId, None),
            (|f| f[71 + 16 + 2] = b'q', PeerFault::WrongTarget, Some(RejectCode::WrongTarget)),
            (|f| f[9..41].copy_from_slice(&NONCE_R), PeerFault::NonceReused, None),
        ],
    );
}

#[test]
fn of_the_rules_of_challenge_the_first_that_is_broken_is_told() {
    the_first_broken_rule_is_told(
        1,
        &[
            (|f| f[0] = 4, PeerFault::UnexpectedMessage, None),
            (|f| f[1] = b'X', PeerFault::InvalidMagic, None),
            (|f| f[5] = 2, PeerFault::VersionMismatch, None),
            (|f| f.push(0), PeerFault::MalformedHandshake, None),
            (|f| f[8] |= 2, PeerFault::ReservedFlags, None),
            (|f| f[73] = 0xFF, PeerFault::InvalidNodeId, None),
            (|f| f[8] &= !1, PeerFault::AuthenticationMissing, None),
            (|f| f[65..69].fill(0), PeerFault::IntervalOutOfBounds, None),
            (|f| f[72] = b'_', PeerFault::InvalidNodeId, None),
            (|f| f[71] = b'q', PeerFault::WrongTarget, None),
            (|f| f[9..41].copy_from_slice(&NONCE_I), PeerFault::NonceReused, None),
        ],
    );
}

#[test]
fn rules_of_the_proofs() {
    assert_eq!(changed(2, |f| f[0] = 1), fault(PeerFault::UnexpectedMessage, None));
    assert_eq!(changed(3, |f| f[0] = 2), fault(PeerFault::UnexpectedMessage, None));
    assert_eq!(changed(3, |f| f[1] = 1), fault(PeerFault::MalformedHandshake, None));
    assert_eq!(changed(3, |f| f[2] ^= 1), fault(PeerFault::AuthenticationFailed, None));
}

/// A responder that knows more versions than this one: what it says is this version's business only where the ranges meet.
#[test]
fn a_wider_range_meets_ours() {
    let (i, r) = sides();
    let (_, hello) = i.initiate(None);
    let mut wider = hello[4..].to_vec();
    (wider[5], wider[6]) = (0, 200);
    let challenge = answer(Responder::new(NONCE_R).on_frame(&r.local(), &wider).expect("good"));
    assert_eq!(challenge[4 + 5], 1);
    let mut wider = challenge[4..].to_vec();
    (wider[6], wider[7]) = (0, 200);
    assert!(i.initiate(None).0.on_frame(&i.local(), &wider).is_ok());
}

#[test]
fn an_extension_is_ignored_and_hashed() {
    let (i, r) = sides();
    let extended = |len: usize| {
        let mut hello = i.initiate(None).1[4..].to_vec();
        hello.truncate(hello.len() - 2);
        hello.extend(u16::try_from(len).expect("short").to_be_bytes());
        hello.resize(hello.len() + len, 7);
        Responder::new(NONCE_R).on_frame(&r.local(), &hello).map(|_| ())
    };
    assert_eq!(extended(256), Ok(()));
    assert_eq!(extended(257), fault(PeerFault::MalformedHandshake, None));
    let outcome = run(&i, &r, None, |at, bytes| {
        if at == 0 {
            let len = bytes.len();
            bytes[len - 1] = 1;
            bytes.push(7);
        }
    });
    assert_eq!(outcome.responder.map(|_| ()), fault(PeerFault::AuthenticationFailed, Some(RejectCode::AuthenticationFailed)));
}

#[test]
fn a_reject_is_reported_in_either_state() {
    let (i, r) = sides();
    let codes = [
        (RejectCode::Version, Refusal::Version),
        (RejectCode::AuthenticationRequired, Refusal::AuthenticationRequired),
        (RejectCode::AuthenticationNotOffered, Refusal::AuthenticationNotOffered),
        (RejectCode::Busy, Refusal::Busy),
        (RejectCode::WrongTarget, Refusal::NotTheTarget),
        (RejectCode::AuthenticationFailed, Refusal::AuthenticationFailed),
    ];
    for ((code, refusal), number) in codes.into_iter().zip(1..) {
        let frame = reject_frame(code);
        assert_eq!(frame[..], [0, 0, 0, 2, 5, number]);
        let (mut first, _) = i.initiate(None);
        let mut second = first.clone();
        assert_eq!(first.on_frame(&i.local(), &frame[4..]).map(|_| ()), Err(HandshakeFailure::Refused(refusal)));
        let hello = i.initiate(None).1;
        let challenge = answer(Responder::new(NONCE_R).on_frame(&r.local(), &hello[4..]).expect("good"));
        proof(second.on_frame(&i.local(), &challenge[4..]).expect("good"));
        assert_eq!(second.on_frame(&i.local(), &frame[4..]).map(|_| ()), Err(HandshakeFailure::Refused(refusal)));
    }
    let unknown = Err(HandshakeFailure::Refused(Refusal::Unknown(77)));
    assert_eq!(i.initiate(None).0.on_frame(&i.local(), &[5, 77]).map(|_| ()), unknown);
    for bad in [&[5][..], &[5, 1, 0]] {
        assert_eq!(i.initiate(None).0.on_frame(&i.local(), bad).map(|_| ()), fault(PeerFault::MalformedHandshake, None));
    }
}

#[test]
fn nothing_follows_the_end() {
    let (i, r) = sides();
    let (mut initiator, _) = i.initiate(None);
    let mut responder = Responder::new(NONCE_R);
    for _ in 0..2 {
        assert!(initiator.on_frame(&i.local(), &[9]).is_err());
        assert!(responder.on_frame(&r.local(), &[9]).is_err());
    }
    let hello = i.initiate(None).1;
    assert_eq!(responder.on_frame(&r.local(), &hello[4..]).map(|_| ()), fault(PeerFault::UnexpectedMessage, None));
    assert_eq!(initiator.on_frame(&i.local(), &[5, 1]).map(|_| ()), fault(PeerFault::UnexpectedMessage, None));
}

/// An initiator's own frames, sent back to it, lead nowhere.
#[test]
fn reflection() {
    let (i, _) = sides();
    let (mut initiator, hello) = i.initiate(None);
    assert_eq!(initiator.on_frame(&i.local(), &hello[4..]).map(|_| ()), fault(PeerFault::UnexpectedMessage, None));
}

/// A recorded handshake, played to a responder again, fails on its fresh nonce.
#[test]
fn replay() {
    let (i, r) = sides();
    let sent = run(&i, &r, None, untouched).sent;
    let mut responder = Responder::new([0x33; 32]);
    answer(responder.on_frame(&r.local(), &sent[0][4..]).expect("good"));
    let expected = fault(PeerFault::AuthenticationFailed, Some(RejectCode::AuthenticationFailed));
    assert_eq!(responder.on_frame(&r.local(), &sent[2][4..]).map(|_| ()), expected);
}

#[test]
fn a_handshake_is_small() {
    assert!(size_of::<Responder>() <= 256, "{}", size_of::<Responder>());
    assert!(size_of::<Initiator>() <= 256, "{}", size_of::<Initiator>());
}

proptest! {
    #[test]
    fn arbitrary_frames_do_not_panic(frame in prop::collection::vec(any::<u8>(), 0..200), kind in 0..7u8) {
        let (i, r) = sides();
        for frame in [frame.clone(), [&[kind][..], b"NOEX\x01\x01\x01", &frame].concat()] {
            let (mut initiator, hello) = i.initiate(None);
            let mut responder = Responder::new(NONCE_R);
            let _ = responder.clone().on_frame(&r.local(), &frame);
            let _ = initiator.clone().on_frame(&i.local(), &frame);
            let challenge = answer(responder.on_frame(&r.local(), &hello[4..]).expect("good"));
            proof(initiator.on_frame(&i.local(), &challenge[4..]).expect("good"));
            let keyed_r = matches!(responder.on_frame(&r.local(), &frame), Ok(ResponderStep::Done(..)));
            let keyed_i = matches!(initiator.on_frame(&i.local(), &frame), Ok(InitiatorStep::Done(_)));
            prop_assert!(!keyed_r && !keyed_i);
        }
    }

    #[test]
    fn what_is_announced_arrives(caps: u64, incarnation: [u8; 16], interval_ms in 100..=600_000u64, name in "[a-z]{1,60}") {
        let incarnation = Incarnation(incarnation);
        let (i, r) = sides();
        let i = Side { caps, id: id(&(name + "@host:1")), incarnation, interval_ms, ..i };
        let keyed = run(&i, &r, Some(&r.id), untouched).responder.expect("keyed");
        prop_assert_eq!((keyed.caps, keyed.id, keyed.incarnation, u64::from(keyed.interval_ms)), (caps, i.id, incarnation, interval_ms));
    }
}
