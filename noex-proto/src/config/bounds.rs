//! Between what bounds the values of a [`ClusterConfig`](crate::ClusterConfig) must lie.

use core::ops::RangeInclusive;
use core::time::Duration;

/// The most secrets that can be accepted beside the primary one.
pub const ACCEPTED_SECRETS: usize = 8;
/// The cluster's name, in bytes.
pub const CLUSTER_NAME_BYTES: RangeInclusive<usize> = 1..=255;
/// How long a disconnected node is kept.
pub const FORGET_AFTER: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 60 * 60);
/// The time between two heartbeats, a peer's too.
pub const HEARTBEAT_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10 * 60);
/// How many heartbeats in a row a peer may miss.
pub const HEARTBEAT_MISS_THRESHOLD: RangeInclusive<u32> = 1..=1000;
/// The largest message, in bytes.
pub const MESSAGE_BYTES: RangeInclusive<usize> = 1..=1 << 30;
/// The names of the cluster that one node's processes have: more than the most is a fault to every peer.
pub const NAMES: RangeInclusive<usize> = 1..=65_536;
/// The delays between two tries to reach a node.
pub const RECONNECT_DELAY: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60 * 60);
/// Each secret, in bytes.
pub const SECRET_BYTES: RangeInclusive<usize> = 16..=1024;
/// The most time that a start waits for a lookup, and for an address to tell.
pub const START_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10 * 60);
/// The most time that a stop takes.
pub const STOP_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(10 * 60);
