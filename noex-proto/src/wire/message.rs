//! Messages: the kinds, the bodies of control messages, and payloads from their pieces.

use alloc::collections::LinkedList;
use alloc::vec::Vec;
use core::fmt;
use core::iter::Peekable;
use core::marker::PhantomData;
use core::mem;

use bytes::Bytes;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeOwned, Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::incarnation::Incarnation;
use crate::wire::frame::gather;
use crate::wire::handshake::canonical_id;
use crate::wire::record::{BODY_MAX, PIECE};
use crate::{NodeId, PeerFault};

/// What a message is, by its first byte.
pub(crate) mod kind {
    use core::ops::RangeInclusive;

    pub(crate) const GOODBYE: u8 = 0x1F;
    pub(crate) const HEARTBEAT: u8 = 0x10;
    pub(crate) const INTRO: u8 = 0x16;
    pub(crate) const MEMBERS: u8 = 0x11;
    pub(crate) const MEMBERS_REQUEST: u8 = 0x12;
    pub(crate) const NAMES: u8 = 0x17;
    pub(crate) const NAMES_ACK: u8 = 0x18;
    pub(crate) const OFFER: u8 = 0x15;
    pub(crate) const PAYLOAD: u8 = 0x20;
    pub(crate) const PING: u8 = 0x13;
    pub(crate) const PONG: u8 = 0x14;
    pub(crate) const REFUSED: u8 = 0x1D;
    pub(crate) const SIGNAL: u8 = 0x21;

    /// Kinds that are ignored when they are not known.
    pub(crate) const EXTENSIONS: RangeInclusive<u8> = 0x60..=0x7F;
    /// Set on every piece of a payload but the last.
    pub(crate) const MORE: u8 = 0x80;
}

/// A node and the incarnation it has been seen with.
pub(crate) type Member = (NodeId, Incarnation);

/// Members that are told of. Unlike a vector's, its memory grows by the member and by no more, so that no page makes a receiver allocate
/// many times the page's size.
pub(crate) type Members = LinkedList<Member>;

/// The shortest identity is `a@b:1`; with its incarnation, both heads and that of the pair, it takes this much.
const MEMBER_LEN_MIN: usize = 1 + (1 + 5) + (1 + 16);
/// No page that fits a record has more members.
const PAGE_MEMBERS_MAX: usize = BODY_MAX / MEMBER_LEN_MIN;
/// The longest page that is sent. A record has room for more, but who answers must not allocate much for a short question.
const PAGE_LEN: usize = 8 * 1024;
/// What a key of a map takes: each is one letter.
const KEY_LEN: usize = 2;
/// The most that a page takes beside its members: the map, its three keys, digest, flag, and the head of the list.
const PAGE_HEAD_MAX: usize = 1 + 3 * KEY_LEN + 9 + 1 + 3;

const RECURSION_MAX: usize = 16;

/// A payload of at least this size may keep the bytes that it came with alive, some four times as many; a smaller one is copied out of them.
const SHARED_MIN: usize = 16 * 1024;

/// A control message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Control {
    /// The sender leaves the cluster. The last message of its session.
    Goodbye,
    /// The sender lives.
    Heartbeat {
        /// The digest of its view.
        digest: u64,
        process_count: u64,
        uptime_ms: u64,
    },
    /// The sender admits this session.
    Intro {
        /// Its admission count.
        count: u64,
        /// The digest of its view.
        digest: u64,
        /// The number of members in its view.
        members: u64,
        process_count: u64,
        uptime_ms: u64,
    },
    /// A page of the members in the sender's view.
    Members {
        /// The digest of the view that it answers for.
        digest: u64,
        /// Whether no page follows.
        last: bool,
        members: Members,
    },
    /// The sender asks for the members in the receiver's view.
    MembersRequest {
        /// The digest of its own view.
        digest: u64,
    },
    /// The sender, which has the lesser identity, offers this session.
    Offer {
        /// Whether it believes a session to be up.
        holds: bool,
        /// Its admission count when it last admitted a session with this incarnation; 0: never.
        n: u64,
    },
    /// A question that a PONG answers.
    Ping(u64),
    /// The answer to a PING.
    Pong {
        /// What the PING said.
        echo: u64,
        /// Whether the sender is leaving.
        leaving: bool,
    },
    /// The sender does not admit this session: the code of a [`Refusal`]. The last message of its session.
    Refused(u8),
}

