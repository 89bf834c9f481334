//! What nodes tell each other of names of the cluster: their claims, and what they acknowledge. Written and read by hand, like signals.

use alloc::vec::Vec;

use super::handshake::canonical_id;
use super::message::{ARRAY, NUMBER, decode_head, encode_head};
use super::signal::{decode_protocol, decode_text, encode_protocol, encode_text};
use crate::PeerFault;
use crate::id::incarnation::Incarnation;
use crate::process::{NAME_MAX, ProcessId, ProcessName, ProtocolHash};

/// The most witnesses that a claim counts.
pub(crate) const WITNESSES_MAX: u32 = 4096;
/// What a message takes beside its entries, at most.
pub(crate) const HEAD_MAX: usize = 1 + 1 + 5 + 5;
/// The longest entry of a claim.
pub(crate) const CLAIM_MAX: usize = 1 + 9 + (2 + NAME_MAX) + 9 + 9 + 3;
/// The longest acknowledgement.
pub(crate) const ACK_MAX: usize = 1 + 9 + 1 + (3 + NODE_MAX) + 17 + 9;
/// The longest identity of a node: a name, a host and a port.
const NODE_MAX: usize = 64 + 1 + 253 + 6;

const BYTES: u8 = 0x40;
const FALSE: u8 = 0xF4;

/// What NAMES is of: the bits of its first item.
const BEGIN: u64 = 1;
const END: u64 = 2;

/// A claim, as its node tells it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Claim {
    pub(crate) number: u64,
    pub(crate) name: ProcessName,
    pub(crate) process: u64,
    pub(crate) protocol: ProtocolHash,
    /// The witnesses of one that has settled.
    pub(crate) settled: Option<u32>,
}

/// What NAMES says, item by item, in the order in which it is to be taken.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Told {
    /// A snapshot begins.
    Begin,
    Withdrawn(u64),
    Claim(Claim),
    /// The snapshot ends: what it has not named is no more.
    End,
}

/// An acknowledgement.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Ack {
    pub(crate) number: u64,
    pub(crate) word: Word,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Word {
    /// The sender sees no better claim of a third node.
    Clean,
    /// The sender keeps as many names as it may, and not this one.
    Full,
    /// The sender sees a better claim of a third node.
    Better { by: ProcessId, settled: bool },
}

/// Items of an array that are counted as they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct List {
    count: u64,
    bytes: Vec<u8>,
}

impl List {
    pub(crate) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many bytes the items take.
    pub(crate) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the items of another list.
    pub(crate) fn append(&mut self, other: &Self) {
        self.count += other.count;
        self.bytes.extend_from_slice(&other.bytes);
    }

    fn add(&mut self, item: impl FnOnce(&mut Vec<u8>)) {
        self.count += 1;
        item(&mut self.bytes);
    }

    pub(crate) fn withdrawn(&mut self, number: u64) {
        self.add(|bytes| encode_head(bytes, NUMBER, number));
    }

    pub(crate) fn claim(&mut self, claim: &Claim) {
        self.add(|bytes| {
            let Claim { number, name, process, protocol, settled } = claim;
            encode_head(bytes, ARRAY, 5);
            encode_head(bytes, NUMBER, *number);
            encode_text(bytes, name.as_str());
            encode_head(bytes, NUMBER, *process);
            encode_protocol(bytes, *protocol);
            match settled {
                Some(witnesses) => encode_head(bytes, NUMBER, (*witnesses).into()),
                None => bytes.push(FALSE),
            }
        });
    }

    pub(crate) fn ack(&mut self, Ack { number, word }: &Ack) {
        self.add(|bytes| {
            let (items, code) = match word {
                Word::Clean => (2, 0),
                Word::Full => (2, 1),
                Word::Better { settled, .. } => (5, 2 + u64::from(*settled)),
            };
            encode_head(bytes, ARRAY, items);
            encode_head(bytes, NUMBER, *number);
            encode_head(bytes, NUMBER, code);
            if let Word::Better { by, .. } = word {
                encode_text(bytes, by.node().as_str());
                encode_head(bytes, BYTES, 16);
                bytes.extend_from_slice(&by.incarnation().0);
                encode_head(bytes, NUMBER, by.number());
            }
        });
    }

