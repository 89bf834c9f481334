//! The node with the lesser id offers, and consents to the decider's choice.

use super::{Offer, Pair, Situation};
use crate::id::incarnation::Incarnation;

/// What the offerer does with the decider's INTRO.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::mesh) enum Consent {
    /// Introduces itself: the session is in use.
    Admit,
    /// Refuses it: no further node may be up.
    Full,
    /// Asks the session in use, with another incarnation, for a sign of life first.
    Probe,
    /// Ends the session in use, in which the decider believes no more. The INTRO is answered by that.
    Replace,
    /// Ends the session: a later choice of the decider has overtaken this one.
    Stale,
}

impl Pair {
    /// What the offerer says in its offer to an incarnation of the peer.
    pub(in crate::mesh) fn offer(&self, incarnation: &Incarnation, in_use: bool) -> Offer {
        Offer { count: if self.incarnation == *incarnation { self.admitted } else { 0 }, holds: in_use }
    }

    /// Answers the decider's INTRO, which named this count.
    pub(in crate::mesh) fn consent(&self, incarnation: &Incarnation, count: u64, now: Situation) -> Consent {
        if now.other_incarnation {
            Consent::Probe
        } else if self.incarnation == *incarnation && count <= self.accepted {
            Consent::Stale
        } else if now.in_use {
            Consent::Replace
        } else if !now.room {
            Consent::Full
        } else {
            Consent::Admit
        }
    }

    /// The session is in use. `own` is the offerer's count by it, and `count` the decider's.
    pub(in crate::mesh) const fn admitted(&mut self, incarnation: Incarnation, own: u64, count: u64) {
        self.incarnation = incarnation;
        self.admitted = own;
        self.accepted = count;
    }
}
