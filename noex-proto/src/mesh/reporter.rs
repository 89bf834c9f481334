//! What the application is told of peers, and how often.

use super::cx::{Cx, Timer};
use crate::machine::{Abstract, Abstraction};
use crate::reports::{PeerReport, PeerReports, ReportLimiter};
use crate::{ClusterError, ClusterEvent, Instant};
use core::hash::Hasher;

/// What was reported lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reporter {
    /// When another process's claim to this node's identity was last reported.
    conflict_reported: Option<Instant>,
    /// What was told lately of peers that dialled and did not come up.
    peer_reports: PeerReports,
    limiter: ReportLimiter,
}

impl Cx<'_> {
    /// Reports an error that an unauthenticated peer can cause, unless there have been too many. Whether it was told.
    pub(super) fn report(&mut self, error: ClusterError) -> bool {
        let (now, limit) = (self.now(), self.local.settings.limits.error_reports_per_second);
        let limiter = &mut self.local.reporter.limiter;
        let admitted = limiter.admit(now, limit);
        if admitted {
            self.host.emit(ClusterEvent::Error(error));
        } else {
            self.host.counters.reports_held_back += 1;
            self.local.timers.set_earliest(Timer::Reports, limiter.due());
        }
        admitted
    }

    /// Reports what a peer that dialled may do again and again.
    pub(super) fn report_once(&mut self, report: PeerReport, error: ClusterError) {
        let now = self.now();
        if !self.local.reporter.peer_reports.is_told(now, &report) && self.report(error) {
            self.local.reporter.peer_reports.told(now, report);
        }
    }

    /// Reports how many reports were held back.
    pub(super) fn sum_up_reports(&mut self) {
        let count = self.local.reporter.limiter.take_held_back();
        self.host.emit(ClusterEvent::Error(ClusterError::Suppressed { count }));
    }

    /// Reports that another running process claims this node's own identity: not more often than once in the longest delay.
    pub(super) fn report_own_conflict(&mut self) {
        let (now, delay) = (self.now(), self.local.settings.reconnect_max_delay);
        let last = &mut self.local.reporter.conflict_reported;
        if last.is_none_or(|at| now - at >= delay) {
            *last = Some(now);
            let id = self.local.id.clone();
            self.report(ClusterError::IdentityConflict { id });
        }
    }
}

impl Abstract for Reporter {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { conflict_reported, peer_reports: _, limiter: _ } = self;
        to.write(conflict_reported.map(|at| to.age(at)));
    }
}
