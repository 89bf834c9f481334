//! Frames: the byte stream of a connection, cut at its length prefixes.

use core::mem;

use bytes::{Buf, Bytes, BytesMut};

use crate::PeerFault;

/// The longest handshake frame: its type and its body. Each side sends two of them at most.
pub(crate) const HANDSHAKE_FRAME_MAX: usize = 1024;
/// The size of the length prefix that every frame and every record starts with.
pub(crate) const LENGTH_LEN: usize = 4;
/// The longest record: its messages and its tag.
pub(crate) const RECORD_MAX: usize = 64 * 1024 + 64;
/// The size of a record's tag.
pub(crate) const TAG_LEN: usize = 16;

/// Cuts received chunks, split anyhow, into frames.
///
/// A frame that lies within one chunk is handed out as a part of it. A frame that does not is gathered: each of its bytes is copied
/// once, so that a few bytes left over keep no large chunk alive. What is held grows with the bytes received, never with what a
/// length prefix claims, and an empty buffer holds no allocation.
///
/// The bytes held are `partial`, then `front`, then `back`.
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameBuffer {
    /// The beginning of a frame, where its end was not in the same chunk.
    partial: BytesMut,
    /// The chunk being cut.
    front: Bytes,
    /// Chunks that came while `front` was not used up.
    back: BytesMut,
}

impl FrameBuffer {
    /// How many bytes were received and not handed out.
    pub(crate) fn buffered(&self) -> usize {
        self.partial.len() + self.front.len() + self.back.len()
    }

    /// How many bytes are allocated for those that are not in the chunk being cut.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn allocated(&self) -> usize {
        self.partial.capacity() + self.back.capacity()
    }

    /// Takes the next bytes of the stream. Call [`next`](Self::next) until it has nothing more before the next chunk: that is
    /// what makes the difference between no copy and one.
    pub(crate) fn push(&mut self, chunk: Bytes) {
        if self.front.is_empty() {
            self.front = chunk;
        } else {
            self.back.extend_from_slice(&chunk);
        }
    }

    /// The next whole frame, without its length prefix; `limit` is the longest that may come.
    ///
    /// A bad length is reported as soon as the prefix is there, and again at every later call.
    pub(crate) fn next(&mut self, limit: usize) -> Result<Option<Bytes>, PeerFault> {
        if self.partial.is_empty() && self.front.len() >= LENGTH_LEN {
            let len = frame_len(&self.front, limit)?;
            if self.front.len() - LENGTH_LEN >= len {
                self.front.advance(LENGTH_LEN);
                let frame = self.front.split_to(len);
                self.refill();
                return Ok(Some(frame));
            }
        }
        loop {
            let whole = if self.partial.len() < LENGTH_LEN { LENGTH_LEN } else { LENGTH_LEN + frame_len(&self.partial, limit)? };
            if self.partial.len() == whole {
                let mut frame = mem::take(&mut self.partial).freeze();
                frame.advance(LENGTH_LEN);
                return Ok(Some(frame));
            }
            let missing = whole - self.partial.len();
            if self.front.is_empty() {
                return Ok(None);
            }
            let taken = self.front.split_to(missing.min(self.front.len()));
            self.partial.extend_from_slice(&taken);
            self.refill();
        }
    }

    /// Goes on to the chunks in `back` once `front` is used up.
    fn refill(&mut self) {
        if self.front.is_empty() {
            self.front = mem::take(&mut self.back).freeze();
        }
    }
}

