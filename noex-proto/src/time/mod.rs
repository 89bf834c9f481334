//! Time as the machine sees it: a number that only grows, handed in by the driver.

pub(crate) mod backoff;
pub(crate) mod timers;

use core::fmt;
use core::ops::{Add, Sub};
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment of the machine's time, which is not `std::time::Instant`: the time that has passed since the driver started.
///
/// The machine never reads a clock. A driver subtracts its own start from its monotonic clock; a test or a simulator builds one
/// from a number. It counts nanoseconds, and stands still after 584 years.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(from = "Duration", into = "Duration")]
pub struct Instant {
    nanos: u64,
}

impl Instant {
    /// The driver's start.
    pub const START: Self = Self { nanos: 0 };

    /// The last moment that comes.
    pub(crate) const LAST: Self = Self { nanos: u64::MAX - 1 };

    /// The moment that lies `since_start` after the driver's start.
    #[must_use]
    pub const fn new(since_start: Duration) -> Self {
        Self { nanos: nanos(since_start) }
    }

    /// The moment that lies this many milliseconds after the driver's start.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self { nanos: millis.saturating_mul(1_000_000) }
    }

    /// The time between the driver's start and this moment.
    #[must_use]
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// The time from `earlier` to this moment, or zero where `earlier` is the later one.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

/// The most that there are where the duration has more.
const fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos() as u64)
}

impl From<Duration> for Instant {
    fn from(since_start: Duration) -> Self {
        Self::new(since_start)
    }
}

impl From<Instant> for Duration {
    fn from(at: Instant) -> Self {
        at.since_start()
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    /// Saturates: no sum of a moment and a duration can panic.
    fn add(self, later: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(nanos(later)) }
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
        write!(f, "{:.3}s", self.since_start().as_secs_f64())
    }
}

/// A moment of one of the machine's clocks.
pub(crate) trait Moment: Copy + Ord {
    /// Later than every moment that comes.
    const NEVER: Self;
}

impl Moment for Instant {
    const NEVER: Self = Self { nanos: u64::MAX };
}

/// A moment in the node's running time: the time that has passed since the node started, less its pauses.
///
/// Real time is an [`Instant`]. No moment of one clock compares with one of the other, and none becomes one but by [`RunTime::at`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct RunTime {
    nanos: u64,
}

impl RunTime {
    /// The node's start.
    pub(crate) const START: Self = Self { nanos: 0 };

    /// When this moment comes at the earliest, in real time, where the two clocks stand at `run` and `now`: at once where it is past.
    pub(crate) const fn at(self, run: Self, now: Instant) -> Instant {
        Instant { nanos: now.nanos.saturating_add(self.nanos.saturating_sub(run.nanos)) }
    }
}

impl Moment for RunTime {
    const NEVER: Self = Self { nanos: u64::MAX };
}

impl Add<Duration> for RunTime {
    type Output = Self;

    /// Saturates, as for an [`Instant`].
    fn add(self, later: Duration) -> Self {
        Self { nanos: self.nanos.saturating_add(nanos(later)) }
    }
}

impl Sub for RunTime {
    type Output = Duration;

    /// The running time between the two, zero where the second is the later one.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.nanos.saturating_sub(earlier.nanos))
    }
}

/// Wall-clock time, as the time since 1970-01-01 00:00:00 UTC.
///
/// It is only ever passed on to the application ([`NodeInfo`](crate::NodeInfo)); no decision depends on it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct WallTime(pub Duration);

/// Which type wall-clock times have where the application is told them.
///
/// This crate has none but [`WallTime`], as it knows no clock; a driver may have the type of its standard library.
pub trait TimeFormat: Clone + fmt::Debug + Eq {
    /// The type.
    type Time: Clone + fmt::Debug + Eq;

    /// A time in the format.
    fn time(wall: WallTime) -> Self::Time;

    /// The same time without it.
    fn wall(time: &Self::Time) -> WallTime;
}

impl TimeFormat for WallTime {
    type Time = Self;

    fn time(wall: Self) -> Self {
        wall
    }

    fn wall(time: &Self) -> Self {
        *time
    }
}

impl Add<Duration> for WallTime {
    type Output = Self;

    /// Saturates.
    fn add(self, later: Duration) -> Self {
        Self(self.0.saturating_add(later))
    }
}

impl Sub<Duration> for WallTime {
    type Output = Self;

    /// 1970 where it would be before that.
    fn sub(self, earlier: Duration) -> Self {
        Self(self.0.saturating_sub(earlier))
    }
}
