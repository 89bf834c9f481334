//! The buffer that a connection is read into.

use bytes::Bytes;

/// The bounds of its size, in bytes.
const LEAST: usize = 2 * 1024;
const MOST: usize = 64 * 1024;

/// The buffer that a connection is read into: 2 KiB, and more while reads fill it, up to 64 KiB.
#[derive(Debug)]
pub(crate) struct ReadBuffer(Vec<u8>);

impl ReadBuffer {
    /// A buffer of the least size.
    pub(crate) fn new() -> Self {
        Self(vec![0; LEAST])
    }

    /// Where to read to. Never empty.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The `length` bytes that were read, for [`Input::Received`](noex_proto::Input::Received). More than there is space for count as
    /// all of it.
    pub(crate) fn take(&mut self, length: usize) -> Bytes {
        let size = self.0.len();
        let data = Bytes::copy_from_slice(&self.0[..length.min(size)]);
        if length >= size && size < MOST {
            self.0 = vec![0; size * 2];
        } else if length < size / 4 && size > LEAST {
            self.0 = vec![0; size / 2];
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_while_reads_fill_it_and_shrinks_while_they_do_not() {
        let mut buffer = ReadBuffer::new();
        let mut sizes = |length: fn(usize) -> usize| -> Vec<usize> {
            let mut size = || {
                let space = buffer.space().len();
                buffer.take(length(space));
                buffer.space().len() / 1024
            };
            (0..6).map(|_| size()).collect()
        };
        assert_eq!(sizes(|space| space), [4, 8, 16, 32, 64, 64]);
        assert_eq!(sizes(|space| space / 4), [64; 6]);
        assert_eq!(sizes(|space| space / 4 - 1), [32, 16, 8, 4, 2, 2]);
        assert_eq!(sizes(|space| space - 1), [2; 6]);
    }

    #[test]
    fn what_was_read_is_taken() {
        let mut buffer = ReadBuffer::new();
        buffer.space()[..3].copy_from_slice(b"abc");
        assert_eq!(buffer.take(2), "ab");
        assert_eq!(buffer.take(usize::MAX).len(), 2048);
    }
}
