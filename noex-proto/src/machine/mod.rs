//! The machine: a cluster node without a clock, a socket or a thread.
//!
//! [`Machine`] is the whole of the public face. `lifecycle` starts and stops a node, `host` is what outlives a run. What a running node
//! does is decided in `mesh`. The other modules only read: `abstraction` tells whether two states are alike, `audit` derives counts from
//! tables, and `query`, `books`, `readiness` and `usage` answer questions.

mod abstraction;
pub(crate) mod advertise;
#[cfg(debug_assertions)]
mod audit;
#[cfg(feature = "testing")]
mod books;
mod deliver;
mod lifecycle;
mod processes;
mod query;
mod readiness;
#[cfg(test)]
mod tests;
mod usage;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::app::publish;
use crate::app::subscription::SubscriptionId;
use crate::config::{Settings, check_secrets, parse_seeds};
use crate::mesh::cx::{Cx, Local};
use crate::mesh::host::Host;
use crate::mesh::node::Node;
use crate::process::Processes;
use crate::recording::Recorder;
use crate::{
    Action, Broadcast, ClusterConfig, ClusterEvent, ClusterNotStartedError, ClusterStatus, Input, Instant, ListenOn, Message,
    MessagesLagged, NodeId, Secret, SendError, SetSecretsError, SetSeedsError, StartError,
};
#[cfg(feature = "testing")]
pub use books::{Books, OpenWith};
pub use readiness::{Readiness, ReadinessReason};
pub use usage::Usage;

/// The cluster node as a state machine: inputs in, actions out.
///
/// A new machine is stopped. It can be started and stopped any number of times; subscriptions live on. Cloning it clones its whole
/// state: both go on from there alike.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    host: Host,
    processes: Processes,
    run: Run,
}

#[derive(Clone, Debug, Default)]
enum Run {
    #[default]
    Stopped,
    /// On the way to listening.
    Starting(Box<Settings>),
    /// From listening to stopped.
    Active(Box<Active>),
}

/// A running or stopping node.
#[derive(Clone, Debug)]
struct Active {
    local: Local,
    node: Node,
    /// The node stops, and waits until then for its processes to end.
    draining: Option<Instant>,
}

impl Active {
    /// One input of a running or stopping node; `host.now` is its time.
    // Inputs are large: inlined, it moves none.
    #[inline]
    fn handle(&mut self, host: &mut Host, processes: &mut Processes, input: Input) {
        self.node.advance_clocks(&mut Cx { host, local: &mut self.local, above: processes });
        match input {
            Input::Received { conn, mut data, wall } => {
                self.local.wall = (wall, self.local.now);
                while self.node.read(&mut Cx { host, local: &mut self.local, above: processes }, conn, &mut data, wall) {
                    self.deliver(host, processes);
                }
            }
            Input::Tick => {
                while self.node.due(&mut Cx { host, local: &mut self.local, above: processes }) {
                    self.deliver(host, processes);
                }
                // After a pause, what peers have said meanwhile comes first.
                if !self.node.is_holding(&self.local) {
                    processes.tick(&mut deliver::above(host, &self.local));
                }
                self.drain_until(host, processes);
            }
            input => self.node.handle(&mut Cx { host, local: &mut self.local, above: processes }, input),
        }
    }
}

impl Machine {
    /// A machine that is stopped.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A machine that is stopped, and keeps a [`Recording`](crate::Recording) of all that it will be fed, secrets apart.
    ///
    /// `limit` bounds the whole recording but its first line, in bytes, whether it was taken meanwhile or not; the recording ends there.
    /// Take all actions after each input: their number is noted, and a replay that finds another one ends.
    #[must_use]
    pub fn with_recorder(limit: usize) -> Self {
        let host = Host { recorder: Some(Recorder::new(limit)), ..Host::default() };
        Self { host, ..Self::default() }
    }

    // Handlers

    /// Feeds one input. It cannot fail: a peer that misbehaves is an outcome, and what comes for a connection that is no more is as good as
    /// not fed: it is not recorded, and does not say what time it is.
    ///
    /// Time that runs backwards counts as time that stands still.
    pub fn handle(&mut self, now: Instant, input: Input) {
        if self.is_stale(&input) {
            return;
        }
        let queued = self.host.actions.len();
        self.host.note_input(now, &input);
        self.apply(now, input);
        self.host.note_actions(queued);
    }

    /// Whether an input is about a connection that the machine has closed, or never had.
    fn is_stale(&self, input: &Input) -> bool {
        let node = self.active().map(|active| &active.node);
        match input {
            Input::Accepted { conn, .. } => *conn != self.next_conn(),
            Input::Closed { conn } => {
                node.is_none_or(|node| node.links.get(*conn).is_none() && !node.links.closing().contains(conn))
            }
            Input::Connected { conn, .. }
            | Input::DialFailed { conn, .. }
            | Input::Received { conn, .. }
            | Input::Transmitted { conn, .. } => node.is_none_or(|node| node.links.get(*conn).is_none()),
            _ => false,
        }
    }

