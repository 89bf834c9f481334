//! Why a process was not opened, a message not taken, or a call not answered.

use alloc::string::String;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

use super::id::{ExitReason, InvalidProcessNameError, ProcessId};
use crate::{ClusterNotStartedError, NodeDownReason, NodeId};

/// A call was not answered. [`may_have_run`](Self::may_have_run) tells whether the process may have handled it all the same.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CallError {
    /// The cluster is not running. Nothing was sent.
    NotStarted(ClusterNotStartedError),
    /// No session with the node is up, or the session ended before any of the call had left. Nothing was sent.
    NotConnected {
        /// The node.
        to: NodeId,
    },
    /// The node runs a version of noex, or another implementation, without processes. Nothing was sent.
    Unsupported {
        /// The node.
        to: NodeId,
    },
    /// As much waits to be sent to the node as may wait, or as many calls are open. Nothing was sent.
    QueueFull {
        /// The node.
        to: NodeId,
    },
    /// The request is larger than [`Limits::message_bytes`](crate::Limits::message_bytes). Nothing was sent.
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
        /// Its size.
        size: usize,
    },
    /// The request could not be encoded. Nothing was sent.
    NotEncodable(String),
    /// The deadline passed while the call waited to be sent. It was not.
    Expired,
    /// There is no such process, or it ended before it took the call.
    NoProcess,
    /// The mailbox is full, or the node serves as many calls of this node as it may.
    Busy,
    /// The process has another protocol.
    WrongProtocol,
    /// The process could not decode the request: the text says why.
    NotUnderstood(Arc<str>),
    /// The deadline passed. The process may have handled the call, or may yet.
    TimedOut,
    /// The session with the node ended.
    Disconnected(NodeDownReason),
    /// The process ended after it had taken the call, and had not answered.
    Exited(ExitReason),
    /// The process dropped the port without an answer, and went on.
    Dropped,
    /// The answer was larger than may be sent, or found no room in the queue to this node.
    AnswerDropped,
    /// The answer could not be decoded here.
    AnswerNotUnderstood(String),
    /// This node stopped.
    Stopped,
}

impl CallError {
    /// Whether the process may have handled the call, or may yet. Where this is false it certainly has not and never will, so that the
    /// call can be made again.
    #[must_use]
    pub const fn may_have_run(&self) -> bool {
        match self {
            Self::NotStarted(_)
            | Self::NotConnected { .. }
            | Self::Unsupported { .. }
            | Self::QueueFull { .. }
            | Self::TooLarge { .. }
            | Self::NotEncodable(_)
            | Self::Expired
            | Self::NoProcess
            | Self::Busy
            | Self::WrongProtocol
            | Self::NotUnderstood(_) => false,
            Self::TimedOut
            | Self::Disconnected(_)
            | Self::Exited(_)
            | Self::Dropped
            | Self::AnswerDropped
            | Self::AnswerNotUnderstood(_)
            | Self::Stopped => true,
        }
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::NotConnected { to } => write!(f, "no session with {to} is up"),
            Self::Unsupported { to } => write!(f, "{to} does not support processes"),
            Self::QueueFull { to } => write!(f, "the queue to {to} is full"),
            Self::TooLarge { limit, size } => write!(f, "the request has {size} bytes, more than {limit}"),
            Self::NotEncodable(cause) => write!(f, "the request cannot be encoded: {cause}"),
            Self::Expired => f.write_str("the deadline passed before the call was sent"),
            Self::NoProcess => f.write_str("no such process"),
            Self::Busy => f.write_str("the process is busy: its mailbox is full"),
            Self::WrongProtocol => f.write_str("the process has another protocol"),
            Self::NotUnderstood(cause) => write!(f, "the process could not decode the request: {cause}"),
            Self::TimedOut => f.write_str("the call timed out"),
            Self::Disconnected(reason) => write!(f, "the session with the node ended: {reason}"),
            Self::Exited(reason) => write!(f, "the process ended before it answered: {reason}"),
            Self::Dropped => f.write_str("the process dropped the call without an answer"),
            Self::AnswerDropped => f.write_str("the answer was too large, or there was no room for it"),
            Self::AnswerNotUnderstood(cause) => write!(f, "the answer cannot be decoded: {cause}"),
            Self::Stopped => f.write_str("the local node stopped"),
        }
    }
}