/// The length that a frame's first four bytes announce.
fn frame_len(prefix: &[u8], limit: usize) -> Result<usize, PeerFault> {
    let prefix = prefix.first_chunk().expect("the caller has seen four bytes");
    match usize::try_from(u32::from_be_bytes(*prefix)) {
        Ok(0) => Err(PeerFault::FrameTooShort),
        Ok(len) if len <= limit => Ok(len),
        _ => Err(PeerFault::FrameTooLong),
    }
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 300;

    /// Every frame up to the first error, and that error; drained after each chunk or only at the end.
    fn cut(stream: &[u8], sizes: &[usize], drain_between: bool) -> (Vec<Bytes>, Option<PeerFault>) {
        let mut buffer = FrameBuffer::default();
        let mut frames = Vec::new();
        let mut drain = |buffer: &mut FrameBuffer| {
            loop {
                match buffer.next(LIMIT) {
                    Ok(Some(frame)) => frames.push(frame),
                    Ok(None) => return None,
                    Err(fault) => return Some(fault),
                }
            }
        };
        let mut rest = stream;
        let mut sizes = sizes.iter().copied().cycle();
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let before = buffer.buffered();
            buffer.push(Bytes::copy_from_slice(&rest[..size]));
            assert_eq!(buffer.buffered(), before + size);
            rest = &rest[size..];
            if drain_between && let Some(fault) = drain(&mut buffer) {
                return (frames, Some(fault));
            }
        }
        let fault = drain(&mut buffer);
        (frames, fault)
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let len = prop_oneof![20 => 1..=LIMIT, 1 => Just(0), 1 => LIMIT + 1..LIMIT + 3];
        prop::collection::vec(len, 0..20).prop_flat_map(|lens| {
            let total: usize = lens.iter().map(|len| len + LENGTH_LEN).sum();
            (0..=total).prop_map(move |cut| {
                let mut stream = Vec::new();
                for len in &lens {
                    stream.extend(u32::try_from(*len).expect("small").to_be_bytes());
                    stream.extend((0..*len).map(|at| at as u8));
                }
                stream.truncate(total - cut / 20);
                stream
            })
        })
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same(stream in stream(), sizes in prop::collection::vec(1..700usize, 1..20), between: bool) {
            prop_assert_eq!(cut(&stream, &sizes, between), cut(&stream, &[stream.len()], true));
        }

        #[test]
        fn single_bytes_give_the_same(stream in stream(), between: bool) {
            prop_assert_eq!(cut(&stream, &[1], between), cut(&stream, &[stream.len()], true));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(stream in prop::collection::vec(0..4u8, 0..2000), size in 1..50usize) {
            cut(&stream, &[size], true);
        }
    }

    #[test]
    fn a_bad_length_is_reported_with_its_fourth_byte_and_again() {
        for (prefix, fault) in [([0, 0, 0, 0], PeerFault::FrameTooShort), ([0, 0, 1, 45], PeerFault::FrameTooLong)] {
            let mut buffer = FrameBuffer::default();
            buffer.push(Bytes::copy_from_slice(&prefix[..3]));
            assert_eq!(buffer.next(LIMIT), Ok(None));
            buffer.push(Bytes::copy_from_slice(&prefix[3..]));
            assert_eq!(buffer.next(LIMIT), Err(fault));
            assert_eq!(buffer.next(LIMIT), Err(fault));
        }
    }

    #[test]
    fn whole_frames_are_not_copied() {
        let chunk = Bytes::from(vec![0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9]);
        let mut buffer = FrameBuffer::default();
        buffer.push(chunk.clone());
        let first = buffer.next(LIMIT).expect("good").expect("whole");
        let second = buffer.next(LIMIT).expect("good").expect("whole");
        assert_eq!((&first[..], &second[..]), (&[7, 8][..], &[9][..]));
        assert_eq!(first.as_ptr(), chunk[4..].as_ptr());
        assert_eq!(second.as_ptr(), chunk[10..].as_ptr());
    }

    #[test]
    fn an_empty_buffer_holds_nothing() {
        let mut buffer = FrameBuffer::default();
        for byte in [0, 0, 0, 2, 7, 8] {
            buffer.push(Bytes::from(vec![byte]));
            let _ = buffer.next(LIMIT);
        }
        assert_eq!((buffer.buffered(), buffer.partial.capacity(), buffer.back.capacity()), (0, 0, 0));
    }

    #[test]
    fn a_large_claim_reserves_nothing() {
        let mut buffer = FrameBuffer::default();
        buffer.push(Bytes::from_static(&[0, 1, 0, 64, 1]));
        assert_eq!(buffer.next(RECORD_MAX), Ok(None));
        assert!(buffer.partial.capacity() < 64, "{}", buffer.partial.capacity());
    }
}
