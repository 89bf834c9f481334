//! What the application says of a claim, and what it hears of a name.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::process::id::{ProcessId, ProtocolHash};

/// How a name is claimed, and what the process does where it loses it. Each has a method of its name that sets it:
///
/// ```
/// use noex_proto::ClaimOptions;
///
/// let options = ClaimOptions::default().min_nodes(2).keep_on_loss(true);
/// assert_eq!((options.min_nodes, options.timeout.as_secs()), (2, 30));
/// ```
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ClaimOptions {
    /// How long fewer than [`min_nodes`](field@Self::min_nodes) other nodes may be connected before the name is given up. Zero by default: not at all.
    pub grace: Duration,
    /// Whether the process goes on where it loses the name. By default it is asked to stop.
    pub keep_on_loss: bool,
    /// How many other nodes must have acknowledged the claim, and be connected as long as the process has the name. 0 by default.
    pub min_nodes: usize,
    /// How long the claim may take to settle, each try where it stands by. 30 s by default.
    pub timeout: Duration,
}

impl Default for ClaimOptions {
    fn default() -> Self {
        Self { grace: Duration::ZERO, keep_on_loss: false, min_nodes: 0, timeout: Duration::from_secs(30) }
    }
}

impl ClaimOptions {
    /// Sets [`grace`](field@Self::grace).
    #[must_use]
    pub const fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets [`keep_on_loss`](field@Self::keep_on_loss).
    #[must_use]
    pub const fn keep_on_loss(mut self, keep_on_loss: bool) -> Self {
        self.keep_on_loss = keep_on_loss;
        self
    }

    /// Sets [`min_nodes`](field@Self::min_nodes).
    #[must_use]
    pub const fn min_nodes(mut self, min_nodes: usize) -> Self {
        self.min_nodes = min_nodes;
        self
    }

    /// Sets [`timeout`](field@Self::timeout).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// The process that has a name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub struct Holder {
    /// The process.
    pub process: ProcessId,
    /// The protocol of its messages.
    pub protocol: ProtocolHash,
}
