//! The [noex](https://docs.rs/noex-tokio) cluster protocol as a pure state machine: no clock, no socket, no thread, no lock.
//!
//! [`Machine`] is a whole cluster node. It finds other nodes through seeds and gossip, keeps one authenticated session with each,
//! detects failures, reconnects, and tells who came and who went. It does none of the I/O itself: a *driver* feeds it what happened as
//! an [`Input`] with the present time, and does what it asks for as an [`Action`]. So the same node runs on any runtime, in a
//! simulator, and under a fuzzer; and the same inputs always lead to the same actions, byte for byte.
//!
//! Applications use an adapter, such as `noex-tokio`. This crate is for those who write a driver, test by simulation, or audit.
//!
//! # Driving a machine
//!
//! A driver has four duties: feed inputs in the order in which they happen; after each, perform all actions in their order; feed
//! [`Input::Tick`] at [`Machine::poll_timeout`]; report every byte that the operating system took by [`Input::Transmitted`].
//!
//! Here two machines, which dial each other, are driven by hand, over a network that is a queue:
//!
//! ```
//! use std::collections::{BTreeMap, VecDeque};
//! use std::time::Duration;
//!
//! use noex_proto::{Action, ClusterConfig, Input, Instant, Machine, WallTime};
//!
//! let now = Instant::START;
//! let hosts = ["10.0.0.1", "10.0.0.2"];
//! let mut machines = [Machine::new(), Machine::new()];
//! let mut inputs: VecDeque<(usize, Input)> = VecDeque::new();
//!
//! // Each starts, and says where it would have its driver listen. The driver listens there and says so.
//! for (n, seed) in [(0, "b@10.0.0.2:4369"), (1, "a@10.0.0.1:4369")] {
//!     let listen_on = machines[n].start(now, ClusterConfig::new(["a", "b"][n]).host(hosts[n]).port(4369).seeds([seed]))?;
//!     let local = format!("{}:{}", listen_on.host, listen_on.port).parse()?;
//!     inputs.push_back((n, Input::Listening { entropy: [n as u8; 32], local, network: Box::default() }));
//! }
//!
//! // A connection has a number at each of its ends: what it is at the other one.
//! let mut ends = BTreeMap::new();
//! // The loop of every driver: an input in, then all actions out.
//! while let Some((n, input)) = inputs.pop_front() {
//!     machines[n].handle(now, input);
//!     let peer = 1 - n;
//!     while let Some(action) = machines[n].poll_action() {
//!         match action {
//!             // It is accepted at once, since the next connection gets the next number.
//!             Action::Connect { conn, remote } => {
//!                 let accepted = machines[peer].next_conn();
//!                 ends.extend([((n, conn), accepted), ((peer, accepted), conn)]);
//!                 machines[peer].handle(now, Input::Accepted { conn: accepted, remote: format!("{}:50000", hosts[n]).parse()? });
//!                 inputs.push_back((n, Input::Connected { conn, remote }));
//!             }
//!             Action::Transmit { conn, data } => {
//!                 inputs.push_back((n, Input::Transmitted { bytes: data.len(), conn }));
//!                 let wall = WallTime(Duration::ZERO);
//!                 inputs.push_back((peer, Input::Received { conn: ends[&(n, conn)], data, wall }));
//!             }
//!             // The other end reads to the end, behind what was sent before, and this one's close is done.
//!             Action::Close { conn, .. } => {
//!                 inputs.push_back((peer, Input::Closed { conn: ends[&(n, conn)] }));
//!                 inputs.push_back((n, Input::Closed { conn }));
//!             }
//!             Action::Event(event) => println!("machine {n}: {event}"),
//!             Action::Message | Action::Process(_) | Action::Stopped => {}
//!             Action::Resolve { .. } => unreachable!("both hosts are addresses"),
//!         }
//!     }
//! }
//!
//! assert_eq!(machines[0].connected_nodes()?[0].id.to_string(), "b@10.0.0.2:4369");
//! assert_eq!(machines[1].connected_nodes()?[0].id.to_string(), "a@10.0.0.1:4369");
//! // The next thing to happen is a heartbeat, or a look at who is silent.
//! assert!(machines[0].poll_timeout() > Some(now));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A driver with real sockets, without any runtime, is `examples/blocking`. What a driver may rely on is checked by
//! `testing::Contract`, with the feature `testing`.
//!
//! # Reading the code
//!
//! A frame's way in is `frame`, `handshake` or `record`, then `message`; sessions and membership are decided in `mesh`, calls and
//! monitors in `process`, and `machine` is the face of both.
//! `docs/wire.md` in the repository is the protocol, `docs/rules.md` names the tests behind each rule.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod app;
mod cause;
mod config;
mod counters;
mod error;
mod event;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod id;
mod io;
mod machine;
mod mesh;
mod millis;
mod node_info;
mod process;
mod recording;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod transient;
mod wire;

pub use app::subscription::SubscriptionId;
pub use bytes::Bytes;
pub use cause::Cause;
pub use config::{
    ClusterConfig, FromEnvError, IntoSecret, InvalidClusterConfigError, Limits, ListenOn, Secret, bounds, defaults,
};
pub use counters::Counters;
pub use error::{
    ClusterError, ClusterNotStartedError, LocalFault, PeerFault, Refusal, SendError, SetSecretsError, SetSeedsError, StartError,
    Unreached,
};
pub use event::{Broadcast, ClusterEvent, ClusterStatus, Message, MessagesLagged, NodeDownReason, NodeStatus, SecretUse};
pub use id::contact::{Contact, InvalidContactError};
pub use id::node_id::{InvalidNodeIdError, NodeId, NodeIdFault};
pub use io::{Action, Close, ConnId, ConnectError, DialError, Input, LookupId};
pub use machine::advertise::LocalNetwork;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use machine::{Books, OpenWith};
pub use machine::{Machine, Readiness, ReadinessReason, Usage};
pub use node_info::{LastDown, NodeInfo};
pub use process::{
    AnswerError, CallError, CallId, CastError, ClaimError, ClaimId, ClaimOptions, Destination, ExitReason, Holder,
    InvalidProcessNameError, MailboxItem, MonitorError, MonitorId, OpenError, ProcessAction, ProcessId, ProcessInput,
    ProcessName, ProtocolHash, RegisterError, RequestFailure, RequestId, WatchNameError,
};
pub use recording::{Recorded, Recording, RecordingError};
pub use time::{Instant, TimeFormat, WallTime};
