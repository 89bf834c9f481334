//! What the application does with processes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Active, Machine, Run};
use crate::mesh::cx::Cx;
use crate::process::{self, Done};
use crate::{
    AnswerError, CallError, CallId, CastError, ClaimError, ClaimId, ClaimOptions, Destination, ExitReason, Holder, Input,
    Instant, Limits, MailboxItem, MonitorError, MonitorId, NodeId, OpenError, ProcessId, ProcessInput, ProcessName, ProtocolHash,
    RegisterError, RequestFailure, RequestId, WatchNameError,
};

/// Takes what an input of this kind leads to.
macro_rules! done {
    ($machine:ident, $now:ident, $input:expr, $done:ident) => {
        match $machine.process($now, $input) {
            Done::$done(done) => done,
            done => unreachable!("an input leads to what it asks for, not to {done:?}"),
        }
    };
}

impl Machine {
    // Processes

    /// Opens a process, which exists until it [exits](Self::exit) or the node stops.
    ///
    /// # Errors
    /// [`OpenError`]. Nothing changes then.
    pub fn open(&mut self, now: Instant, protocol: ProtocolHash) -> Result<ProcessId, OpenError> {
        done!(self, now, ProcessInput::Open { protocol }, Opened)
    }

    /// Gives a process a local name, beside those that it has. Who calls it, casts to it or watches it by that name reaches it.
    ///
    /// # Errors
    /// [`RegisterError`]. Nothing changes then.
    pub fn register(&mut self, now: Instant, process: u64, name: &ProcessName) -> Result<(), RegisterError> {
        done!(self, now, ProcessInput::Register { process, name: name.clone() }, Registered)
    }

    /// Takes a local name back from the process that has it.
    pub fn unregister(&mut self, now: Instant, name: &ProcessName) {
        self.process(now, ProcessInput::Unregister { name: name.clone() });
    }

    /// The process of this node that has a local name.
    #[must_use]
    pub fn whereis_local(&self, name: &ProcessName) -> Option<ProcessId> {
        self.processes.named(name)
    }

    /// Takes the next items of a mailbox, at most so many. It says, too, that the owner has looked at all items of the batch before: until
    /// then they count against the limits of the mailbox.
    pub fn take(&mut self, now: Instant, process: u64, most: usize) -> Vec<MailboxItem> {
        done!(self, now, ProcessInput::Take { process, most }, Taken)
    }

    /// Takes what goes ahead of all that waits, and of what is left of the last batch, which stays as it is: where the process is to end, as
    /// [`ProcessAction::Stopping`](crate::ProcessAction::Stopping) says, the names that it has lost, and the request to stop. Nothing follows.
    pub fn take_ahead(&mut self, now: Instant, process: u64) -> Vec<MailboxItem> {
        done!(self, now, ProcessInput::TakeAhead { process }, Taken)
    }

    /// A process ends: of the items of its last batch it has looked at the first `passed`. Its names are free, the calls that it has not
    /// looked at fail by [`CallError::NoProcess`], those that it has not answered by [`CallError::Exited`], and its watchers hear why.
    pub fn exit(&mut self, now: Instant, process: u64, reason: ExitReason, passed: usize) {
        self.process(now, ProcessInput::Exit { process, passed, reason });
    }

    // Messages

    /// Sends a message to a process: it arrives at most once, in order, and nobody hears what became of it.
    ///
    /// # Errors
    /// [`CastError`]. Nothing is queued then.
    pub fn cast(&mut self, now: Instant, to: &Destination, protocol: ProtocolHash, body: Bytes) -> Result<(), CastError> {
        done!(self, now, ProcessInput::Cast { body, protocol, to: Box::new(to.clone()) }, Cast)
    }