    fn set_now(&mut self, now: Instant) {
        self.host.now = now.max(self.host.now).min(Instant::LAST);
    }

    // Inputs are large: inlined, it moves none.
    #[inline]
    fn apply(&mut self, now: Instant, input: Input) {
        self.set_now(now);
        match input {
            Input::Start(config) => self.begin_start(&config),
            Input::Listening { entropy, local, network } => self.listening(entropy, local, &network),
            Input::Stop => self.begin_stop(),
            Input::Halt => self.halt(),
            Input::Report(fault) => self.host.report_local(fault),
            Input::SetProcessCount(count) => self.host.process_count = count,
            Input::Process(input) => {
                self.apply_to_processes(input);
            }
            input => match &mut self.run {
                Run::Stopped | Run::Starting(_) => refuse_while_idle(&mut self.host, &input),
                Run::Active(active) => active.handle(&mut self.host, &mut self.processes, input),
            },
        }
        self.settle();
    }

    /// Carries what an input has led to from layer to layer, until nothing is left.
    #[inline]
    fn settle(&mut self) {
        self.deliver();
        self.leave_if_drained();
        self.finish_if_stopped();
        #[cfg(debug_assertions)]
        self.audit_in_turn();
    }

    fn deliver(&mut self) {
        let Self { host, processes, run } = self;
        if let Run::Active(active) = run {
            return active.deliver(host, processes);
        }
        while let Some(event) = host.events.pop_front() {
            publish(host, event);
        }
    }

    // Commands that can be refused

    /// Starts the node: validates the configuration and says where to listen. The driver then feeds [`Input::Listening`], or
    /// [`Input::Halt`] where that failed.
    ///
    /// # Errors
    /// [`StartError::AlreadyRunning`] unless the status is `Stopped`; [`StartError::Config`] with the field and the reason. Neither
    /// changes anything.
    pub fn start(&mut self, now: Instant, config: ClusterConfig) -> Result<ListenOn, StartError> {
        if self.status() != ClusterStatus::Stopped {
            return Err(StartError::AlreadyRunning);
        }
        let settings = config.validate().map_err(StartError::Config)?;
        let listen_on = ListenOn::new(&config, &settings);
        self.handle(now, Input::Start(Box::new(config)));
        Ok(listen_on)
    }

    /// Queues bytes for another node: they arrive whole, in order, at most once, and only while the present session lives.
    ///
    /// # Errors
    /// See [`SendError`]. Nothing is queued then.
    pub fn send(&mut self, now: Instant, to: &NodeId, payload: Bytes) -> Result<(), SendError> {
        let Active { local, node, .. } = self.speaking().map_err(SendError::NotStarted)?;
        node.can_send(local, to, payload.len())?;
        self.handle(now, Input::Send { payload, to: to.clone() });
        Ok(())
    }

    /// Queues the same bytes for each node that is up, as [`send`](Self::send) does for one.
    ///
    /// # Errors
    /// [`SendError::NotStarted`] and [`SendError::TooLarge`], which hold for all. Nothing is queued then.
    pub fn broadcast(&mut self, now: Instant, payload: Bytes) -> Result<Broadcast, SendError> {
        let Active { local, node, .. } = self.speaking().map_err(SendError::NotStarted)?;
        local.can_be_sent(payload.len())?;
        let members: Vec<NodeId> = node.peers.members().map(|(info, _)| info.id).collect();
        let mut sent = Broadcast::default();
        for to in members {
            match self.send(now, &to, payload.clone()) {
                Ok(()) => sent.queued += 1,
                Err(error) => sent.refused.push((to, error)),
            }
        }
        Ok(sent)
    }

    /// Sets the secrets of later handshakes: the node proves itself with `primary`, and accepts that and each of `accepted`. Sessions
    /// that are up stay up. A node that had none has one from then on, and refuses nodes without.
    ///
    /// # Errors
    /// [`SetSecretsError`]. Nothing changes then.
    pub fn set_secrets(&mut self, now: Instant, primary: Secret, accepted: Vec<Secret>) -> Result<(), SetSecretsError> {
        self.running().map_err(SetSecretsError::NotStarted)?;
        check_secrets(("primary", &primary), ("accepted", &accepted)).map_err(SetSecretsError::Invalid)?;
        self.handle(now, Input::SetSecrets { accepted, primary });
        Ok(())
    }

