//! The five handshake frames: their layout, and the rules that a frame keeps or breaks by itself.

use alloc::vec::Vec;
use core::ops::RangeInclusive;
use core::str;
use core::time::Duration;

use bytes::Bytes;

use crate::id::incarnation::Incarnation;
use crate::wire::frame::{HANDSHAKE_FRAME_MAX, LENGTH_LEN};
use crate::wire::keys::PROOF_LEN;
use crate::{NodeId, PeerFault, Refusal, bounds};

pub(super) const HELLO: u8 = 1;
pub(super) const CHALLENGE: u8 = 2;
pub(super) const AUTH: u8 = 3;
pub(super) const AUTH_OK: u8 = 4;
pub(super) const REJECT: u8 = 5;

const MAGIC: [u8; 4] = *b"NOEX";
/// The versions that this implementation speaks.
const VERSIONS: RangeInclusive<u8> = 1..=1;
const FLAG_AUTHENTICATED: u8 = 1;
const EXT_MAX: usize = 256;

/// What the REJECT frame says. It comes from a stranger: a hint for a log, never an instruction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum RejectCode {
    /// The proof does not fit: wrong secret, or another cluster name.
    AuthenticationFailed,
    /// This node has no secret.
    AuthenticationNotOffered,
    /// This node has a secret.
    AuthenticationRequired,
    /// Too many handshakes are under way.
    Busy,
    /// No common version.
    Version,
    /// This is not the node that was wanted.
    WrongTarget,
}

impl RejectCode {
    fn code(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::AuthenticationRequired => 2,
            Self::AuthenticationNotOffered => 3,
            Self::Busy => 4,
            Self::WrongTarget => 5,
            Self::AuthenticationFailed => 6,
        }
    }
}

/// What a REJECT with this code means to the one who gets it.
fn refusal(code: u8) -> Refusal {
    match code {
        1 => Refusal::Version,
        2 => Refusal::AuthenticationRequired,
        3 => Refusal::AuthenticationNotOffered,
        4 => Refusal::Busy,
        5 => Refusal::NotTheTarget,
        6 => Refusal::AuthenticationFailed,
        code => Refusal::Unknown(code),
    }
}

/// A REJECT frame, with its length prefix.
pub(crate) fn reject_frame(code: RejectCode) -> Bytes {
    framed(|frame| frame.extend_from_slice(&[REJECT, code.code()]))
}

pub(super) fn auth_frame(proof: &[u8]) -> Bytes {
    framed(|frame| {
        frame.push(AUTH);
        frame.extend_from_slice(proof);
    })
}

pub(super) fn auth_ok_frame(proof: &[u8]) -> Bytes {
    framed(|frame| {
        frame.extend_from_slice(&[AUTH_OK, 0]);
        frame.extend_from_slice(proof);
    })
}

/// A frame's bytes from its type on, as the transcript takes them.
pub(super) fn unprefixed(frame: &Bytes) -> &[u8] {
    &frame[LENGTH_LEN..]
}

fn framed(fill: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut frame = Vec::with_capacity(64);
    frame.extend_from_slice(&[0; LENGTH_LEN]);
    fill(&mut frame);
    let len = frame.len() - LENGTH_LEN;
    debug_assert!(len <= HANDSHAKE_FRAME_MAX, "a handshake frame of valid identities is short");
    let len = u32::try_from(len).expect("a handshake frame is short");
    frame[..LENGTH_LEN].copy_from_slice(&len.to_be_bytes());
    frame.into()
}

/// What HELLO and CHALLENGE both say of their sender.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Announcement<'a> {
    pub(super) authenticated: bool,
    pub(super) caps: u64,
    pub(super) id: &'a str,
    pub(super) incarnation: Incarnation,
    pub(super) interval_ms: u32,
    pub(super) nonce: [u8; 32],
}

