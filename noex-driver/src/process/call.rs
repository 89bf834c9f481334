//! A call: a request on its way to a process, and its answer on the way back.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use noex_proto::{CallError, CallId, Destination, ProtocolHash};
use serde::de::DeserializeOwned;

use super::codec::NotEncoded;
use super::port;
use crate::drive::{Shared, State};
use crate::slots::{Answer, Once, Outcome};

/// How long a call waits for its answer by default.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A call of a process, from [`Address::call`](crate::Address::call): a future of the answer.
///
/// The request is sent when it is first polled. Dropping it afterwards cancels the call: what was not sent yet is not sent, what waits at the
/// process is taken back, and one that handles the call is told by [`Reply::cancelled`](crate::Reply::cancelled).
///
/// It has one outcome. An error says by [`CallError::may_have_run`] whether the process may have handled the request; noex repeats none.
#[must_use = "a call is made when it is polled"]
pub struct Call<T> {
    answer: PhantomData<fn() -> T>,
    stage: Stage,
}

enum Stage {
    /// Not polled yet.
    New(Request),
    /// It was over before it began.
    Refused(CallError),
    Open(Open),
    Over,
}

struct Request {
    body: Bytes,
    limit: Limit,
    protocol: ProtocolHash,
    shared: Arc<Shared>,
    to: Arc<Destination>,
}

/// How long to wait.
#[derive(Clone, Copy)]
enum Limit {
    /// From the first poll on.
    Timeout(Duration),
    Deadline(Instant),
}

impl<T> Call<T> {
    pub(super) fn new(
        shared: &Arc<Shared>,
        to: &Arc<Destination>,
        protocol: ProtocolHash,
        encoded: Result<Bytes, NotEncoded>,
    ) -> Self {
        let stage = match encoded {
            Ok(body) => {
                let limit = Limit::Timeout(TIMEOUT);
                Stage::New(Request { body, limit, protocol, shared: shared.clone(), to: to.clone() })
            }
            Err(NotEncoded::Refused(cause)) => Stage::Refused(CallError::NotEncodable(cause)),
            Err(NotEncoded::TooLarge { limit, size }) => Stage::Refused(CallError::TooLarge { limit, size }),
        };
        Self { answer: PhantomData, stage }
    }

    /// Waits until this moment at most, by the runtime's clock: in a handler, mostly [`Reply::deadline`](crate::Reply::deadline), so that nothing
    /// is asked for an answer that nobody waits for. It has no effect once the call was polled.
    pub fn deadline(self, deadline: Instant) -> Self {
        self.limited(Limit::Deadline(deadline))
    }

    /// Waits this long at most from the first poll on, in place of 5 s. It has no effect once the call was polled.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.limited(Limit::Timeout(timeout))
    }

    fn limited(mut self, limit: Limit) -> Self {
        if let Stage::New(request) = &mut self.stage {
            request.limit = limit;
        }
        self
    }
}

impl Request {
    /// Makes the call.
    fn begin(self) -> Result<Open, CallError> {
        let Self { body, limit, protocol, shared, to } = self;
        let slot = Once::new();
        let id = shared.drive(|state| {
            let now = state.now();
            let deadline = match limit {
                Limit::Timeout(timeout) => now + timeout,
                Limit::Deadline(deadline) => state.run.as_ref().map_or(now, |run| run.machine_time(deadline)),
            };
            let id = state.machine.call(now, &to, protocol, body, deadline)?;
            state.slots.calls.insert(id, slot.clone());
            Ok::<_, CallError>(id)
        })?;
        Ok(Open { ended: false, id, shared, slot })
    }
}

/// A call that was made.
struct Open {
    ended: bool,
    id: CallId,
    shared: Arc<Shared>,
    slot: Arc<Once<Outcome>>,
}

impl Open {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome> {
        let outcome = ready!(self.slot.poll(cx));
        self.ended = true;
        Poll::Ready(outcome)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // It may be dropped as the thread ends, where a runtime's clock can be gone: the time is the machine's last.
        self.shared.drive_lent(|state: &mut State| {
            let open = state.slots.calls.remove(&self.id);
            if open.is_some() {
                state.machine.cancel(state.machine.now(), self.id);
            }
            open
        });
    }
}

impl<T: DeserializeOwned> Future for Call<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut open = match mem::replace(&mut self.stage, Stage::Over) {
            Stage::New(request) => request.begin()?,
            Stage::Open(open) => open,
            Stage::Refused(error) => return Poll::Ready(Err(error)),
            Stage::Over => panic!("a call was polled after its end"),
        };
        let Poll::Ready(outcome) = open.poll(cx) else {
            self.stage = Stage::Open(open);
            return Poll::Pending;
        };
        let decode = |answer: Answer| port::decode_portless(&answer.body, Some(open.shared.clone()));
        Poll::Ready(outcome.and_then(|answer| decode(answer).map_err(CallError::AnswerNotUnderstood)))
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}
