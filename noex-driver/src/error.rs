//! What goes wrong beside the machine: starts, and waits with a time limit.

use std::error::Error;
use std::fmt;

use noex_proto::{Cause, ClusterNotStartedError, InvalidClusterConfigError, InvalidProcessNameError, NodeId, ProcessId};

/// Why a start was refused. The node is stopped, or goes on as it was.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum StartError {
    /// The cluster is running, starting or stopping.
    AlreadyRunning,
    /// The address cannot be listened on.
    Bind {
        /// The address as configured.
        addr: String,
        /// What the operating system said.
        cause: Cause,
    },
    /// The configuration is invalid.
    Config(InvalidClusterConfigError),
    /// The operating system gives no randomness.
    Entropy {
        /// What it said.
        cause: Cause,
    },
    /// The asynchronous runtime is missing: `start` was called outside it, or it ended, or panicked for want of something, meanwhile.
    Runtime {
        /// What is missing, as the runtime said it.
        cause: Cause,
    },
    /// The cluster was stopped before the start was over.
    Stopped,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyRunning => f.write_str("the cluster is already running"),
            Self::Bind { addr, cause } => write!(f, "cannot listen on {addr}: {cause}"),
            Self::Config(error) => error.fmt(f),
            Self::Entropy { cause } => write!(f, "no randomness from the operating system: {cause}"),
            Self::Runtime { cause } => write!(f, "no runtime: {cause}"),
            Self::Stopped => f.write_str("the cluster was stopped while it started"),
        }
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Bind { cause, .. } | Self::Entropy { cause } | Self::Runtime { cause } => Some(cause.get_ref()),
            Self::Config(error) => Some(error),
            Self::AlreadyRunning | Self::Stopped => None,
        }
    }
}

/// Why waiting for nodes ended without them.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WaitError {
    /// The time is over, and no session with the node is up.
    NotConnected {
        /// The node.
        id: NodeId,
    },
    /// The node is not running, or was stopped meanwhile.
    NotStarted(ClusterNotStartedError),
    /// The time is over.
    TimedOut {
        /// How many nodes were connected then.
        connected: usize,
        /// How many were waited for.
        wanted: usize,
    },
    /// The node waits for itself, with which it has no session.
    ToSelf,
}

impl fmt::Display for WaitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected { id } => write!(f, "timed out, and node {id} is not connected"),
            Self::NotStarted(error) => error.fmt(f),
            Self::TimedOut { connected, wanted } => write!(f, "timed out with {connected} of {wanted} nodes connected"),
            Self::ToSelf => f.write_str("a node does not wait for itself"),
        }
    }
}

impl Error for WaitError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::NotStarted(error) = self { Some(error) } else { None }
    }
}

impl From<ClusterNotStartedError> for WaitError {
    fn from(error: ClusterNotStartedError) -> Self {
        Self::NotStarted(error)
    }
}

#[cfg(test)]
mod tests {
    use noex_proto::ClusterConfig;

    use super::*;

    #[test]
    fn an_error_has_these_words_and_leads_to_its_cause() {
        let id = || "b@10.0.0.2:4369".parse::<NodeId>().expect("an id");
        let not_started = ClusterNotStartedError::default();
        let config = ClusterConfig::new("a").port(0).advertise_port(0).check().expect_err("a port that is none");
        let of_config = config.to_string();
        let cases: [(&dyn Error, &str, Option<&str>); 10] = [
            (&StartError::AlreadyRunning, "the cluster is already running", None),
            (&StartError::Bind { addr: "a:1".into(), cause: "in use".into() }, "cannot listen on a:1: in use", Some("in use")),
            (&StartError::Config(config), &of_config, Some(&of_config)),
            (&StartError::Entropy { cause: "none".into() }, "no randomness from the operating system: none", Some("none")),
            (&StartError::Runtime { cause: "none".into() }, "no runtime: none", Some("none")),
            (&StartError::Stopped, "the cluster was stopped while it started", None),
            (&WaitError::NotConnected { id: id() }, "timed out, and node b@10.0.0.2:4369 is not connected", None),
            (
                &WaitError::NotStarted(not_started),
                "the cluster is not running: call start first",
                Some("the cluster is not running: call start first"),
            ),
            (&WaitError::TimedOut { connected: 1, wanted: 3 }, "timed out with 1 of 3 nodes connected", None),
            (&WaitError::ToSelf, "a node does not wait for itself", None),
        ];
        for (error, text, source) in cases {
            assert_eq!(error.to_string(), text);
            assert_eq!(error.source().map(ToString::to_string).as_deref(), source, "{text}");
        }
    }
}

/// Why a name of the cluster was not looked up, or does not lead to a process of the protocol that was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum WhereisError {
    /// The node is not running.
    NotStarted(ClusterNotStartedError),
    /// The text is no name.
    InvalidName(InvalidProcessNameError),
    /// The process that has the name has another protocol.
    WrongProtocol {
        /// The process.
        process: ProcessId,
    },
}

impl fmt::Display for WhereisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::InvalidName(error) => error.fmt(f),
            Self::WrongProtocol { process } => write!(f, "the name is of {process}, which has another protocol"),
        }
    }
}

impl Error for WhereisError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotStarted(error) => Some(error),
            Self::InvalidName(error) => Some(error),
            Self::WrongProtocol { .. } => None,
        }
    }
}

impl From<ClusterNotStartedError> for WhereisError {
    fn from(error: ClusterNotStartedError) -> Self {
        Self::NotStarted(error)
    }
}
