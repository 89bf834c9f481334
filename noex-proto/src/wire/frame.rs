//! Frames: the byte stream of a connection, cut at its length prefixes.

use alloc::vec::Vec;
use core::mem;

use bytes::{Buf, Bytes};

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
#[derive(Clone, Debug, Default)]
pub(crate) struct FrameBuffer {
    /// The beginning of a frame, where its end was not in the same chunk.
    partial: Vec<u8>,
}

impl FrameBuffer {
    /// How many bytes were received and not handed out.
    pub(crate) fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// How many bytes are allocated for them.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn allocated(&self) -> usize {
        self.partial.capacity()
    }

    /// The next whole frame, without its length prefix, from what is held and then from the chunk, the next bytes of the stream; `limit`
    /// is the longest that may come. Where there is none, the whole chunk has been taken.
    ///
    /// A bad length is reported as soon as the prefix is there, and again at every later call with the same chunk.
    pub(crate) fn next(&mut self, chunk: &mut Bytes, limit: usize) -> Result<Option<Bytes>, PeerFault> {
        if self.partial.is_empty() && chunk.len() >= LENGTH_LEN {
            let len = frame_len(chunk, limit)?;
            if chunk.len() - LENGTH_LEN >= len {
                chunk.advance(LENGTH_LEN);
                return Ok(Some(chunk.split_to(len)));
            }
        }
        loop {
            let whole = if self.partial.len() < LENGTH_LEN { LENGTH_LEN } else { LENGTH_LEN + frame_len(&self.partial, limit)? };
            if self.partial.len() == whole {
                let mut frame = Bytes::from(mem::take(&mut self.partial));
                frame.advance(LENGTH_LEN);
                return Ok(Some(frame));
            }
            let missing = whole - self.partial.len();
            if chunk.is_empty() {
                return Ok(None);
            }
            let taken = chunk.split_to(missing.min(chunk.len()));
            gather(&mut self.partial, &taken, whole);
        }
    }
}

/// Adds bytes to those that were gathered of a whole which has `most` at most: the allocation doubles up to that, and no further.
pub(crate) fn gather(gathered: &mut Vec<u8>, bytes: &[u8], most: usize) {
    let needed = gathered.len() + bytes.len();
    if needed > gathered.capacity() {
        let capacity = gathered.capacity().saturating_mul(2).min(most).max(needed);
        gathered.reserve_exact(capacity - gathered.len());
    }
    gathered.extend_from_slice(bytes);
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

    /// Every frame up to the first error, and that error.
    fn cut(stream: &[u8], sizes: &[usize]) -> (Vec<Bytes>, Option<PeerFault>) {
        let mut buffer = FrameBuffer::default();
        let mut frames = Vec::new();
        let mut rest = stream;
        let mut sizes = sizes.iter().copied().cycle();
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let mut chunk = Bytes::copy_from_slice(&rest[..size]);
            rest = &rest[size..];
            loop {
                let before = buffer.buffered() + chunk.len();
                match buffer.next(&mut chunk, LIMIT) {
                    Ok(Some(frame)) => {
                        assert_eq!(before, buffer.buffered() + chunk.len() + LENGTH_LEN + frame.len());
                        frames.push(frame);
                    }
                    Ok(None) => break assert!(chunk.is_empty()),
                    Err(fault) => return (frames, Some(fault)),
                }
            }
        }
        (frames, None)
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
        fn any_chunking_gives_the_same(stream in stream(), sizes in prop::collection::vec(1..700usize, 1..20)) {
            prop_assert_eq!(cut(&stream, &sizes), cut(&stream, &[stream.len()]));
        }

        #[test]
        fn single_bytes_give_the_same(stream in stream()) {
            prop_assert_eq!(cut(&stream, &[1]), cut(&stream, &[stream.len()]));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(stream in prop::collection::vec(0..4u8, 0..2000), size in 1..50usize) {
            cut(&stream, &[size]);
        }
    }

    #[test]
    fn a_bad_length_is_reported_with_its_fourth_byte_and_again() {
        for (prefix, fault) in [([0, 0, 0, 0], PeerFault::FrameTooShort), ([0, 0, 1, 45], PeerFault::FrameTooLong)] {
            let mut buffer = FrameBuffer::default();
            assert_eq!(buffer.next(&mut Bytes::copy_from_slice(&prefix[..3]), LIMIT), Ok(None));
            assert_eq!(buffer.next(&mut Bytes::copy_from_slice(&prefix[3..]), LIMIT), Err(fault));
            assert_eq!(buffer.next(&mut Bytes::new(), LIMIT), Err(fault));
        }
    }

    #[test]
    fn whole_frames_are_not_copied() {
        let chunk = Bytes::from(vec![0, 0, 0, 2, 7, 8, 0, 0, 0, 1, 9]);
        let mut buffer = FrameBuffer::default();
        let mut rest = chunk.clone();
        let first = buffer.next(&mut rest, LIMIT).expect("good").expect("whole");
        let second = buffer.next(&mut rest, LIMIT).expect("good").expect("whole");
        assert_eq!((&first[..], &second[..]), (&[7, 8][..], &[9][..]));
        assert_eq!(first.as_ptr(), chunk[4..].as_ptr());
        assert_eq!(second.as_ptr(), chunk[10..].as_ptr());
    }

    #[test]
    fn an_empty_buffer_holds_nothing() {
        let mut buffer = FrameBuffer::default();
        for byte in [0, 0, 0, 2, 7, 8] {
            let _ = buffer.next(&mut Bytes::from(vec![byte]), LIMIT);
        }
        assert_eq!((buffer.buffered(), buffer.partial.capacity()), (0, 0));
    }

    #[test]
    fn a_large_claim_reserves_nothing() {
        let mut buffer = FrameBuffer::default();
        assert_eq!(buffer.next(&mut Bytes::from_static(&[0, 1, 0, 64, 1]), RECORD_MAX), Ok(None));
        assert!(buffer.partial.capacity() < 64, "{}", buffer.partial.capacity());
    }
}
