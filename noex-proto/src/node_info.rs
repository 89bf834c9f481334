//! What is known of a node.

use core::fmt;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::millis;
use crate::{NodeDownReason, NodeId, NodeStatus, TimeFormat, WallTime};

/// One node, as known at one moment.
///
/// `F` says which type wall-clock times have: [`WallTime`] in this crate, `SystemTime` in the adapters. With serde both are written alike,
/// as whole milliseconds since 1970, in keys that end in `_at_ms`; durations as whole milliseconds, in keys that end in `_ms`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "Written", into = "Written", bound = "F: TimeFormat")]
#[non_exhaustive]
pub struct NodeInfo<F: TimeFormat = WallTime> {
    /// The node's identity.
    pub id: NodeId,
    /// Its last down, also while it is up again; `None` before the first, and for the local node. It tells a node that left from one
    /// that was lost.
    pub last_down: Option<LastDown<F>>,
    /// When the last verified heartbeat came; now, for the local node; `None` before the first session.
    pub last_heartbeat_at: Option<F::Time>,
    /// The number of processes that the node announced last.
    pub process_count: u64,
    /// When it was started, by the local clock: its uptime before [`last_heartbeat_at`](Self::last_heartbeat_at). From heartbeat to
    /// heartbeat it differs by what these take on their way. `None` before the first session.
    pub started_at: Option<F::Time>,
    /// The state of the session with it.
    pub status: NodeStatus,
    /// How long the node had been running when its last heartbeat came; it stands still between heartbeats.
    pub uptime: Duration,
}

/// How a node went down last.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(from = "WrittenDown", into = "WrittenDown", bound = "F: TimeFormat")]
#[non_exhaustive]
pub struct LastDown<F: TimeFormat = WallTime> {
    /// When, by the local clock: the time at which bytes came last, from whomever, and what has passed since on the clock of timers. Where
    /// the machine slept meanwhile, for which that clock may stand still, it is too early by that time.
    pub at: F::Time,
    /// Why.
    pub reason: NodeDownReason,
}

impl<F: TimeFormat> NodeInfo<F> {
    /// The host of the node's identity, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.id.host()
    }

    /// The port of the node's identity.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.id.port()
    }

    /// The same node with another type of wall-clock time.
    #[must_use]
    pub fn into_format<G: TimeFormat>(self) -> NodeInfo<G> {
        let convert = |time: F::Time| G::time(F::wall(&time));
        NodeInfo {
            id: self.id,
            last_down: self.last_down.map(|down| LastDown { at: convert(down.at), reason: down.reason }),
            last_heartbeat_at: self.last_heartbeat_at.map(convert),
            process_count: self.process_count,
            started_at: self.started_at.map(convert),
            status: self.status,
            uptime: self.uptime,
        }
    }
}

impl<F: TimeFormat> fmt::Display for NodeInfo<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}, {} processes, up {}s)", self.id, self.status, self.process_count, self.uptime.as_secs())
    }
}

/// A node as serde writes it.
#[derive(Deserialize, Serialize)]
struct Written {
    id: NodeId,
    last_down: Option<WrittenDown>,
    last_heartbeat_at_ms: Option<u64>,
    process_count: u64,
    started_at_ms: Option<u64>,
    status: NodeStatus,
    uptime_ms: u64,
}

#[derive(Deserialize, Serialize)]
struct WrittenDown {
    at_ms: u64,
    reason: NodeDownReason,
}

fn to_millis<F: TimeFormat>(time: &F::Time) -> u64 {
    millis::count(F::wall(time).0)
}

fn from_millis<F: TimeFormat>(millis: u64) -> F::Time {
    F::time(WallTime(Duration::from_millis(millis)))
}

impl<F: TimeFormat> From<NodeInfo<F>> for Written {
    fn from(node: NodeInfo<F>) -> Self {
        Self {
            id: node.id,
            last_down: node.last_down.map(Into::into),
            last_heartbeat_at_ms: node.last_heartbeat_at.as_ref().map(to_millis::<F>),
            process_count: node.process_count,
            started_at_ms: node.started_at.as_ref().map(to_millis::<F>),
            status: node.status,
            uptime_ms: millis::count(node.uptime),
        }
    }
}

impl<F: TimeFormat> From<Written> for NodeInfo<F> {
    fn from(written: Written) -> Self {
        Self {
            id: written.id,
            last_down: written.last_down.map(Into::into),
            last_heartbeat_at: written.last_heartbeat_at_ms.map(from_millis::<F>),
            process_count: written.process_count,
            started_at: written.started_at_ms.map(from_millis::<F>),
            status: written.status,
            uptime: Duration::from_millis(written.uptime_ms),
        }
    }
}

impl<F: TimeFormat> From<LastDown<F>> for WrittenDown {
    fn from(down: LastDown<F>) -> Self {
        Self { at_ms: to_millis::<F>(&down.at), reason: down.reason }
    }
}

impl<F: TimeFormat> From<WrittenDown> for LastDown<F> {
    fn from(written: WrittenDown) -> Self {
        Self { at: from_millis::<F>(written.at_ms), reason: written.reason }
    }
}
