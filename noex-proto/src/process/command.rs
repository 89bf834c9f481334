//! What the application does with processes, as inputs of the machine.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::id::{CallId, Destination, ExitReason, MonitorId, ProcessName, ProtocolHash, RequestId};
use crate::{CallError, Instant};

/// Something that the application does with processes. [`Machine`](crate::Machine) has a method for each, which says what it leads to.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessInput {
    /// Opens a process.
    Open {
        /// The protocol of its messages.
        protocol: ProtocolHash,
    },
    /// Gives a process a local name.
    Register {
        /// The process.
        process: u64,
        /// The name.
        name: ProcessName,
    },
    /// Takes a local name back.
    Unregister {
        /// The name.
        name: ProcessName,
    },
    /// Takes a batch from a mailbox. The batch before is behind its owner.
    Take {
        /// The process.
        process: u64,
        /// The most items of the batch.
        most: usize,
    },
    /// A process ends.
    Exit {
        /// The process.
        process: u64,
        /// How many items of its last batch it has looked at.
        passed: usize,
        /// Why.
        reason: ExitReason,
    },
    /// Sends a message.
    Cast {
        /// The bytes.
        body: Bytes,
        /// Its protocol.
        protocol: ProtocolHash,
        /// The receiver.
        to: Box<Destination>,
    },
    /// Sends a request.
    Call {
        /// The bytes.
        body: Bytes,
        /// When its answer comes too late.
        deadline: Instant,
        /// Its protocol.
        protocol: ProtocolHash,
        /// The receiver.
        to: Box<Destination>,
    },
    /// Nobody waits for a call's answer any more.
    Cancel {
        /// The call.
        call: CallId,
    },
    /// Answers a call.
    Answer {
        /// The bytes.
        body: Bytes,
        /// Whether the answer is to wait for room, and not to be dropped.
        or_wait: bool,
        /// The call.
        request: RequestId,
    },
    /// Fails a call.
    Fail {
        /// How.
        failure: RequestFailure,
        /// The call.
        request: RequestId,
    },
    /// A cast could not be decoded.
    CastNotUnderstood {
        /// What the decoder said.
        cause: Arc<str>,
        /// The process that it was for.
        process: u64,
    },
    /// Watches a process.
    Monitor {
        /// Which one.
        to: Box<Destination>,
        /// The process that is to hear of its end; none where it is a task.
        watcher: Option<u64>,
    },
    /// Watches a process no more.
    Demonitor {
        /// The monitor.
        monitor: MonitorId,
        /// What it was set with.
        watcher: Option<u64>,
    },
    /// Asks a process to stop.
    RequestStop {
        /// The reason that it is to end with.
        reason: ExitReason,
        /// Which one.
        to: Box<Destination>,
    },
}

/// How a process fails a call that it does not answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RequestFailure {
    /// It dropped the port.
    Dropped,
    /// It could not decode the request, and has not handled it.
    NotUnderstood(Arc<str>),
}

/// What the driver has to do for a process, or for a task that calls or watches one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ProcessAction {
    /// There is room for the answer to this call, which was refused by [`AnswerError::Full`](crate::AnswerError::Full).
    AnswerRoom(RequestId),
    /// A call of this node has its outcome.
    CallEnded {
        /// The call.
        call: CallId,
        /// The bytes of the answer, or why there is none.
        outcome: Result<Bytes, CallError>,
    },
    /// The machine has ended this process: its mailbox gives nothing any more.
    Ended(u64),
    /// The mailbox of this process is not empty any more: wake its owner.
    Mailbox(u64),
    /// A monitor that was set without a watcher has fired.
    MonitorFired {
        /// The monitor.
        monitor: MonitorId,
        /// Why the process has ended.
        reason: ExitReason,
    },
    /// Nobody waits for the answer to this call any more, which was handed out in a batch.
    RequestOver(RequestId),
    /// The node stops, and this process is to end: what is left of its batch is not looked at, and what it takes next says so.
    Stopping(u64),
}

/// What a mailbox gives its owner.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum MailboxItem {
    /// A message.
    Cast {
        /// The bytes.
        body: Bytes,
    },
    /// A request, which is to be answered.
    Call {
        /// The bytes.
        body: Bytes,
        /// When its answer comes too late.
        deadline: Instant,
        /// The call.
        request: RequestId,
    },
    /// A process that this one watches has ended.
    Down {
        /// The monitor.
        monitor: MonitorId,
        /// Why it has ended.
        reason: ExitReason,
    },
    /// Casts found no room, and were dropped, at this place.
    Overrun {
        /// How many.
        missed: u64,
    },
    /// The process is asked to stop, with this reason. Nothing follows.
    Stop(ExitReason),
}
