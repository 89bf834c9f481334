//! What the application is told of peers, and how often.

use core::hash::Hasher;
use core::time::Duration;

use crate::Instant;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::mesh::reports::{PeerReport, PeerReports, ReportLimiter};

/// What was reported lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reporter {
    /// When another process's claim to this node's identity was last reported.
    conflict_reported: Option<Instant>,
    /// What was told lately of peers that dialled and did not come up.
    peer_reports: PeerReports,
    limiter: ReportLimiter,
}

impl Reporter {
    /// Whether one more report of an error that an unauthenticated peer can cause may be made now. One that may not is counted.
    pub(super) fn admit(&mut self, now: Instant, limit: usize) -> bool {
        self.limiter.admit(now, limit)
    }

    /// When the reports held back are due to be summed up.
    pub(super) fn due(&self) -> Instant {
        self.limiter.due()
    }

    /// The number of reports held back since it was last taken.
    pub(super) fn take_held_back(&mut self) -> u64 {
        self.limiter.take_held_back()
    }

    /// Whether this was told already of a peer that may do the same again and again.
    pub(super) fn is_told(&mut self, now: Instant, report: &PeerReport) -> bool {
        self.peer_reports.is_told(now, report)
    }

    /// This was told.
    pub(super) fn told(&mut self, now: Instant, report: PeerReport) {
        self.peer_reports.told(now, report);
    }

    /// Whether to report that another running process claims this node's own identity: not more often than once in `delay`.
    pub(super) fn is_new_conflict(&mut self, now: Instant, delay: Duration) -> bool {
        let last = &mut self.conflict_reported;
        let news = last.is_none_or(|at| now - at >= delay);
        if news {
            *last = Some(now);
        }
        news
    }
}

impl Abstract for Reporter {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { conflict_reported, peer_reports: _, limiter: _ } = self;
        to.write(conflict_reported.map(|at| to.age(at)));
    }
}
