//! Error reports about strangers, at a bounded rate.

use core::time::Duration;

use crate::Instant;

/// The time over which reports are counted.
const WINDOW: Duration = Duration::from_secs(1);

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