impl Announcement<'_> {
    /// Nonce, incarnation, capabilities, interval and identity: the order that both frames share.
    fn encode(&self, frame: &mut Vec<u8>) {
        frame.extend_from_slice(&self.nonce);
        frame.extend_from_slice(&self.incarnation.0);
        frame.extend_from_slice(&self.caps.to_be_bytes());
        frame.extend_from_slice(&self.interval_ms.to_be_bytes());
        encode_field(frame, self.id.as_bytes());
    }

    fn flags(&self) -> u8 {
        if self.authenticated { FLAG_AUTHENTICATED } else { 0 }
    }

    /// The interval in milliseconds, where it is within bounds.
    pub(super) fn valid_interval_ms(&self) -> Result<u32, PeerFault> {
        let interval = Duration::from_millis(self.interval_ms.into());
        if bounds::HEARTBEAT_INTERVAL.contains(&interval) { Ok(self.interval_ms) } else { Err(PeerFault::IntervalOutOfBounds) }
    }

    pub(super) fn node_id(&self) -> Result<NodeId, PeerFault> {
        canonical_id(self.id).ok_or(PeerFault::InvalidNodeId)
    }
}

/// The identity in a text from a peer, where it is one in canonical form: any other form would be a second name for the same node.
pub(crate) fn canonical_id(text: &str) -> Option<NodeId> {
    text.parse().ok().filter(|id: &NodeId| id.as_str() == text)
}

/// The initiator's first frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Hello<'a> {
    pub(super) from: Announcement<'a>,
    /// The identity that the initiator wants, empty for any.
    pub(super) target: &'a [u8],
    /// The common version.
    pub(super) version: u8,
}

impl<'a> Hello<'a> {
    /// The frame, with its length prefix.
    pub(super) fn encode(from: &Announcement<'_>, target: &str) -> Bytes {
        framed(|frame| {
            frame.push(HELLO);
            frame.extend_from_slice(&MAGIC);
            frame.extend_from_slice(&[*VERSIONS.start(), *VERSIONS.end(), from.flags(), 0]);
            from.encode(frame);
            encode_field(frame, target.as_bytes());
            encode_field(frame, &[]);
        })
    }

    /// Reads the frame. The version is judged before anything that another version might have laid out differently.
    pub(super) fn parse(frame: &'a [u8]) -> Result<Self, PeerFault> {
        let mut fields = Fields::of(HELLO, frame)?;
        let [min, max] = fields.array()?;
        let version = common_version(min, max).ok_or(PeerFault::VersionMismatch)?;
        let [flags, zero] = fields.array()?;
        let (from, target) = fields.announcement(flags, |fields| fields.field())?;
        if zero != 0 {
            return Err(PeerFault::MalformedHandshake);
        }
        Ok(Self { from, target, version })
    }
}

/// The responder's first frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Challenge<'a> {
    pub(super) from: Announcement<'a>,
    pub(super) version: u8,
}

impl<'a> Challenge<'a> {
    /// The frame, with its length prefix.
    pub(super) fn encode(from: &Announcement<'_>, version: u8) -> Bytes {
        framed(|frame| {
            frame.push(CHALLENGE);
            frame.extend_from_slice(&MAGIC);
            frame.extend_from_slice(&[version, *VERSIONS.start(), *VERSIONS.end(), from.flags()]);
            from.encode(frame);
            encode_field(frame, &[]);
        })
    }

    /// Reads the frame. The version must be the one that both ranges lead to.
    pub(super) fn parse(frame: &'a [u8]) -> Result<Self, PeerFault> {
        let mut fields = Fields::of(CHALLENGE, frame)?;
        let [version, min, max] = fields.array()?;
        if common_version(min, max) != Some(version) {
            return Err(PeerFault::VersionMismatch);
        }
        let [flags] = fields.array()?;
        let (from, ()) = fields.announcement(flags, |_| Ok(()))?;
        Ok(Self { from, version })
    }
}

/// The proof in an AUTH frame.
pub(super) fn parse_auth(frame: &[u8]) -> Result<[u8; PROOF_LEN], PeerFault> {
    match frame {
        [AUTH, proof @ ..] => proof.try_into().map_err(|_| PeerFault::MalformedHandshake),
        _ => Err(misplaced(frame)),
    }
}

