//! The part of [noex](https://docs.rs/noex-tokio) between the protocol and a runtime: the I/O loops and the [`Cluster`] handle,
//! written once for every runtime.
//!
//! An application depends on an adapter, such as `noex-tokio`, and on nothing else. This crate is for those who write an adapter:
//! implement [`Runtime`], about a page of code, and name the handle:
//!
//! ```text
//! pub type Cluster = noex_driver::Cluster<MyRuntime>;
//! ```
//!
//! Every decision about the protocol is made in `noex-proto`, a state machine that does no I/O. This crate feeds it what happens,
//! does what it asks for, and wakes it when it wants to be woken. Handlers and streams never run under its lock.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod bound;
mod cluster;
mod connection;
mod drive;
mod env;
mod error;
mod handlers;
mod io;
mod io_error;
mod link;
mod log;
mod lookup;
mod network;
mod process;
mod resolver;
mod run;
mod runtime;
#[cfg(feature = "sim")]
pub mod sim;
mod slots;
mod streams;
mod text;
mod time;
mod wait;

pub use bound::Bound;
pub use bytes::Bytes;
pub use cluster::{Cluster, WeakCluster};
pub use env::FromEnv;
pub use error::{StartError, WaitError, WhereisError};
pub use handlers::Subscription;
pub use noex_proto::{
    Broadcast, CallError, CastError, Cause, ClaimError, ClusterConfig, ClusterError, ClusterNotStartedError, ClusterStatus,
    Contact, Counters, Destination, DialError, ExitReason, FromEnvError, IntoSecret, InvalidClusterConfigError,
    InvalidContactError, InvalidNodeIdError, InvalidProcessNameError, Limits, LocalFault, Message, MessagesLagged, MonitorError,
    MonitorId, NodeDownReason, NodeId, NodeIdFault, NodeStatus, OpenError, PeerFault, ProcessId, ProcessName, Readiness,
    ReadinessReason, Refusal, RegisterError, Secret, SecretUse, SendError, SetSecretsError, SetSeedsError, Unreached,
    WatchNameError, bounds, defaults,
};
pub use process::{Address, Call, Claim, DeliverError, Ending, HolderStream, Item, Mailbox, Monitor, Protocol, Reply, run};
pub use runtime::Runtime;
pub use streams::{EventStream, MessageStream, Subscribed};

pub use time::SystemTimes;

/// Marks a place in a program for a test in a simulation: that a value, such as a term that it leads in, has this name now. Anywhere else it does
/// nothing, and without the feature `sim` the value is not even looked at.
///
/// ```
/// # let term = 7;
/// noex_driver::mark!("leads", term);
/// noex_driver::mark!("has the file");
/// ```
#[macro_export]
macro_rules! mark {
    ($name:expr) => {
        $crate::mark!($name, "")
    };
    ($name:expr, $value:expr) => {
        $crate::mark_here!($name, $value)
    };
}

#[cfg(feature = "sim")]
#[doc(hidden)]
#[macro_export]
macro_rules! mark_here {
    ($name:expr, $value:expr) => {
        $crate::sim::mark($name, &$value)
    };
}

#[cfg(not(feature = "sim"))]
#[doc(hidden)]
#[macro_export]
macro_rules! mark_here {
    ($name:expr, $value:expr) => {{
        let _unused = || (&$name, &$value);
    }};
}

/// Something that happened in the cluster, or to the local node.
pub type ClusterEvent = noex_proto::ClusterEvent<SystemTimes>;

/// How a node went down last, with a [`SystemTime`](std::time::SystemTime).
pub type LastDown = noex_proto::LastDown<SystemTimes>;

/// One node, as known at one moment, with times of the type [`SystemTime`](std::time::SystemTime).
pub type NodeInfo = noex_proto::NodeInfo<SystemTimes>;
