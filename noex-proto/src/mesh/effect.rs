//! What a step leads to elsewhere: decided by whoever finds it out, and done once that step is over.
//!
//! A handler that ended a connection at once would end it under the feet of its caller. So it queues an effect, and
//! the node performs the effects in their order before it goes on to the next message, frame or deadline.

use alloc::collections::VecDeque;

use super::close::CloseReason;
use super::cx::Cx;
use crate::{ConnId, NodeId};

/// The effects that an idle node keeps room for.
const AT_REST: usize = 16;

/// What is to be done next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// The next peer that is to be asked for its members is asked.
    Ask,
    /// A connection ends. Of two reasons the first one counts.
    Close { conn: ConnId, reason: CloseReason },
    /// The dials that wait begin, as far as there are slots.
    StartDials,
    /// The sessions that wait with this peer have their turn.
    Turn { id: NodeId },
}

/// The effects that are still to be performed, and the sessions that are flushed after them. There are none between
/// two inputs. A step adds no more of them than there are connections and peers, which are bounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effects {
    queue: VecDeque<Effect>,
    /// Sessions with something to send.
    unflushed: VecDeque<ConnId>,
    /// Effects are being performed: none of them performs others.
    #[cfg(debug_assertions)]
    performing: bool,
}

impl Effects {
    /// Whether nothing is left to do.
    #[cfg(debug_assertions)]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.unflushed.is_empty()
    }

    /// Takes the next effect.
    pub(super) fn next(&mut self) -> Option<Effect> {
        self.queue.pop_front()
    }

    /// Takes the next session that is to be flushed.
    pub(super) fn next_unflushed(&mut self) -> Option<ConnId> {
        self.unflushed.pop_front()
    }

    /// Panics where effects are performed within one.
    #[cfg(debug_assertions)]
    pub(super) fn begin(&mut self) {
        assert!(!core::mem::replace(&mut self.performing, true), "an effect performs others");
    }

    /// The effects are performed.
    #[cfg(debug_assertions)]
    pub(super) const fn end(&mut self) {
        self.performing = false;
    }

    /// What many effects took is not kept.
    #[inline]
    pub(super) fn shrink(&mut self) {
        if self.queue.capacity() > AT_REST || self.unflushed.capacity() > AT_REST {
            self.queue.shrink_to(AT_REST);
            self.unflushed.shrink_to(AT_REST);
        }
    }

    /// What is asked for twice is done once, behind everything that it may depend on.
    fn push_once(&mut self, effect: Effect) {
        self.queue.retain(|waiting| *waiting != effect);
        self.queue.push_back(effect);
    }
}

impl Cx<'_> {
    /// Asks the next peer that is to be asked for its members.
    pub(super) fn ask_next(&mut self) {
        if self.is_running() {
            self.local.effects.push_once(Effect::Ask);
        }
    }

    /// Ends a connection, once the present step is over. One that is no more ends once.
    pub(super) fn close(&mut self, conn: ConnId, reason: CloseReason) {
        self.local.effects.queue.push_back(Effect::Close { conn, reason });
    }

    /// Lets the dials begin that wait for a slot.
    pub(super) fn start_dials(&mut self) {
        self.local.effects.push_once(Effect::StartDials);
    }

    /// Gives the sessions that wait with a peer their turn, behind the ends that were asked for before: a turn in
    /// front of a down would find the cluster full. A node that stops admits nobody.
    pub(super) fn turn(&mut self, id: &NodeId) {
        if self.is_running() {
            self.local.effects.push_once(Effect::Turn { id: id.clone() });
        }
    }

    /// Flushes a session once everything else is done.
    pub(super) fn flush(&mut self, conn: ConnId) {
        if self.local.effects.unflushed.back() != Some(&conn) {
            self.local.effects.unflushed.push_back(conn);
        }
    }
}
