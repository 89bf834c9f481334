//! Error reports at a bounded rate: those that unauthenticated peers can cause, and those about the local system.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::IpAddr;
use core::time::Duration;

use crate::{Instant, LocalFault, NodeId, Unreached};

/// The most things of one kind that are reported within [`REPEAT`], each once.
const MAX: usize = 16;

/// What persists is reported again after this time.
const REPEAT: Duration = Duration::from_secs(60);

/// The time over which reports are counted.
const WINDOW: Duration = Duration::from_secs(1);

/// The most reports about peers that dialled and did not come up that are remembered.
const PEERS_MAX: usize = 256;

/// What such a peer does again and again is reported again after this time.
const PEERS_REPEAT: Duration = Duration::from_secs(60 * 60);

/// What was reported lately, the oldest first.
#[derive(Clone, Debug)]
struct Recent<K>(VecDeque<(Instant, K)>);

impl<K: Eq> Recent<K> {
    /// Whether this was reported within that time; what is older is forgotten.
    fn holds(&mut self, now: Instant, time: Duration, key: &K) -> bool {
        while self.0.front().is_some_and(|(at, _)| now - *at >= time) {
            self.0.pop_front();
        }
        self.0.iter().any(|(_, reported)| reported == key)
    }
}

impl<K> Default for Recent<K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

/// What was reported within the last minute, each thing once.
#[derive(Clone, Debug)]
pub(crate) struct OnceAMinute<K>(Recent<K>);

impl<K: Eq> OnceAMinute<K> {
    /// Whether this is to be reported now. What was reported is not for a minute, nor is anything else while as much as may be is remembered.
    pub(crate) fn admit(&mut self, now: Instant, key: K) -> bool {
        let admitted = !self.0.holds(now, REPEAT, &key) && self.0.0.len() < MAX;
        if admitted {
            self.0.0.push_back((now, key));
        }
        admitted
    }
}

impl<K> Default for OnceAMinute<K> {
    fn default() -> Self {
        Self(Recent::default())
    }
}

/// The local faults of the last minute.
#[derive(Clone, Debug, Default)]
pub(crate) struct LocalReports(OnceAMinute<String>);

impl LocalReports {
    /// Whether this fault is to be reported now: once a minute, and each panic of a handler.
    pub(crate) fn admit(&mut self, now: Instant, fault: &LocalFault) -> bool {
        matches!(fault, LocalFault::HandlerPanicked { .. }) || self.0.admit(now, fault.to_string())
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
        if self.0.0.len() >= PEERS_MAX {
            self.0.0.pop_front();
        }
        self.0.0.push_back((now, report));
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
            assert_eq!(reported.count(), MAX);
        }
        assert_eq!(reports.0.0.0.len(), MAX);
    }

    #[test]
    fn each_panic_of_a_handler_is_reported() {
        let mut reports = LocalReports::default();
        assert!((0..100).all(|_| reports.admit(at(0), &LocalFault::HandlerPanicked { message: "again".into() })));
        assert!(reports.admit(at(0), &fault("too many open files")));
    }

    #[test]
    fn what_one_process_cannot_decode_is_reported_once_a_minute() {
        let mut reports = OnceAMinute::default();
        let reported = (0..180).filter(|second| reports.admit(at(*second), 7));
        assert!(reported.eq([0, 60, 120]));
    }

    #[test]
    fn sixteen_processes_a_minute_are_reported() {
        let mut reports = OnceAMinute::default();
        assert_eq!((0..1000).filter(|process| reports.admit(at(0), *process)).count(), MAX);
        assert!(!reports.admit(at(59), 2000) && reports.admit(at(60), 2000));
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
        assert_eq!(reports.0.0.len(), PEERS_MAX);
        assert!(reports.is_told(at(3599), &report(1000)) && !reports.is_told(at(3599), &report(1000 - 256)));
        assert!(!reports.is_told(at(3600), &report(1000)));
        assert_eq!(reports.0.0.len(), 0);
    }
}
