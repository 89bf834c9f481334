//! Records: one or more messages under one tag.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use hmac::Mac;

use crate::PeerFault;
use crate::wire::frame::{LENGTH_LEN, RECORD_MAX, TAG_LEN};
use crate::wire::keys::{HmacSha256, TagKey};

/// The bytes that a message takes beside its body: kind and size.
pub(crate) const MESSAGE_HEAD: usize = 5;
/// The most that the messages of one record take, with their heads.
pub(crate) const MESSAGES_MAX: usize = RECORD_MAX - TAG_LEN;
/// The longest body that a message of one record can have.
pub(crate) const BODY_MAX: usize = MESSAGES_MAX - MESSAGE_HEAD;
/// The longest piece of a payload: 64 KiB fit one record, and leave room for a heartbeat beside them.
pub(crate) const PIECE: usize = 64 * 1024;

const _: () = assert!(PIECE <= BODY_MAX);

/// The messages of one record, before it is sealed.
#[derive(Clone, Debug)]
pub(crate) struct RecordBuilder {
    /// The length, filled in by the sealer, then the messages. It becomes the record, so that nothing is copied again.
    bytes: Vec<u8>,
}

impl RecordBuilder {
    /// An empty record with room for messages of `capacity` bytes, their heads included. It grows where that is too little.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(LENGTH_LEN + capacity + TAG_LEN);
        bytes.extend_from_slice(&[0; LENGTH_LEN]);
        Self { bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the messages so far, their heads included.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - LENGTH_LEN
    }

    /// The longest body that one more message can have; `None` where not even an empty one fits.
    pub(crate) fn room(&self) -> Option<usize> {
        BODY_MAX.checked_sub(self.len())
    }

    /// Adds a message whose body is written in place. It must fit.
    pub(crate) fn push(&mut self, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(&[kind, 0, 0, 0, 0]);
        let start = self.bytes.len();
        body(&mut self.bytes);
        let size = u32::try_from(self.bytes.len() - start).expect("a body fits its record");
        self.bytes[start - 4..start].copy_from_slice(&size.to_be_bytes());
        debug_assert!(self.len() <= MESSAGES_MAX, "a message over the record's room");
    }

    /// Adds a message with this body. It must fit.
    pub(crate) fn push_bytes(&mut self, kind: u8, body: &[u8]) {
        self.push(kind, |bytes| bytes.extend_from_slice(body));
    }
}

/// Makes the records of one direction.
#[derive(Clone)]
pub(crate) struct Sealer(Direction);

impl Sealer {
    pub(crate) fn new(key: HmacSha256) -> Self {
        Self(Direction { key: TagKey::new(key), seq: 0 })
    }

    /// The record of these messages, of which there is at least one, with its length and tag.
    pub(crate) fn seal(&mut self, builder: RecordBuilder) -> Bytes {
        debug_assert!(!builder.is_empty(), "a record has a message");
        let mut bytes = builder.bytes;
        let len = u32::try_from(bytes.len() - LENGTH_LEN + TAG_LEN).expect("a record is short");
        bytes[..LENGTH_LEN].copy_from_slice(&len.to_be_bytes());
        let tag = self.0.next().chain_update(&bytes).finalize();
        bytes.extend_from_slice(&tag.as_bytes()[..TAG_LEN]);
        // Room that was left is not kept until the record has been sent.
        bytes.into_boxed_slice().into()
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer").field("seq", &self.0.seq).finish_non_exhaustive()
    }
}

/// Opens the records of one direction.
#[derive(Clone)]
pub(crate) struct Opener(Direction);

impl Opener {
    pub(crate) fn new(key: HmacSha256) -> Self {
        Self(Direction { key: TagKey::new(key), seq: 0 })
    }

    /// The messages of a record, given without its length prefix. Its tag is verified before anything in it is looked at.
    pub(crate) fn open<'a>(&mut self, frame: &'a [u8]) -> Result<Messages<'a>, PeerFault> {
        let len = u32::try_from(frame.len()).map_err(|_| PeerFault::FrameTooLong)?;
        let (messages, tag) = frame.split_last_chunk::<TAG_LEN>().ok_or(PeerFault::FrameTooShort)?;
        if messages.len() < MESSAGE_HEAD {
            return Err(PeerFault::FrameTooShort);
        }
        let expected = self.0.next().chain_update(len.to_be_bytes()).chain_update(messages);
        expected.verify_truncated_left(tag).map_err(|_| PeerFault::BadTag)?;
        Ok(Messages(messages))
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("seq", &self.0.seq).finish_non_exhaustive()
    }
}

/// The key of one direction, prepared, and the number of its next record.
#[derive(Clone)]
struct Direction {
    key: TagKey,
    seq: u64,
}

