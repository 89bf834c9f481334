//! What the machine says of mailboxes, calls, requests, monitors and names, on its way to those who wait for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use event_listener::Event;
use noex_proto::{CallError, CallId, ClaimError, ClaimId, ExitReason, MonitorId, ProcessAction, ProcessName, RequestId};

/// The most bytes of answers that wait for the tasks that called.
const ANSWERS_BYTES: usize = 256 << 20;

/// What a call led to.
pub(crate) type Outcome = Result<Answer, CallError>;

/// An answer, which counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Bytes,
    held: Arc<AtomicUsize>,
}

impl Answer {
    /// An answer, where there is room for it. A first one there always is.
    fn hold(body: Bytes, held: &Arc<AtomicUsize>) -> Outcome {
        let before = held.fetch_add(body.len(), Ordering::Relaxed);
        let size = body.len();
        // From here on its drop gives back what it counts.
        let answer = Self { body, held: held.clone() };
        if before > 0 && before.saturating_add(size) > ANSWERS_BYTES { Err(CallError::AnswerDropped) } else { Ok(answer) }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.held.fetch_sub(self.body.len(), Ordering::Relaxed);
    }
}

/// Who waits for what of the machine. It stands under the machine's lock, and what it gives out is for after that.
#[derive(Default)]
pub(crate) struct Slots {
    /// The bytes of answers that wait for the tasks that called.
    answers: Arc<AtomicUsize>,
    pub(crate) calls: HashMap<CallId, Arc<Once<Outcome>>>,
    /// The claims that have begun and not returned.
    pub(crate) claims: HashMap<ClaimId, Arc<Claimed>>,
    /// The mailboxes of processes that have not ended, by the processes' numbers.
    pub(crate) mailboxes: HashMap<u64, Arc<Bell>>,
    pub(crate) monitors: HashMap<MonitorId, Arc<Once<ExitReason>>>,
    /// The names that are watched.
    pub(crate) names: HashMap<ProcessName, Watched>,
    /// The calls that a mailbox was handed, and whose outcome is open.
    pub(crate) requests: HashMap<RequestId, Arc<Request>>,
}

/// What is to be told, and whom to wake, once the lock is released.
#[derive(Default)]
pub(crate) struct Told {
    bells: Vec<Arc<Bell>>,
    calls: Vec<(Arc<Once<Outcome>>, Outcome)>,
    claims: Vec<Arc<Claimed>>,
    monitors: Vec<(Arc<Once<ExitReason>>, ExitReason)>,
    names: Vec<Arc<Event>>,
    requests: Vec<Arc<Request>>,
    /// Whether all names of the cluster are known.
    pub(crate) synced: bool,
}

impl Slots {
    pub(crate) fn perform(&mut self, action: ProcessAction, told: &mut Told) {
        match action {
            ProcessAction::AnswerRoom(request) => told.requests.extend(self.requests.get(&request).cloned()),
            ProcessAction::CallEnded { call, outcome } => {
                let Some(slot) = self.calls.remove(&call) else { return };
                told.calls.push((slot, outcome.and_then(|body| Answer::hold(body, &self.answers))));
            }
            // Nobody claims or watches a name yet.
            ProcessAction::ClaimEnded { claim, outcome } => {
                // An error is the last that is said of it.
                let slot = if outcome.is_err() { self.claims.remove(&claim) } else { self.claims.get(&claim).cloned() };
                let Some(slot) = slot else { return };
                slot.set(outcome);
                told.claims.push(slot);
            }
            ProcessAction::Ended(process) => {
                self.close(process, End::Exited, told);
                self.mailboxes.remove(&process);
            }
            ProcessAction::Mailbox(process) => told.bells.extend(self.mailboxes.get(&process).cloned()),
            ProcessAction::MonitorFired { monitor, reason } => {
                told.monitors.extend(self.monitors.remove(&monitor).map(|slot| (slot, reason)));
            }
            ProcessAction::NameChanged(name) => told.names.extend(self.names.get(&name).map(|watched| watched.changed.clone())),
            // Who waits for this looks at each change of the cluster.
            ProcessAction::NamesSynced => told.synced = true,
            ProcessAction::RequestOver(request) => {
                let Some(request) = self.requests.remove(&request) else { return };
                request.state.store(OVER, Ordering::Relaxed);
                told.requests.push(request);
            }
            ProcessAction::Stopping(process) => self.close(process, End::Stopping, told),
        }
    }

    /// The run is over, and with it every watch of a name.
    pub(crate) fn stop(&mut self, told: &mut Told) {
        told.names.extend(self.names.drain().map(|(_, watched)| watched.changed));
    }

    /// A mailbox has come to its end, before its owner has.
    fn close(&self, process: u64, end: End, told: &mut Told) {
        let Some(bell) = self.mailboxes.get(&process) else { return };
        bell.end.store(end as u8, Ordering::Relaxed);
        told.bells.push(bell.clone());
    }
}

