//! The machine's two sides: the inputs that a driver feeds it and the actions that it asks for.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::error::Error;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Cause, ClusterConfig, ClusterEvent, Contact, LocalFault, LocalNetwork, NodeId, ProcessAction, ProcessInput, Secret, WallTime,
};

/// One connection, dialled or accepted. Never reused, so what arrives late for an old one is harmless.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One lookup of a host's addresses. Never reused, so an answer that comes late is harmless.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct LookupId(pub u64);

/// What happened. Plain data: a log of `(Instant, Input)` is a whole run and can be replayed; [`Recording`](crate::Recording) is one.
///
/// Serde leaves secrets out, of a configuration too.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// A connection was accepted. `conn` is [`Machine::next_conn`](crate::Machine::next_conn); any other number is ignored.
    Accepted {
        /// The new connection.
        conn: ConnId,
        /// The peer's address.
        #[serde(with = "text")]
        remote: SocketAddr,
    },
    /// The read side of a connection ended, or, after [`Close::Graceful`], the connection is done with.
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// A dial succeeded.
    Connected {
        /// The connection, as numbered by [`Action::Connect`].
        conn: ConnId,
        /// The address that answered.
        #[serde(with = "text")]
        remote: SocketAddr,
    },
    /// A dial failed: the connection never was.
    DialFailed {
        /// The connection, as numbered by [`Action::Connect`].
        conn: ConnId,
        /// Why.
        error: ConnectError,
    },
    /// The driver could not listen, or has lost its means of I/O, as when its runtime was shut down: the node is stopped at once, without
    /// telling anyone.
    Halt,
    /// The node listens: the start succeeded.
    Listening {
        /// Fresh randomness, drawn for this start.
        entropy: [u8; 32],
        /// The address listened on, with the real port; with none, the start is over.
        #[serde(with = "text")]
        local: SocketAddr,
        /// What there is of the machine's network.
        network: Box<LocalNetwork>,
    },
    /// Bytes from a connection, in order, split anyhow.
    Received {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        data: Bytes,
        /// The wall-clock time.
        wall: WallTime,
    },
    /// The application does something with processes.
    Process(ProcessInput),
    /// A fault of the local system that the driver met and the application should hear of.
    Report(LocalFault),
    /// The application sends; refusals are the business of [`Machine::send`](crate::Machine::send), which see.
    Send {
        /// The bytes.
        payload: Bytes,
        /// The receiver.
        to: NodeId,
    },
    /// A lookup is over, also of a run that has ended meanwhile.
    Resolved {
        /// The addresses of the host, in the order in which to try them, with any port; none where the name has none. An error where the
        /// local system could not ask, or the resolver gave no answer: it says nothing about the name.
        #[serde(with = "texts")]
        addrs: Result<Vec<SocketAddr>, Cause>,
        /// The lookup, as numbered by [`Action::Resolve`].
        lookup: LookupId,
    },
    /// Bytes of a connection left the adapter's queue for the operating system: credit for as many more.
    Transmitted {
        /// How many.
        bytes: usize,
        /// The connection.
        conn: ConnId,
    },
    /// The number of processes to announce from the next handshake or heartbeat on; it outlives a stop.
    SetProcessCount(u64),
    /// The secrets of later handshakes; sessions that are up stay up.
    SetSecrets {
        /// Further secrets that a peer may prove.
        #[serde(skip)]
        accepted: Vec<Secret>,
        /// The secret that this node proves itself with, and accepts.
        #[serde(skip, default = "no_secret")]
        primary: Secret,
    },
    /// The contact addresses from now on, which [`Machine::set_seeds`](crate::Machine::set_seeds) has found valid.
    SetSeeds(Vec<Contact>),
    /// A start with a configuration that [`Machine::start`](crate::Machine::start) has found valid.
    Start(Box<ClusterConfig>),
    /// The node leaves.
    Stop,
    /// Time has passed: due at [`Machine::poll_timeout`](crate::Machine::poll_timeout), harmless at any other time.
    Tick,
}

impl Input {
    /// How many secrets it holds.
    pub(crate) fn secrets(&self) -> usize {
        match self {
            Self::SetSecrets { accepted, .. } => 1 + accepted.len(),
            Self::Start(config) => config.secrets(),
            _ => 0,
        }
    }
}

fn no_secret() -> Secret {
    Secret::from("")
}

/// Addresses as texts, since serde leaves the zone of one with IPv6 out where it writes bytes.
mod text {
    use core::net::SocketAddr;

