//! Errors by culprit: the peer, the caller, the local system, or the state of the world.

use alloc::string::String;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::{Cause, Contact, DialError, InvalidClusterConfigError, NodeId, ProcessId, ProcessName};

/// The content of an error event, which no call returns. None of them is fatal.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClusterError {
    /// A process could not decode a cast, which is dropped. Reported once a minute for each process, and for 16 processes at most;
    /// [`Counters::casts_not_understood`](crate::Counters::casts_not_understood) counts all.
    CastNotUnderstood {
        /// What the decoder said, cut at 256 bytes.
        cause: Arc<str>,
        /// The process that the cast was for.
        process: ProcessId,
    },
    /// Two running processes claim one identity. The one that was there first keeps it; the other one reports the conflict, as does
    /// every node that refused it.
    IdentityConflict {
        /// The identity that both claim.
        id: NodeId,
    },
    /// A fault of the local system.
    Local(LocalFault),
    /// A name of another node found no room here, so that it is not found here; reported once, until half of the room is free.
    NameNotKept {
        /// Its process.
        by: ProcessId,
        /// [`Limits::names_of_others`](crate::Limits::names_of_others).
        limit: usize,
        /// The name.
        name: ProcessName,
    },
    /// A node that was never up could not be reached; reported once, however often the dial is repeated.
    NodeUnreachable {
        /// Which node.
        id: NodeId,
        /// Why.
        why: Unreached,
    },
    /// A peer broke the protocol; its connection is closed. Of a peer that dialled and does not come up, the same fault is reported
    /// once an hour, for each address, each identity that it claims and each node that it wants; the last 256 are remembered.
    Peer {
        /// Its address.
        addr: SocketAddr,
        /// The identity that it claims, where it dialled and has proved nothing: anybody can claim any.
        claimed: Option<NodeId>,
        /// The rule that it broke.
        fault: PeerFault,
        /// Its identity, where that was proved.
        id: Option<NodeId>,
        /// The node that it wanted and that this one is not, as where an address has another owner now.
        wanted: Option<NodeId>,
    },
    /// A peer refused this node. During the handshake anyone at that address or on the path can say so, secret or not: it is a hint.
    Refused {
        /// Its address.
        addr: SocketAddr,
        /// What it said.
        reason: Refusal,
    },
    /// The node that was found at a seed's address has another identity; reported once per seed and identity, of which the last 16 are
    /// remembered.
    SeedMismatch {
        /// The identity that was proved.
        found: NodeId,
        /// The seed as configured.
        seed: NodeId,
    },
    /// A seed could not be reached; reported once for the same reason, however often the dial is repeated.
    SeedUnreachable {
        /// The seed as configured.
        seed: Contact,
        /// Why.
        why: Unreached,
    },
    /// This many reports about strangers were held back, to keep their rate bounded.
    Suppressed {
        /// How many.
        count: u64,
    },
}

/// Why a dial led to no session.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Unreached {
    /// The connection ended, or the peer did not answer in time, before the session was up.
    Closed,
    /// The connection was not made.
    Dial(DialError),
    /// The peer broke the protocol.
    Fault(PeerFault),
    /// The peer refused.
    Refused(Refusal),
}