impl Told {
    /// Tells and wakes. It runs code of the application.
    pub(crate) fn tell(self) {
        self.bells.iter().for_each(|bell| bell.ring());
        self.calls.into_iter().for_each(|(slot, outcome)| slot.set(outcome));
        self.claims.iter().for_each(|slot| slot.wake());
        self.monitors.into_iter().for_each(|(slot, reason)| slot.set(reason));
        for changed in self.names {
            changed.notify(usize::MAX);
        }
        for request in self.requests {
            request.changed.notify(usize::MAX);
        }
    }
}

/// How far the machine has ended a process of which the application still holds the mailbox.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// What its mailbox holds is not to be given any more.
    Stopping = 1,
    /// It has ended.
    Exited = 2,
}

/// What wakes the owner of one mailbox.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    end: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    /// Whether the process has come so far.
    pub(crate) fn has(&self, end: End) -> bool {
        self.end.load(Ordering::Relaxed) >= end as u8
    }

    /// Wakes this one at the next ring.
    pub(crate) fn register(&self, waker: &Waker) {
        if lock(&self.waker).as_ref().is_some_and(|last| last.will_wake(waker)) {
            return;
        }
        let waker = waker.clone();
        let _last = lock(&self.waker).replace(waker);
    }

    fn ring(&self) {
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// A value that comes once, for one who waits.
#[derive(Debug)]
pub(crate) struct Once<T>(Mutex<State<T>>);

#[derive(Debug)]
enum State<T> {
    Coming(Option<Waker>),
    Come(T),
    Taken,
}

impl<T> Once<T> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State::Coming(None))))
    }

    pub(crate) fn set(&self, value: T) {
        let before = std::mem::replace(&mut *lock(&self.0), State::Come(value));
        if let State::Coming(Some(waker)) = before {
            waker.wake();
        }
    }

    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<T> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.0);
        let last = match &mut *state {
            State::Coming(registered) => registered.replace(waker),
            State::Come(_) => {
                let State::Come(value) = std::mem::replace(&mut *state, State::Taken) else { unreachable!("it has just come") };
                return Poll::Ready(value);
            }
            State::Taken => panic!("polled after it was ready"),
        };
        drop(state);
        drop(last);
        Poll::Pending
    }
}

/// What became of a claim. It may change until the claim has returned, so it is noted under the machine's lock, in the machine's order.
#[derive(Debug, Default)]
pub(crate) struct Claimed(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    outcome: Option<Result<(), ClaimError>>,
    waker: Option<Waker>,
}

impl Claimed {
    fn set(&self, outcome: Result<(), ClaimError>) {
        lock(&self.0).outcome = Some(outcome);
    }

    fn wake(&self) {
        let waker = lock(&self.0).waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes what was noted last.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<(), ClaimError>> {
        let waker = cx.waker().clone();
        let mut state = lock(&self.0);
        let _last = match state.outcome.take() {
            Some(outcome) => return Poll::Ready(outcome),
            None => state.waker.replace(waker),
        };
        drop(state);
        Poll::Pending
    }
}

/// A name that is watched.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// Notified when another process has it.
    pub(crate) changed: Arc<Event>,
    /// How many streams there are of it.
    pub(crate) readers: usize,
}

/// A call that a mailbox was handed.
#[derive(Debug)]
pub(crate) struct Request {
    /// Notified when it is over, and when there may be room for its answer.
    pub(crate) changed: Event,
    pub(crate) deadline: Instant,
    pub(crate) id: RequestId,
    state: AtomicU8,
}

/// It waits in the batch.
const WAITS: u8 = 0;
/// The application has it.
const TAKEN: u8 = 1;
/// Nobody waits for the answer any more.
const OVER: u8 = 2;

impl Request {
    pub(crate) fn new(id: RequestId, deadline: Instant) -> Arc<Self> {
        Arc::new(Self { changed: Event::new(), deadline, id, state: AtomicU8::new(WAITS) })
    }

    /// Hands it to the application, unless it is over.
    pub(crate) fn take(&self) -> bool {
        self.state.compare_exchange(WAITS, TAKEN, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state.load(Ordering::Relaxed) == OVER
    }
}

/// Locks what stands outside the machine's lock: none of these locks is held while code of the application runs, and what they guard is always whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_nobody_has_picked_up_are_bounded_and_a_first_one_is_held_whatever_its_size() {
        let held = Arc::default();
        let mib = |mib: usize| Answer::hold(vec![0; mib << 20].into(), &held);
        let first = mib(257).expect("it is the first");
        assert_eq!(mib(1).expect_err("it is not"), CallError::AnswerDropped);
        drop(first);
        let _half = mib(128).expect("there is room");
        let other = mib(128).expect("for just so much");
        assert_eq!(mib(1).expect_err("and for no more"), CallError::AnswerDropped);
        drop(other);
        mib(128).expect("what was picked up has left its room");
    }
}
