//! What a [`ClusterConfig`](crate::ClusterConfig) holds where nothing else is said.

use core::time::Duration;

/// The cluster's name.
pub const CLUSTER_NAME: &str = "noex";
/// How long a disconnected node is kept: one hour.
pub const FORGET_AFTER: Duration = Duration::from_secs(60 * 60);
/// The time between two heartbeats: five seconds.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(5);
/// How many heartbeats in a row a peer may miss.
pub const HEARTBEAT_MISS_THRESHOLD: u32 = 3;
/// The address to listen on: every IPv4 interface.
pub const HOST: &str = "0.0.0.0";
/// The TCP port to listen on.
pub const PORT: u16 = 4369;
/// The newest version of the wire protocol that this crate speaks.
pub const PROTOCOL_VERSION: u8 = 1;
/// The delay before the first new try to reach a node: one second.
pub const RECONNECT_BASE_DELAY: Duration = Duration::from_secs(1);
/// The longest delay between two tries: thirty seconds.
pub const RECONNECT_MAX_DELAY: Duration = Duration::from_secs(30);
/// The most time that a start waits for a lookup, and for an address to tell: five seconds.
pub const START_TIMEOUT: Duration = Duration::from_secs(5);
/// The most time that a stop takes: five seconds.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);