    /// Asks a process to stop, behind what was sent to it before: it is to end with this reason.
    ///
    /// # Errors
    /// [`CastError`]. Nothing is queued then.
    pub fn request_stop(&mut self, now: Instant, to: &Destination, reason: ExitReason) -> Result<(), CastError> {
        done!(self, now, ProcessInput::RequestStop { reason, to: Box::new(to.clone()) }, Cast)
    }

    /// Sends a request to a process. It has one outcome, [`ProcessAction::CallEnded`](crate::ProcessAction::CallEnded), at the deadline at
    /// the latest, but for what waits behind a pause and what its timer is rounded by, 1/32.
    ///
    /// # Errors
    /// A [`CallError`] that is known at once. Nothing is queued then.
    pub fn call(
        &mut self,
        now: Instant,
        to: &Destination,
        protocol: ProtocolHash,
        body: Bytes,
        deadline: Instant,
    ) -> Result<CallId, CallError> {
        done!(self, now, ProcessInput::Call { body, deadline, protocol, to: Box::new(to.clone()) }, Called)
    }

    /// Nobody waits for the outcome of a call any more: it has none.
    pub fn cancel(&mut self, now: Instant, call: CallId) {
        self.process(now, ProcessInput::Cancel { call });
    }

    /// Answers a call. What finds no room is dropped, and the caller hears so, unless it is to wait: then nothing changes, and
    /// [`ProcessAction::AnswerRoom`](crate::ProcessAction::AnswerRoom) says when to try again.
    ///
    /// # Errors
    /// [`AnswerError`].
    pub fn answer(&mut self, now: Instant, request: RequestId, body: Bytes, or_wait: bool) -> Result<(), AnswerError> {
        done!(self, now, ProcessInput::Answer { body, or_wait, request }, Answered)
    }

    /// Fails a call. One that is over is left alone.
    pub fn fail(&mut self, now: Instant, request: RequestId, failure: RequestFailure) {
        self.process(now, ProcessInput::Fail { failure, request });
    }

    /// Counts a cast that the process could not decode, and reports it, [`ClusterError::CastNotUnderstood`](crate::ClusterError::CastNotUnderstood):
    /// once a minute for each process, and for 16 processes at most.
    pub fn cast_not_understood(&mut self, now: Instant, process: u64, cause: Arc<str>) {
        self.process(now, ProcessInput::CastNotUnderstood { cause, process });
    }

    // Monitors

    /// Watches a process: its watcher finds one [`MailboxItem::Down`] in its mailbox, or without a watcher there is one
    /// [`ProcessAction::MonitorFired`](crate::ProcessAction::MonitorFired), when the process has ended, is not there, or is out of reach.
    ///
    /// # Errors
    /// [`MonitorError`]. Nothing changes then.
    pub fn monitor(&mut self, now: Instant, watcher: Option<u64>, to: &Destination) -> Result<MonitorId, MonitorError> {
        done!(self, now, ProcessInput::Monitor { to: Box::new(to.clone()), watcher }, Monitored)
    }

    /// Removes a monitor; `watcher` is what it was set with. Nothing is told of it any more that was not taken.
    pub fn demonitor(&mut self, now: Instant, watcher: Option<u64>, monitor: MonitorId) {
        self.process(now, ProcessInput::Demonitor { monitor, watcher });
    }

    // Names of the cluster

    /// Claims a name of the cluster for a process. It settles once every node that is connected has acknowledged it:
    /// [`ProcessAction::ClaimEnded`](crate::ProcessAction::ClaimEnded) tells, at the timeout at the latest.
    ///
    /// # Errors
    /// A [`ClaimError`] that is known at once. Nothing changes then.
    pub fn claim(
        &mut self,
        now: Instant,
        process: u64,
        name: &ProcessName,
        options: &ClaimOptions,
    ) -> Result<ClaimId, ClaimError> {
        let (name, options) = (name.clone(), options.clone());
        done!(self, now, ProcessInput::Claim { name, options, process, when_free: false }, Claimed)
    }

