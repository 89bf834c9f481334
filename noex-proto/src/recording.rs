//! The flight recorder: a copy of every input, secrets apart, from which a whole run can be replayed.
//!
//! A recording is a line of text that names the format, and then CBOR: for each input an array of its time, the input as serde has it,
//! and the number of secrets that were left out, followed by the number of actions that it led to. `null` marks the end of a recording
//! that grew to its limit.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::mem;

use bytes::Bytes;
use ciborium::de;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Input, Instant, Secret, bounds};

/// The first words of a recording; the version of noex that wrote it ends the line.
const HEAD: &str = "noex-recording ";
/// The number of the format.
const FORMAT: &str = "2";
/// What the number of actions and the mark of the end may take.
const RESERVED: usize = 10;

/// What [`Machine::with_recorder`](crate::Machine::with_recorder) adds to a machine.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    buffer: Vec<u8>,
    full: bool,
    limit: usize,
    /// The bytes that were taken.
    taken: usize,
}

impl Recorder {
    pub(crate) fn new(limit: usize) -> Self {
        let buffer = [HEAD, FORMAT, " ", env!("CARGO_PKG_VERSION"), "\n"].concat().into_bytes();
        Self { buffer, full: false, limit, taken: 0 }
    }

    /// Notes an input before it is handled, so that one that the machine does not survive is there.
    pub(crate) fn note_input(&mut self, at: Instant, input: &Input) {
        if self.full {
            return;
        }
        let before = self.buffer.len();
        write(&(at, input, input.secrets()), &mut self.buffer);
        if self.taken + self.buffer.len() + RESERVED > self.limit {
            // What comes after a gap could not be replayed.
            self.full = true;
            self.buffer.truncate(before);
            write(&(), &mut self.buffer);
        }
    }

    /// Notes how many actions the input has led to.
    pub(crate) fn note_actions(&mut self, count: usize) {
        if !self.full {
            write(&count, &mut self.buffer);
        }
    }

    pub(crate) fn take(&mut self) -> Bytes {
        self.taken += self.buffer.len();
        mem::take(&mut self.buffer).into()
    }
}

fn write(value: &impl Serialize, buffer: &mut Vec<u8>) {
    ciborium::into_writer(value, buffer).expect("a vector takes everything, and inputs are plain");
}

/// An input as a recording holds it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// How many actions it led to; `None` if the machine did not come back from it.
    pub actions: Option<usize>,
    /// When it was fed.
    pub at: Instant,
    /// The input, without its secrets.
    pub input: Input,
    /// How many secrets belong into it: the one that the node proves itself with, then those that it accepts beside it, of which there are
    /// at most [`bounds::ACCEPTED_SECRETS`].
    pub secrets: usize,
}

impl Recorded {
    /// The input as it was fed, with its secrets, which are the next ones given; `None` where these are too few.
    pub fn into_input(self, secrets: &mut impl Iterator<Item = Secret>) -> Option<Input> {
        let Some(others) = self.secrets.checked_sub(1) else { return Some(self.input) };
        let primary = secrets.next()?;
        let accepted: Vec<Secret> = secrets.take(others).collect();
        if accepted.len() < others {
            return None;
        }
        Some(match self.input {
            Input::Start(mut config) => {
                *config = config.cluster_secret(primary).accepted_secrets(accepted);
                Input::Start(config)
            }
            Input::SetSecrets { .. } => Input::SetSecrets { accepted, primary },
            input => input,
        })
    }
}

/// Reads a recording: an iterator over its inputs, which ends after the first error.
///
/// A fresh [`Machine`](crate::Machine) that is fed them, with all actions taken after each, does all that the recorded one did, byte
/// for byte, if it is of the same version of noex.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    full: bool,
    rest: &'a [u8],
    size: usize,
    version: &'a str,
}

impl<'a> Recording<'a> {
    /// Whether these bytes begin as a recording of any version does.
    #[must_use]
    pub fn is_recording(bytes: &[u8]) -> bool {
        bytes.starts_with(HEAD.as_bytes())
    }

    /// A recording that was written as one piece or, in their order, in many.
    ///
    /// # Errors
    /// [`RecordingError::NotARecording`] and [`RecordingError::Format`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, RecordingError> {
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let head = core::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(HEAD));
        let (format, version) = head.and_then(|head| head.split_once(' ')).ok_or(RecordingError::NotARecording)?;
        if format != FORMAT {
            return Err(RecordingError::Format { found: format.to_string(), version: version.to_string() });
        }
        let rest = bytes.get(line.len() + 1..).unwrap_or_default();
        Ok(Self { full: false, rest, size: bytes.len(), version })
    }

    /// The version of noex that wrote it.
    #[must_use]
    pub fn version(&self) -> &str {
        self.version
    }

    /// Where the next input begins, in bytes.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.size - self.rest.len()
    }

    /// Whether the recording was found to end because it had grown to its limit.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.full
    }

    fn read(&mut self) -> Result<Option<Recorded>, RecordingError> {
        let start = self.offset();
        let Some((at, input, secrets)) = self.item::<Option<(Instant, Input, usize)>>(start)? else {
            self.full = true;
            self.rest = &[];
            return Ok(None);
        };
        let most = 1 + bounds::ACCEPTED_SECRETS;
        let possible = match input {
            Input::SetSecrets { .. } => 1..=most,
            Input::Start(_) => 0..=most,
            _ => 0..=0,
        };
        if !possible.contains(&secrets) {
            return Err(RecordingError::Malformed { at: start, cause: format!("{secrets} secrets, which it cannot have") });
        }
        // Where the machine did not come back from the input, the next one follows, which is an array or null, or nothing does.
        let is_next = self.rest.first().is_none_or(|byte| matches!(byte, 0x80..=0x9f | 0xf6));
        let actions = if is_next { None } else { Some(self.item(start)?) };
        Ok(Some(Recorded { actions, at, input, secrets }))
    }

    fn item<T: DeserializeOwned>(&mut self, at: usize) -> Result<T, RecordingError> {
        de::from_reader(&mut self.rest).map_err(|error| match error {
            de::Error::Io(_) => RecordingError::Truncated { at },
            error => RecordingError::Malformed { at, cause: error.to_string() },
        })
    }
}

impl Iterator for Recording<'_> {
    type Item = Result<Recorded, RecordingError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.rest = &[];
        }
        read.transpose()
    }
}

/// Why a recording cannot be read, or not to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RecordingError {
    /// It has a format that this version does not read.
    Format {
        /// The number of its format.
        found: String,
        /// The version of noex that wrote it.
        version: String,
    },
    /// What should be an input is none.
    Malformed {
        /// Where it begins, in bytes.
        at: usize,
        /// What is wrong with it.
        cause: String,
    },
    /// The first line is not that of a recording.
    NotARecording,
    /// It ends within an input.
    Truncated {
        /// Where that begins, in bytes.
        at: usize,
    },
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format { found, version } => {
                write!(f, "a recording of format {found}, written by noex {version}; this version reads format {FORMAT}")
            }
            Self::Malformed { at, cause } => write!(f, "no input at byte {at}: {cause}"),
            Self::NotARecording => f.write_str("not a recording of noex"),
            Self::Truncated { at } => write!(f, "the recording ends within the input at byte {at}"),
        }
    }
}

impl core::error::Error for RecordingError {}
