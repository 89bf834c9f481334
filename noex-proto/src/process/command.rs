//! What the application does with processes, as inputs of the machine.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::id::{CallId, ClaimId, Destination, ExitReason, MonitorId, ProcessId, ProcessName, ProtocolHash, RequestId};
use super::names::{ClaimError, ClaimOptions};
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
    /// Takes what goes ahead of all that waits.
    TakeAhead {
        /// The process.
        process: u64,
    },
    /// Claims a name of the cluster for a process.
    Claim {
        /// The name.
        name: ProcessName,
        /// How.
        options: ClaimOptions,
        /// The process.
        process: u64,
        /// Whether to wait until the name is free.
        when_free: bool,
    },
    /// A claim has settled, and its caller is about to hear so.
    ClaimReturned {
        /// The claim.
        claim: ClaimId,
    },
    /// Nobody waits for the outcome of a claim any more.
    DropClaim {
        /// The claim.
        claim: ClaimId,
    },
    /// A process gives a name of the cluster back.
    Release {
        /// The name.
        name: ProcessName,
        /// The process.
        process: u64,
    },
    /// The holder of a name is watched.
    WatchName {
        /// The name.
        name: ProcessName,
    },
    /// It is watched no more.
    UnwatchName {
        /// The name.
        name: ProcessName,
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
    /// A claim of this node has an outcome. An `Ok` may be followed by an error, or where the claim stands by, by another `Ok`, as long as
    /// [`Machine::claim_returned`](crate::Machine::claim_returned) has not been told that it returned. An error is the last.
    ClaimEnded {
        /// The claim.
        claim: ClaimId,
        /// Whether the process has the name, or why not.
        outcome: Result<(), ClaimError>,
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
    /// Another process has this name, which is watched, or none: [`Machine::whereis`](crate::Machine::whereis) tells.
    NameChanged(ProcessName),
    /// Every session that is up has told all names of its node: [`Machine::names_synced`](crate::Machine::names_synced) is true.
    NamesSynced,
    /// Nobody waits for the answer to this call any more, which was handed out in a batch.
    RequestOver(RequestId),
    /// The node stops, or the process has lost a name, and it is to end: what is left of its batch is not looked at, and
    /// [`Machine::take_ahead`](crate::Machine::take_ahead) says why.
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
    /// The process has lost a name of the cluster. It goes ahead of all that waits.
    NameLost {
        /// The name.
        name: ProcessName,
        /// The process that has it; none where too few nodes are connected.
        winner: Option<ProcessId>,
    },
    /// The process is asked to stop, with this reason. Nothing follows.
    Stop(ExitReason),
}
