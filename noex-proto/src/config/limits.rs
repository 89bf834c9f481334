//! The bounds on everything that grows.

use alloc::format;

use serde::{Deserialize, Serialize};

use super::InvalidClusterConfigError;
use super::bounds;
use super::settings::within;

/// How much of everything a node keeps or does at most, whatever its peers and its application do.
///
/// Every limit is at least 1, and has a method of its name that sets it:
///
/// ```
/// use noex_proto::{ClusterConfig, Limits};
///
/// let limits = Limits::default().members(100).message_bytes(1 << 20);
/// assert_eq!(limits.members, 100);
/// assert!(ClusterConfig::new("app1").limits(limits).check().is_ok());
/// ```
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Limits {
    /// Calls to one peer whose outcome is open, or whose cancel waits to be sent. At the limit a further one fails:
    /// [`CallError::QueueFull`](crate::CallError::QueueFull).
    pub calls_per_peer: usize,
    /// Calls of one peer that wait or are being handled. At the limit a further one fails: [`CallError::Busy`](crate::CallError::Busy).
    pub calls_served_per_peer: usize,
    /// Connections that this node has ended and whose last bytes are still on their way. At the limit a further one is cut off at once,
    /// but for a stop, which every peer is told of; strangers at half of it.
    pub closing_connections: usize,
    /// Answers waiting to be sent to one peer, beside the few control messages that a node sends by itself. A peer that asks for more
    /// without reading the answers is disconnected: [`PeerFault::ControlFlood`](crate::PeerFault::ControlFlood).
    pub control_messages: usize,
    /// Nodes that left and are remembered, so that a late rumour does not bring them back. At the limit the oldest is forgotten.
    pub departed_nodes: usize,
    /// Dials under way at one moment. At the limit the next ones wait; those to nodes that others only told of, or that took long the
    /// last time, at three quarters of it, rounded up.
    pub dials_in_flight: usize,
    /// Dials begun in one second. At the limit the next ones wait.
    pub dials_per_second: usize,
    /// Nodes without a session that are kept for a reconnection. At the limit the one that has been gone for longest is forgotten.
    pub disconnected_nodes: usize,
    /// Error events about strangers in one second. What is over the limit is counted in
    /// [`ClusterError::Suppressed`](crate::ClusterError::Suppressed).
    pub error_reports_per_second: usize,
    /// Events waiting for one subscriber. At the limit they are dropped, and it gets
    /// [`ClusterEvent::Lagged`](crate::ClusterEvent::Lagged).
    pub events_per_subscriber: usize,
    /// Accepted connections that are not authenticated yet. At the limit the oldest one of the address with the most makes room.
    pub half_open: usize,
    /// The same from one address, or one IPv6 /64 network. At the limit its oldest one makes room. At most
    /// [`half_open`](field@Self::half_open).
    pub half_open_per_address: usize,
    /// Local names of processes. At the limit a further one is not given: [`RegisterError::TooMany`](crate::RegisterError::TooMany).
    pub local_names: usize,
    /// Name lookups under way at one moment. At the limit the next ones wait; those of hosts that others only told of, or that took long the
    /// last time, at three quarters of it, rounded up.
    pub lookups_in_flight: usize,
    /// Bytes of messages waiting in one mailbox, each with 64 on top; a first one always has room. At the limit a call fails,
    /// [`CallError::Busy`](crate::CallError::Busy), and a cast is dropped, which the process is told by
    /// [`MailboxItem::Overrun`](crate::MailboxItem::Overrun). At least [`message_bytes`](field@Self::message_bytes).
    pub mailbox_bytes: usize,
    /// Messages waiting in one mailbox, with the same outcome.
    pub mailbox_messages: usize,
    /// Bytes of messages waiting in all mailboxes of the node, each with 64 on top, with the same outcome; the first of all always has room.
    /// At least [`message_bytes`](field@Self::message_bytes).
    pub mailboxes_bytes: usize,
    /// Nodes with a session. At the limit a further node is refused and hears [`Refusal::LimitReached`](crate::Refusal::LimitReached).
    /// Also the most seeds.
    pub members: usize,
    /// The size of one message, in bytes, at most 1 GiB. A larger one is not taken, [`SendError::TooLarge`](crate::SendError::TooLarge);
    /// a peer that sends one is disconnected, [`PeerFault::MessageTooLarge`](crate::PeerFault::MessageTooLarge).
    pub message_bytes: usize,
    /// Bytes of messages waiting for one subscriber, each with 64 on top; a first one always has room. At the limit messages are dropped,
    /// and it gets [`MessagesLagged`](crate::MessagesLagged). At least [`message_bytes`](field@Self::message_bytes).
    pub message_bytes_per_subscriber: usize,
    /// Monitors of one process, and notices of them that it has not taken. At the limit a further one is not set:
    /// [`MonitorError::QueueFull`](crate::MonitorError::QueueFull).
    pub monitors_per_process: usize,
    /// Names of the cluster that this node's processes have, claim, or wait for, and notices of a loss that they have not taken; at most
    /// 65,536. At the limit a further one is not claimed: [`ClaimError::TooMany`](crate::ClaimError::TooMany).
    pub names: usize,
    /// Names of other nodes that are kept. A further one is not found here, [`ClusterError::NameNotKept`](crate::ClusterError::NameNotKept),
    /// and where its claim has not settled it fails, [`ClaimError::Full`](crate::ClaimError::Full).
    pub names_of_others: usize,
    /// Open processes. At the limit a further one is not opened: [`OpenError::TooMany`](crate::OpenError::TooMany).
    pub processes: usize,
    /// Bytes of messages waiting to be sent to one peer, each with 64 on top; a first one always has room. At the limit a message is not
    /// taken: [`SendError::QueueFull`](crate::SendError::QueueFull). At least [`message_bytes`](field@Self::message_bytes).
    pub send_queue_bytes: usize,
    /// Bytes that were handed to the adapter for one peer and have not left it. At the limit the rest stays in the peer's queue, where
    /// heartbeats overtake it.
    pub send_window_bytes: usize,
    /// Names of the cluster whose holders are watched. At the limit a further one is not: [`WatchNameError::TooMany`](crate::WatchNameError::TooMany).
    pub watched_names: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls_per_peer: 65_536,
            calls_served_per_peer: 65_536,
            closing_connections: 256,
            control_messages: 64,
            departed_nodes: 1024,
            dials_in_flight: 64,
            dials_per_second: 512,
            disconnected_nodes: 1024,
            error_reports_per_second: 16,
            events_per_subscriber: 1024,
            half_open: 256,
            half_open_per_address: 64,
            local_names: 65_536,
            lookups_in_flight: 32,
            mailbox_bytes: 32 << 20,
            mailbox_messages: 1024,
            mailboxes_bytes: 256 << 20,
            members: 4096,
            message_bytes: 16 << 20,
            message_bytes_per_subscriber: 32 << 20,
            monitors_per_process: 65_536,
            names: 65_536,
            names_of_others: 1 << 20,
            processes: 1 << 20,
            send_queue_bytes: 32 << 20,
            send_window_bytes: 256 << 10,
            watched_names: 65_536,
        }
    }
}