    /// Claims a name for a process as soon as it is free, and tries again until it has it. Its timeout is that of each try.
    ///
    /// # Errors
    /// A [`ClaimError`] that is known at once. Nothing changes then. It is `Taken` where another claim of this node stands by for the name.
    pub fn claim_when_free(
        &mut self,
        now: Instant,
        process: u64,
        name: &ProcessName,
        options: &ClaimOptions,
    ) -> Result<ClaimId, ClaimError> {
        let (name, options) = (name.clone(), options.clone());
        done!(self, now, ProcessInput::Claim { name, options, process, when_free: true }, Claimed)
    }

    /// The caller of a claim is about to hear that it has settled. True: it has, and a loss is a notice in the mailbox from here on. False:
    /// the name was lost meanwhile, of which another [`ProcessAction::ClaimEnded`](crate::ProcessAction::ClaimEnded) tells.
    pub fn claim_returned(&mut self, now: Instant, claim: ClaimId) -> bool {
        done!(self, now, ProcessInput::ClaimReturned { claim }, Is)
    }

    /// Nobody waits for the outcome of a claim any more that has not returned: it is withdrawn, though it may have settled.
    pub fn drop_claim(&mut self, now: Instant, claim: ClaimId) {
        self.process(now, ProcessInput::DropClaim { claim });
    }

    /// A process gives a name back that it has, claims, or stands by for. Whether there was one.
    pub fn release(&mut self, now: Instant, process: u64, name: &ProcessName) -> bool {
        done!(self, now, ProcessInput::Release { name: name.clone(), process }, Is)
    }

    /// The process of the cluster that has this name, as far as this node has been told.
    #[must_use]
    pub fn whereis(&self, name: &ProcessName) -> Option<Holder> {
        self.processes.names().whereis(name)
    }

    /// All names of the cluster that processes have, as far as this node has been told, in order.
    #[must_use]
    pub fn names(&self) -> Vec<(ProcessName, Holder)> {
        self.processes.names().list()
    }

    /// Whether every node with processes with which a session is up has told all of its names.
    #[must_use]
    pub fn names_synced(&self) -> bool {
        self.processes.names().are_synced()
    }

    /// Watches who has a name: [`ProcessAction::NameChanged`](crate::ProcessAction::NameChanged) tells of each change. Each call needs one of
    /// [`unwatch_name`](Self::unwatch_name).
    ///
    /// # Errors
    /// [`WatchNameError`]. Nothing changes then.
    pub fn watch_name(&mut self, now: Instant, name: &ProcessName) -> Result<(), WatchNameError> {
        done!(self, now, ProcessInput::WatchName { name: name.clone() }, Watched)
    }

    /// Watches it once less.
    pub fn unwatch_name(&mut self, now: Instant, name: &ProcessName) {
        self.process(now, ProcessInput::UnwatchName { name: name.clone() });
    }

    // Steps

    fn process(&mut self, now: Instant, input: ProcessInput) -> Done {
        self.set_now(now);
        let queued = self.host.actions.len();
        let input = Input::Process(input);
        self.host.note_input(now, &input);
        let Input::Process(input) = input else { unreachable!("it was made above") };
        let done = self.apply_to_processes(input);
        self.settle();
        self.host.note_actions(queued);
        done
    }

    pub(super) fn apply_to_processes(&mut self, input: ProcessInput) -> Done {
        let Self { host, processes, run } = self;
        let now = host.now;
        match run {
            Run::Stopped | Run::Starting(_) => {
                let idle = Limits::default();
                processes.command(&mut process::Cx { host, limits: &idle, now, find: &|_| None }, input)
            }
            Run::Active(active) => {
                let Active { local, node, .. } = &mut **active;
                node.advance_clocks(&mut Cx { host, local, above: processes });
                let (limits, find) = (&local.settings.limits, |id: &NodeId| node.up(id));
                processes.command(&mut process::Cx { host, limits, now, find: &find }, input)
            }
        }
    }
}
