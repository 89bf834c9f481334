//! The handle that an application holds.

use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use noex_proto::{Holder, Input, Machine, Message};

use crate::drive::{Shared, State};
use crate::process::{hash, process_name};
use crate::wait::{ready, wait};
use crate::{
    Address, Broadcast, ClusterConfig, ClusterError, ClusterEvent, ClusterNotStartedError, ClusterStatus, Counters, Destination,
    EventStream, HolderStream, InvalidProcessNameError, LocalFault, Mailbox, MessageStream, NodeDownReason, NodeId, NodeInfo,
    OpenError, ProcessId, ProcessName, Protocol, Readiness, Runtime, Secret, SecretUse, SendError, SetSecretsError,
    SetSeedsError, StartError, Subscribed, Subscription, WaitError, WatchNameError, WhereisError, handlers, log, run,
};

/// A node of a cluster: this process, as the others see it, and the others, as it sees them.
///
#[doc = crate::cluster_doc!()]
#[derive(Clone, Debug)]
#[must_use = "dropping the last handle stops the node"]
pub struct Cluster<R: Runtime> {
    handle: Arc<Handle>,
    /// Where it is started; the node itself is of no type of runtime.
    runtime: PhantomData<fn() -> R>,
}

/// A handle that does not keep the node running, for handlers.
#[derive(Clone, Debug)]
pub struct WeakCluster<R: Runtime> {
    handle: Weak<Handle>,
    runtime: PhantomData<fn() -> R>,
}

/// What the handles share, and no task does, so that the last handle can be told.
#[derive(Debug)]
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.lock_lent().orphaned = true;
        // The run's task stops the node. Streams of one that was stopped already end too.
        self.0.timer.notify(usize::MAX);
        self.0.wake();
    }
}

// One block, since rustdoc turns the order of several round where an adapter's alias shows them.
/// Starting and stopping, reading, events and messages, acting. Where reading gives an error, the node is not running.
#[expect(clippy::missing_errors_doc, reason = "of reading it stands above, once")]
impl<R: Runtime> Cluster<R> {
    // Starting and stopping

    /// A node that is stopped.
    pub fn new() -> Self {
        Self::of(Machine::new())
    }

    /// A node that is stopped, and keeps a recording of all that it is fed, secrets apart: `noex-sim replay` repeats what the node did, and
    /// draws it.
    ///
    /// `limit` bounds the whole recording but its first line, in bytes, whether it was taken meanwhile or not; the recording ends there.
    /// It holds the messages, and the randomness of the run: keep it where those may be.
    pub fn with_recorder(limit: usize) -> Self {
        Self::of(Machine::with_recorder(limit))
    }

    fn of(machine: Machine) -> Self {
        Self { handle: Arc::new(Handle(Arc::new(Shared::new(machine)))), runtime: PhantomData }
    }

    /// Starts the node in the caller's runtime, and returns once it listens. It waits for no seed and for no seed's name.
    ///
    /// Dropping the future before it completes leaves the node stopped.
    ///
    /// # Errors
    /// [`StartError::AlreadyRunning`] unless the node is stopped; [`StartError::Config`] for an invalid configuration;
    /// [`StartError::Bind`] where the address cannot be listened on; [`StartError::Entropy`] where the system has no randomness to
    /// give; [`StartError::Runtime`] outside a runtime, or where it ends meanwhile; [`StartError::Stopped`] where the node was
    /// stopped before the start was over.
    pub async fn start(&self, config: ClusterConfig) -> Result<(), StartError> {
        run::start::<R>(self.shared(), config).await
    }

    /// Leaves the cluster: tells the peers, writes what is queued, closes, and returns when the port is free again. It takes as long
    /// as the configuration's `stop_timeout` at most, whatever the peers do.
    ///
    /// It cannot fail: of a node that is stopped, or was never started, it asks nothing. All concurrent callers return when the node
    /// has stopped; dropping the future does not keep it from stopping. Subscribers get no downs; streams and handlers stay for a
    /// later start.
    pub async fn stop(&self) {
        let run = self.shared().drive(|state| {
            state.handle(Input::Stop);
            state.run.clone()
        });
        // The end of this run: who else waits for it may have begun the next one meanwhile.
        if let Some(run) = run {
            self.shared().until(&self.shared().events, |_| run.end.get().map(|_| ())).await;
        }
    }