macro_rules! setters {
    ($($limit:ident)*) => {
        impl Limits {
            $(
                #[doc = concat!("Sets [`", stringify!($limit), "`](field@Self::", stringify!($limit), ").")]
                #[must_use]
                pub const fn $limit(mut self, limit: usize) -> Self {
                    self.$limit = limit;
                    self
                }
            )*
        }

        // A limit without a setter does not compile.
        const _: fn(&Limits) = |Limits { $($limit: _),* }| ();
    };
}

setters! {
    calls_per_peer
    calls_served_per_peer
    closing_connections
    control_messages
    departed_nodes
    dials_in_flight
    dials_per_second
    disconnected_nodes
    error_reports_per_second
    events_per_subscriber
    half_open
    half_open_per_address
    local_names
    lookups_in_flight
    mailbox_bytes
    mailbox_messages
    mailboxes_bytes
    members
    message_bytes
    message_bytes_per_subscriber
    monitors_per_process
    names
    names_of_others
    processes
    send_queue_bytes
    send_window_bytes
    watched_names
}

impl Limits {
    /// Whether every limit is one that the node can work with.
    pub(crate) fn check(&self) -> Result<(), InvalidClusterConfigError> {
        for (field, limit) in [
            ("limits.calls_per_peer", self.calls_per_peer),
            ("limits.calls_served_per_peer", self.calls_served_per_peer),
            ("limits.closing_connections", self.closing_connections),
            ("limits.control_messages", self.control_messages),
            ("limits.departed_nodes", self.departed_nodes),
            ("limits.dials_in_flight", self.dials_in_flight),
            ("limits.dials_per_second", self.dials_per_second),
            ("limits.disconnected_nodes", self.disconnected_nodes),
            ("limits.error_reports_per_second", self.error_reports_per_second),
            ("limits.events_per_subscriber", self.events_per_subscriber),
            ("limits.half_open", self.half_open),
            ("limits.half_open_per_address", self.half_open_per_address),
            ("limits.local_names", self.local_names),
            ("limits.lookups_in_flight", self.lookups_in_flight),
            ("limits.mailbox_messages", self.mailbox_messages),
            ("limits.members", self.members),
            ("limits.monitors_per_process", self.monitors_per_process),
            ("limits.names_of_others", self.names_of_others),
            ("limits.processes", self.processes),
            ("limits.send_window_bytes", self.send_window_bytes),
            ("limits.watched_names", self.watched_names),
        ] {
            if limit == 0 {
                return Err(InvalidClusterConfigError::new(field, "must be at least 1, not 0"));
            }
        }
        within("limits.names", &self.names, &bounds::NAMES)?;
        within("limits.message_bytes", &self.message_bytes, &bounds::MESSAGE_BYTES)?;
        for (field, limit) in [
            ("limits.mailbox_bytes", self.mailbox_bytes),
            ("limits.mailboxes_bytes", self.mailboxes_bytes),
            ("limits.message_bytes_per_subscriber", self.message_bytes_per_subscriber),
            ("limits.send_queue_bytes", self.send_queue_bytes),
        ] {
            if limit < self.message_bytes {
                let rule = format!("must be at least limits.message_bytes ({}), not {limit}", self.message_bytes);
                return Err(InvalidClusterConfigError::new(field, &rule));
            }
        }
        if self.half_open_per_address > self.half_open {
            let rule = format!("must be at most limits.half_open ({}), not {}", self.half_open, self.half_open_per_address);
            return Err(InvalidClusterConfigError::new("limits.half_open_per_address", &rule));
        }
        Ok(())
    }
}
