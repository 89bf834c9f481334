//! Why a process did not get a name of the cluster.

use alloc::vec::Vec;
use core::error::Error;
use core::fmt;

use crate::process::id::{InvalidProcessNameError, ProcessId};
use crate::{ClusterNotStartedError, NodeId};

/// A process did not get a name of the cluster.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClaimError {
    /// The cluster is not running.
    NotStarted(ClusterNotStartedError),
    /// The text is no name.
    InvalidName(InvalidProcessNameError),
    /// The process has ended, or was never opened here.
    NoProcess,
    /// This node's processes have, claim or wait for as many names as they may.
    TooMany {
        /// [`Limits::names`](crate::Limits::names).
        limit: usize,
    },
    /// A node keeps as many names of others as it may.
    Full {
        /// That node.
        at: NodeId,
    },
    /// Another claim to the name is in sight, or stands by for it on this node.
    Taken {
        /// Its process.
        by: ProcessId,
        /// Whether that has the name. A claim that has not settled may still fail.
        settled: bool,
    },
    /// Fewer nodes acknowledged the claim, or are connected, than were asked for.
    TooFew {
        /// How many did, or are.
        found: usize,
        /// How many were asked for.
        min_nodes: usize,
    },
    /// It was not settled in time.
    TimedOut {
        /// The nodes that had not acknowledged it, in the order of their ids.
        waiting_for: Vec<NodeId>,
    },
    /// The process gave the name back before the claim had returned.
    Released,
    /// This node stops.
    Stopped,
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::InvalidName(error) => error.fmt(f),
            Self::NoProcess => f.write_str("the process has ended"),
            Self::TooMany { limit } => write!(f, "this node has {limit} names, and no more may be claimed"),
            Self::Full { at } => write!(f, "{at} keeps as many names of others as it may"),
            Self::Taken { by, settled: true } => write!(f, "the name is taken by {by}"),
            Self::Taken { by, settled: false } => write!(f, "the name is being claimed by {by}"),
            Self::TooFew { found, min_nodes } => write!(f, "{found} other nodes agree, and {min_nodes} have to"),
            Self::TimedOut { waiting_for } => match &waiting_for[..] {
                [] => f.write_str("the claim timed out"),
                [first] => write!(f, "the claim timed out: {first} has not acknowledged it"),
                [first, rest @ ..] => {
                    write!(f, "the claim timed out: {first} and {} more nodes have not acknowledged it", rest.len())
                }
            },
            Self::Released => f.write_str("the process gave the name back"),
            Self::Stopped => f.write_str("the local node stops"),
        }
    }
}

impl Error for ClaimError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotStarted(error) => Some(error),
            Self::InvalidName(error) => Some(error),
            _ => None,
        }
    }
}

/// A name is not watched.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WatchNameError {
    /// The cluster is not running.
    NotStarted(ClusterNotStartedError),
    /// The text is no name.
    InvalidName(InvalidProcessNameError),
    /// As many names are watched as may be.
    TooMany {
        /// [`Limits::watched_names`](crate::Limits::watched_names).
        limit: usize,
    },
}

impl fmt::Display for WatchNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::InvalidName(error) => error.fmt(f),
            Self::TooMany { limit } => write!(f, "{limit} names are watched, and no more may be"),
        }
    }
}

impl Error for WatchNameError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotStarted(error) => Some(error),
            Self::InvalidName(error) => Some(error),
            Self::TooMany { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec;

    use super::*;
    use crate::id::incarnation::Incarnation;
    use crate::process::id::ProcessName;

    #[test]
    fn what_was_not_claimed_says_why() {
        let node: NodeId = "b@10.0.0.2:4369".parse().expect("valid");
        let by = ProcessId::new(node.clone(), Incarnation([0x5f; 16]), 17);
        let invalid = ProcessName::new("").expect_err("empty");
        let errors = [
            (ClaimError::NotStarted(ClusterNotStartedError), "the cluster is not running: call start first"),
            (ClaimError::InvalidName(invalid.clone()), "invalid process name \"\": it must not be empty"),
            (ClaimError::NoProcess, "the process has ended"),
            (ClaimError::TooMany { limit: 3 }, "this node has 3 names, and no more may be claimed"),
            (ClaimError::Full { at: node.clone() }, "b@10.0.0.2:4369 keeps as many names of others as it may"),
            (ClaimError::Taken { by: by.clone(), settled: true }, "the name is taken by b@10.0.0.2:4369/17.5f5f5f5f"),
            (ClaimError::Taken { by, settled: false }, "the name is being claimed by b@10.0.0.2:4369/17.5f5f5f5f"),
            (ClaimError::TooFew { found: 1, min_nodes: 2 }, "1 other nodes agree, and 2 have to"),
            (ClaimError::TimedOut { waiting_for: vec![] }, "the claim timed out"),
            (
                ClaimError::TimedOut { waiting_for: vec![node.clone()] },
                "the claim timed out: b@10.0.0.2:4369 has not acknowledged it",
            ),
            (
                ClaimError::TimedOut { waiting_for: vec![node.clone(), node] },
                "the claim timed out: b@10.0.0.2:4369 and 1 more nodes have not acknowledged it",
            ),
            (ClaimError::Released, "the process gave the name back"),
            (ClaimError::Stopped, "the local node stops"),
        ];
        for (error, text) in errors {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.source().is_some(), matches!(error, ClaimError::NotStarted(_) | ClaimError::InvalidName(_)));
        }
        let watches = [
            (WatchNameError::NotStarted(ClusterNotStartedError), "the cluster is not running: call start first"),
            (WatchNameError::InvalidName(invalid), "invalid process name \"\": it must not be empty"),
            (WatchNameError::TooMany { limit: 3 }, "3 names are watched, and no more may be"),
        ];
        for (error, text) in watches {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.source().is_some(), matches!(error, WatchNameError::NotStarted(_) | WatchNameError::InvalidName(_)));
        }
    }
}
