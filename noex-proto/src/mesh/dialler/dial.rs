//! One target, and the state of its dial.

use alloc::collections::{BTreeMap, VecDeque};
use core::hash::Hasher;

use super::target::Target;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::mesh::addresses::Addresses;
use crate::mesh::cx::Cx;
use crate::time::RunTime;
use crate::time::backoff::Backoff;
use crate::{ConnId, Instant, NodeId, Unreached};

/// How likely it is that a dial finds somebody, the likeliest first. Where packets vanish, a dial is in flight for long.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Prospect {
    /// A seed, or a node that was up.
    Good,
    /// The same, but the last dial to it took long.
    Doubtful,
    /// A node that others only told of.
    Hint,
}

/// A place among the dials that wait: by prospect, and in the order in which they came.
pub(crate) type Place = (Prospect, u64);

#[derive(Clone, Debug)]
pub(crate) struct Dial {
    pub(in crate::mesh) addresses: Addresses,
    pub(in crate::mesh) backoff: Backoff,
    /// When the present dial took its slot, on both clocks.
    pub(super) began: (Instant, RunTime),
    pub(in crate::mesh) conn: Option<ConnId>,
    /// Its place in the queue, while it is due and waits for a free slot.
    pub(in crate::mesh) queued: Option<Place>,
    /// The name is being looked up, or waits for that.
    pub(in crate::mesh) looking: bool,
    /// The last lookup took long.
    pub(in crate::mesh) slow_lookup: bool,
    /// It was reported that the lookup takes long, and none was quick since.
    pub(in crate::mesh) lookup_reported: bool,
    /// The last dial was in flight for long, and no session was up since.
    pub(in crate::mesh) slow: bool,
    /// The failure that was reported last, if no session was up since.
    pub(in crate::mesh) reported: Option<Unreached>,
    /// The node went down, which was told: the first failure after that is no news.
    pub(in crate::mesh) lost: bool,
    /// Another node that is up proved to have the address, and nobody has gossiped this one since.
    pub(in crate::mesh) displaced: bool,
    /// The identity that was found at a seed's address.
    pub(in crate::mesh) found: Option<NodeId>,
    /// The identities whose mismatch was reported last.
    pub(in crate::mesh) mismatches: VecDeque<NodeId>,
}

impl Dial {
    pub(super) fn new(cx: &Cx<'_>) -> Self {
        let settings = &cx.local.settings;
        Self {
            addresses: Addresses::new(),
            backoff: Backoff::new(settings.reconnect_base_delay, settings.reconnect_max_delay),
            began: (cx.now(), cx.run()),
            conn: None,
            queued: None,
            looking: false,
            slow_lookup: false,
            lookup_reported: false,
            slow: false,
            reported: None,
            lost: false,
            displaced: false,
            found: None,
            mismatches: VecDeque::new(),
        }
    }

    /// It waits no more for a free slot.
    pub(super) fn leave(&mut self, queue: &mut BTreeMap<Place, Target>) {
        if let Some(place) = self.queued.take() {
            queue.remove(&place);
        }
    }

    /// A session was up, or is.
    pub(super) fn forget_failures(&mut self, queue: &mut BTreeMap<Place, Target>) {
        self.reported = None;
        self.lookup_reported = false;
        self.leave(queue);
    }
}

impl Abstract for Dial {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        // Which of its addresses was tried when, tells names with several of them which comes next, and no such name is explored.
        let Self {
            addresses,
            backoff,
            began: _,
            conn,
            queued,
            looking,
            slow_lookup,
            lookup_reported,
            slow,
            reported,
            lost,
            displaced,
            found,
            mismatches,
        } = self;
        to.write((backoff.delay(), queued.is_some(), looking, slow_lookup, slow, reported, found, mismatches));
        to.write((addresses.has_next(), lookup_reported, lost, displaced));
        to.write(conn.map(|conn| to.place(conn)));
    }
}
