//! The port of a call that a mailbox was handed.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use event_listener::EventListener;
use noex_proto::{AnswerError, RequestFailure, RequestId};

use super::codec::{NotEncoded, SIZE_MAX};
use super::dropped::Dropped;
use super::port::Port;
use crate::drive::{Shared, State};
use crate::log;
use crate::slots::Request;

impl State {
    /// Ends a call without an answer, unless it is over. It may be as the thread ends, where a runtime's clock can be gone: the time is the
    /// machine's last.
    pub(super) fn fail(&mut self, request: RequestId, failure: RequestFailure) {
        if self.slots.requests.remove(&request).is_some() {
            self.machine.fail(self.machine.now(), request, failure);
        }
    }
}

/// The port of a call that a mailbox was handed.
pub(super) struct Asked {
    /// That of its mailbox.
    pub(super) dropped: Arc<Dropped>,
    pub(super) request: Arc<Request>,
    pub(super) shared: Arc<Shared>,
}

impl Asked {
    /// Ends the call without an answer.
    pub(super) fn fail(&self, failure: RequestFailure) {
        self.shared.drive_lent(|state| state.fail(self.request.id, failure));
    }

    fn give(&self, state: &mut State, body: Bytes, or_wait: bool) -> Result<(), AnswerError> {
        if self.request.is_over() {
            return Err(AnswerError::Over);
        }
        let given = state.machine.answer(state.now(), self.request.id, body, or_wait);
        if given != Err(AnswerError::Full) {
            state.slots.requests.remove(&self.request.id);
        }
        given
    }
}

impl Port for Asked {
    fn answer(&self, body: Result<Bytes, NotEncoded>) {
        let dropped = match body {
            Ok(body) => match self.shared.drive(|state| self.give(state, body, false)) {
                Ok(()) | Err(AnswerError::Over) => return,
                Err(error) => error.to_string(),
            },
            Err(error) => {
                self.fail(RequestFailure::Dropped);
                error.to_string()
            }
        };
        log::warning(&format!("a call was not answered: {dropped}"));
    }

    fn changed(&self) -> EventListener {
        self.request.changed.listen()
    }

    fn deadline(&self) -> Instant {
        self.request.deadline
    }

    fn drop_call(&self) {
        if !self.request.is_over() && !self.dropped.hold(self.request.id) {
            self.fail(RequestFailure::Dropped);
        }
    }

    fn is_over(&self) -> bool {
        self.request.is_over()
    }

    fn limit(&self) -> usize {
        SIZE_MAX
    }

    fn offer(&self, body: &Bytes) -> Result<(), AnswerError> {
        self.shared.drive(|state| self.give(state, body.clone(), true))
    }
}
