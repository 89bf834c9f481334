//! Known defects, built in by `--cfg noex_planted` alone: the measure of the simulator.

use super::Machine;

/// A defect that can be switched on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Planted {
    /// A record with a wrong tag is passed over.
    BadTagIgnored,
    /// The limit on closing connections holds for a stop too, and costs peers their GOODBYE.
    ClosingLimitAtStop,
    /// Dials go on after a stop.
    DialsSurviveStop,
    /// A down is reported twice.
    DownTwice,
    /// A refused duplicate is reported as down.
    DuplicateIsDown,
    /// A connection that ended is not closed.
    EndWithoutClose,
    /// What others tell of their members is not heeded.
    GossipIgnored,
    /// Of two who learn of each other, the greater leaves the dial to the lesser for ever.
    GreaterNeverDials,
    /// Each connection has the same nonce.
    NonceReused,
    /// A pause of one's own counts as the peers' silence.
    PausesCount,
    /// A new instance is taken for the one that was known.
    RestartNotNoticed,
    /// A seed that could not be reached is not tried again.
    SeedGivenUp,
    /// An offer made before the session in use was up is taken for news.
    StaleOfferTaken,
    /// One record more than the window allows is released.
    WindowOverrun,
}

impl Planted {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::BadTagIgnored,
        Self::ClosingLimitAtStop,
        Self::DialsSurviveStop,
        Self::DownTwice,
        Self::DuplicateIsDown,
        Self::EndWithoutClose,
        Self::GossipIgnored,
        Self::GreaterNeverDials,
        Self::NonceReused,
        Self::PausesCount,
        Self::RestartNotNoticed,
        Self::SeedGivenUp,
        Self::StaleOfferTaken,
        Self::WindowOverrun,
    ];
}

impl Machine {
    /// Switches a defect on.
    pub fn plant(&mut self, planted: Planted) {
        self.out_mut().planted = Some(planted);
    }
}
