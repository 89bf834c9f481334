//! The node with the greater id chooses.

use super::{Offer, Pair, Situation};

/// What the decider does with an offer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::mesh) enum Decision {
    /// Chooses the session, and introduces itself on it.
    Choose,
    /// Refuses it: no further node may be up.
    Full,
    /// Asks the session in use, with another incarnation, for a sign of life first.
    Probe,
    /// Refuses it: the session in use is one that both ends believe in.
    RefuseDuplicate,
    /// Ends the session in use, in which the offerer believes no more. The offer is decided by that.
    Replace,
    /// Lets it wait for the session that was chosen before.
    Wait,
}

impl Pair {
    /// Decides about an offer.
    pub(in crate::mesh) const fn decide(&self, offer: Offer, now: Situation) -> Decision {
        let Offer { count, holds } = offer;
        if self.chosen.is_some() {
            Decision::Wait
        } else if now.other_incarnation {
            Decision::Probe
        } else if now.in_use && (count < self.named || count == self.named && holds) {
            Decision::RefuseDuplicate
        } else if now.in_use {
            Decision::Replace
        } else if !now.room {
            Decision::Full
        } else {
            Decision::Choose
        }
    }

    /// The offerer's INTRO came on the chosen session, with its count: the session is in use.
    pub(in crate::mesh) const fn used(&mut self, count: u64) {
        self.named = count;
    }

    /// The session in use has ended.
    pub(in crate::mesh) const fn unused(&mut self) {
        self.named = 0;
    }
}