impl Control {
    /// The type byte of this message.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Goodbye => kind::GOODBYE,
            Self::Heartbeat { .. } => kind::HEARTBEAT,
            Self::Intro { .. } => kind::INTRO,
            Self::Members { .. } => kind::MEMBERS,
            Self::MembersRequest { .. } => kind::MEMBERS_REQUEST,
            Self::Offer { .. } => kind::OFFER,
            Self::Ping(_) => kind::PING,
            Self::Pong { .. } => kind::PONG,
            Self::Refused(_) => kind::REFUSED,
        }
    }

    /// How many bytes the body takes.
    pub(crate) fn body_len(&self) -> usize {
        match *self {
            Self::Goodbye => 1,
            Self::Heartbeat { digest, process_count, uptime_ms } => 1 + numbers_len(&[process_count, uptime_ms, digest]),
            Self::Intro { count, digest, members, process_count, uptime_ms } => {
                1 + 5 * KEY_LEN + numbers_len(&[count, digest, members, process_count, uptime_ms])
            }
            Self::Members { digest, ref members, .. } => {
                let list: usize = members.iter().map(|(id, _)| member_len(id)).sum();
                1 + 3 * KEY_LEN + 1 + numbers_len(&[digest, members.len() as u64]) + list
            }
            Self::MembersRequest { digest } => 1 + KEY_LEN + numbers_len(&[digest]),
            Self::Offer { n: number, .. } | Self::Pong { echo: number, .. } => 1 + numbers_len(&[number]) + 1,
            Self::Ping(echo) => 1 + numbers_len(&[echo]),
            Self::Refused(code) => 1 + KEY_LEN + numbers_len(&[code.into()]),
        }
    }

    /// Appends this message's body.
    pub(crate) fn encode_into(&self, body: &mut Vec<u8>) {
        match *self {
            Self::Goodbye => encode(body, &GoodbyeBody {}),
            Self::Heartbeat { digest, process_count, uptime_ms } => {
                encode_array(body, [process_count, uptime_ms, digest].map(Item::Number));
            }
            Self::Intro { count, digest, members, process_count, uptime_ms } => {
                encode(body, &IntroBody { c: count, d: digest, m: members, p: process_count, u: uptime_ms });
            }
            Self::Members { digest, last, ref members } => encode(body, &MembersBodyRef { d: digest, l: last, m: members }),
            Self::MembersRequest { digest } => encode(body, &MembersRequestBody { d: digest }),
            Self::Offer { holds, n } => encode_array(body, [Item::Number(n), Item::Flag(holds)]),
            Self::Ping(echo) => encode_array(body, [Item::Number(echo)]),
            Self::Pong { echo, leaving } => encode_array(body, [Item::Number(echo), Item::Flag(leaving)]),
            Self::Refused(code) => encode(body, &RefusedBody { c: code }),
        }
    }

    /// Reads a message that is no payload; `None` for an extension, which is to be ignored.
    pub(crate) fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, PeerFault> {
        Ok(Some(match kind {
            kind::GOODBYE => {
                let GoodbyeBody {} = decode(body)?;
                Self::Goodbye
            }
            kind::HEARTBEAT => match decode_array(body)? {
                [Item::Number(process_count), Item::Number(uptime_ms), Item::Number(digest)] => {
                    Self::Heartbeat { digest, process_count, uptime_ms }
                }
                _ => return Err(PeerFault::MalformedBody),
            },
            kind::INTRO => {
                let IntroBody { c, d, m, p, u } = decode(body)?;
                Self::Intro { count: c, digest: d, members: m, process_count: p, uptime_ms: u }
            }
            kind::MEMBERS => {
                let MembersBody { d, l, m } = decode(body)?;
                Self::Members { digest: d, last: l, members: m.0 }
            }
            kind::MEMBERS_REQUEST => {
                let MembersRequestBody { d } = decode(body)?;
                Self::MembersRequest { digest: d }
            }
            kind::OFFER => match decode_array(body)? {
                [Item::Number(n), Item::Flag(holds)] => Self::Offer { holds, n },
                _ => return Err(PeerFault::MalformedBody),
            },
            kind::PING => match decode_array(body)? {
                [Item::Number(echo)] => Self::Ping(echo),
                _ => return Err(PeerFault::MalformedBody),
            },
            kind::PONG => match decode_array(body)? {
                [Item::Number(echo), Item::Flag(leaving)] => Self::Pong { echo, leaving },
                _ => return Err(PeerFault::MalformedBody),
            },
            kind::REFUSED => {
                let RefusedBody { c } = decode(body)?;
                Self::Refused(c)
            }
            kind if kind::EXTENSIONS.contains(&kind) => return Ok(None),
            _ => return Err(PeerFault::UnknownMessage),
        }))
    }

    /// A page with as many of these members as fit one, and the last of them where some are left over.
    pub(crate) fn members_page(digest: u64, members: &mut Peekable<impl Iterator<Item = Member>>) -> (Self, Option<NodeId>) {
        let mut page = Members::new();
        let mut room = PAGE_LEN - PAGE_HEAD_MAX;
        while let Some(member) = members.next_if(|(id, _)| member_len(id) <= room) {
            room -= member_len(&member.0);
            page.push_back(member);
        }
        let after = members.peek().and_then(|_| page.back()).map(|(id, _)| id.clone());
        (Self::Members { digest, last: after.is_none(), members: page }, after)
    }
}