impl Error for CallError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::NotStarted(error) = self { Some(error) } else { None }
    }
}

/// A message to a process was not taken. Nothing was sent.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CastError {
    /// The cluster is not running.
    NotStarted(ClusterNotStartedError),
    /// No session with the node is up.
    NotConnected {
        /// The node.
        to: NodeId,
    },
    /// The node does not support processes.
    Unsupported {
        /// The node.
        to: NodeId,
    },
    /// As much waits to be sent to the node as may wait.
    QueueFull {
        /// The node.
        to: NodeId,
    },
    /// The message is larger than [`Limits::message_bytes`](crate::Limits::message_bytes).
    TooLarge {
        /// The limit, in bytes.
        limit: usize,
        /// Its size.
        size: usize,
    },
    /// The message could not be encoded.
    NotEncodable(String),
}

impl fmt::Display for CastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::NotConnected { to } => write!(f, "no session with {to} is up"),
            Self::Unsupported { to } => write!(f, "{to} does not support processes"),
            Self::QueueFull { to } => write!(f, "the queue to {to} is full"),
            Self::TooLarge { limit, size } => write!(f, "the message has {size} bytes, more than {limit}"),
            Self::NotEncodable(cause) => write!(f, "the message cannot be encoded: {cause}"),
        }
    }
}

impl Error for CastError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::NotStarted(error) = self { Some(error) } else { None }
    }
}

impl From<CastError> for CallError {
    fn from(error: CastError) -> Self {
        match error {
            CastError::NotStarted(error) => Self::NotStarted(error),
            CastError::NotConnected { to } => Self::NotConnected { to },
            CastError::Unsupported { to } => Self::Unsupported { to },
            CastError::QueueFull { to } => Self::QueueFull { to },
            CastError::TooLarge { limit, size } => Self::TooLarge { limit, size },
            CastError::NotEncodable(cause) => Self::NotEncodable(cause),
        }
    }
}

/// A process was not opened.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum OpenError {
    /// The cluster is not running.
    NotStarted(ClusterNotStartedError),
    /// As many processes are open as may be.
    TooMany {
        /// [`Limits::processes`](crate::Limits::processes).
        limit: usize,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::TooMany { limit } => write!(f, "{limit} processes are open, and no more may be"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::NotStarted(error) = self { Some(error) } else { None }
    }
}

/// A process did not get a local name.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum RegisterError {
    /// The cluster is not running.
    NotStarted(ClusterNotStartedError),
    /// The text is no name of a process.
    InvalidName(InvalidProcessNameError),
    /// The process has ended, or was never opened here.
    NoProcess,
    /// Another process has the name.
    Taken {
        /// That process.
        by: ProcessId,
    },
    /// The processes of this node have as many names as they may.
    TooMany {
        /// [`Limits::local_names`](crate::Limits::local_names).
        limit: usize,
    },
}

impl fmt::Display for RegisterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::InvalidName(error) => error.fmt(f),
            Self::NoProcess => f.write_str("the process has ended"),
            Self::Taken { by } => write!(f, "the name is taken by {by}"),
            Self::TooMany { limit } => write!(f, "the processes of this node have {limit} names, and no more may be given"),
        }
    }
}

impl Error for RegisterError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NotStarted(error) => Some(error),
            Self::InvalidName(error) => Some(error),
            Self::NoProcess | Self::Taken { .. } | Self::TooMany { .. } => None,
        }
    }
}

/// A monitor was not set.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MonitorError {
    /// The cluster is not running.
    NotStarted(ClusterNotStartedError),
    /// The node does not support processes.
    Unsupported {
        /// The node.
        to: NodeId,
    },
    /// As much waits to be sent to the node as may wait, or as many monitors are set there as may be.
    QueueFull {
        /// The node.
        to: NodeId,
    },
}

impl fmt::Display for MonitorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStarted(error) => error.fmt(f),
            Self::Unsupported { to } => write!(f, "{to} does not support processes"),
            Self::QueueFull { to } => write!(f, "the queue to {to} is full, or as many monitors are set there as may be"),
        }
    }
}