/// The rule that a peer broke.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum PeerFault {
    /// It did not prove a secret that is accepted here: wrong secret, or another cluster name.
    AuthenticationFailed,
    /// It has no secret, and this node requires one.
    AuthenticationMissing,
    /// It requires a proof, and this node has no secret.
    AuthenticationNotOffered,
    /// A record's tag is wrong.
    BadTag,
    /// A second admission offer, or one from the side that decides.
    UnexpectedOffer,
    /// It did not acknowledge a claim to a name in time.
    ClaimNotAcknowledged,
    /// It sent control messages faster than it read the answers.
    ControlFlood,
    /// A frame or record that is empty or too short for its kind.
    FrameTooShort,
    /// A frame or record longer than its limit.
    FrameTooLong,
    /// The handshake or the admission was not completed in time.
    HandshakeTimeout,
    /// Its heartbeat interval is out of bounds.
    IntervalOutOfBounds,
    /// An identity that is none.
    InvalidNodeId,
    /// The bytes are not of this protocol.
    InvalidMagic,
    /// Its identity is on loopback, and it is on another machine.
    LoopbackIdentity,
    /// A message body that does not decode.
    MalformedBody,
    /// A handshake frame whose fields do not fit.
    MalformedHandshake,
    /// A message that does not fit its record.
    MalformedRecord,
    /// A message larger than the limit.
    MessageTooLarge,
    /// An answer to a call, the end of a process, or the acknowledgement of a claim, that this node never asked for.
    NeverAsked,
    /// The end of a claim that it never told.
    NeverClaimed,
    /// Both sides drew the same nonce: a reflection.
    NonceReused,
    /// A call, a monitor or a claim with the number of another one that is open.
    NumberInUse,
    /// Reserved flag bits were set.
    ReservedFlags,
    /// More names than one node may have.
    TooManyNames,
    /// A known message where it may not stand.
    UnexpectedMessage,
    /// A message of a type that this version does not know.
    UnknownMessage,
    /// No common protocol version.
    VersionMismatch,
    /// It wanted another node, or is another node than was dialled.
    WrongTarget,
}

impl Error for PeerFault {}

impl fmt::Display for PeerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthenticationFailed => "authentication failed (wrong secret or other cluster name)",
            Self::AuthenticationMissing => "it offers no authentication, which is required here",
            Self::AuthenticationNotOffered => "it requires authentication, and no secret is set here",
            Self::BadTag => "bad record tag",
            Self::UnexpectedOffer => "unexpected admission offer",
            Self::ClaimNotAcknowledged => "a claim to a name not acknowledged in time",
            Self::ControlFlood => "control messages faster than it reads the answers",
            Self::FrameTooShort => "frame too short",
            Self::FrameTooLong => "frame too long",
            Self::HandshakeTimeout => "handshake not completed in time",
            Self::IntervalOutOfBounds => "heartbeat interval out of bounds",
            Self::InvalidNodeId => "invalid node id",
            Self::InvalidMagic => "not the noex protocol",
            Self::LoopbackIdentity => "another machine's node with an identity on loopback (it needs advertise_host)",
            Self::MalformedBody => "malformed message body",
            Self::MalformedHandshake => "malformed handshake frame",
            Self::MalformedRecord => "malformed record",
            Self::MessageTooLarge => "message too large",
            Self::NeverAsked => {
                "an answer to a call, the end of a process, or the acknowledgement of a claim, that was never asked for"
            }
            Self::NeverClaimed => "the end of a claim that was never told",
            Self::NumberInUse => "a call, a monitor or a claim with the number of another one that is open",
            Self::NonceReused => "nonce reused",
            Self::ReservedFlags => "reserved flags set",
            Self::TooManyNames => "more names than one node may have",
            Self::UnexpectedMessage => "unexpected message",
            Self::UnknownMessage => "unknown message",
            Self::VersionMismatch => "no common protocol version",
            Self::WrongTarget => "another node than was wanted",
        })
    }
}

/// Why a peer refused this node, as it said.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Refusal {
    /// It could not verify this node's proof: wrong secret, or another cluster name.
    AuthenticationFailed,
    /// It offers no authentication, and this node requires it.
    AuthenticationNotOffered,
    /// It requires authentication, and this node offers none.
    AuthenticationRequired,
    /// It has too many handshakes under way.
    Busy,
    /// It holds a session with this node already.
    Duplicate,
    /// Another running process has this node's identity.
    IdentityConflict,
    /// It is leaving the cluster.
    Leaving,
    /// It has as many members as it may.
    LimitReached,
    /// This node's identity is on loopback, where the peer, on another machine, would meet itself.
    LoopbackIdentity,
    /// It is not the node that was dialled.
    NotTheTarget,
    /// It did not admit this node.
    NotAdmitted,
    /// It is this node itself.
    ToSelf,
    /// A reason that this version does not know.
    Unknown(u8),
    /// No common protocol version.
    Version,
}