/// What a member takes in a page.
fn member_len(id: &NodeId) -> usize {
    let len = id.as_str().len();
    1 + (numbers_len(&[len as u64]) + len) + (1 + 16)
}

/// What numbers take, or heads with them.
fn numbers_len(numbers: &[u64]) -> usize {
    numbers.iter().map(|&number| 1 + head(number).1).sum()
}

/// How the first byte of an item tells its number, and how many bytes of the number follow: RFC 8949, section 3.
fn head(number: u64) -> (u8, usize) {
    match number {
        ..24 => (number.to_be_bytes()[7], 0),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    }
}

/// An item of an array.
#[derive(Clone, Copy)]
enum Item {
    Flag(bool),
    Number(u64),
}

/// What the first byte of an item says that it is.
pub(super) const NUMBER: u8 = 0x00;
pub(super) const TEXT: u8 = 0x60;
pub(super) const ARRAY: u8 = 0x80;
const FALSE: u8 = 0xF4;
const TRUE: u8 = 0xF5;
/// An array that ends with `BREAK`.
const OPEN_ARRAY: u8 = 0x9F;
const BREAK: u8 = 0xFF;

/// Appends an array of numbers and flags.
fn encode_array<const N: usize>(body: &mut Vec<u8>, items: [Item; N]) {
    encode_head(body, ARRAY, N as u64);
    for item in items {
        match item {
            Item::Flag(flag) => body.push(if flag { TRUE } else { FALSE }),
            Item::Number(number) => encode_head(body, NUMBER, number),
        }
    }
}

/// Appends a head in its shortest form.
pub(super) fn encode_head(body: &mut Vec<u8>, kind: u8, number: u64) {
    let (told, following) = head(number);
    body.push(kind | told);
    body.extend_from_slice(&number.to_be_bytes()[8 - following..]);
}

/// Reads a body that is an array of so many numbers and flags, and nothing besides. These are the messages of a session at rest, and each
/// of their items is but a head, so that they are read without serde, whose way takes longer than the tag.
fn decode_array<const N: usize>(body: &[u8]) -> Result<[Item; N], PeerFault> {
    decode_items(body).ok_or(PeerFault::MalformedBody)
}

fn decode_items<const N: usize>(mut rest: &[u8]) -> Option<[Item; N]> {
    let mut end: &[u8] = &[];
    if let [OPEN_ARRAY, after @ ..] = rest {
        (rest, end) = (after, &[BREAK]);
    } else if decode_head(&mut rest, ARRAY)? != N as u64 {
        return None;
    }
    let mut items = [Item::Flag(false); N];
    for item in &mut items {
        *item = match rest {
            [flag @ (FALSE | TRUE), after @ ..] => {
                rest = after;
                Item::Flag(*flag == TRUE)
            }
            _ => Item::Number(decode_head(&mut rest, NUMBER)?),
        };
    }
    (rest == end).then_some(items)
}

/// Takes a head of this kind off, in any form.
pub(super) fn decode_head(rest: &mut &[u8], kind: u8) -> Option<u64> {
    fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
        let (bytes, after) = rest.split_first_chunk()?;
        *rest = after;
        Some(*bytes)
    }
    let [first] = take(rest)?;
    match first ^ kind {
        small @ ..24 => Some(small.into()),
        24 => take(rest).map(u8::from_be_bytes).map(u64::from),
        25 => take(rest).map(u16::from_be_bytes).map(u64::from),
        26 => take(rest).map(u32::from_be_bytes).map(u64::from),
        27 => take(rest).map(u64::from_be_bytes),
        _ => None,
    }
}

