//! The ports of calls, and how they get into messages and out of them.
//!
//! A message does not say which call it belongs to: a `Reply` is encoded as a zero. So whoever encodes or decodes a message tells the
//! thread which port belongs into it, and the one `Reply` in it asks the thread.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use event_listener::{Event, EventListener};
use noex_proto::AnswerError;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::codec::{self, NotEncoded};
use crate::drive::Shared;

/// Where the answer to one call goes.
pub(crate) trait Port: Send + Sync {
    /// Answers, and never waits. Without a body the answer could not be encoded.
    fn answer(&self, body: Result<Bytes, NotEncoded>);

    /// Is notified when the call is over, and when there may be room for its answer.
    fn changed(&self) -> EventListener;

    /// When the caller ceases to wait.
    fn deadline(&self) -> Instant;

    /// Ends the call without an answer.
    fn drop_call(&self);

    /// Whether nobody waits for the answer any more.
    fn is_over(&self) -> bool;

    /// The most bytes that an answer may have.
    fn limit(&self) -> usize;

    /// Answers where there is room.
    fn offer(&self, body: &Bytes) -> Result<(), AnswerError>;
}

/// What the thread is doing with a message.
enum Task {
    /// Decodes one, of a call with this port, or of none; at this node, where it is one's.
    Decoding { node: Option<Arc<Shared>>, port: Option<Arc<dyn Port>>, taken: bool },
    /// Encodes one, of a call with this port, or of none. `placed`: how often it is in the message so far.
    Encoding { port: Option<Arc<dyn Port>>, placed: usize },
}

thread_local! {
    /// What the thread is doing with messages, the innermost last: code of the application may encode and decode within.
    static TASKS: RefCell<Vec<Task>> = const { RefCell::new(Vec::new()) };
}

/// The innermost task of the thread, which ends with this, also by a panic.
struct Current;

impl Current {
    fn begin(task: Task) -> Self {
        TASKS.with_borrow_mut(|tasks| tasks.push(task));
        Self
    }

    /// Looks at it, once it is done.
    fn look<T>(&self, look: impl FnOnce(&Task) -> T) -> T {
        TASKS.with_borrow(|tasks| look(tasks.last().expect("what has begun within has ended")))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let ended = TASKS.with_borrow_mut(Vec::pop);
        // Its port may be the last handle of something.
        drop(ended);
    }
}

/// The caller's own end: it says which port belongs into the message, and that is all.
struct Own;

impl Port for Own {
    fn answer(&self, _body: Result<Bytes, NotEncoded>) {}

    fn changed(&self) -> EventListener {
        Event::new().listen()
    }

    fn deadline(&self) -> Instant {
        Instant::now()
    }

    fn drop_call(&self) {}

    fn is_over(&self) -> bool {
        true
    }

    fn limit(&self) -> usize {
        codec::SIZE_MAX
    }

    fn offer(&self, _body: &Bytes) -> Result<(), AnswerError> {
        Err(AnswerError::Over)
    }
}

/// Encodes the message of a call, which is made around a port, and has to hold it once.
pub(crate) fn encode_call<M: Serialize>(make: impl FnOnce(Arc<dyn Port>) -> M, limit: usize) -> Result<Bytes, NotEncoded> {
    let port: Arc<dyn Port> = Arc::new(Own);
    let message = make(port.clone());
    let current = Current::begin(Task::Encoding { port: Some(port), placed: 0 });
    let body = codec::encode(&message, limit)?;
    let placed = current.look(|task| if let Task::Encoding { placed, .. } = task { *placed } else { 0 });
    let fault = match placed {
        1 => return Ok(body),
        0 => "the message does not hold the `Reply` of its call: put it in, or use `cast`",
        _ => "the message holds the `Reply` of its call more than once",
    };
    Err(NotEncoded::Refused(fault.into()))
}