impl Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AuthenticationFailed => "authentication failed (wrong secret or other cluster name)",
            Self::AuthenticationNotOffered => "the peer offers no authentication",
            Self::AuthenticationRequired => "the peer requires authentication",
            Self::Busy => "the peer is busy",
            Self::Duplicate => "a session exists already",
            Self::IdentityConflict => "another running process has this identity",
            Self::Leaving => "the peer is leaving",
            Self::LimitReached => "the peer has as many members as it may",
            Self::LoopbackIdentity => {
                "this node tells a loopback address, and the peer is on another machine: set advertise_host"
            }
            Self::NotTheTarget => "the peer is another node than was dialled",
            Self::NotAdmitted => "the peer did not admit this node",
            Self::ToSelf => "the peer is this node itself",
            Self::Unknown(code) => return write!(f, "unknown reason {code}"),
            Self::Version => "no common protocol version",
        })
    }
}

/// A fault of the local system. None of them stops the node.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LocalFault {
    /// Accepting connections fails, and is retried.
    Accept {
        /// What the operating system said.
        cause: Cause,
    },
    /// Others are told a host at which this node does not listen.
    AdvertisedElsewhere {
        /// The host in the node's identity.
        advertised: String,
        /// The address listened on.
        listening: IpAddr,
    },
    /// A connection could not be begun, and is tried again: there is no descriptor, port, or right for it. Nothing is known of the node
    /// that was dialled.
    Dial {
        /// What the operating system said.
        cause: Cause,
    },
    /// A handler panicked; it is called again for the next event.
    HandlerPanicked {
        /// The panic's message.
        message: String,
    },
    /// A host could not be looked up, and is tried again: the system could not ask, or its resolver gave no answer. Nothing is known of
    /// the name.
    Lookup {
        /// What the resolver said.
        cause: Cause,
        /// The host.
        host: String,
    },
    /// Only a loopback address was found to tell peers on other machines: set `advertise_host`.
    LoopbackAdvertised,
    /// The node listens beyond loopback without a secret: anyone can join.
    NoSecret,
}

impl fmt::Display for LocalFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept { cause } => write!(f, "accepting connections failed: {cause}"),
            Self::AdvertisedElsewhere { advertised, listening } => write!(
                f,
                "peers are told {advertised}, and this node listens on {listening} alone, which is not there: set host to an address \
                 that peers reach, such as 0.0.0.0, or advertise_host to one that is listened on"
            ),
            Self::Dial { cause } => write!(f, "dialling failed on this machine: {cause}"),
            Self::HandlerPanicked { message } => write!(f, "a handler panicked: {message}"),
            Self::Lookup { cause, host } => write!(f, "the lookup of {host} failed on this machine: {cause}"),
            Self::LoopbackAdvertised => {
                f.write_str("peers are told a loopback address: set advertise_host to be reached from other machines")
            }
            Self::NoSecret => f.write_str("listening beyond loopback without a cluster secret: anyone can join"),
        }
    }
}

impl Error for LocalFault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Accept { cause } | Self::Dial { cause } | Self::Lookup { cause, .. } => Some(cause.get_ref()),
            Self::AdvertisedElsewhere { .. } | Self::HandlerPanicked { .. } | Self::LoopbackAdvertised | Self::NoSecret => None,
        }
    }
}

impl Error for Unreached {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Closed => None,
            Self::Dial(error) => Some(error),
            Self::Fault(fault) => Some(fault),
            Self::Refused(reason) => Some(reason),
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the connection ended before a session was up"),
            Self::Dial(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
            Self::Refused(reason) => reason.fmt(f),
        }
    }
}

/// What an unauthenticated peer says that it is, in brackets.
struct Claim<'a>(Option<&'a NodeId>);

