use std::string::String;
use std::vec;
use std::vec::Vec;
use std::{format, iter};

use proptest::prelude::*;

use super::*;
use crate::id::incarnation::Incarnation;
use crate::wire::frame::{LENGTH_LEN, RECORD_MAX};
use crate::wire::keys::hmac;
use crate::wire::record::{RecordBuilder, Sealer};

fn encoded(control: &Control) -> Vec<u8> {
    let mut body = Vec::new();
    control.encode_into(&mut body);
    body
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
}

fn id(text: &str) -> NodeId {
    text.parse().expect("valid")
}

#[test]
fn golden_bodies() {
    let members =
        vec![(id("a@127.0.0.1:4369"), Incarnation([0xa1; 16])), (id("app2@node-2.example.org:65535"), Incarnation([0xb2; 16]))];
    let golden = [
        (Control::Goodbye, 0x1F, "a0"),
        (
            Control::Heartbeat { digest: 0x0102_0304_0506_0708, process_count: 7, uptime_ms: 65_536 },
            0x10,
            "83 07 1a00010000 1b0102030405060708",
        ),
        (
            Control::Intro { count: 3, digest: u64::MAX, members: 24, process_count: 0, uptime_ms: 1000 },
            0x16,
            "a5 6163 03 6164 1bffffffffffffffff 616d 1818 6170 00 6175 1903e8",
        ),
        (
            Control::Members { digest: 255, last: true, members: members.into_iter().collect() },
            0x11,
            "a3 6164 18ff 616c f5 616d 82
             82 70 61403132372e302e302e313a34333639 50 a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1
             82 781d 61707032406e6f64652d322e6578616d706c652e6f72673a3635353335 50 b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2",
        ),
        (Control::MembersRequest { digest: 1 }, 0x12, "a1 6164 01"),
        (Control::Offer { holds: true, n: 2 }, 0x15, "82 02 f5"),
        (Control::Ping(256), 0x13, "81 190100"),
        (Control::Pong { echo: 256, leaving: false }, 0x14, "82 190100 f4"),
        (Control::Refused(6), 0x1D, "a1 6163 06"),
    ];
    for (control, kind, body) in golden {
        assert_eq!((control.kind(), encoded(&control)), (kind, hex(body)), "{control:?}");
        assert_eq!(Control::decode(kind, &hex(body)), Ok(Some(control)));
    }
}

#[test]
fn a_heartbeat_takes_at_most_64_bytes_on_the_wire() {
    let control = Control::Heartbeat { digest: u64::MAX, process_count: u64::MAX, uptime_ms: u64::MAX };
    let mut builder = RecordBuilder::with_capacity(0);
    builder.push(control.kind(), |body| control.encode_into(body));
    assert_eq!(Sealer::new(hmac(&[])).seal(builder).len(), 53);
}

#[test]
fn bodies_that_are_refused() {
    let refused = [
        (kind::HEARTBEAT, "", "nothing"),
        (kind::HEARTBEAT, "82 01 02", "an element too few"),
        (kind::HEARTBEAT, "84 01 02 03", "an element too few for its head"),
        (kind::HEARTBEAT, "84 01 02 03 04", "an element too many"),
        (kind::HEARTBEAT, "83 01 02 03 00", "bytes left over"),
        (kind::HEARTBEAT, "43 01 02 03", "a byte string for an array"),
        (kind::HEARTBEAT, "83 01 02 20", "a negative number"),
        (kind::HEARTBEAT, "83 01 02 f93c00", "a float for a number"),
        (kind::HEARTBEAT, "a0", "a map for an array"),
        (kind::HEARTBEAT, "9f 01 02 03 04 ff", "an element too many in an array of no announced length"),
        (kind::HEARTBEAT, "9f 01 02 03", "no end of an array of no announced length"),
        (kind::HEARTBEAT, "83 01 02 81 03", "an array for a number"),
        (kind::PING, "01", "a number for an array"),
        (kind::PONG, "82 01 f6", "null for a flag"),
        (kind::OFFER, "82 01 01", "a number for a flag"),
        (kind::GOODBYE, "", "nothing"),
        (kind::GOODBYE, "80", "an array for a map"),
        (kind::GOODBYE, "a1 6178", "a key without a value"),
        (kind::REFUSED, "a1 6163 190100", "a code over a byte"),
        (kind::REFUSED, "a2 6163 01 6163 01", "a key twice"),
        (kind::REFUSED, "a1 6178 01", "a key missing"),
        (kind::REFUSED, "a1 01 01", "a number for a key"),
        (kind::REFUSED, "a2 61ff 01 6163 01", "a key that is no UTF-8"),
        (kind::MEMBERS, "a3 6164 00 616c f5 616d 40", "a byte string for the list"),
        (kind::MEMBERS, "a3 6164 00 616c f5 616d 81 81 6461403a31", "a member without incarnation"),
        (kind::MEMBERS, "a3 6164 00 616c f5 616d 81 82 6461403a31 4f 000000000000000000000000000000", "a short incarnation"),
        (
            kind::MEMBERS,
            "a3 6164 00 616c f5 616d 81 82 6461403a31 70 30303030303030303030303030303030",
            "a text for an incarnation",
        ),
        (kind::MEMBERS, "a3 6164 00 616c f5 616d 81 82 626f6b 50 00000000000000000000000000000000", "no identity"),
        (kind::MEMBERS, "a3 6164 00 616c f5 616d 81 82 62c328 50 00000000000000000000000000000000", "no UTF-8"),
        (kind::MEMBERS, "a3 6164 00 616c f5 616d 9bffffffffffffffff", "a large claim"),
    ];
    for (kind, body, what) in refused {
        assert_eq!(Control::decode(kind, &hex(body)), Err(PeerFault::MalformedBody), "{what}");
    }
    let too_deep: Vec<u8> = hex("a2 6163 01 6178").into_iter().chain(iter::repeat_n(0x81, 1000)).collect();
    assert_eq!(Control::decode(kind::REFUSED, &too_deep), Err(PeerFault::MalformedBody));
}