    fn encode_into(&self, body: &mut Vec<u8>) {
        encode_head(body, ARRAY, self.count);
        body.extend_from_slice(&self.bytes);
    }
}

/// Appends the body of NAMES.
pub(crate) fn encode_names(body: &mut Vec<u8>, begins: bool, ends: bool, withdrawn: &List, claims: &List) {
    encode_head(body, ARRAY, 3);
    encode_head(body, NUMBER, (u64::from(begins) * BEGIN) | (u64::from(ends) * END));
    withdrawn.encode_into(body);
    claims.encode_into(body);
}

/// Appends the body of `NAMES_ACK`.
pub(crate) fn encode_acks(body: &mut Vec<u8>, acks: &List) {
    acks.encode_into(body);
}

/// Reads the body of NAMES, and hands on each item as soon as it is read.
pub(crate) fn read_names(body: &[u8], mut take: impl FnMut(Told) -> Result<(), PeerFault>) -> Result<(), PeerFault> {
    let rest = &mut &*body;
    let head = |rest: &mut &[u8], kind| decode_head(rest, kind).ok_or(PeerFault::MalformedBody);
    if head(rest, ARRAY)? != 3 {
        return Err(PeerFault::MalformedBody);
    }
    let part = Some(head(rest, NUMBER)?).filter(|part| *part <= BEGIN | END).ok_or(PeerFault::MalformedBody)?;
    if part & BEGIN != 0 {
        take(Told::Begin)?;
    }
    for _ in 0..head(rest, ARRAY)? {
        take(Told::Withdrawn(head(rest, NUMBER)?))?;
    }
    for _ in 0..head(rest, ARRAY)? {
        take(Told::Claim(decode_claim(rest).ok_or(PeerFault::MalformedBody)?))?;
    }
    if !rest.is_empty() {
        return Err(PeerFault::MalformedBody);
    }
    if part & END != 0 { take(Told::End) } else { Ok(()) }
}

/// The same for `NAMES_ACK`.
pub(crate) fn read_acks(body: &[u8], mut take: impl FnMut(Ack) -> Result<(), PeerFault>) -> Result<(), PeerFault> {
    let rest = &mut &*body;
    for _ in 0..decode_head(rest, ARRAY).ok_or(PeerFault::MalformedBody)? {
        take(decode_ack(rest).ok_or(PeerFault::MalformedBody)?)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(PeerFault::MalformedBody) }
}

fn decode_claim(rest: &mut &[u8]) -> Option<Claim> {
    if decode_head(rest, ARRAY)? != 5 {
        return None;
    }
    let number = decode_head(rest, NUMBER)?;
    let name = ProcessName::new(decode_text(rest, NAME_MAX)?).ok()?;
    let (process, protocol) = (decode_head(rest, NUMBER)?, decode_protocol(rest)?);
    let settled = match rest {
        [FALSE, after @ ..] => {
            *rest = after;
            None
        }
        _ => Some(u32::try_from(decode_head(rest, NUMBER)?).ok().filter(|count| *count <= WITNESSES_MAX)?),
    };
    Some(Claim { number, name, process, protocol, settled })
}