impl fmt::Display for Claim<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |id| write!(f, " (claims to be {id})"))
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CastNotUnderstood { cause, process } => write!(f, "a cast to {process} was not understood: {cause}"),
            Self::IdentityConflict { id } => write!(f, "identity conflict: two running processes claim {id}"),
            Self::Local(fault) => fault.fmt(f),
            Self::NameNotKept { by, limit, name } => {
                write!(f, "no room for the name {name} of {by}: {limit} names of others are kept")
            }
            Self::NodeUnreachable { id, why } => write!(f, "node {id} is unreachable: {why}"),
            Self::Peer { addr, claimed, wanted: Some(wanted), .. } => {
                write!(f, "peer {}{} wanted {wanted}, which is not here", addr.ip(), Claim(claimed.as_ref()))
            }
            Self::Peer { addr, fault, id: Some(id), .. } => write!(f, "fault of peer {id} at {addr}: {fault}"),
            Self::Peer { addr, claimed, fault, .. } => {
                write!(f, "fault of peer at {addr}{}: {fault}", Claim(claimed.as_ref()))
            }
            Self::Refused { addr, reason } => write!(f, "refused by peer at {addr}: {reason}"),
            Self::SeedMismatch { found, seed } => write!(f, "seed {seed} is node {found}"),
            Self::SeedUnreachable { seed, why } => write!(f, "seed {seed} is unreachable: {why}"),
            Self::Suppressed { count } => write!(f, "{count} reports about strangers held back"),
        }
    }
}

impl Error for ClusterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            // The fault is the whole of this error, and has its text.
            Self::Local(fault) => fault.source(),
            Self::NodeUnreachable { why, .. } | Self::SeedUnreachable { why, .. } => Some(why),
            Self::Peer { fault, .. } => Some(fault),
            Self::Refused { reason, .. } => Some(reason),
            Self::CastNotUnderstood { .. }
            | Self::IdentityConflict { .. }
            | Self::NameNotKept { .. }
            | Self::SeedMismatch { .. }
            | Self::Suppressed { .. } => None,
        }
    }
}

/// The local node is not running, and was read or used.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct ClusterNotStartedError;

impl fmt::Display for ClusterNotStartedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cluster is not running: call start first")
    }
}

impl Error for ClusterNotStartedError {}

/// A message was not taken. Nothing was queued.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SendError {
    /// No session with the node is up.
    NotConnected {
        /// The node.
        to: NodeId,
    },
    /// The cluster is not running.
    NotStarted(ClusterNotStartedError),
    /// The node's queue has no room for the message.
    QueueFull {
        /// The limit on queued bytes.
        limit: usize,
        /// The node.
        to: NodeId,
    },
    /// The message is for the sender itself, with which it has no session.
    ToSelf,
    /// The message is larger than [`Limits::message_bytes`](crate::Limits::message_bytes).
    TooLarge {
        /// The limit.
        limit: usize,
        /// The message's size.
        size: usize,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected { to } => write!(f, "node {to} is not connected"),
            Self::NotStarted(error) => error.fmt(f),
            Self::QueueFull { limit, to } => write!(f, "the queue to {to} is full (limit {limit} bytes)"),
            Self::ToSelf => f.write_str("a node does not send to itself"),
            Self::TooLarge { limit, size } => write!(f, "a message of {size} bytes is over the limit of {limit}"),
        }
    }
}

impl Error for SendError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::NotStarted(error) = self { Some(error) } else { None }
    }
}

/// Why secrets were not taken. Nothing changed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SetSecretsError {
    /// A secret breaks a rule, or there are too many. The field is the argument's name.
    Invalid(InvalidClusterConfigError),
    /// The cluster is not running.
    NotStarted(ClusterNotStartedError),
}

impl fmt::Display for SetSecretsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => write!(f, "secrets not changed: {}", error.reason()),
            Self::NotStarted(error) => error.fmt(f),
        }
    }
}

impl Error for SetSecretsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            Self::NotStarted(error) => Some(error),
        }
    }
}

/// Why contact addresses were not taken. Nothing changed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum SetSeedsError {
    /// A text is no contact address, or there are too many.
    Invalid(InvalidClusterConfigError),
    /// The cluster is not running.
    NotStarted(ClusterNotStartedError),
}

impl fmt::Display for SetSeedsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => write!(f, "seeds not changed: {}", error.reason()),
            Self::NotStarted(error) => error.fmt(f),
        }
    }
}

impl Error for SetSeedsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            Self::NotStarted(error) => Some(error),
        }
    }
}

/// Why a start was refused. The node is stopped, or goes on as it was.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StartError {
    /// The cluster is running, starting or stopping.
    AlreadyRunning,
    /// The configuration is invalid.
    Config(InvalidClusterConfigError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning => f.write_str("the cluster is already running"),
            Self::Config(error) => error.fmt(f),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::Config(error) = self { Some(error) } else { None }
    }
}