/// A member that holds another must not be read as two.
#[test]
fn a_member_has_two_elements() {
    let member = "6561 40623a31 50 00000000000000000000000000000000";
    let good = format!("a3 6164 00 616c f5 616d 82 82 {member} 82 {member}");
    let bad = format!("a3 6164 00 616c f5 616d 82 83 {member} 82 {member}");
    assert!(Control::decode(kind::MEMBERS, &hex(&good)).is_ok());
    assert_eq!(Control::decode(kind::MEMBERS, &hex(&bad)), Err(PeerFault::MalformedBody));
}

#[test]
fn bodies_that_are_taken_though_not_sent() {
    let taken = [
        (kind::PING, "81 1b0000000000000001", Control::Ping(1)),
        (kind::PING, "9f 01 ff", Control::Ping(1)),
        (kind::REFUSED, "bf 6163 01 ff", Control::Refused(1)),
        (kind::REFUSED, "a3 6178 82 01 f6 6163 01 656f74686572 a1 00 00", Control::Refused(1)),
        (kind::GOODBYE, "a1 6178 01", Control::Goodbye),
    ];
    for (kind, body, control) in taken {
        assert_eq!(Control::decode(kind, &hex(body)), Ok(Some(control)), "{body}");
    }
}

#[test]
fn kinds_without_a_meaning() {
    for kind in 0..=u8::MAX {
        let found = Control::decode(kind, &[]);
        let expected = match kind {
            0x10..=0x16 | 0x1D | 0x1F => Err(PeerFault::MalformedBody),
            0x60..=0x7F => Ok(None),
            _ => Err(PeerFault::UnknownMessage),
        };
        assert_eq!(found, expected, "{kind:#x}");
    }
}

#[test]
fn pages_are_filled_up_to_their_limit() {
    // In figures, so that another limit is noticed.
    const LIMIT: usize = 8192;
    let all: Vec<Member> = (0..5000)
        .map(|n: u32| (id(&format!("node-{n}@{}h:{}", "h.".repeat(n as usize % 125), n + 1)), Incarnation([n as u8; 16])))
        .collect();
    let mut members = all.iter().cloned().peekable();
    let mut found = Vec::new();
    let mut pages = 0;
    loop {
        let (page, after) = Control::members_page(u64::MAX, &mut members);
        let body = encoded(&page);
        assert!(body.len() <= LIMIT);
        let Ok(Some(Control::Members { digest: u64::MAX, last, members })) = Control::decode(kind::MEMBERS, &body) else {
            panic!("a page that does not decode")
        };
        found.extend(members);
        pages += 1;
        assert_eq!(last, after.is_none());
        if last {
            break;
        }
        assert_eq!(after, found.last().map(|(id, _)| id.clone()));
        assert!(body.len() > LIMIT - 300, "a page that is not full");
    }
    assert_eq!(found, all);
    let len = all.iter().map(|(id, _)| member_len(id)).sum::<usize>();
    assert!((len / LIMIT..=len / (LIMIT - 300) + 1).contains(&pages), "{pages} pages for {len} bytes");
}

#[test]
fn a_page_without_members_is_the_last() {
    let page = Control::members_page(0, &mut iter::empty().peekable());
    assert_eq!(page, (Control::Members { digest: 0, last: true, members: Members::new() }, None));
}

#[test]
fn the_number_of_members_is_capped() {
    // Given: members of the shortest identity, as many as a record has room for.
    let shortest = id("a@b:1");
    let most = BODY_MAX / member_len(&shortest);
    let page = |count| Control::Members {
        digest: u64::MAX,
        last: true,
        members: iter::repeat_n((shortest.clone(), Incarnation([0; 16])), count).collect(),
    };
    let full = encoded(&page(most));
    assert_eq!(full.len(), PAGE_HEAD_MAX + most * member_len(&shortest));
    assert!(Control::decode(kind::MEMBERS, &full).is_ok());
    let over = encoded(&page(most + 1));
    assert!(over.len() + 5 + 16 + LENGTH_LEN > RECORD_MAX);
    assert_eq!(Control::decode(kind::MEMBERS, &over), Err(PeerFault::MalformedBody));
}

