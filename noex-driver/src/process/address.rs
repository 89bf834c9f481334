//! Where a process is, and what can be said to it.

use std::fmt;
use std::future::poll_fn;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use noex_proto::{CastError, Destination, ExitReason, MonitorError, NodeId, ProtocolHash};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::call::Call;
use super::codec::{NotEncoded, SIZE_MAX};
use super::monitor::Watch;
use super::port;
use super::protocol::{Protocol, hash};
use super::reply::Reply;
use crate::drive::Shared;

/// The address of a process of the protocol `M`, wherever it is: what to call it, cast to it and watch it by.
///
/// It is cheap to clone, and names a process or, by a local name, whichever process has that name on a node when a message arrives there.
/// Two addresses are equal if they name the same. It does not keep the node running that it was made by.
///
/// A message or an answer may hold one: the receiver's is of the receiver's node. Elsewhere it can be written and not read; there, keep the
/// [`ProcessId`](crate::ProcessId), which [`Cluster::address`](crate::Cluster::address) takes.
pub struct Address<M> {
    messages: PhantomData<fn(M)>,
    protocol: ProtocolHash,
    shared: Arc<Shared>,
    to: Arc<Destination>,
}

impl<M: Protocol> Address<M> {
    pub(crate) fn new(shared: &Arc<Shared>, to: Destination) -> Self {
        Self { messages: PhantomData, protocol: hash::<M>(), shared: shared.clone(), to: Arc::new(to) }
    }

    /// Sends a request, and waits for its answer: `request` makes the message around the port for that.
    ///
    /// The message is encoded here and sent when the [`Call`] is first polled; that has the time limit, and dropping it cancels the call. A
    /// process that calls itself and waits within its own loop can only time out: send the answer from a task of its own there.
    ///
    /// ```
    /// # use noex_driver::{Address, CallError, Protocol, Reply};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize)]
    /// # enum Counter { Add { by: u64, reply: Reply<u64> }, Get(Reply<u64>) }
    /// # impl Protocol for Counter { const NAME: &'static str = "counter/1"; }
    /// # async fn f(counter: Address<Counter>) -> Result<(), CallError> {
    /// let n: u64 = counter.call(|reply| Counter::Add { by: 2, reply }).await?;
    /// assert_eq!(counter.call(Counter::Get).await?, n);
    /// # Ok(())
    /// # }
    /// ```
    pub fn call<T>(&self, request: impl FnOnce(Reply<T>) -> M) -> Call<T> {
        let encoded = port::encode_call(|port| request(Reply::new(port)), SIZE_MAX);
        Call::new(&self.shared, &self.to, self.protocol, encoded)
    }

    /// Sends a message that has no answer. It arrives once, in order, or not at all: where the session ends, the process is gone or its
    /// mailbox is full, nobody tells.
    ///
    /// # Errors
    /// Says why it was not sent.
    #[expect(clippy::needless_pass_by_value, reason = "what was sent is gone")]
    pub fn cast(&self, message: M) -> Result<(), CastError> {
        let body = port::encode_portless(&message, SIZE_MAX).map_err(|error| match error {
            NotEncoded::Refused(cause) => CastError::NotEncodable(cause),
            NotEncoded::TooLarge { limit, size } => CastError::TooLarge { limit, size },
        })?;
        self.shared.drive(|state| state.machine.cast(state.now(), &self.to, self.protocol, body))
    }

    /// Asks the process to stop: behind what was sent to it before, its mailbox gives nothing more, and as a rule it ends, with this reason.
    ///
    /// # Errors
    /// Says why it was not asked.
    pub fn stop(&self, reason: ExitReason) -> Result<(), CastError> {
        self.shared.drive(|state| state.machine.request_stop(state.now(), &self.to, reason))
    }
}

impl<M> Address<M> {
    /// What it names.
    #[must_use]
    pub fn destination(&self) -> &Destination {
        &self.to
    }

    /// Waits until the process ends, and gives the reason: [`ExitReason::NoProcess`] where there is none, or none any more, and
    /// [`ExitReason::NoConnection`] where the session with its node ends or none is up. What the process said before has arrived by then.
    ///
    /// The process is watched from the first poll on. An address of a name watches whichever process has the name when the request arrives, and
    /// no later one. The future does not borrow the address, so it can be a task of its own.
    ///
    /// # Errors
    /// Says why it cannot be watched.
    pub fn exited(&self) -> impl Future<Output = Result<ExitReason, MonitorError>> + Send + 'static + use<M> {
        let (shared, to) = (self.shared.clone(), self.to.clone());
        async move {
            let watch = Watch::set(&shared, &to)?;
            Ok(poll_fn(|cx| watch.poll(cx)).await)
        }
    }

    /// The node that the process is on.
    #[must_use]
    pub fn node(&self) -> &NodeId {
        self.to.node()
    }
}

impl<M> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { messages: PhantomData, protocol: self.protocol, shared: self.shared.clone(), to: self.to.clone() }
    }
}

impl<M> PartialEq for Address<M> {
    fn eq(&self, other: &Self) -> bool {
        self.to == other.to
    }
}

impl<M> Eq for Address<M> {}

impl<M> Hash for Address<M> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.to.hash(state);
    }
}

impl<M> Serialize for Address<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to.serialize(serializer)
    }
}

impl<'de, M: Protocol> Deserialize<'de> for Address<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let to = Destination::deserialize(deserializer)?;
        let elsewhere = "an `Address` is decoded only in what a node receives: elsewhere, keep the `ProcessId`";
        port::node().map(|node| Self::new(&node, to)).ok_or_else(|| D::Error::custom(elsewhere))
    }
}

impl<M> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.to)
    }
}

impl<M> fmt::Display for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to.fmt(f)
    }
}
