//! Who does something: the process of a mailbox, in the run in which it was opened.

use std::sync::Arc;

use crate::drive::{Shared, State};
use crate::slots::Bell;

/// The process of a mailbox, for what outlives that.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) bell: Arc<Bell>,
    pub(super) number: u64,
    pub(super) shared: Arc<Shared>,
}

impl Owner {
    /// Whether the process has not ended. In a later run another may have its number.
    pub(super) fn lives(&self, state: &State) -> bool {
        state.slots.mailboxes.get(&self.number).is_some_and(|bell| Arc::ptr_eq(bell, &self.bell))
    }

    /// Its number; once it has ended that of no process.
    pub(super) fn number(&self, state: &State) -> u64 {
        if self.lives(state) { self.number } else { 0 }
    }
}