    /// Replaces the contact addresses. Those that stay are left as they are, sessions too; new ones are dialled at once. A node that was
    /// found by one that is removed stays a member, and is dialled at its own address where it is lost. The next start goes by its own
    /// configuration.
    ///
    /// # Errors
    /// [`SetSeedsError`]. Nothing changes then.
    pub fn set_seeds(&mut self, now: Instant, seeds: &[String]) -> Result<(), SetSeedsError> {
        let active = self.running().map_err(SetSeedsError::NotStarted)?;
        let contacts = parse_seeds(seeds, active.local.settings.limits.members).map_err(SetSeedsError::Invalid)?;
        self.handle(now, Input::SetSeeds(contacts));
        Ok(())
    }

    // Subscriptions

    /// A new queue of events, bounded by [`Limits::events_per_subscriber`](crate::Limits::events_per_subscriber). It begins with the
    /// members that are up.
    pub fn subscribe_events(&mut self) -> SubscriptionId {
        match &self.run {
            Run::Stopped | Run::Starting(_) => self.host.subscriptions.subscribe_events(core::iter::empty()),
            Run::Active(active) => self.host.subscriptions.subscribe_events(active.node.peers.members()),
        }
    }

    /// A new queue of messages, bounded by
    /// [`Limits::message_bytes_per_subscriber`](crate::Limits::message_bytes_per_subscriber).
    pub fn subscribe_messages(&mut self) -> SubscriptionId {
        self.host.subscriptions.subscribe_messages()
    }

    /// Drops a queue and all that is in it.
    pub fn unsubscribe(&mut self, subscription: SubscriptionId) {
        self.host.subscriptions.unsubscribe(subscription);
    }

    /// Takes the next event of a queue.
    pub fn poll_event(&mut self, subscription: SubscriptionId) -> Option<ClusterEvent> {
        match &self.run {
            Run::Stopped | Run::Starting(_) => self.host.subscriptions.poll_event(subscription, core::iter::empty),
            Run::Active(active) => self.host.subscriptions.poll_event(subscription, || active.node.peers.members()),
        }
    }

    /// Takes the next message of a queue, or the number of those that were dropped in its place.
    pub fn poll_message(&mut self, subscription: SubscriptionId) -> Option<Result<Message, MessagesLagged>> {
        self.host.subscriptions.poll_message(subscription)
    }

    /// Whether a queue exists, and has not been dropped.
    #[must_use]
    pub fn is_subscribed(&self, subscription: SubscriptionId) -> bool {
        self.host.subscriptions.contains(subscription)
    }

    /// Whether somebody is subscribed to events, so that an error is heard.
    #[must_use]
    pub fn has_event_subscribers(&self) -> bool {
        self.host.subscriptions.has_events()
    }

    // Polls

    /// Takes what was recorded since it was last taken: the pieces, in their order, are the recording. Empty without a recorder.
    pub fn take_recording(&mut self) -> Bytes {
        self.host.recorder.as_mut().map_or_else(Bytes::new, Recorder::take)
    }

    /// Takes the next action. Call it until it returns `None` after every input.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.host.actions.pop_front()
    }

    /// When to feed [`Input::Tick`] at the latest: not after the last input's time while an action is queued, and after it once the
    /// actions of a tick are drained.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.host.actions.is_empty() {
            return Some(self.host.now);
        }
        let active = self.active()?;
        let next = active.node.next_deadline(&active.local, self.processes.next_deadline());
        match active.draining {
            Some(until) => Some(next.map_or(until, |next| next.min(until))),
            None => next,
        }
    }

    const fn active(&self) -> Option<&Active> {
        match &self.run {
            Run::Active(active) => Some(active),
            Run::Stopped | Run::Starting(_) => None,
        }
    }

    /// A node that may send: also while it waits for its processes to end.
    fn speaking(&self) -> Result<&Active, ClusterNotStartedError> {
        let speaks = |active: &&Active| self.status() == ClusterStatus::Running || active.draining.is_some();
        self.active().filter(speaks).ok_or(ClusterNotStartedError)
    }

    fn running(&self) -> Result<&Active, ClusterNotStartedError> {
        self.active().filter(|_| self.status() == ClusterStatus::Running).ok_or(ClusterNotStartedError)
    }
}

/// A connection that a driver accepted while the node does not run is closed, and a lookup of the last run may end; nothing else has a
/// meaning then.
fn refuse_while_idle(host: &mut Host, input: &Input) {
    if let Input::Resolved { lookup, .. } = input {
        host.lookups.answered(*lookup);
    }
    if let Input::Accepted { conn, .. } = input {
        host.new_conn();
        host.actions.push_back(Action::Close { conn: *conn, how: crate::Close::Abort });
    }
}
