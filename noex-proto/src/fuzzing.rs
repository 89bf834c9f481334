//! What the fuzz targets reach of the insides. It is there for them alone, and may change with any release.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::PeerFault;
use crate::frame::FrameBuffer;
use crate::message::Control;

/// The frame decoder of a connection.
#[derive(Clone, Debug, Default)]
pub struct Frames(FrameBuffer);

impl Frames {
    /// How many bytes are allocated beside the chunk that was pushed last.
    #[must_use]
    pub fn allocated(&self) -> usize {
        self.0.allocated()
    }

    /// How many bytes were pushed and not handed out.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.0.buffered()
    }

    /// The next whole frame, without its length prefix.
    ///
    /// # Errors
    /// A length of 0 or over the limit.
    pub fn next(&mut self, limit: usize) -> Result<Option<Bytes>, PeerFault> {
        self.0.next(limit)
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, chunk: Bytes) {
        self.0.push(chunk);
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
