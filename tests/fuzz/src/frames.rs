//! The frame decoder: however a stream is cut into chunks, the same frames come out of it, and no more is held than has come in.

use arbitrary::Unstructured;
use bytes::Bytes;
use noex_proto::PeerFault;
use noex_proto::fuzzing::Frames;

use crate::Taken;

/// What the length prefixes of a stream say, up to the first bad one: the decoder in its plainest form.
fn cut(mut stream: &[u8], limit: usize) -> (Vec<&[u8]>, Option<PeerFault>) {
    let mut frames = Vec::new();
    while let Some((len, rest)) = stream.split_first_chunk() {
        let len = usize::try_from(u32::from_be_bytes(*len)).expect("32 bits");
        if len == 0 {
            return (frames, Some(PeerFault::FrameTooShort));
        }
        if len > limit {
            return (frames, Some(PeerFault::FrameTooLong));
        }
        let Some((frame, rest)) = rest.split_at_checked(len) else { break };
        frames.push(frame);
        stream = rest;
    }
    (frames, None)
}

/// A limit, the number of chunks and their sizes, and the stream.
pub(crate) fn run(data: &[u8]) -> Option<()> {
    let mut input = Unstructured::new(data);
    let limit = [1, 16, 300, 1024, 65_600][usize::from(input.arbitrary::<u8>().ok()? % 5)];
    let Taken(sizes) = input.arbitrary().ok()?;
    let stream = input.take_rest();
    let expected = cut(stream, limit);

    let mut decoder = Frames::default();
    let mut frames: Vec<Bytes> = Vec::new();
    let mut handed = 0;
    let mut fault = None;
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    let mut given = 0_usize;
    while !rest.is_empty() && fault.is_none() {
        let size = sizes.next().map_or(rest.len(), |size| usize::from(*size).clamp(1, rest.len()));
        let (chunk, after) = rest.split_at(size);
        rest = after;
        let mut chunk = Bytes::copy_from_slice(chunk);
        given += size;
        loop {
            match decoder.next(&mut chunk, limit) {
                Ok(Some(frame)) => {
                    handed += 4 + frame.len();
                    frames.push(frame);
                }
                Ok(None) => break assert!(chunk.is_empty(), "a chunk is not taken"),
                Err(found) => {
                    assert_eq!(decoder.next(&mut chunk, limit), Err(found), "a fault stays");
                    fault = Some(found);
                    break;
                }
            }
            assert_eq!(decoder.buffered() + chunk.len(), given - handed, "bytes are lost or made up");
        }
        let buffered = decoder.buffered();
        assert!(fault.is_some() || buffered == given - handed, "bytes are lost or made up");
        assert!(fault.is_some() || buffered < 4 + limit, "{buffered} bytes are held of a frame of at most {limit}");
        assert!(decoder.allocated() <= 2 * given + 64, "{} bytes for {given}", decoder.allocated());
        assert!(fault.is_some() || buffered > 0 || decoder.allocated() == 0, "an empty decoder holds an allocation");
    }
    assert_eq!((frames.iter().map(|frame| &frame[..]).collect(), fault), expected, "limit {limit}");
    Some(())
}
