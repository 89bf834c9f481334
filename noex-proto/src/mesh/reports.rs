//! Error reports at a bounded rate: those that unauthenticated peers can cause, and those about the local system.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use crate::{Instant, LocalFault, NodeId, Unreached};

/// The most local faults that are remembered as reported.
const LOCAL_MAX: usize = 16;

/// A local fault that persists is reported again after this time.
const LOCAL_REPEAT: Duration = Duration::from_secs(60);

/// The time over which reports are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The most reports about peers that dialled and did not come up that are remembered.
const PEERS_MAX: usize = 256;

/// What such a peer does again and again is reported again after this time.
const PEERS_REPEAT: Duration = Duration::from_secs(60 * 60);

/// What was reported lately, the oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Recent<K>(VecDeque<(Instant, K)>);

impl<K: Eq> Recent<K> {
    /// Whether this was reported within that time; what is older is forgotten.
    pub(crate) fn holds(&mut self, now: Instant, time: Duration, key: &K) -> bool {
        while self.0.front().is_some_and(|(at, _)| now - *at >= time) {
            self.0.pop_front();
        }
        self.0.iter().any(|(_, reported)| reported == key)
    }
}

impl<K> Recent<K> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// This is reported now.
    pub(crate) fn push(&mut self, now: Instant, key: K) {
        self.0.push_back((now, key));
    }
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

/// The local faults of the last minute, each of which was reported once.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalReports(Recent<String>);

impl LocalReports {
    /// Whether this fault is to be reported now. One that was reported is not for a minute, nor is another one while as many as there
    /// may be are remembered. Each panic of a handler is.
    pub(crate) fn admit(&mut self, now: Instant, fault: &LocalFault) -> bool {
        if let LocalFault::HandlerPanicked { .. } = fault {
            return true;
        }
        let text = fault.to_string();
        let admitted = !self.0.holds(now, LOCAL_REPEAT, &text) && self.0.len() < LOCAL_MAX;
        if admitted {
            self.0.push(now, text);
        }
        admitted
    }
}

/// What is the same of two reports about peers that dialled and did not come up.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct PeerReport {
    pub(crate) claimed: Option<NodeId>,
    pub(crate) id: Option<NodeId>,
    pub(crate) ip: IpAddr,
    pub(crate) wanted: Option<NodeId>,
    pub(crate) why: Unreached,
}

/// The reports of the last hour about peers that dialled and did not come up. The oldest make room for others: those come at a bounded rate.
#[derive(Clone, Default)]
pub(crate) struct PeerReports(Recent<PeerReport>);

impl PeerReports {
    /// Whether this was told already.
    pub(crate) fn is_told(&mut self, now: Instant, report: &PeerReport) -> bool {
        self.0.holds(now, PEERS_REPEAT, report)
    }

    /// This was told.
    pub(crate) fn told(&mut self, now: Instant, report: PeerReport) {
        if self.0.len() >= PEERS_MAX {
            self.0.0.pop_front();
        }
        self.0.push(now, report);
    }
}

impl fmt::Debug for PeerReports {
    /// Without what unauthenticated peers made up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerReports").finish_non_exhaustive()
    }
}

/// Counts the reports of a window and those held back.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReportLimiter {
    held_back: u64,
    let_through: usize,
    window: Instant,
}

impl ReportLimiter {
    /// Whether one more report may pass now. One that may not is counted.
    pub(crate) fn admit(&mut self, now: Instant, limit: usize) -> bool {
        if now - self.window >= WINDOW {
            self.window = now;
            self.let_through = 0;
        }
        let admitted = self.let_through < limit;
        if admitted {
            self.let_through += 1;
        } else {
            self.held_back += 1;
        }
        admitted
    }

    /// When the reports held back are due to be summed up.
    pub(crate) fn due(&self) -> Instant {
        self.window + WINDOW
    }

    /// The number of reports held back since it was last taken.
    pub(crate) fn take_held_back(&mut self) -> u64 {
        core::mem::take(&mut self.held_back)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::PeerFault;

    fn fault(cause: &str) -> LocalFault {
        LocalFault::Accept { cause: cause.into() }
    }

    const fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    #[test]
    fn a_local_fault_that_persists_is_reported_once_a_minute() {
        let mut reports = LocalReports::default();
        let reported = (0..300).filter(|second| reports.admit(at(*second), &fault("too many open files")));
        assert!(reported.eq([0, 60, 120, 180, 240]));
    }

    #[test]
    fn another_reason_is_reported_at_once() {
        let mut reports = LocalReports::default();
        assert!(reports.admit(at(0), &fault("too many open files")));
        assert!(reports.admit(at(1), &fault("no buffer space available")));
        assert!(!reports.admit(at(2), &fault("too many open files")));
    }

    #[test]
    fn of_faults_that_always_differ_sixteen_a_minute_are_reported() {
        let mut reports = LocalReports::default();
        for minute in 0..3 {
            let reported =
                (0..60).filter(|second| reports.admit(at(60 * minute + second), &fault(&format!("{minute} {second}"))));
            assert_eq!(reported.count(), LOCAL_MAX);
        }
        assert_eq!(reports.0.len(), LOCAL_MAX);
    }

    #[test]
    fn each_panic_of_a_handler_is_reported() {
        let mut reports = LocalReports::default();
        assert!((0..100).all(|_| reports.admit(at(0), &LocalFault::HandlerPanicked { message: "again".into() })));
        assert!(reports.admit(at(0), &fault("too many open files")));
    }

    #[test]
    fn what_unauthenticated_peers_make_up_is_remembered_up_to_a_limit_and_for_an_hour() {
        let mut reports = PeerReports::default();
        let report = |port: u32| PeerReport {
            claimed: format!("x@10.0.0.1:{port}").parse().ok(),
            id: None,
            ip: IpAddr::from([10, 0, 0, 1]),
            wanted: None,
            why: Unreached::Fault(PeerFault::WrongTarget),
        };
        for number in 1..=1000 {
            assert!(!reports.is_told(at(0), &report(number)));
            reports.told(at(0), report(number));
        }
        assert_eq!(reports.0.len(), PEERS_MAX);
        assert!(reports.is_told(at(3599), &report(1000)) && !reports.is_told(at(3599), &report(1000 - 256)));
        assert!(!reports.is_told(at(3600), &report(1000)));
        assert_eq!(reports.0.len(), 0);
    }
}