    use alloc::string::String;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(addr: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(addr)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The addresses of an answer as texts, for the same reason.
mod texts {
    use core::net::SocketAddr;

    use alloc::string::{String, ToString};
    use alloc::vec::Vec;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::Cause;

    type Addrs = Result<Vec<SocketAddr>, Cause>;

    pub(super) fn serialize<S: Serializer>(addrs: &Addrs, serializer: S) -> Result<S::Ok, S::Error> {
        let texts: Result<Vec<String>, &Cause> = addrs.as_ref().map(|addrs| addrs.iter().map(ToString::to_string).collect());
        texts.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Addrs, D::Error> {
        match Result::<Vec<String>, Cause>::deserialize(deserializer)? {
            Ok(texts) => texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect::<Result<_, _>>().map(Ok),
            Err(cause) => Ok(Err(cause)),
        }
    }
}

/// Why a connection to an address was not made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ConnectError {
    /// The local system could not try, as where it has no descriptor, port or right left: it says nothing about the address.
    Local(Cause),
    /// The address answered that nobody listens.
    Refused,
    /// It took too long.
    TimedOut,
    /// Any other failure of the network.
    Unreachable,
}

impl Error for ConnectError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if let Self::Local(cause) = self { Some(cause.get_ref()) } else { None }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(cause) => cause.fmt(f),
            Self::Refused => DialError::Refused.fmt(f),
            Self::TimedOut => DialError::TimedOut.fmt(f),
            Self::Unreachable => DialError::Unreachable.fmt(f),
        }
    }
}

/// Why a dial of a host led to no connection.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DialError {
    /// The lookup of the name has not ended in time. It goes on, and the host is dialled as soon as it has an answer.
    LookupTimedOut,
    /// The address answered that nobody listens.
    Refused,
    /// It took too long.
    TimedOut,
    /// Any other failure of the network.
    Unreachable,
    /// The name has no address.
    Unresolved,
}

impl Error for DialError {}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LookupTimedOut => "name lookup timed out",
            Self::Refused => "connection refused",
            Self::TimedOut => "timed out",
            Self::Unreachable => "unreachable",
            Self::Unresolved => "the name does not resolve",
        })
    }
}

/// What the driver has to do, in this order. Exhaustive on purpose: a new action must break every driver at compile time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Close a connection, or give up a dial. It comes once for every connection that was accepted or that [`Action::Connect`] began,
    /// except where the dial itself failed. No action on the connection follows.
    Close {
        /// The connection.
        conn: ConnId,
        /// How.
        how: Close,
    },
    /// Connect to an address; then [`Input::Connected`] or [`Input::DialFailed`].
    Connect {
        /// The number of the new connection.
        conn: ConnId,
        /// The address.
        remote: SocketAddr,
    },
    /// Something happened. It stands in the queue of every subscription already; a driver with subscriptions only wakes their readers.
    Event(ClusterEvent),
    /// A message stands in the queue of every subscription to messages: wake their readers.
    Message,
    /// Something for a process, or for a task that calls or watches one.
    Process(ProcessAction),
    /// Ask the resolver for the addresses of a host, without holding anything else up, and without end where need be; then
    /// [`Input::Resolved`], once, whatever becomes of the node meanwhile. There are never more of them under way than
    /// [`Limits::lookups_in_flight`](crate::Limits::lookups_in_flight), and never two of one host.
    Resolve {
        /// A name, which may end with a dot.
        host: String,
        /// The number of the new lookup.
        lookup: LookupId,
    },
    /// Write these bytes, in order, and report them by [`Input::Transmitted`].
    Transmit {
        /// The connection.
        conn: ConnId,
        /// The bytes.
        data: Bytes,
    },
    /// The stop is complete: stop listening, or give up the attempt. No action on any connection follows, and no
    /// [`Input::Listening`] of this start may, since the next start would take it for its own.
    Stopped,
}

/// How to close a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Close {
    /// At once, dropping what is queued.
    Abort,
    /// Write what is queued, shut the write side down, read to the end and throw away what is read, then report [`Input::Closed`]; abort,
    /// and report it too, if `linger` passes first or more than `read_at_most` bytes come.
    ///
    /// It is read since the operating system discards what was sent last where a connection closes with unread bytes.
    Graceful {
        /// The most time to spend on it.
        linger: Duration,
        /// The most bytes to read meanwhile.
        read_at_most: usize,
    },
}
