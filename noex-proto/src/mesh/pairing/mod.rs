//! Pairing: which session of all those with one peer is used. The node with the greater id decides, the lesser offers.
//!
//! The rules are those of `docs/wire.md`, Admission. They keep a session in use as long as both ends believe in it, and replace it as
//! soon as one of them is known not to. Here they are pure steps over what a node remembers of a peer: [`Pair`].

mod decider;
mod offerer;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::mem::discriminant;

use crate::mesh::abstraction::{Abstract, Abstraction};

pub(super) use decider::Decision;
pub(super) use offerer::Consent;

use super::close::Ended;
use crate::id::incarnation::Incarnation;
use crate::{ConnId, WallTime};

/// The most sessions with one peer, in use or not. An honest one has as many as it lost unnoticed within the time of an admission.
const SESSIONS_PER_PEER: usize = 32;

/// What is remembered of a peer for the admission of sessions with it.
#[derive(Clone, Debug, Default)]
#[cfg_attr(test, derive(Eq, Ord, PartialEq, PartialOrd))]
pub(crate) struct Pair {
    /// The decider: the session whose INTRO from the offerer is still to come.
    pub(super) chosen: Option<ConnId>,
    /// The decider: the count that the offerer named on the session in use.
    pub(crate) named: u64,
    /// The offerer: the peer's incarnation that the next two are about.
    pub(crate) incarnation: Incarnation,
    /// The offerer: its own count when it last admitted a session with that incarnation.
    pub(crate) admitted: u64,
    /// The offerer: the decider's count that it accepted last.
    pub(crate) accepted: u64,
    /// All sessions with the peer, in use or not.
    pub(super) sessions: Vec<ConnId>,
}

/// How far a session's admission has come.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// The decider: an offer is to come.
    AwaitOffer,
    /// The decider: INTRO is sent, the offerer's is to come.
    Chosen,
    /// The offerer: INTRO came, and another incarnation has to be probed before it counts.
    Introduced(Box<(Intro, WallTime)>),
    /// The offerer: before the offer, another incarnation has to be probed.
    Keyed,
    /// Refused, and the message that says so is the last; whatever still comes is ignored.
    Last(Ended),
    /// The offerer: the offer is sent.
    Offered,
    /// In use: INTRO was sent and received.
    Up,
    /// The decider: the offer came, and waits for another session's admission or for a probe.
    Waiting(Offer),
}

/// What OFFER said.
#[derive(Clone, Copy, Debug, Hash)]
#[cfg_attr(test, derive(Eq, Ord, PartialEq, PartialOrd))]
pub(crate) struct Offer {
    /// The offerer's count when it last admitted a session with this incarnation.
    pub(crate) count: u64,
    /// Whether it has one in use.
    pub(crate) holds: bool,
}

/// What a peer's INTRO said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intro {
    /// Its admission count.
    pub(crate) count: u64,
    /// The number of members in its view, itself included.
    pub(crate) members: u64,
    pub(crate) process_count: u64,
    pub(crate) uptime_ms: u64,
}

/// What a step of an admission depends on beside the pair.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    /// A session with another incarnation of the peer is in use.
    pub(super) other_incarnation: bool,
    /// A session with the peer is in use.
    pub(super) in_use: bool,
    /// One more node may be up.
    pub(super) room: bool,
}

impl Pair {
    /// The session whose INTRO from the offerer is still to come.
    pub(crate) const fn chosen(&self) -> Option<ConnId> {
        self.chosen
    }

    /// All sessions with the peer, in use or not, in the order in which they came.
    pub(crate) fn sessions(&self) -> &[ConnId] {
        &self.sessions
    }

    /// Whether no further session with the peer may begin.
    pub(super) fn is_full(&self) -> bool {
        self.sessions.len() >= SESSIONS_PER_PEER
    }

    /// A session has begun.
    pub(super) fn begin(&mut self, conn: ConnId) {
        // As a rule it is the only one.
        self.sessions.reserve_exact(1);
        self.sessions.push(conn);
    }

    /// A session has ended.
    pub(super) fn end(&mut self, conn: ConnId) {
        self.sessions.retain(|other| *other != conn);
        // Nothing is left that a late INTRO could come on, and a peer that named a high count once keeps nobody out.
        if self.sessions.is_empty() {
            self.accepted = 0;
        }
    }
}

impl Abstract for Pair {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { chosen, named, incarnation, admitted, accepted, sessions } = self;
        to.write((named, incarnation, admitted, accepted, chosen.map(|conn| to.place(conn)), sessions.len()));
        for conn in sessions {
            to.write(to.place(*conn));
        }
    }
}

impl Abstract for Stage {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        to.write(discriminant(self));
        match self {
            Self::Introduced(introduced) => to.write((introduced.0.count, introduced.0.members)),
            Self::Last(ended) => to.write(discriminant(ended)),
            Self::Waiting(offer) => to.write(offer),
            Self::AwaitOffer | Self::Chosen | Self::Keyed | Self::Offered | Self::Up => {}
        }
    }
}