impl Direction {
    /// The tag of the next record, begun with its number.
    fn next(&mut self) -> HmacSha256 {
        let tag = self.key.tag().chain_update(self.seq.to_be_bytes());
        self.seq = self.seq.checked_add(1).expect("a session ends long before 2^64 records");
        tag
    }
}

/// The messages of an opened record, in order: kind and body. It ends after a fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Result<(u8, &'a [u8]), PeerFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        if let Some((&[kind, a, b, c, d], rest)) = self.0.split_first_chunk::<MESSAGE_HEAD>()
            && let Ok(size) = usize::try_from(u32::from_be_bytes([a, b, c, d]))
            && let Some((body, rest)) = rest.split_at_checked(size)
        {
            self.0 = rest;
            return Some(Ok((kind, body)));
        }
        self.0 = &[];
        Some(Err(PeerFault::MalformedRecord))
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::wire::keys::hmac;

    fn pair() -> (Sealer, Opener) {
        (Sealer::new(hmac(&[7; 32])), Opener::new(hmac(&[7; 32])))
    }

    fn record(sealer: &mut Sealer, messages: &[(u8, Vec<u8>)]) -> Bytes {
        let mut builder = RecordBuilder::with_capacity(0);
        for (kind, body) in messages {
            builder.push_bytes(*kind, body);
        }
        sealer.seal(builder)
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened(records in prop::collection::vec(
            prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..40)), 1..5), 1..5)) {
            let (mut sealer, mut opener) = pair();
            for messages in records {
                let record = record(&mut sealer, &messages);
                prop_assert_eq!(&record[..4], &u32::try_from(record.len() - 4).expect("short").to_be_bytes());
                let opened = opener.open(&record[4..]).expect("good");
                let found: Vec<_> = opened.map(|message| message.map(|(kind, body)| (kind, body.to_vec()))).collect();
                prop_assert_eq!(found, messages.into_iter().map(Ok).collect::<Vec<_>>());
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(pair().1.open(&bytes).is_err());
        }

        #[test]
        fn arbitrary_messages_end(bytes in prop::collection::vec(0..8u8, 0..200)) {
            let messages: Vec<_> = Messages(&bytes).collect();
            prop_assert!(messages.iter().rev().skip(1).all(Result::is_ok));
        }
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let (mut sealer, opener) = pair();
        let record = record(&mut sealer, &[(0x10, b"first".to_vec()), (0x20, b"second".to_vec())]);
        for bit in 0..(record.len() - 4) * 8 {
            let mut bad = record[4..].to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opener.clone().open(&bad), Err(PeerFault::BadTag), "bit {bit}");
        }
        assert!(opener.clone().open(&record[4..]).is_ok());
    }

    #[test]
    fn a_record_is_good_once_and_in_its_place() {
        let (mut sealer, mut opener) = pair();
        let first = record(&mut sealer, &[(1, vec![])]);
        let second = record(&mut sealer, &[(1, vec![])]);
        assert_eq!(opener.clone().open(&second[4..]), Err(PeerFault::BadTag));
        assert!(opener.open(&first[4..]).is_ok());
        assert_eq!(opener.clone().open(&first[4..]), Err(PeerFault::BadTag));
        assert!(opener.open(&second[4..]).is_ok());
    }

    #[test]
    fn too_short_for_a_message() {
        assert_eq!(pair().1.open(&[0; 20]), Err(PeerFault::FrameTooShort));
        assert_eq!(pair().1.open(&[0; 21]), Err(PeerFault::BadTag));
    }

    #[test]
    fn a_message_over_its_record_is_malformed() {
        for bytes in [&[1, 0, 0, 0][..], &[1, 0, 0, 0, 1], &[1, 255, 255, 255, 255, 0]] {
            let mut messages = Messages(bytes);
            assert_eq!(messages.next(), Some(Err(PeerFault::MalformedRecord)));
            assert_eq!(messages.next(), None);
        }
    }

    #[test]
    fn a_piece_and_a_heartbeat_fit_one_record() {
        let mut builder = RecordBuilder::with_capacity(RECORD_MAX);
        assert_eq!(builder.room(), Some(BODY_MAX));
        builder.push_bytes(0x20, &[0; PIECE]);
        assert_eq!(builder.room(), Some(38));
        builder.push_bytes(0x10, &[0; 38]);
        assert_eq!(builder.room(), None);
        let (mut sealer, mut opener) = pair();
        let record = sealer.seal(builder);
        assert_eq!(record.len(), LENGTH_LEN + RECORD_MAX);
        assert!(opener.open(&record[4..]).is_ok());
    }

    #[test]
    fn keys_are_not_shown() {
        assert_eq!(format!("{:?}", pair()), "(Sealer { seq: 0, .. }, Opener { seq: 0, .. })");
    }
}
