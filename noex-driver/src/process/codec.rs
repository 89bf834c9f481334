//! Bodies of messages and answers: CBOR, with the names of fields and variants.

use std::cell::Cell;
use std::convert::Infallible;
use std::fmt;

use bytes::Bytes;
use cbor4ii::core::{dec, enc, error};
use cbor4ii::serde::{DecodeError, Deserializer, EncodeError, Serializer};
use noex_proto::bounds;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// How deep a body may be nested: each array, map, variant and `Some` is a level. Where serde has to look at a value before it knows its type, as
/// in untagged enums, an array or map is two.
pub(crate) const LEVELS_MAX: usize = 128;

/// The most bytes that any message may have; a node's configuration says what one of its own may.
pub(crate) const SIZE_MAX: usize = *bounds::MESSAGE_BYTES.end();

/// The most bytes that a thread keeps to write bodies in.
const SCRATCH_MAX: usize = 4 << 10;

/// Why a value cannot be encoded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NotEncoded {
    /// What the value itself said.
    Refused(String),
    /// It is larger than may be, in bytes.
    TooLarge { limit: usize, size: usize },
}

impl fmt::Display for NotEncoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(cause) => write!(f, "it cannot be encoded: {cause}"),
            Self::TooLarge { limit, size } => write!(f, "it has {size} bytes, more than {limit}"),
        }
    }
}

thread_local! {
    /// Where the next body is written, so that a small one grows in no steps and takes just its size.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Encodes a value, which must not be larger than `limit` bytes.
pub(crate) fn encode<T: Serialize>(value: &T, limit: usize) -> Result<Bytes, NotEncoded> {
    // Taken, as code of the application may encode within, or on a thread that ends.
    let bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
    let mut serializer = Serializer::new(Writer { bytes, limit, size: 0 });
    value.serialize(&mut serializer).map_err(|error| match error {
        EncodeError::Custom(text) => NotEncoded::Refused(text.into()),
        EncodeError::Core(error) => NotEncoded::Refused(error.to_string()),
    })?;
    let Writer { mut bytes, size, .. } = serializer.into_inner();
    if size > limit {
        return Err(NotEncoded::TooLarge { limit, size });
    }
    if bytes.capacity() > SCRATCH_MAX {
        return Ok(bytes.into());
    }
    let body = Bytes::copy_from_slice(&bytes);
    bytes.clear();
    let _ends = SCRATCH.try_with(|scratch| scratch.set(bytes));
    Ok(body)
}

/// Decodes a value that is all of `body`.
///
/// # Errors
/// Says what is wrong with the body.
pub(crate) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    let mut reader = Reader { left: body, levels: LEVELS_MAX };
    let value = T::deserialize(&mut Deserializer::new(&mut reader)).map_err(text)?;
    match reader.left.len() {
        0 => Ok(value),
        left => Err(format!("{left} bytes follow the value: is it of another type, or a variant that has got fields?")),
    }
}

/// What a decoder's error says to a reader who does not know the decoder.
fn text(error: DecodeError<Infallible>) -> String {
    use error::DecodeError as Core;
    let core = match error {
        DecodeError::Custom(text) => return text.into(),
        DecodeError::Core(core) => core,
    };
    match core {
        Core::DepthOverflow { .. } => format!("it is nested deeper than {LEVELS_MAX} levels"),
        Core::Eof { name, .. } => format!("it ends where {name} should be"),
        Core::Mismatch { name, found } | Core::Unsupported { name, found } => {
            format!("{name} cannot be {}", kind(found))
        }
        Core::RequireLength { name, .. } | Core::LengthOverflow { name, .. } => format!("{name} has a wrong length"),
        Core::RequireUtf8 { name } => format!("{name} is not UTF-8"),
        Core::CastOverflow { name } | Core::ArithmeticOverflow { name, .. } => format!("the number does not fit {name}"),
        core => core.to_string(),
    }
}

/// What a value is that begins with this byte.
const fn kind(byte: u8) -> &'static str {
    match byte {
        0x00..0x20 => "an unsigned number of this size",
        0x20..0x40 => "a negative number of this size",
        0x40..0x60 => "bytes",
        0x60..0x80 => "a text",
        0x80..0xa0 => "an array",
        0xa0..0xc0 => "a map",
        0xc0..0xe0 => "a tagged value",
        0xf4 | 0xf5 => "a bool",
        0xf6 | 0xf7 => "null",
        0xf9..=0xfb => "a float of this size",
        _ => "what it is",
    }
}

/// Collects what is encoded, up to a limit; beyond, it only counts.
struct Writer {
    bytes: Vec<u8>,
    limit: usize,
    size: usize,
}

impl enc::Write for Writer {
    type Error = Infallible;

    #[inline]
    fn push(&mut self, input: &[u8]) -> Result<(), Infallible> {
        self.size = self.size.saturating_add(input.len());
        if self.size <= self.limit {
            self.bytes.extend_from_slice(input);
        }
        Ok(())
    }
}

/// What is still to be decoded, and how many more levels deep it may go.
struct Reader<'a> {
    left: &'a [u8],
    levels: usize,
}

impl<'a> dec::Read<'a> for Reader<'a> {
    type Error = Infallible;

    #[inline]
    fn fill<'short>(&'short mut self, want: usize) -> Result<dec::Reference<'a, 'short>, Infallible> {
        Ok(dec::Reference::Long(&self.left[..want.min(self.left.len())]))
    }

    #[inline]
    fn advance(&mut self, n: usize) {
        self.left = &self.left[n.min(self.left.len())..];
    }

    #[inline]
    fn step_in(&mut self) -> bool {
        let levels = self.levels.checked_sub(1);
        self.levels = levels.unwrap_or_default();
        levels.is_some()
    }

    #[inline]
    fn step_out(&mut self) {
        self.levels += 1;
    }
}

#[cfg(test)]
mod tests;
