//! The mailbox of a process, which is the process: whoever owns it.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;

use noex_proto::{
    ClaimError, Destination, ExitReason, InvalidProcessNameError, MailboxItem, MonitorError, MonitorId, OpenError, ProcessId,
    ProcessName, RegisterError, RequestFailure,
};

use super::address::Address;
use super::asked::Asked;
use super::claim::Claim;
use super::dropped::Dropped;
use super::monitor::{Monitor, Watches};
use super::name::process_name;
use super::owner::Owner;
use super::port;
use super::protocol::{Protocol, hash};
use crate::drive::{Run, Shared, State};
use crate::slots::{Bell, End, Request};

/// How many items are taken of the machine at a time.
const BATCH: usize = 64;

/// The mailbox of a process of the protocol `M`, from [`Cluster::open`](crate::Cluster::open). Whoever owns it is the process, which ends when
/// it is dropped.
///
/// ```
/// # use noex_driver::{Mailbox, Protocol, Reply};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Serialize, Deserialize)]
/// # enum Counter { Add { by: u64, reply: Reply<u64> }, Get(Reply<u64>), Reset }
/// # impl Protocol for Counter { const NAME: &'static str = "counter/1"; }
/// async fn count(mut mailbox: Mailbox<Counter>) {
///     let mut n = 0;
///     while let Some(message) = mailbox.next().await {
///         match message {
///             Counter::Add { by, reply } => {
///                 n += by;
///                 reply.send(n);
///             }
///             Counter::Get(reply) => reply.send(n),
///             Counter::Reset => n = 0,
///         }
///     }
/// }
/// ```
///
/// # The end
/// A process ends with a reason, which those who watch it hear and those whose calls it had not answered. It is the first that applies:
/// - the thread panics while the mailbox is dropped: [`ExitReason::Error`], `panicked`;
/// - what [`exit`](Self::exit) says;
/// - [`next`](Self::next) gave `None`, since the process was asked to stop: the reason of that request;
/// - else, as a task that was aborted or a `?` looks like any other drop: [`ExitReason::Error`], `mailbox dropped`.
///
/// [`run`](crate::run) gives the reasons that one would expect of a function's result.
#[must_use = "dropping it ends the process"]
pub struct Mailbox<M> {
    /// What goes before the batch, once the process is to end before that.
    ahead: Option<VecDeque<MailboxItem>>,
    /// What was taken of the machine, and not given yet.
    batch: VecDeque<MailboxItem>,
    dropped: Arc<Dropped>,
    id: ProcessId,
    messages: PhantomData<fn() -> M>,
    owner: Owner,
    /// How many items of the last batch were given or skipped.
    passed: usize,
    /// With what it is to end, where that is known.
    reason: Option<ExitReason>,
    /// The calls in the batch, in order.
    requests: VecDeque<Arc<Request>>,
    run: Arc<Run>,
    /// Whether the batch was a whole one.
    turn_over: bool,
    watches: Arc<Watches>,
}

/// What a mailbox holds: a message, or a notice.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Item<M> {
    /// A process that this one monitors has ended. It comes behind all that the process said to this one.
    Down {
        /// The monitor, by [`Monitor::id`].
        monitor: MonitorId,
        /// Why.
        reason: ExitReason,
    },
    /// A message.
    Message(M),
    /// The process has lost a name of the cluster. Unless its claim said [`keep_on_loss`](crate::Claim::keep_on_loss), it is asked to stop, and
    /// this is the last item.
    NameLost {
        /// The name.
        name: ProcessName,
        /// The process that has it; `None` where fewer nodes are connected than the claim asked for.
        winner: Option<ProcessId>,
    },
    /// The mailbox was full, and casts were dropped at this place.
    Overrun {
        /// How many.
        missed: u64,
    },
}

impl<M: Protocol> Mailbox<M> {
    pub(crate) fn open(shared: &Arc<Shared>) -> Result<Self, OpenError> {
        let bell = Arc::new(Bell::default());
        let (id, run) = shared.drive(|state| {
            let id = state.machine.open(state.now(), hash::<M>())?;
            state.slots.mailboxes.insert(id.number(), bell.clone());
            Ok((id, state.run().clone()))
        })?;
        let owner = Owner { bell, number: id.number(), shared: shared.clone() };
        Ok(Self {
            ahead: None,
            batch: VecDeque::new(),
            dropped: Arc::new(Dropped::new()),
            id,
            messages: PhantomData,
            owner,
            passed: 0,
            reason: None,
            requests: VecDeque::new(),
            run,
            turn_over: false,
            watches: Arc::default(),
        })
    }

    /// The address of this process.
    #[must_use]
    pub fn address(&self) -> Address<M> {
        Address::new(&self.owner.shared, Destination::Process(self.id.clone()))
    }