/// Encodes what has no port: the message of a cast, or an answer.
pub(crate) fn encode_portless<T: Serialize>(value: &T, limit: usize) -> Result<Bytes, NotEncoded> {
    let _current = Current::begin(Task::Encoding { port: None, placed: 0 });
    codec::encode(value, limit)
}

/// Decodes the message of a call, which has to hold its port.
///
/// # Errors
/// Says what is wrong with the body.
pub(crate) fn decode_call<M: DeserializeOwned>(body: &[u8], port: Arc<dyn Port>, node: Option<Arc<Shared>>) -> Result<M, String> {
    let current = Current::begin(Task::Decoding { node, port: Some(port), taken: false });
    let message = codec::decode(body)?;
    match current.look(|task| matches!(task, Task::Decoding { taken: true, .. })) {
        true => Ok(message),
        false => Err("the message was called, and holds no `Reply`: use `cast`".into()),
    }
}

/// Decodes what has no port: the message of a cast, or an answer.
///
/// # Errors
/// Says what is wrong with the body.
pub(crate) fn decode_portless<T: DeserializeOwned>(body: &[u8], node: Option<Arc<Shared>>) -> Result<T, String> {
    let _current = Current::begin(Task::Decoding { node, port: None, taken: false });
    codec::decode(body)
}

/// Takes the port of the message that this thread decodes.
///
/// # Errors
/// Says why there is none to take.
pub(crate) fn take() -> Result<Arc<dyn Port>, &'static str> {
    TASKS.with_borrow_mut(|tasks| match tasks.last_mut() {
        Some(Task::Decoding { port: Some(_), taken: true, .. }) => {
            Err("a message holds one `Reply`, and this one holds a second")
        }
        Some(Task::Decoding { port: Some(port), taken, .. }) => {
            *taken = true;
            Ok(port.clone())
        }
        Some(Task::Decoding { port: None, .. }) => {
            Err("only the message of a call holds a `Reply`: use `call` in place of `cast`")
        }
        Some(Task::Encoding { .. }) | None => Err("a `Reply` is decoded only where a mailbox receives the message that holds it"),
    })
}

/// The node that decodes what this thread decodes.
pub(crate) fn node() -> Option<Arc<Shared>> {
    TASKS.with_borrow(|tasks| if let Some(Task::Decoding { node, .. }) = tasks.last() { node.clone() } else { None })
}

/// Gives a port back to the message that this thread decodes. It says whether there is such a message.
pub(crate) fn give_back(port: &Arc<dyn Port>) -> bool {
    let give_back = |tasks: &RefCell<Vec<Task>>| {
        let mut tasks = tasks.borrow_mut();
        let of_port = tasks.iter_mut().find_map(|task| match task {
            Task::Decoding { port: Some(of_task), taken, .. } if Arc::ptr_eq(of_task, port) => Some(taken),
            _ => None,
        });
        of_port.map(|taken| *taken = false).is_some()
    };
    // As a thread ends, it decodes nothing any more.
    TASKS.try_with(give_back).unwrap_or(false)
}

/// Puts a port into the message that this thread encodes.
///
/// # Errors
/// Says why it does not belong there.
pub(crate) fn place(port: &Arc<dyn Port>) -> Result<(), &'static str> {
    TASKS.with_borrow_mut(|tasks| match tasks.last_mut() {
        Some(Task::Encoding { port: Some(of_call), placed }) if Arc::ptr_eq(of_call, port) => {
            *placed += 1;
            Ok(())
        }
        Some(Task::Encoding { port: Some(_), .. }) => {
            Err("the `Reply` belongs to another call: only the one that `call` gives may be in the message")
        }
        Some(Task::Encoding { port: None, .. }) => {
            Err("a cast or an answer holds no `Reply`: use `call`, and give it the address to answer to")
        }
        Some(Task::Decoding { .. }) | None => Err("a `Reply` is encoded only by `call`"),
    })
}