fn encode(body: &mut Vec<u8>, value: &impl Serialize) {
    ciborium::into_writer(value, body).expect("a vector takes everything, and these types are plain");
}

fn decode<T: DeserializeOwned>(mut body: &[u8]) -> Result<T, PeerFault> {
    let value = ciborium::de::from_reader_with_recursion_limit(&mut body, RECURSION_MAX).map_err(|_| PeerFault::MalformedBody)?;
    if body.is_empty() { Ok(value) } else { Err(PeerFault::MalformedBody) }
}

#[derive(Deserialize, Serialize)]
struct GoodbyeBody {}

#[derive(Deserialize, Serialize)]
struct IntroBody {
    c: u64,
    d: u64,
    m: u64,
    p: u64,
    u: u64,
}

#[derive(Deserialize)]
struct MembersBody {
    d: u64,
    l: bool,
    m: Page,
}

#[derive(Serialize)]
struct MembersBodyRef<'a> {
    d: u64,
    l: bool,
    #[serde(serialize_with = "encode_members")]
    m: &'a Members,
}

#[derive(Deserialize, Serialize)]
struct MembersRequestBody {
    d: u64,
}

#[derive(Deserialize, Serialize)]
struct RefusedBody {
    c: u8,
}

fn encode_members<S: Serializer>(members: &Members, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(members.iter().map(|(id, incarnation)| (id.as_str(), incarnation)))
}

/// An array that holds exactly the elements of the tuple `T`. A tuple alone would leave further elements unread, and take a byte
/// string for an array of numbers.
struct Exact<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Exact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ExactVisitor(PhantomData))
    }
}

struct ExactVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ExactVisitor<T> {
    type Value = Exact<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let value = T::deserialize(SeqAccessDeserializer::new(&mut seq))?;
        match seq.next_element::<IgnoredAny>()? {
            Some(_) => Err(A::Error::custom("an element too many")),
            None => Ok(Exact(value)),
        }
    }
}

/// The members of a page. Their number is capped while they are read, and no announced number is relied on.
struct Page(Members);

impl<'de> Deserialize<'de> for Page {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PageVisitor)
    }
}

struct PageVisitor;

impl<'de> Visitor<'de> for PageVisitor {
    type Value = Page;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of members")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Page, A::Error> {
        let mut members = Members::new();
        while let Some(Exact((Id(id), incarnation))) = seq.next_element()? {
            if members.len() == PAGE_MEMBERS_MAX {
                return Err(A::Error::custom("more members than fit a record"));
            }
            members.push_back((id, incarnation));
        }
        Ok(Page(members))
    }
}

/// An identity, as a text in canonical form.
struct Id(NodeId);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(IdVisitor)
    }
}

struct IdVisitor;

impl Visitor<'_> for IdVisitor {
    type Value = Id;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node id")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
        canonical_id(text).map(Id).ok_or_else(|| E::custom("an invalid node id"))
    }
}

/// Puts a payload together from its pieces. What it holds grows with the bytes received, up to the limit.
#[derive(Clone, Default)]
pub(crate) struct Assembler {
    /// The pieces so far. None of them is empty, so that this is empty between payloads.
    pieces: Vec<u8>,
}

impl Assembler {
    /// How many bytes of an unfinished payload are held.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Takes a piece, which is a part of the record; `more` says that it is not the last. The payload, once it is whole, is at most
    /// `limit` bytes long.
    pub(crate) fn push(&mut self, record: &Bytes, piece: &[u8], more: bool, limit: usize) -> Result<Option<Bytes>, PeerFault> {
        if piece.len() > PIECE || more && piece.is_empty() {
            return Err(PeerFault::MalformedRecord);
        }
        if piece.len() > limit.saturating_sub(self.pieces.len()) {
            return Err(PeerFault::MessageTooLarge);
        }
        if more {
            gather(&mut self.pieces, piece, limit);
            return Ok(None);
        }
        if self.pieces.is_empty() {
            return Ok(Some(if piece.len() < SHARED_MIN { Bytes::copy_from_slice(piece) } else { record.slice_ref(piece) }));
        }
        gather(&mut self.pieces, piece, limit);
        Ok(Some(mem::take(&mut self.pieces).into_boxed_slice().into()))
    }
}

impl fmt::Debug for Assembler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assembler").field("len", &self.len()).finish()
    }
}

#[cfg(test)]
mod tests;
