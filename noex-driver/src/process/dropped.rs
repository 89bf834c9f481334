//! Ports that were dropped without an answer, while their process handled something.
//!
//! A handler that ends its process by an error, a panic or an abort drops the port of its call before the mailbox. Whether a port was just
//! dropped, or its process was about to end, shows only at the next look into the mailbox: until then the call is held back.

use std::mem;
use std::sync::Mutex;

use noex_proto::RequestId;

use crate::slots::lock;

/// The calls of one mailbox whose ports were dropped and that are held back. There are no more than it has taken and not answered.
#[derive(Debug)]
pub(super) struct Dropped(Mutex<State>);

#[derive(Debug)]
enum State {
    /// The process handles what it was given.
    Handles(Vec<RequestId>),
    /// It waits for the next message, and so has not ended.
    Waits,
    /// The mailbox is gone: the machine ends what is left.
    Ended,
}

impl Dropped {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(State::Handles(Vec::new())))
    }

    /// Holds a call back. It says whether: where not, the call is to end now.
    pub(super) fn hold(&self, request: RequestId) -> bool {
        match &mut *lock(&self.0) {
            State::Handles(held) => held.push(request),
            State::Waits => return false,
            State::Ended => {}
        }
        true
    }

    /// The process waits for the next message, so that what was held back is to end.
    pub(super) fn wait(&self) -> Vec<RequestId> {
        match mem::replace(&mut *lock(&self.0), State::Waits) {
            State::Handles(held) => held,
            State::Waits | State::Ended => Vec::new(),
        }
    }

    /// The process does not wait any more.
    pub(super) fn handle(&self) {
        *lock(&self.0) = State::Handles(Vec::new());
    }

    /// The process ends.
    pub(super) fn end(&self) {
        *lock(&self.0) = State::Ended;
    }
}

#[cfg(test)]
mod tests {
    use noex_proto::RequestId;
    use serde::Deserialize;
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, MapDeserializer};

    use super::*;

    fn request(number: u64) -> RequestId {
        let fields = [("peer", 1), ("number", number)].into_iter().map(|(name, value)| (name.into_deserializer(), value));
        RequestId::deserialize(MapDeserializer::<_, Error>::new(fields)).expect("it has these fields")
    }

    #[test]
    fn a_call_is_held_back_while_its_process_handles_and_left_to_the_machine_at_its_end() {
        let dropped = Dropped::new();
        assert!(dropped.hold(request(1)) && dropped.hold(request(2)));
        assert_eq!(dropped.wait(), [request(1), request(2)]);
        assert!(!dropped.hold(request(3)), "the process waits, and goes on");
        dropped.handle();
        assert!(dropped.hold(request(4)));
        dropped.end();
        assert!(dropped.hold(request(5)));
        assert_eq!(dropped.wait(), [], "nothing is kept once the mailbox is gone");
    }
}
