//! The handshake: who the peer is, and that it knows a secret.

mod frames;
mod initiator;
mod responder;
#[cfg(test)]
mod tests;

use core::time::Duration;

use crate::id::incarnation::Incarnation;
use crate::wire::keys::{HmacSha256, Root, Secrets};
use crate::wire::record::{Opener, Sealer};
use crate::{NodeId, PeerFault, Refusal};

use frames::Announcement;
pub(crate) use frames::{RejectCode, canonical_id, reject_frame};
pub(crate) use initiator::{Initiator, InitiatorStep};
pub(crate) use responder::{Responder, ResponderStep, Said};

/// What this node says of itself, and what it asks of others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalHello<'a> {
    /// Capabilities; none is defined yet.
    pub(crate) caps: u64,
    /// The cluster's name. It is never sent.
    pub(crate) context: &'a str,
    pub(crate) id: &'a NodeId,
    pub(crate) incarnation: Incarnation,
    /// The interval of the heartbeats that this node sends, in whole milliseconds.
    pub(crate) interval: Duration,
    pub(crate) secrets: &'a Secrets,
}

impl LocalHello<'_> {
    fn announcement(&self, nonce: [u8; 32]) -> Announcement<'_> {
        Announcement {
            authenticated: self.secrets.required,
            caps: self.caps,
            id: self.id.as_str(),
            incarnation: self.incarnation,
            interval_ms: u32::try_from(self.interval.as_millis()).expect("an interval is at most ten minutes"),
            nonce,
        }
    }

    /// Whether a secret is required is each side's own affair: the two must agree, and nothing is negotiated.
    fn check_policy(&self, peer: &Announcement<'_>) -> Result<(), PeerFault> {
        match (self.secrets.required, peer.authenticated) {
            (true, false) => Err(PeerFault::AuthenticationMissing),
            (false, true) => Err(PeerFault::AuthenticationNotOffered),
            (true, true) | (false, false) => Ok(()),
        }
    }
}

/// A peer that proved a secret, and the keys of the session with it.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    pub(crate) caps: u64,
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// The interval of the heartbeats that the peer sends, in milliseconds.
    pub(crate) interval_ms: u32,
    pub(crate) opener: Opener,
    /// What the session was authenticated with.
    pub(crate) root: Root,
    pub(crate) sealer: Sealer,
    #[cfg_attr(not(test), expect(dead_code, reason = "what a second version will ask for"))]
    pub(crate) version: u8,
}

/// Why a handshake ended without keys. The connection is to be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum HandshakeFailure {
    /// The peer broke a rule.
    Fault {
        fault: PeerFault,
        /// What to tell it before the connection is closed, if anything.
        reject: Option<RejectCode>,
    },
    /// The peer sent a REJECT.
    Refused(Refusal),
}

impl From<PeerFault> for HandshakeFailure {
    /// A fault that the peer is not told of.
    fn from(fault: PeerFault) -> Self {
        Self::Fault { fault, reject: None }
    }
}

/// A peer, as it announced itself and has not proved yet.
#[derive(Clone, Debug)]
struct Claimed {
    caps: u64,
    id: NodeId,
    incarnation: Incarnation,
    interval_ms: u32,
    version: u8,
}

impl Claimed {
    /// The peer, now that it proved `root`, with the keys of what it is sent and of what it sends.
    fn proved(self, root: Root, sent: HmacSha256, received: HmacSha256) -> Keyed {
        let Self { caps, id, incarnation, interval_ms, version } = self;
        let (opener, sealer) = (Opener::new(received), Sealer::new(sent));
        Keyed { caps, id, incarnation, interval_ms, opener, root, sealer, version }
    }
}
