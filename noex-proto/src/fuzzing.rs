//! What the fuzz targets reach of the insides. It is there for them alone, and may change with any release.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::PeerFault;
use crate::wire::frame::FrameBuffer;
use crate::wire::message::Control;

/// The frame decoder of a connection.
#[derive(Clone, Debug, Default)]
pub struct Frames(FrameBuffer);

impl Frames {
    /// How many bytes are allocated beside the chunks that were given.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.0.allocated()
    }

    /// How many bytes were taken and not handed out.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// The next whole frame, without its length prefix, with the help of the next bytes of the stream. Where there is none, the whole
    /// chunk has been taken.
    ///
    /// # Errors
    /// A length of 0 or over the limit.
    pub fn next(&mut self, chunk: &mut Bytes, limit: usize) -> Result<Option<Bytes>, PeerFault> {
        self.0.next(chunk, limit)
    }
}

/// A control message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Body(Control);

impl Body {
    /// Reads a message that is no payload; `None` for an extension, which is to be ignored.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, PeerFault> {
        Ok(Control::decode(kind, body)?.map(Self))
    }

    /// The body as this implementation writes it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        self.0.encode_into(&mut body);
        body
    }

    /// The type byte.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.0.kind()
    }
}