    /// Waits for the next message; notices are left out. `None` once the process was asked to stop, or its node has stopped: then, and
    /// ever after, nothing more comes, and the process should end.
    ///
    /// Dropping the future loses nothing. A call is not given any more once its caller has given it up; a message that cannot be decoded
    /// neither: its call fails, a cast is counted.
    pub async fn next(&mut self) -> Option<M> {
        loop {
            match self.next_item().await? {
                Item::Message(message) => return Some(message),
                Item::Down { .. } | Item::NameLost { .. } | Item::Overrun { .. } => {}
            }
        }
    }

    /// Waits for the next message or notice, as [`next`](Self::next) does.
    pub async fn next_item(&mut self) -> Option<Item<M>> {
        let waiting = Waiting::begin(self);
        poll_fn(|cx| waiting.0.poll_item(cx)).await
    }

    fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<M>>> {
        for _ in 0..BATCH {
            if self.reason.is_none() && self.owner.bell.has(End::Stopping) {
                return Poll::Ready(self.next_ahead());
            }
            if self.reason.is_some() {
                return Poll::Ready(None);
            }
            let Some(item) = self.batch.pop_front() else {
                // After a whole batch others have their turn, such as the node itself where it shares this thread.
                if std::mem::take(&mut self.turn_over) {
                    break;
                }
                // First, so that what comes from now on wakes it.
                self.owner.bell.register(cx.waker());
                if self.take() { continue } else { return Poll::Pending }
            };
            let item = self.open_item(item);
            self.passed += 1;
            if item.is_some() {
                return Poll::Ready(item);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What comes before the end of a process that is to end: a batch that was begun is not looked at any more.
    fn next_ahead(&mut self) -> Option<Item<M>> {
        let Self { ahead, owner, .. } = self;
        let ahead = ahead.get_or_insert_with(|| {
            let take = |state: &mut State| state.machine.take_ahead(state.machine.now(), owner.number(state));
            owner.shared.drive(take).into()
        });
        match ahead.pop_front() {
            Some(MailboxItem::NameLost { name, winner }) => return Some(Item::NameLost { name, winner }),
            Some(MailboxItem::Stop(reason)) => self.reason = Some(reason),
            // The machine has ended it.
            _ => self.reason = Some(ExitReason::Shutdown),
        }
        None
    }

    /// Takes what the machine has, if anything.
    fn take(&mut self) -> bool {
        let Self { id, requests, run, .. } = self;
        let batch = self.owner.shared.drive(|state| {
            // It is no later than the clock, and saves a look at it.
            let batch = state.machine.take(state.machine.now(), id.number(), BATCH);
            for item in &batch {
                if let MailboxItem::Call { deadline, request, .. } = item {
                    let slot = Request::new(*request, run.real_time(*deadline));
                    state.slots.requests.insert(*request, slot.clone());
                    requests.push_back(slot);
                }
            }
            batch
        });
        self.turn_over = batch.len() == BATCH;
        self.batch = batch.into();
        self.passed = 0;
        !self.batch.is_empty()
    }

    /// What the process gets of an item, if anything.
    fn open_item(&mut self, item: MailboxItem) -> Option<Item<M>> {
        match item {
            MailboxItem::Call { body, .. } => self.open_call(&body).map(Item::Message),
            MailboxItem::Cast { body } => match port::decode_portless(&body, Some(self.owner.shared.clone())) {
                Ok(message) => Some(Item::Message(message)),
                Err(cause) => {
                    let cause = cause.into();
                    self.owner.shared.drive(|state| state.machine.cast_not_understood(state.now(), self.id.number(), cause));
                    None
                }
            },
            MailboxItem::Down { monitor, reason } => self.watches.remove(monitor).then_some(Item::Down { monitor, reason }),
            MailboxItem::NameLost { name, winner } => {
                // It may have got the name again since it took the batch.
                let holder = self.owner.shared.lock().machine.whereis(&name);
                let has = holder.is_some_and(|holder| holder.process == self.id);
                (!has).then_some(Item::NameLost { name, winner })
            }
            MailboxItem::Overrun { missed } => Some(Item::Overrun { missed }),
            MailboxItem::Stop(reason) => {
                self.reason = Some(reason);
                None
            }
            item => unreachable!("{item:?} is new"),
        }
    }

    fn open_call(&mut self, body: &[u8]) -> Option<M> {
        let request = self.requests.front().expect("each call of a batch has a request").clone();
        let asked = Arc::new(Asked { dropped: self.dropped.clone(), request, shared: self.owner.shared.clone() });
        let decode = || port::decode_call(body, asked.clone(), Some(self.owner.shared.clone()));
        let decoded = (!asked.request.is_over()).then(decode);
        self.requests.pop_front();
        match decoded? {
            Ok(message) if self.run.rt.now() < asked.request.deadline && asked.request.take() => Some(message),
            // Dropped with its port, which ends what is over already, or soon.
            Ok(_late) => None,
            Err(cause) => {
                asked.fail(RequestFailure::NotUnderstood(cause.into()));
                None
            }
        }
    }
}

impl<M> Mailbox<M> {
    /// Ends the process with this reason.
    pub fn exit(mut self, reason: ExitReason) {
        self.reason = Some(reason);
    }

    /// What names this process.
    #[must_use]
    pub const fn id(&self) -> &ProcessId {
        &self.id
    }

    /// Watches another process: an [`Item::Down`] tells when it has ended, or at once where there is none.
    ///
    /// # Errors
    /// Says why it cannot be watched.
    pub fn monitor<N>(&self, other: &Address<N>) -> Result<Monitor, MonitorError> {
        let id =
            self.owner.shared.drive(|state| state.machine.monitor(state.now(), Some(self.id.number()), other.destination()))?;
        self.watches.insert(id);
        Ok(Monitor::new(&self.owner.shared, &self.watches, self.id.number(), id))
    }

    /// Claims a name of the cluster, such as `"counter"`, which [`Cluster::whereis`](crate::Cluster::whereis) finds the process by on every
    /// node. The process has it from when this returns until [`release`](Self::release), its end, or its loss: after a partition in which both
    /// sides claimed the name, one of the two gets an [`Item::NameLost`] and is asked to stop.
    ///
    /// While another claim to the name is in sight it fails with [`ClaimError::Taken`]; [`claim_when_free`](Self::claim_when_free) waits.
    ///
    /// # Errors
    /// The future gives a [`ClaimError`] that says why the process does not get the name.
    pub fn claim(&self, name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>) -> Claim {
        Claim::new(self.owner.clone(), process_name(name).map_err(ClaimError::InvalidName), false)
    }

    /// Claims a name of the cluster as [`claim`](Self::claim) does, as soon as it is free, however long that takes: the process stands by for
    /// it. One process of a node may stand by for a name.
    ///
    /// # Errors
    /// The future gives a [`ClaimError`] that says why the process does not stand by any more.
    pub fn claim_when_free(&self, name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>) -> Claim {
        Claim::new(self.owner.clone(), process_name(name).map_err(ClaimError::InvalidName), true)
    }

    /// Gives back a name of the cluster that the process has, claims, or stands by for. Whether there was one.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn release(
        &self,
        name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>,
    ) -> Result<bool, InvalidProcessNameError> {
        let name = process_name(name)?;
        let release = |state: &mut State| state.machine.release(state.now(), self.owner.number(state), &name);
        Ok(self.owner.shared.drive(release))
    }

    /// Gives the process a name on its node, such as `"counter"`, which [`Cluster::named`](crate::Cluster::named) finds it by. It has the
    /// name until [`unregister`](Self::unregister) or its end.
    ///
    /// # Errors
    /// Says why it does not get the name.
    pub fn register(&self, name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>) -> Result<(), RegisterError> {
        let name = process_name(name).map_err(RegisterError::InvalidName)?;
        self.owner.shared.drive(|state| state.machine.register(state.now(), self.owner.number(state), &name))
    }

    /// Takes a name from this process, unless it is another's.
    ///
    /// # Errors
    /// Says what is wrong with the name.
    pub fn unregister(
        &self,
        name: impl TryInto<ProcessName, Error: Into<InvalidProcessNameError>>,
    ) -> Result<(), InvalidProcessNameError> {
        let name = process_name(name)?;
        self.owner.shared.drive(|state| {
            if state.machine.whereis_local(&name).as_ref() == Some(&self.id) {
                state.machine.unregister(state.now(), &name);
            }
        });
        Ok(())
    }

    pub(super) const fn reason(&self) -> Option<&ExitReason> {
        self.reason.as_ref()
    }
}

/// A process that waits for its next message, until the future for that is dropped.
struct Waiting<'a, M>(&'a mut Mailbox<M>);

impl<'a, M> Waiting<'a, M> {
    /// The process goes on, so that the calls which it dropped have just been dropped.
    fn begin(mailbox: &'a mut Mailbox<M>) -> Self {
        let held = mailbox.dropped.wait();
        if !held.is_empty() {
            mailbox.owner.shared.drive(|state| {
                for request in held {
                    state.fail(request, RequestFailure::Dropped);
                }
            });
        }
        Self(mailbox)
    }
}

impl<M> Drop for Waiting<'_, M> {
    fn drop(&mut self) {
        self.0.dropped.handle();
    }
}

impl<M> Drop for Mailbox<M> {
    fn drop(&mut self) {
        // What it was given and has not answered is left to the machine, which tells the reason.
        self.dropped.end();
        let dropped = |reason: &mut Option<ExitReason>| reason.take().unwrap_or_else(|| ExitReason::error("mailbox dropped"));
        let reason = if thread::panicking() { ExitReason::error("panicked") } else { dropped(&mut self.reason) };
        // It may be dropped as the thread ends, where a runtime's clock can be gone: the time is the machine's last.
        self.owner.shared.drive_lent(|state| {
            // Otherwise the machine has ended the process, and another may have its number in a later run.
            if self.owner.lives(state) {
                state.slots.mailboxes.remove(&self.id.number());
                state.machine.exit(state.machine.now(), self.id.number(), reason, self.passed);
            }
            for request in &self.requests {
                state.slots.requests.remove(&request.id);
            }
        });
    }
}

impl<M> fmt::Debug for Mailbox<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mailbox({})", self.id)
    }
}