    /// Whether the node takes part in a cluster.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        self.read(|state| state.machine.status())
    }

    /// Whether the node runs, has met a seed since its start or has none, and has sessions with at least `min_nodes` other nodes: what a
    /// readiness probe asks. [`Machine::readiness`](noex_proto::Machine::readiness) says when a seed has been met.
    ///
    /// Where probes decide whether further nodes are started, ask for 0, or for 1 where the nodes start at the same time; more can keep
    /// a rollout from going on. It says nothing about liveness, for which no peer should count.
    #[must_use]
    pub fn readiness(&self, min_nodes: usize) -> Readiness {
        self.read(|state| state.machine.readiness(min_nodes))
    }

    /// A handle that does not keep the node running.
    #[must_use]
    pub fn downgrade(&self) -> WeakCluster<R> {
        WeakCluster { handle: Arc::downgrade(&self.handle), runtime: PhantomData }
    }

    // Reading

    /// The local node's identity.
    pub fn local_node_id(&self) -> Result<NodeId, ClusterNotStartedError> {
        self.read(|state| state.machine.local_node_id())
    }

    /// The local node, as its peers see it.
    pub fn local_node_info(&self) -> Result<NodeInfo, ClusterNotStartedError> {
        self.read(|state| state.machine.local_node_info(state.now(), state.wall())).map(noex_proto::NodeInfo::into_format)
    }

    /// All known nodes but the local one, also those that are not connected.
    pub fn nodes(&self) -> Result<Vec<NodeInfo>, ClusterNotStartedError> {
        self.read(|state| state.machine.nodes()).map(system_times)
    }

    /// The nodes that a session is up with.
    pub fn connected_nodes(&self) -> Result<Vec<NodeInfo>, ClusterNotStartedError> {
        self.read(|state| state.machine.connected_nodes()).map(system_times)
    }

    /// The identities of all known nodes but the local one.
    pub fn node_ids(&self) -> Result<Vec<NodeId>, ClusterNotStartedError> {
        self.read(|state| state.machine.node_ids())
    }

    /// One node, if it is known.
    pub fn node(&self, id: &NodeId) -> Result<Option<NodeInfo>, ClusterNotStartedError> {
        self.read(|state| state.machine.node(id)).map(|node| node.map(noex_proto::NodeInfo::into_format))
    }

    /// Whether a session with a node is up.
    pub fn is_node_connected(&self, id: &NodeId) -> Result<bool, ClusterNotStartedError> {
        self.read(|state| state.machine.is_node_connected(id))
    }

    /// The number of nodes that a session is up with.
    pub fn connected_node_count(&self) -> Result<usize, ClusterNotStartedError> {
        self.read(|state| state.machine.connected_node_count())
    }

    /// How long the node has been running.
    pub fn uptime(&self) -> Result<Duration, ClusterNotStartedError> {
        self.read(|state| state.machine.uptime(state.now()))
    }

    /// Which of the local node's secrets the session with a node was authenticated with; `None` where no session is up.
    pub fn secret_use(&self, id: &NodeId) -> Result<Option<SecretUse>, ClusterNotStartedError> {
        self.read(|state| state.machine.secret_use(id))
    }

    // Events and messages

    /// The events from now on; first the nodes that are up, as ups.
    pub fn events(&self) -> EventStream {
        let poll = |machine: &mut Machine, id| machine.poll_event(id).map(noex_proto::ClusterEvent::into_format);
        Subscribed::new(self.shared(), Machine::subscribe_events, poll, |shared| &shared.events)
    }

    /// The messages that arrive from now on.
    pub fn messages(&self) -> MessageStream {
        Subscribed::new(self.shared(), Machine::subscribe_messages, Machine::poll_message, |shared| &shared.messages)
    }

    /// Calls `handler` for each node that comes up, and at first for those that are up.
    pub fn on_node_up(&self, handler: impl FnMut(NodeInfo) + Send + 'static) -> Subscription {
        self.on_event(ClusterEvent::into_node_up, handler)
    }

    /// Calls `handler` for each node that goes down.
    pub fn on_node_down(&self, mut handler: impl FnMut(NodeId, NodeDownReason) + Send + 'static) -> Subscription {
        self.on_event(ClusterEvent::into_node_down, move |(id, reason)| handler(id, reason))
    }

    /// Calls `handler` for each change of the local node's status.
    pub fn on_status_change(&self, handler: impl FnMut(ClusterStatus) + Send + 'static) -> Subscription {
        self.on_event(ClusterEvent::into_status_change, handler)
    }

    /// Calls `handler` for each error event. If it panics over the report that a handler panicked, that goes to the log only, where the
    /// feature `tracing` is on.
    pub fn on_error(&self, mut handler: impl FnMut(ClusterError) + Send + 'static) -> Subscription {
        self.on_event(ClusterEvent::into_error, move |error| match error {
            // Two handlers that panic over each other's reports would keep each other busy for ever.
            ClusterError::Local(LocalFault::HandlerPanicked { .. }) => {
                if let Some(message) = handlers::panic_of(|| handler(error)) {
                    log::warning(&format!("a handler panicked over the report of a panic: {message}"));
                }
            }
            error => handler(error),
        })
    }

    /// Calls `handler` for each message. That some were dropped because it is too slow goes to the log only, where the feature `tracing`
    /// is on; [`messages`](Self::messages) says so in its place.
    pub fn on_message(&self, mut handler: impl FnMut(Message) + Send + 'static) -> Subscription {
        handlers::register(self.messages(), move |message| match message {
            Ok(message) => handler(message),
            Err(lagged) => log::warning(&lagged.to_string()),
        })
    }

    /// Waits until sessions with at least `count` other nodes are up.
    ///
    /// # Errors
    /// [`WaitError::TimedOut`] after `timeout`, or a year, by the clock of the runtime that the node runs in; [`WaitError::NotStarted`] as soon
    /// as the node is not running.
    pub async fn wait_for_nodes(&self, count: usize, timeout: Duration) -> Result<(), WaitError> {
        wait(self.shared(), timeout, |machine| {
            let connected = machine.connected_node_count()?;
            Ok((connected < count).then_some(WaitError::TimedOut { connected, wanted: count }))
        })
        .await
    }

    /// Waits until a session with this node is up; it need not be known yet.
    ///
    /// # Errors
    /// [`WaitError::NotConnected`] after `timeout`, or a year, as of [`wait_for_nodes`](Self::wait_for_nodes); [`WaitError::NotStarted`] as soon
    /// as the local node is not running; [`WaitError::ToSelf`] for the local node itself.
    pub async fn wait_for_node(&self, id: &NodeId, timeout: Duration) -> Result<(), WaitError> {
        wait(self.shared(), timeout, |machine| match machine.is_node_connected(id)? {
            true => Ok(None),
            false if machine.local_node_id()? == *id => Err(WaitError::ToSelf),
            false => Ok(Some(WaitError::NotConnected { id: id.clone() })),
        })
        .await
    }

    // Acting

    /// Sends a message to a connected node: authenticated, in order with others to it, and at most once. `Ok` means that it is
    /// queued, not that it arrived. Bytes with an owner ([`Bytes::from_owner`]) may be dropped under the node's lock: the owner's `Drop`
    /// must not call the node, hold a handle of it, or panic.
    ///
    /// # Errors
    /// Says why it was not queued.
    pub fn send(&self, to: &NodeId, payload: impl Into<Bytes>) -> Result<(), SendError> {
        let payload = payload.into();
        self.shared().drive(|state| state.machine.send(state.now(), to, payload))
    }

    /// Waits until [`send`](Self::send) has room again after [`SendError::QueueFull`]: half of the queue to the node is free, and a message of any
    /// size finds room, unless others were quicker. Where it has that room already, this returns at once. All who wait return together.
    ///
    /// # Errors
    /// Those of `send`: [`SendError::NotConnected`] as soon as the session ends, also where the next one is up already, as what was queued
    /// is lost with it; [`SendError::NotStarted`] as soon as the local node is not running; [`SendError::ToSelf`].
    pub async fn ready(&self, to: &NodeId) -> Result<(), SendError> {
        ready(self.shared(), to).await
    }

    /// Sends the same message to every node that is up, as [`send`](Self::send) does to one; the bytes are shared and not copied.
    ///
    /// # Errors
    /// [`SendError::NotStarted`] and [`SendError::TooLarge`], and then it is queued for nobody. For whom else it was not is in the result.
    pub fn broadcast(&self, payload: impl Into<Bytes>) -> Result<Broadcast, SendError> {
        let payload = payload.into();
        self.shared().drive(|state| state.machine.broadcast(state.now(), payload))
    }

    // Processes

    /// Opens the mailbox of a new process of this node.
    ///
    /// # Errors
    /// [`OpenError`] where the node is not running, or as many mailboxes are open as may be.
    pub fn open<M: Protocol>(&self) -> Result<Mailbox<M>, OpenError> {
        Mailbox::open(self.shared())
    }

    /// The address of a process, of this node or of another.
    #[must_use]
    pub fn address<M: Protocol>(&self, process: ProcessId) -> Address<M> {
        Address::new(self.shared(), Destination::Process(process))
    }

    /// The address of whichever process has a local name, such as `"counter"`, on a node when a message arrives there.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn named<M: Protocol>(
        &self,
        node: NodeId,
        name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>,
    ) -> Result<Address<M>, InvalidProcessNameError> {
        let name = process_name(name)?;
        Ok(Address::new(self.shared(), Destination::Named { node, name }))
    }

    /// The process of this node that has a local name.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn registered(
        &self,
        name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>,
    ) -> Result<Option<ProcessId>, InvalidProcessNameError> {
        let name = process_name(name)?;
        Ok(self.read(|state| state.machine.whereis_local(&name)))
    }

    /// The process of the cluster that has a name ([`Mailbox::claim`]), as far as this node has been told; `None` where it knows of none. It is
    /// a local read, and waits for nobody: right after a node came up, [`names_synced`](Self::names_synced) says when its names are known.
    ///
    /// # Errors
    /// [`WhereisError`], also where the process has another protocol.
    pub fn whereis<M: Protocol>(
        &self,
        name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>,
    ) -> Result<Option<Address<M>>, WhereisError> {
        let name = process_name(name).map_err(WhereisError::InvalidName)?;
        let holder = self.read(|state| state.machine.local_node_id().map(|_| state.machine.whereis(&name)))?;
        let Some(Holder { process, protocol, .. }) = holder else { return Ok(None) };
        match protocol == hash::<M>() {
            true => Ok(Some(self.address(process))),
            false => Err(WhereisError::WrongProtocol { process }),
        }
    }

    /// All names of the cluster that processes have, as far as this node has been told, in order.
    pub fn names(&self) -> Result<Vec<(ProcessName, ProcessId)>, ClusterNotStartedError> {
        let names = self.read(|state| state.machine.local_node_id().map(|_| state.machine.names()))?;
        Ok(names.into_iter().map(|(name, holder)| (name, holder.process)).collect())
    }

    /// Waits until each node that is up has told all of its names, so that [`whereis`](Self::whereis) knows what they know.
    ///
    /// # Errors
    /// [`ClusterNotStartedError`] as soon as the node is not running.
    pub async fn names_synced(&self) -> Result<(), ClusterNotStartedError> {
        let synced = |state: &mut State| match state.machine.local_node_id() {
            Ok(_) => state.machine.names_synced().then_some(Ok(())),
            Err(error) => Some(Err(error)),
        };
        self.shared().until(&self.shared().events, synced).await
    }

    /// The processes that have a name of the cluster: first the one that has it, then one at each change.
    ///
    /// # Errors
    /// [`WatchNameError`] where the text is no name, the node is not running, or as many names are watched as may be.
    pub fn watch_name(
        &self,
        name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>,
    ) -> Result<HolderStream, WatchNameError> {
        HolderStream::new(self.shared(), process_name(name).map_err(WatchNameError::InvalidName)?)
    }

    /// The number of processes to announce beside those that have a [`Mailbox`]; peers see it at the next heartbeat.
    pub fn set_process_count(&self, count: u64) {
        self.shared().feed(Input::SetProcessCount(count));
    }

    /// Replaces the contact addresses ([`ClusterConfig::seeds`]), for as long as the node runs: a loop that asks whatever knows the
    /// nodes' addresses, and sets them, is all that discovery takes. Those that stay are left as they are; new ones are dialled at once.
    /// Nobody is disconnected: a node that was found by a contact that is removed stays a member, and is dialled at its own address where
    /// it is lost.
    ///
    /// # Errors
    /// [`SetSeedsError`] where a text is no contact address, there are more than [`Limits::members`](crate::Limits::members), or the node is
    /// not running. Nothing changes then.
    pub fn set_seeds(&self, seeds: impl IntoIterator<Item = impl AsRef<str>>) -> Result<(), SetSeedsError> {
        let seeds: Vec<String> = seeds.into_iter().map(|seed| seed.as_ref().into()).collect();
        self.shared().drive(|state| state.machine.set_seeds(state.now(), &seeds))
    }

    /// Replaces the secrets, without losing a session: this node proves itself with `primary` from the next handshake on, and accepts
    /// that and those in `accepted`. A node that had none has one then, and refuses nodes without.
    ///
    /// To rotate a secret, let every node accept the new one, then every node prove the new one, then every node drop the old one, and
    /// finish each round on all nodes before the next. A session that is up keeps the keys that it began with, so
    /// [`secret_use`](Self::secret_use) goes on showing the old secret for it: look for peers that connect anew after the second round
    /// and are not [`SecretUse::Primary`].
    ///
    /// # Errors
    /// [`SetSecretsError`] where a secret has not 16 to 1024 bytes, more than 8 are accepted, or the node is not running.
    pub fn set_secrets(
        &self,
        primary: impl Into<Secret>,
        accepted: impl IntoIterator<Item: Into<Secret>>,
    ) -> Result<(), SetSecretsError> {
        let (primary, accepted) = (primary.into(), accepted.into_iter().map(Into::into).collect());
        self.shared().drive(|state| state.machine.set_secrets(state.now(), primary, accepted))
    }

    /// What the node has counted since it was made, through all its starts.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.read(|state| state.machine.counters())
    }

    /// What was recorded since it was last taken; the pieces, in their order, are the recording. Empty without a recorder.
    #[must_use]
    pub fn take_recording(&self) -> Bytes {
        self.shared().lock().machine.take_recording()
    }

    /// Calls `handler` for each event of a kind.
    fn on_event<T: 'static>(
        &self,
        kind: fn(ClusterEvent) -> Option<T>,
        mut handler: impl FnMut(T) + Send + 'static,
    ) -> Subscription {
        handlers::register(self.events(), move |event| kind(event).into_iter().for_each(&mut handler))
    }

    fn read<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        read(&self.shared().lock())
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.0
    }
}

impl<R: Runtime> WeakCluster<R> {
    /// The handle, unless the last one is gone.
    #[must_use]
    pub fn upgrade(&self) -> Option<Cluster<R>> {
        self.handle.upgrade().map(|handle| Cluster { handle, runtime: PhantomData })
    }
}

impl<R: Runtime> Default for Cluster<R> {
    fn default() -> Self {
        Self::new()
    }
}

fn system_times(nodes: Vec<noex_proto::NodeInfo>) -> Vec<NodeInfo> {
    nodes.into_iter().map(noex_proto::NodeInfo::into_format).collect()
}