fn control() -> impl Strategy<Value = Control> {
    let number = || prop_oneof![any::<u64>(), 0..300u64, Just(u64::MAX)];
    let member = (("[a-z]{1,60}", "[a-z]{1,60}(\\.[a-z]{1,62}){0,3}"), any::<[u8; 16]>().prop_map(Incarnation))
        .prop_map(|((name, host), incarnation)| (id(&(name + "@" + &host + ":4369")), incarnation));
    prop_oneof![
        Just(Control::Goodbye),
        (number(), number(), number()).prop_map(|(digest, process_count, uptime_ms)| Control::Heartbeat {
            digest,
            process_count,
            uptime_ms
        }),
        (number(), number(), number(), number(), number()).prop_map(|(count, digest, members, process_count, uptime_ms)| {
            Control::Intro { count, digest, members, process_count, uptime_ms }
        }),
        (number(), any::<bool>(), prop::collection::vec(member, 0..30)).prop_map(|(digest, last, members)| Control::Members {
            digest,
            last,
            members: members.into_iter().collect()
        }),
        number().prop_map(|digest| Control::MembersRequest { digest }),
        (any::<bool>(), number()).prop_map(|(holds, n)| Control::Offer { holds, n }),
        number().prop_map(Control::Ping),
        (number(), any::<bool>()).prop_map(|(echo, leaving)| Control::Pong { echo, leaving }),
        any::<u8>().prop_map(Control::Refused),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(control in control()) {
        prop_assert_eq!(encoded(&control).len(), control.body_len());
        prop_assert_eq!(Control::decode(control.kind(), &encoded(&control)), Ok(Some(control)));
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(kind: u8, body in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = Control::decode(kind, &body);
    }

    #[test]
    fn damaged_bodies_do_not_panic(control in control(), at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut body = encoded(&control);
        let at = at.index(body.len());
        body[at] = byte;
        let _ = Control::decode(control.kind(), &body);
        body.truncate(cut.index(body.len()));
        let _ = Control::decode(control.kind(), &body);
    }

    #[test]
    fn a_payload_is_the_sum_of_its_pieces(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..2000), 1..8), limit in 0..10_000usize) {
        let mut assembler = Assembler::default();
        let mut sum = Vec::new();
        for (at, piece) in pieces.iter().enumerate() {
            sum.extend_from_slice(piece);
            let last = at + 1 == pieces.len();
            let expected = if sum.len() > limit { Err(PeerFault::MessageTooLarge) } else { Ok(last.then(|| Bytes::from(sum.clone()))) };
            let record = Bytes::from(piece.clone());
            let found = assembler.push(&record, &record, !last, limit);
            prop_assert_eq!(&found, &expected);
            if found.is_err() {
                return Ok(());
            }
        }
        prop_assert_eq!(assembler.len(), 0);
    }
}

#[test]
fn a_large_payload_is_handed_over_and_a_small_one_copied() {
    let record = Bytes::from(vec![7; 2 * SHARED_MIN]);
    for (len, shared) in [(SHARED_MIN, true), (SHARED_MIN - 1, false), (0, false)] {
        let payload = Assembler::default().push(&record, &record[..len], false, usize::MAX).expect("good").expect("whole");
        assert_eq!(payload, record.slice(..len));
        assert_eq!(payload.as_ptr() == record.as_ptr(), shared, "{len}");
    }
}

#[test]
fn a_piece_has_a_length_of_its_own() {
    let record = Bytes::from(vec![7; BODY_MAX]);
    for more in [true, false] {
        let push = |len| Assembler::default().push(&record, &record[..len], more, usize::MAX).map(|_| ());
        assert_eq!([push(PIECE), push(PIECE + 1)], [Ok(()), Err(PeerFault::MalformedRecord)]);
    }
}

#[test]
fn an_empty_piece_may_only_be_the_last() {
    let mut assembler = Assembler::default();
    let record = Bytes::from_static(b"ab");
    assert_eq!(assembler.push(&record, &[], true, 10), Err(PeerFault::MalformedRecord));
    assert_eq!(assembler.push(&record, &record, true, 10), Ok(None));
    assert_eq!(assembler.len(), 2);
    assert_eq!(assembler.push(&record, &[], false, 10), Ok(Some(record.clone())));
    assert_eq!(assembler.push(&record, &[], false, 0), Ok(Some(Bytes::new())));
    let shown: String = format!("{assembler:?}");
    assert_eq!(shown, "Assembler { len: 0 }");
}
