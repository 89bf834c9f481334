//! Sleeping, and the wall clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use noex_proto::WallTime;

use crate::Runtime;

/// The longest sleep, since no clock reaches every deadline.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Sleeps for `time`, but not longer than a year.
pub(crate) async fn sleep<R: Runtime>(rt: &R, time: Duration) {
    rt.sleep_until(rt.now() + time.min(YEAR)).await;
}

/// The wall-clock time, for the machine.
pub(crate) fn wall() -> WallTime {
    WallTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The machine's wall-clock time, for the application.
pub(crate) fn system_time(wall: WallTime) -> SystemTime {
    UNIX_EPOCH.checked_add(wall.0).unwrap_or(UNIX_EPOCH)
}
