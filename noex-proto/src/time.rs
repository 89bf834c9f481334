//! Time as the machine sees it: a number that only grows, handed in by the driver.

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment, as the time that has passed since the driver started.
///
/// The machine never reads a clock. A driver subtracts its own start from its monotonic clock; a test or a simulator builds one
/// from a number.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Instant(Duration);

impl Instant {
    /// The driver's start.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment that lies `since_start` after the driver's start.
    #[must_use]
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The moment that lies this many milliseconds after the driver's start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The time between the driver's start and this moment.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this moment, or zero where `earlier` is the later one.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates: no sum of a moment and a duration can panic.
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// The time between the two, zero where the second is the later one.
    fn sub(self, earlier: Self) -> Duration {
        self.saturating_since(earlier)
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}s", self.0.as_secs_f64())
    }
}

/// Wall-clock time, as the time since 1970-01-01 00:00:00 UTC.
///
/// It is only ever passed on to the application ([`NodeInfo::last_heartbeat_at`](crate::NodeInfo)); no decision depends on it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct WallTime(pub Duration);
