//! Sleeping, and the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use noex_proto::{TimeFormat, WallTime};

use crate::Runtime;

/// The longest sleep, since no clock reaches every deadline.
pub(crate) const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Sleeps for `time`, but not longer than a year.
pub(crate) async fn sleep<R: Runtime>(rt: &R, time: Duration) {
    rt.sleep_until(rt.now() + time.min(YEAR)).await;
}

/// The wall-clock time, for the machine.
pub(crate) fn wall() -> WallTime {
    SystemTimes::wall(&SystemTime::now())
}

/// A name for a format, without a value: wall-clock times are told as [`SystemTime`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SystemTimes {}

impl TimeFormat for SystemTimes {
    type Time = SystemTime;

    fn time(wall: WallTime) -> SystemTime {
        UNIX_EPOCH.checked_add(wall.0).unwrap_or(UNIX_EPOCH)
    }

    fn wall(time: &SystemTime) -> WallTime {
        WallTime(time.duration_since(UNIX_EPOCH).unwrap_or_default())
    }
}