fn decode_ack(rest: &mut &[u8]) -> Option<Ack> {
    let (items, number, code) = (decode_head(rest, ARRAY)?, decode_head(rest, NUMBER)?, decode_head(rest, NUMBER)?);
    let word = match (items, code) {
        (2, 0) => Word::Clean,
        (2, 1) => Word::Full,
        (5, 2 | 3) => {
            let node = canonical_id(decode_text(rest, NODE_MAX)?)?;
            if decode_head(rest, BYTES)? != 16 {
                return None;
            }
            let (incarnation, after) = rest.split_first_chunk()?;
            *rest = after;
            let by = ProcessId::new(node, Incarnation(*incarnation), decode_head(rest, NUMBER)?);
            Word::Better { by, settled: code == 3 }
        }
        _ => return None,
    };
    Some(Ack { number, word })
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec;

    use proptest::prelude::*;

    use super::*;

    fn names(withdrawn: &[u64], claims: &[Claim], begins: bool, ends: bool) -> Vec<u8> {
        let (mut gone, mut list) = (List::default(), List::default());
        withdrawn.iter().for_each(|number| gone.withdrawn(*number));
        claims.iter().for_each(|claim| list.claim(claim));
        let mut body = Vec::new();
        encode_names(&mut body, begins, ends, &gone, &list);
        body
    }

    fn acks(acks: &[Ack]) -> Vec<u8> {
        let mut list = List::default();
        acks.iter().for_each(|ack| list.ack(ack));
        let mut body = Vec::new();
        encode_acks(&mut body, &list);
        body
    }

    fn told(body: &[u8]) -> Result<Vec<Told>, PeerFault> {
        let mut told = Vec::new();
        read_names(body, |item| {
            told.push(item);
            Ok(())
        })?;
        Ok(told)
    }

    fn read(body: &[u8]) -> Result<Vec<Ack>, PeerFault> {
        let mut acks = Vec::new();
        read_acks(body, |ack| {
            acks.push(ack);
            Ok(())
        })?;
        Ok(acks)
    }

    fn claim(number: u64, settled: Option<u32>) -> Claim {
        let (name, protocol) = ("db".parse().expect("valid"), ProtocolHash([1, 2, 3, 4, 5, 6, 7, 8]));
        Claim { number, name, process: 7, protocol, settled }
    }

    fn better(settled: bool) -> Word {
        let node = "a@127.0.0.1:4369".parse().expect("valid");
        Word::Better { by: ProcessId::new(node, Incarnation([0xa1; 16]), 7), settled }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| std::format!("{byte:02x}")).collect()
    }

    /// The bytes of each message, which docs/wire.md shows.
    #[test]
    fn names_and_acknowledgements_have_these_bytes() {
        let messages = [
            (names(&[], &[], true, true), "83 03 80 80"),
            (names(&[], &[claim(3, None)], false, false), "83 00 80 81 85 03 626462 07 1b0102030405060708 f4"),
            (names(&[3, 24], &[claim(25, Some(2))], false, false), "83 00 82 03 1818 81 85 1819 626462 07 1b0102030405060708 02"),
            (acks(&[Ack { number: 3, word: Word::Clean }, Ack { number: 4, word: Word::Full }]), "82 82 03 00 82 04 01"),
            (
                acks(&[Ack { number: 3, word: better(true) }]),
                "81 85 03 03 7061403132372e302e302e313a34333639 50a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1 07",
            ),
        ];
        for (body, expected) in messages {
            assert_eq!(hex(&body), expected.replace(' ', ""));
        }
    }

    #[test]
    fn what_is_told_is_taken_in_this_order() {
        let body = names(&[3], &[claim(4, None), claim(5, Some(4096))], true, true);
        let expected =
            [Told::Begin, Told::Withdrawn(3), Told::Claim(claim(4, None)), Told::Claim(claim(5, Some(4096))), Told::End];
        assert_eq!(told(&body), Ok(expected.to_vec()));
        assert_eq!(told(&names(&[], &[], false, false)), Ok(vec![]));
    }

    fn claims() -> impl Strategy<Value = Claim> {
        let name = "[a-zü ]{1,100}".prop_map(|name| ProcessName::new(&name).expect("valid"));
        (any::<u64>(), name, any::<u64>(), any::<[u8; 8]>(), prop::option::of(0..=WITNESSES_MAX)).prop_map(
            |(number, name, process, protocol, settled)| Claim {
                number,
                name,
                process,
                protocol: ProtocolHash(protocol),
                settled,
            },
        )
    }

    fn words() -> impl Strategy<Value = Word> {
        prop_oneof![Just(Word::Clean), Just(Word::Full), any::<bool>().prop_map(better)]
    }

    proptest! {
        #[test]
        fn names_are_read_as_they_were_written(
            gone in prop::collection::vec(any::<u64>(), 0..5), all in prop::collection::vec(claims(), 0..5), begins: bool, ends: bool
        ) {
            let expected = begins.then_some(Told::Begin).into_iter().chain(gone.iter().copied().map(Told::Withdrawn));
            let expected = expected.chain(all.iter().cloned().map(Told::Claim)).chain(ends.then_some(Told::End));
            prop_assert_eq!(told(&names(&gone, &all, begins, ends)), Ok(expected.collect()));
            for claim in &all {
                let mut list = List::default();
                list.claim(claim);
                prop_assert!(list.len() <= CLAIM_MAX);
            }
        }

        #[test]
        fn acknowledgements_are_read_as_they_were_written(all in prop::collection::vec((any::<u64>(), words()), 0..5)) {
            let all: Vec<Ack> = all.into_iter().map(|(number, word)| Ack { number, word }).collect();
            prop_assert_eq!(read(&acks(&all)), Ok(all));
        }

        #[test]
        fn no_bytes_make_a_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _any = (told(&bytes), read(&bytes));
        }
    }

    #[test]
    fn the_longest_entries_have_the_room_that_is_kept_for_them() {
        let name = ProcessName::new(&"x".repeat(NAME_MAX)).expect("valid");
        let (protocol, settled) = (ProtocolHash([0xff; 8]), Some(WITNESSES_MAX));
        let mut list = List::default();
        list.claim(&Claim { number: u64::MAX, name, process: u64::MAX, protocol, settled });
        assert_eq!(list.len(), CLAIM_MAX);

        let host = [vec!["l".repeat(62); 4].join("."), String::from("l")].join(".");
        let node = std::format!("{}@{host}:65535", "n".repeat(64)).parse().expect("as long as an identity may be");
        let by = ProcessId::new(node, Incarnation([0; 16]), u64::MAX);
        let mut list = List::default();
        list.ack(&Ack { number: u64::MAX, word: Word::Better { by, settled: true } });
        assert_eq!(list.len(), ACK_MAX);
    }

    #[test]
    fn what_breaks_the_layout_is_a_fault() {
        for body in [
            b"".as_slice(),
            b"\x82\x00\x80",                                      // no claims
            b"\x83\x04\x80\x80",                                  // an unknown part
            b"\x83\x00\x80\x80\x00",                              // bytes left over
            b"\x83\x00\x81\x80",                                  // a withdrawal without a number
            b"\x83\x00\x80\x81\x84\x01\x61a\x07\x00",             // an item too few
            b"\x83\x00\x80\x81\x85\x01\x60\x07\x00\xf4",          // an empty name
            b"\x83\x00\x80\x81\x85\x01\x61\x07\x07\x00\xf4",      // a control character
            b"\x83\x00\x80\x81\x85\x01\x61\xff\x07\x00\xf4",      // no text
            b"\x83\x00\x80\x81\x85\x01\x61a\x07\x00\xf5",         // no number of witnesses
            b"\x83\x00\x80\x81\x85\x01\x61a\x07\x00\x19\x10\x01", // too many witnesses
            b"\x83\x00\x80\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  // more claims than there are bytes
        ] {
            assert_eq!(told(body), Err(PeerFault::MalformedBody), "{body:02x?}");
        }
        let long = [b"\x83\x00\x80\x81\x85\x01\x79\x01\x00".as_slice(), &[b'x'; 256], b"\x07\x00\xf4"].concat();
        assert_eq!(told(&long), Err(PeerFault::MalformedBody), "256 bytes");
        assert!(told(b"\x83\x00\x80\x81\x85\x01\x61a\x07\x00\x19\x10\x00").is_ok());

        let node = |text: &str| [b"\x81\x85\x03\x02".as_slice(), &[0x60 + text.len() as u8], text.as_bytes()].concat();
        let with = |text: &str, rest: &[u8]| [node(text), rest.to_vec()].concat();
        let instance = [b"\x50".as_slice(), &[1; 16], b"\x07"].concat();
        for body in [
            b"".to_vec(),
            b"\x81\x82\x03".to_vec(),       // no word
            b"\x81\x82\x03\x02".to_vec(),   // a better claim of nobody
            b"\x81\x82\x03\x04".to_vec(),   // an unknown word
            b"\x81\x85\x03\x00".to_vec(),   // more than the word says
            b"\x80\x00".to_vec(),           // bytes left over
            with("A@B:1", &instance),       // an identity that is not in canonical form
            with("a@b:1", b"\x4f\x01"),     // an instance that is none
            with("a@b:1", &instance[..17]), // no process
        ] {
            assert_eq!(read(&body), Err(PeerFault::MalformedBody), "{body:02x?}");
        }
        assert!(read(&with("a@b:1", &instance)).is_ok());
    }
}