impl Error for MonitorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::NotStarted(error) = self { Some(error) } else { None }
    }
}

/// An answer was not taken.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum AnswerError {
    /// It did not fit, and was dropped: the caller hears [`CallError::AnswerDropped`].
    Dropped,
    /// There is no room for it now, and the call stays open.
    Full,
    /// Nobody waits for it any more.
    Over,
}

impl fmt::Display for AnswerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dropped => "the answer was too large, or found no room, and was dropped",
            Self::Full => "there is no room for the answer now",
            Self::Over => "nobody waits for the answer any more",
        })
    }
}

impl Error for AnswerError {}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn node() -> NodeId {
        "b@10.0.0.2:4369".parse().expect("valid")
    }

    #[test]
    fn an_outcome_says_whether_the_call_may_have_run() {
        let to = node();
        let certainly_not = [
            (CallError::NotStarted(ClusterNotStartedError), "the cluster is not running: call start first"),
            (CallError::NotConnected { to: to.clone() }, "no session with b@10.0.0.2:4369 is up"),
            (CallError::Unsupported { to: to.clone() }, "b@10.0.0.2:4369 does not support processes"),
            (CallError::QueueFull { to }, "the queue to b@10.0.0.2:4369 is full"),
            (CallError::TooLarge { limit: 3, size: 4 }, "the request has 4 bytes, more than 3"),
            (CallError::NotEncodable("two ports".into()), "the request cannot be encoded: two ports"),
            (CallError::Expired, "the deadline passed before the call was sent"),
            (CallError::NoProcess, "no such process"),
            (CallError::Busy, "the process is busy: its mailbox is full"),
            (CallError::WrongProtocol, "the process has another protocol"),
            (CallError::NotUnderstood("what?".into()), "the process could not decode the request: what?"),
        ];
        let perhaps = [
            (CallError::TimedOut, "the call timed out"),
            (CallError::Disconnected(NodeDownReason::HeartbeatTimeout), "the session with the node ended: heartbeat_timeout"),
            (CallError::Exited(ExitReason::Normal), "the process ended before it answered: normal"),
            (CallError::Dropped, "the process dropped the call without an answer"),
            (CallError::AnswerDropped, "the answer was too large, or there was no room for it"),
            (CallError::AnswerNotUnderstood("what?".into()), "the answer cannot be decoded: what?"),
            (CallError::Stopped, "the local node stopped"),
        ];
        for (may_have_run, errors) in [(false, certainly_not.as_slice()), (true, perhaps.as_slice())] {
            for (error, text) in errors {
                assert_eq!((error.to_string().as_str(), error.may_have_run()), (*text, may_have_run));
            }
        }
    }

    #[test]
    fn what_was_not_taken_says_why() {
        let (to, not_started) = (node(), "the cluster is not running: call start first");
        let casts = [
            (CastError::NotStarted(ClusterNotStartedError), not_started),
            (CastError::NotConnected { to: to.clone() }, "no session with b@10.0.0.2:4369 is up"),
            (CastError::Unsupported { to: to.clone() }, "b@10.0.0.2:4369 does not support processes"),
            (CastError::QueueFull { to: to.clone() }, "the queue to b@10.0.0.2:4369 is full"),
            (CastError::TooLarge { limit: 3, size: 4 }, "the message has 4 bytes, more than 3"),
            (CastError::NotEncodable("a port".into()), "the message cannot be encoded: a port"),
        ];
        for (error, text) in casts {
            assert_eq!(error.to_string(), text);
            assert!(!CallError::from(error.clone()).may_have_run(), "a call that was not taken has not run");
            assert_eq!(error.source().is_some(), matches!(error, CastError::NotStarted(_)));
        }
        assert_eq!(OpenError::NotStarted(ClusterNotStartedError).to_string(), not_started);
        assert_eq!(RegisterError::NotStarted(ClusterNotStartedError).to_string(), not_started);
        assert_eq!(RegisterError::NoProcess.to_string(), "the process has ended");
        assert_eq!(MonitorError::NotStarted(ClusterNotStartedError).to_string(), not_started);
        let unsupported = MonitorError::Unsupported { to };
        assert_eq!(unsupported.to_string(), "b@10.0.0.2:4369 does not support processes");
    }
}