/// The proof in an AUTH_OK frame.
pub(super) fn parse_auth_ok(frame: &[u8]) -> Result<[u8; PROOF_LEN], PeerFault> {
    match frame {
        [AUTH_OK, 0, proof @ ..] => proof.try_into().map_err(|_| PeerFault::MalformedHandshake),
        [AUTH_OK, ..] => Err(PeerFault::MalformedHandshake),
        _ => Err(misplaced(frame)),
    }
}

/// The refusal in a frame, if it is a REJECT.
pub(super) fn parse_reject(frame: &[u8]) -> Result<Option<Refusal>, PeerFault> {
    match *frame {
        [REJECT, code] => Ok(Some(refusal(code))),
        [REJECT, ..] => Err(PeerFault::MalformedHandshake),
        _ => Ok(None),
    }
}

/// The fault of a frame that does not belong here.
pub(super) fn misplaced(frame: &[u8]) -> PeerFault {
    match frame.first() {
        None => PeerFault::FrameTooShort,
        Some(&(HELLO..=REJECT)) => PeerFault::UnexpectedMessage,
        Some(_) => PeerFault::UnknownMessage,
    }
}

/// The version that the peer's range and this node's lead to.
fn common_version(min: u8, max: u8) -> Option<u8> {
    let version = max.min(*VERSIONS.end());
    (version >= min && VERSIONS.contains(&version)).then_some(version)
}

fn encode_field(frame: &mut Vec<u8>, field: &[u8]) {
    let len = u16::try_from(field.len()).expect("an identity is short");
    frame.extend_from_slice(&len.to_be_bytes());
    frame.extend_from_slice(field);
}

/// The fields of a frame that are still to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Those behind the magic of a frame that must be of this type.
    fn of(kind: u8, frame: &'a [u8]) -> Result<Self, PeerFault> {
        match frame {
            [first, rest @ ..] if *first == kind => rest.strip_prefix(&MAGIC).map(Self).ok_or(PeerFault::InvalidMagic),
            // What begins with no frame at all is of another protocol.
            _ => Err(match misplaced(frame) {
                PeerFault::UnknownMessage => PeerFault::InvalidMagic,
                fault => fault,
            }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PeerFault> {
        let (array, rest) = self.0.split_first_chunk().ok_or(PeerFault::MalformedHandshake)?;
        self.0 = rest;
        Ok(*array)
    }

    fn field(&mut self) -> Result<&'a [u8], PeerFault> {
        let len = u16::from_be_bytes(self.array()?);
        let (field, rest) = self.0.split_at_checked(len.into()).ok_or(PeerFault::MalformedHandshake)?;
        self.0 = rest;
        Ok(field)
    }

    /// The rest of the frame: the announcement, what stands between it and the extension, and the extension, which is ignored.
    fn announcement<T>(
        mut self,
        flags: u8,
        between: impl FnOnce(&mut Self) -> Result<T, PeerFault>,
    ) -> Result<(Announcement<'a>, T), PeerFault> {
        let nonce = self.array()?;
        let incarnation = Incarnation(self.array()?);
        let caps = u64::from_be_bytes(self.array()?);
        let interval_ms = u32::from_be_bytes(self.array()?);
        let id = self.field()?;
        let between = between(&mut self)?;
        let ext = self.field()?;
        if ext.len() > EXT_MAX || !self.0.is_empty() {
            return Err(PeerFault::MalformedHandshake);
        }
        if flags & !FLAG_AUTHENTICATED != 0 {
            return Err(PeerFault::ReservedFlags);
        }
        let authenticated = flags == FLAG_AUTHENTICATED;
        let id = str::from_utf8(id).map_err(|_| PeerFault::InvalidNodeId)?;
        Ok((Announcement { authenticated, caps, id, incarnation, interval_ms, nonce }, between))
    }
}
