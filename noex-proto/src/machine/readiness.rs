//! Whether the node is ready for what others want of it.

use core::fmt;

use super::{Active, Machine};
use crate::ClusterStatus;

/// Whether a node is ready, and why or why not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether it is: true for [`ReadinessReason::Ready`] and for nothing else.
    pub ready: bool,
    /// Why, or what it waits for.
    pub why: ReadinessReason,
}

/// Why a node is ready, or what it waits for first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ReadinessReason {
    /// It has seeds, and since its start none of them has been met.
    NoSeedMet,
    /// It does not run.
    NotRunning(ClusterStatus),
    /// It runs, has met a seed or has none, and as many nodes are up as were asked for.
    Ready {
        /// How many are.
        connected: usize,
    },
    /// Fewer nodes are up than were asked for.
    TooFewNodes {
        /// How many are.
        connected: usize,
        /// How many were asked for.
        wanted: usize,
    },
}

impl fmt::Display for ReadinessReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSeedMet => f.write_str("no seed has been met since the start"),
            Self::NotRunning(status) => write!(f, "the node is {status}"),
            Self::Ready { connected } => write!(f, "ready, with {connected} nodes connected"),
            Self::TooFewNodes { connected, wanted } => write!(f, "{connected} of {wanted} nodes connected"),
        }
    }
}

impl Machine {
    /// Whether the node runs, has met a seed since its start or has none, and has sessions with at least `min_nodes` other nodes.
    ///
    /// A seed has been met once a session with the node behind it was up, or where its address turned out to be this node itself. That
    /// holds until the node stops: who loses all seeds later is not in need of them.
    #[must_use]
    pub fn readiness(&self, min_nodes: usize) -> Readiness {
        let why = match self.running() {
            Err(_) => ReadinessReason::NotRunning(self.status()),
            Ok(Active { node, .. }) if !node.dialler.seed_met() && node.dialler.has_seeds() => ReadinessReason::NoSeedMet,
            Ok(Active { node, .. }) if node.peers.up_count() < min_nodes => {
                ReadinessReason::TooFewNodes { connected: node.peers.up_count(), wanted: min_nodes }
            }
            Ok(Active { node, .. }) => ReadinessReason::Ready { connected: node.peers.up_count() },
        };
        Readiness { ready: matches!(why, ReadinessReason::Ready { .. }), why }
    }
}
