//! `Duration` as whole milliseconds, for serde.

use core::time::Duration;

use serde::{Deserialize, Deserializer, Serializer};

/// The duration without what is less than a millisecond.
pub(crate) fn whole(duration: Duration) -> Duration {
    Duration::from_millis(count(duration))
}

/// How many there are, or the most that can be counted.
pub(crate) fn count(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The same, rounded up.
pub(crate) fn count_up(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(count(*duration))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}
