//! Which errors pass by themselves, and which need somebody.

use crate::{ClusterError, DialError, LocalFault, PeerFault, Refusal, Unreached};

// Every variant is named, so that a new one has to be thought of here.

impl ClusterError {
    /// Whether it passes by itself, as a seed that does not run yet does: the node tries again, and nobody has to do anything. The
    /// others need somebody: a configuration, a secret, a version, a limit, or a defect.
    ///
    /// | error | passes by itself |
    /// |---|---|
    /// | [`SeedUnreachable`](Self::SeedUnreachable), [`NodeUnreachable`](Self::NodeUnreachable) | as [`Unreached::is_transient`] says of its reason: what the network or a resolver failed at does |
    /// | [`Peer`](Self::Peer), [`Refused`](Self::Refused) | as [`PeerFault::is_transient`], [`Refusal::is_transient`] say |
    /// | [`CastNotUnderstood`](Self::CastNotUnderstood) | no: two nodes have different versions of a protocol |
    /// | [`IdentityConflict`](Self::IdentityConflict), [`SeedMismatch`](Self::SeedMismatch) | no: a configuration is wrong |
    /// | [`NameNotKept`](Self::NameNotKept) | no: a limit is too low, or names are claimed without end |
    /// | [`Local`](Self::Local) | no: something is to be configured or mended on this machine; a lookup that failed does |
    /// | [`Suppressed`](Self::Suppressed) | no: any error may be among those that were held back |
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NodeUnreachable { why, .. } | Self::SeedUnreachable { why, .. } => why.is_transient(),
            Self::Peer { fault, .. } => fault.is_transient(),
            Self::Refused { reason, .. } => reason.is_transient(),
            Self::Local(fault) => match fault {
                LocalFault::Lookup { .. } => true,
                LocalFault::Accept { .. }
                | LocalFault::AdvertisedElsewhere { .. }
                | LocalFault::Dial { .. }
                | LocalFault::HandlerPanicked { .. }
                | LocalFault::LoopbackAdvertised
                | LocalFault::NoSecret => false,
            },
            Self::CastNotUnderstood { .. }
            | Self::IdentityConflict { .. }
            | Self::NameNotKept { .. }
            | Self::SeedMismatch { .. }
            | Self::Suppressed { .. } => false,
        }
    }
}

impl Unreached {
    /// Whether it passes by itself: a connection that ended or was not made does, a fault or a refusal as it says itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Closed => true,
            Self::Dial(error) => match error {
                DialError::LookupTimedOut
                | DialError::Refused
                | DialError::TimedOut
                | DialError::Unreachable
                | DialError::Unresolved => true,
            },
            Self::Fault(fault) => fault.is_transient(),
            Self::Refused(reason) => reason.is_transient(),
        }
    }
}

impl PeerFault {
    /// Whether it passes by itself: a handshake or an acknowledgement that took too long, since its peer or the network has too much to do, and an address that
    /// another node has now, which is no longer told of once the former one is forgotten. The others are another secret, cluster, version
    /// or protocol, a configuration, or a defect.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Self::ClaimNotAcknowledged | Self::HandshakeTimeout | Self::WrongTarget => true,
            Self::AuthenticationFailed
            | Self::AuthenticationMissing
            | Self::AuthenticationNotOffered
            | Self::BadTag
            | Self::UnexpectedOffer
            | Self::ControlFlood
            | Self::FrameTooShort
            | Self::FrameTooLong
            | Self::IntervalOutOfBounds
            | Self::InvalidNodeId
            | Self::InvalidMagic
            | Self::LoopbackIdentity
            | Self::MalformedBody
            | Self::MalformedHandshake
            | Self::MalformedRecord
            | Self::MessageTooLarge
            | Self::NeverAsked
            | Self::NeverClaimed
            | Self::NonceReused
            | Self::NumberInUse
            | Self::ReservedFlags
            | Self::TooManyNames
            | Self::UnexpectedMessage
            | Self::UnknownMessage
            | Self::VersionMismatch => false,
        }
    }
}

impl Refusal {
    /// Whether it passes by itself: a peer that has too much to do, holds another session, leaves, or has the address of a node that is
    /// gone. The others are another secret, cluster or version, an identity that is taken, or a limit that is reached.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        match self {
            Self::Busy | Self::Duplicate | Self::Leaving | Self::NotTheTarget | Self::ToSelf => true,
            Self::AuthenticationFailed
            | Self::AuthenticationNotOffered
            | Self::AuthenticationRequired
            | Self::IdentityConflict
            | Self::LimitReached
            | Self::LoopbackIdentity
            | Self::NotAdmitted
            | Self::Unknown(_)
            | Self::Version => false,
        }
    }
}
