//! Why a connection ends, and what follows from the reason alone.

use core::time::Duration;

use crate::{Close, NodeDownReason, PeerFault, Refusal, Unreached};

/// How long a graceful close may take, but for that of a stop, which has a deadline of its own.
const LINGER: Duration = Duration::from_secs(2);

/// The most that is read, to no end, of a connection that closes gracefully: a peer that has proved nothing has little to say after it
/// was refused.
const LINGER_BYTES: usize = 64 * 1024;

/// The close that lets a last message arrive.
const GRACEFUL: Close = Close::Graceful { linger: LINGER, read_at_most: LINGER_BYTES };

/// Why a connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CloseReason {
    /// The driver could not connect, so that there is nothing to close.
    NotConnected(Ended),
    /// The connect took too long, or was not needed any more.
    GivenUp(Ended),
    /// An unauthenticated peer is turned away with a hint for its log.
    TurnedAway,
    /// The read side ended.
    Closed,
    /// The peer broke a rule.
    Fault(PeerFault),
    /// The peer refused this node.
    Refused(Refusal),
    /// The last message of this node was released, or the session leads to this node itself.
    Said(Ended),
    /// The peer said that it leaves.
    Goodbye,
    /// The peer said, of an incarnation whose place another one wants, that it leaves.
    MakesRoom,
    /// Another session is used in place of this one, or it gave no sign of life when that was asked for.
    Superseded,
    /// The peer was silent for too long.
    Silent,
    /// The port of the silent peer refused twice.
    PortRefused,
}

/// What the end of a connection means to its dial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// Neither a failure nor a reason to wait longer: the peer has too much to do, or holds another session.
    Harmless,
    Failed(Unreached),
    /// The local system could not connect.
    Local,
    /// Not worth another try before the longest delay: an identity that is taken, a node that leaves, or a name that only leads here.
    Later,
    /// It led to this node itself.
    ToSelf,
}

impl From<Refusal> for Ended {
    fn from(reason: Refusal) -> Self {
        match reason {
            Refusal::Busy | Refusal::Duplicate => Self::Harmless,
            Refusal::IdentityConflict | Refusal::Leaving => Self::Later,
            Refusal::ToSelf => Self::ToSelf,
            reason => Self::Failed(Unreached::Refused(reason)),
        }
    }
}

impl CloseReason {
    /// How the driver is asked to close the connection. `room`: whether an unauthenticated peer may be waited for.
    pub(super) const fn how(self, room: bool) -> Option<Close> {
        match self {
            Self::NotConnected(_) => None,
            Self::TurnedAway if room => Some(GRACEFUL),
            Self::Refused(_) | Self::Said(_) | Self::Goodbye | Self::MakesRoom => Some(GRACEFUL),
            Self::GivenUp(_)
            | Self::TurnedAway
            | Self::Closed
            | Self::Fault(_)
            | Self::Superseded
            | Self::Silent
            | Self::PortRefused => Some(Close::Abort),
        }
    }

    /// What it means to the connection's dial, where no session was up.
    pub(super) fn retry(self) -> Ended {
        match self {
            Self::NotConnected(ended) | Self::GivenUp(ended) | Self::Said(ended) => ended,
            Self::Closed => Ended::Failed(Unreached::Closed),
            Self::Fault(fault) => Ended::Failed(Unreached::Fault(fault)),
            Self::Refused(reason) => Ended::from(reason),
            Self::TurnedAway | Self::Goodbye | Self::MakesRoom | Self::Superseded | Self::Silent | Self::PortRefused => {
                Ended::Harmless
            }
        }
    }

    /// Why the node is down, where the session was up.
    pub(super) const fn down_reason(self) -> NodeDownReason {
        match self {
            Self::Goodbye | Self::Refused(Refusal::Leaving) => NodeDownReason::GracefulShutdown,
            Self::Silent => NodeDownReason::HeartbeatTimeout,
            Self::PortRefused => NodeDownReason::ConnectionRefused,
            _ => NodeDownReason::ConnectionClosed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_last_message_is_closed_gracefully() {
        let graceful = |reason: CloseReason| matches!(reason.how(false), Some(Close::Graceful { .. }));
        assert!(graceful(CloseReason::Refused(Refusal::Duplicate)) && graceful(CloseReason::Goodbye));
        assert!(!graceful(CloseReason::Closed) && !graceful(CloseReason::Silent) && !graceful(CloseReason::TurnedAway));
        assert_eq!(CloseReason::NotConnected(Ended::Local).how(true), None);
        // A hint for a log is waited for where there is room.
        assert!(matches!(CloseReason::TurnedAway.how(true), Some(Close::Graceful { .. })));
    }

    #[test]
    fn a_node_that_leaves_says_so_by_goodbye_or_by_a_refusal() {
        assert_eq!(CloseReason::Goodbye.down_reason(), NodeDownReason::GracefulShutdown);
        assert_eq!(CloseReason::Refused(Refusal::Leaving).down_reason(), NodeDownReason::GracefulShutdown);
        assert_eq!(CloseReason::Refused(Refusal::Duplicate).down_reason(), NodeDownReason::ConnectionClosed);
        assert_eq!(CloseReason::Refused(Refusal::Leaving).retry(), Ended::Later);
    }
}
