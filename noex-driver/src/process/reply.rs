//! The port for the answer to one call.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Instant;

use noex_proto::AnswerError;
use serde::de::{Error as _, Unexpected, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::codec::NotEncoded;
use super::port::{self, Port};

/// The port for the answer to one call, of the type `T`.
///
/// A request holds one: as a field, in a field, or in an [`Option`] or [`Box`]. The caller's is put in by [`Address::call`](crate::Address::call); who receives the
/// message answers by [`send`](Self::send), at once, later, or from another task or thread.
///
/// Dropping it without an answer ends the call with [`CallError::Dropped`](crate::CallError::Dropped): at once where the process waits in
/// [`Mailbox::next`](crate::Mailbox::next), and else when it does so next. A process that ends instead, as a handler does that returns by `?`,
/// panics or is aborted, ends the call with [`CallError::Exited`](crate::CallError::Exited) and its reason.
///
/// It is encoded only within the message of its call, and decoded only where a mailbox receives that: it can neither be kept nor passed on
/// to another node.
#[must_use = "dropping it ends the call without an answer"]
pub struct Reply<T> {
    /// Until it was answered.
    port: Option<Arc<dyn Port>>,
    answer: PhantomData<fn(T)>,
}

impl<T> Reply<T> {
    pub(crate) fn new(port: Arc<dyn Port>) -> Self {
        Self { port: Some(port), answer: PhantomData }
    }

    /// Completes when nobody waits for the answer any more: the caller dropped its call, its deadline has passed, or its node is gone. An
    /// answer is ignored then.
    pub async fn cancelled(&self) {
        loop {
            let changed = self.port().changed();
            if self.port().is_over() {
                return;
            }
            changed.await;
        }
    }

    /// When the caller ceases to wait, by this node's clock: for calls that are made on its behalf.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.port().deadline()
    }

    fn port(&self) -> &Arc<dyn Port> {
        self.port.as_ref().expect("what answers takes the reply")
    }
}

impl<T: Serialize> Reply<T> {
    /// Answers, and never waits. Where the caller's node reads too slowly to have room for the answer, or that is too large, it is dropped,
    /// and the call ends with [`CallError::AnswerDropped`](crate::CallError::AnswerDropped). One that cannot be encoded counts as none. The log
    /// tells of both, where the feature `tracing` is on.
    pub fn send(mut self, value: T) {
        // If it panics here, the call is dropped with this.
        let body = port::encode_portless(&value, self.port().limit());
        if let Some(port) = self.port.take() {
            port.answer(body);
        }
    }

    /// Answers, and waits for room where the caller's node reads slowly; who waits first goes first. Dropping the future drops the call.
    ///
    /// # Errors
    /// Says why the caller does not get the answer.
    pub async fn deliver(mut self, value: T) -> Result<(), DeliverError> {
        let body = match port::encode_portless(&value, self.port().limit()) {
            Ok(body) => body,
            Err(NotEncoded::Refused(cause)) => return Err(DeliverError::NotEncodable(cause)),
            Err(NotEncoded::TooLarge { .. }) => return Err(DeliverError::TooLarge),
        };
        drop(value);
        let offered = loop {
            let changed = self.port().changed();
            match self.port().offer(&body) {
                Err(AnswerError::Full) => changed.await,
                offered => break offered,
            }
        };
        self.port = None;
        offered.map_err(|error| if error == AnswerError::Over { DeliverError::Over } else { DeliverError::TooLarge })
    }
}

/// An answer was not delivered.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum DeliverError {
    /// The answer could not be encoded; the call ended with [`CallError::Dropped`](crate::CallError::Dropped).
    NotEncodable(String),
    /// Nobody waits for the answer any more.
    Over,
    /// The answer is larger than a message may be; the call ended with [`CallError::AnswerDropped`](crate::CallError::AnswerDropped).
    TooLarge,
}

impl fmt::Display for DeliverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotEncodable(cause) => write!(f, "the answer cannot be encoded: {cause}"),
            Self::Over => f.write_str("nobody waits for the answer any more"),
            Self::TooLarge => f.write_str("the answer is larger than a message may be"),
        }
    }
}

impl Error for DeliverError {}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        // What serde decodes in vain, as one of several variants that it tries, is dropped too.
        if let Some(port) = self.port.take().filter(|port| !port::give_back(port)) {
            port.drop_call();
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").finish_non_exhaustive()
    }
}

impl<T> Serialize for Reply<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        port::place(self.port()).map_err(S::Error::custom)?;
        serializer.serialize_u8(0)
    }
}

impl<'de, T> Deserialize<'de> for Reply<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u8(Zero)?;
        port::take().map(Self::new).map_err(D::Error::custom)
    }
}

/// What stands for a port on the wire. It is no null, which some decoders give to an `Option` as `None`.
struct Zero;

impl Visitor<'_> for Zero {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the port of a call, which is 0")
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        if value == 0 { Ok(()) } else { Err(E::invalid_value(Unexpected::Signed(value), &self)) }
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        if value == 0 { Ok(()) } else { Err(E::invalid_value(Unexpected::Unsigned(value), &self)) }
    }
}

#[cfg(test)]
mod tests;
