//! Reports of casts that could not be decoded, at a bounded rate.

use core::time::Duration;

use crate::Instant;
use crate::mesh::reports::Recent;

/// The most processes that are reported within [`REPEAT`].
const MAX: usize = 16;

/// What one process cannot decode is reported again after this time.
const REPEAT: Duration = Duration::from_secs(60);

/// The processes of the last minute whose casts were reported.
#[derive(Clone, Debug, Default)]
pub(super) struct CastReports(Recent<u64>);

impl CastReports {
    /// Whether a cast that this process cannot decode is to be reported now.
    pub(super) fn admit(&mut self, now: Instant, process: u64) -> bool {
        let admitted = !self.0.holds(now, REPEAT, &process) && self.0.len() < MAX;
        if admitted {
            self.0.push(now, process);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(secs: u64) -> Instant {
        Instant::from_millis(secs * 1000)
    }

    #[test]
    fn what_one_process_cannot_decode_is_reported_once_a_minute() {
        let mut reports = CastReports::default();
        let reported = (0..180).filter(|second| reports.admit(at(*second), 7));
        assert!(reported.eq([0, 60, 120]));
    }

    #[test]
    fn sixteen_processes_a_minute_are_reported() {
        let mut reports = CastReports::default();
        assert_eq!((0..1000).filter(|process| reports.admit(at(0), *process)).count(), MAX);
        assert!(!reports.admit(at(59), 2000) && reports.admit(at(60), 2000));
    }
}
