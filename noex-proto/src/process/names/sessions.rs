//! The sessions that are up with nodes that have names, and what each was told.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use super::bits::Bits;
use crate::id::incarnation::Incarnation;
use crate::time::RunTime;
use crate::{ConnId, NodeId};

/// So many nodes are remembered beside twice those that are up, so that each is one witness however often it comes.
const MET_MAX: usize = 16_384;

/// The sessions, by their connection, and the nodes that this one has met.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    rows: BTreeMap<ConnId, Row>,
    /// The place of each node.
    places: BTreeMap<NodeId, u32>,
    /// By their place: the node, and its session where that is up.
    met: Vec<Option<(NodeId, Option<ConnId>)>>,
    /// Places that are free.
    free: Vec<u32>,
}

/// One session, and what its node was told of this node's claims: of changes all up to a stamp, and of withdrawals likewise.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The place of its node.
    pub(super) node: u32,
    pub(super) incarnation: Incarnation,
    /// How long an acknowledgement may take.
    patience: Duration,
    pub(super) claims_to: u64,
    pub(super) withdrawn_to: u64,
    /// The greatest number of a claim that it was told.
    pub(super) highest: u64,
    pub(super) snapshot: Snapshot,
    /// The snapshot is not the first: its end tells of withdrawals too.
    pub(super) again: bool,
    /// When the acknowledgements of claims that it was told come too late, in the order of the telling. Some have come.
    awaited: VecDeque<(RunTime, u64)>,
}

/// How far the telling of all claims has come.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Snapshot {
    /// It is to begin.
    Due,
    Open,
    Done,
}

impl Sessions {
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn get(&self, peer: ConnId) -> Option<&Row> {
        self.rows.get(&peer)
    }

    pub(super) fn get_mut(&mut self, peer: ConnId) -> Option<&mut Row> {
        self.rows.get_mut(&peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Row)> {
        self.rows.iter().map(|(peer, row)| (*peer, row))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = ConnId> {
        self.rows.keys().copied()
    }

    /// The places of all nodes with a session.
    pub(super) fn nodes(&self) -> Bits {
        let mut nodes = Bits::default();
        for row in self.rows.values() {
            nodes.insert(row.node);
        }
        nodes
    }

    /// The place of a node with which a session is up.
    pub(super) fn up_at(&self, id: &NodeId) -> Option<u32> {
        let place = *self.places.get(id)?;
        self.session_at(place).map(|_| place)
    }

    /// The node at a place.
    pub(super) fn id(&self, place: u32) -> Option<&NodeId> {
        Some(&self.met.get(place as usize)?.as_ref()?.0)
    }

    /// The session with the node at a place.
    pub(super) fn session_at(&self, place: u32) -> Option<ConnId> {
        self.met.get(place as usize)?.as_ref()?.1
    }

    /// The node of a session.
    pub(super) fn id_of(&self, peer: ConnId) -> Option<&NodeId> {
        self.id(self.rows.get(&peer)?.node)
    }

    /// A session is up: the place of its node.
    pub(super) fn up(&mut self, peer: ConnId, id: &NodeId, incarnation: Incarnation, patience: Duration) -> u32 {
        let place = self.place(id);
        self.met[place as usize] = Some((id.clone(), Some(peer)));
        let row = Row {
            node: place,
            incarnation,
            patience,
            claims_to: 0,
            withdrawn_to: 0,
            highest: 0,
            snapshot: Snapshot::Due,
            again: false,
            awaited: VecDeque::new(),
        };
        self.rows.insert(peer, row);
        place
    }

    fn place(&mut self, id: &NodeId) -> u32 {
        if let Some(place) = self.places.get(id) {
            return *place;
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.met.push(None);
            u32::try_from(self.met.len() - 1).expect("fewer nodes are met than 2^32")
        });
        self.places.insert(id.clone(), place);
        place
    }

    /// A session has ended: the place of its node, which stays that node's.
    pub(super) fn down(&mut self, peer: ConnId) -> Option<u32> {
        let node = self.rows.remove(&peer)?.node;
        if let Some(Some((_, session))) = self.met.get_mut(node as usize) {
            *session = None;
        }
        Some(node)
    }

    /// Forgets a node that is down.
    pub(super) fn forget(&mut self, place: u32) {
        if let Some((id, _)) = self.met.get_mut(place as usize).and_then(Option::take) {
            self.places.remove(&id);
            self.free.push(place);
        }
        if self.places.is_empty() {
            (self.met, self.free) = (Vec::new(), Vec::new());
        }
    }

    /// Whether too many nodes are remembered that are down.
    pub(super) fn is_full(&self) -> bool {
        self.places.len() > MET_MAX + 2 * self.rows.len()
    }

    /// Forgets the nodes that are down: their places.
    pub(super) fn forget_down(&mut self) -> BTreeSet<u32> {
        let mut forgotten = BTreeSet::new();
        for (place, met) in (0..).zip(&mut self.met) {
            if let Some((id, _)) = met.take_if(|(_, session)| session.is_none()) {
                self.places.remove(&id);
                self.free.push(place);
                forgotten.insert(place);
            }
        }
        forgotten
    }

    #[cfg(debug_assertions)]
    pub(super) fn audit(&self) {
        let up = self.met.iter().flatten().filter_map(|(_, session)| *session);
        assert!(up.collect::<BTreeSet<_>>().into_iter().eq(self.rows.keys().copied()), "nodes that are up");
        assert_eq!(self.places.len() + self.free.len(), self.met.len(), "places of nodes");
        for (id, place) in &self.places {
            assert_eq!(self.id(*place), Some(id), "the place of a node");
        }
    }
}

impl Row {
    /// It was told of a claim that waits for its acknowledgement.
    pub(super) fn awaits(&mut self, run: RunTime, number: u64) {
        self.awaited.push_back((run + self.patience, number));
    }

    /// When the first acknowledgement comes too late that has not come; `waits`: whether one has not.
    pub(super) fn overdue_at(&mut self, waits: impl Fn(u64) -> bool) -> Option<RunTime> {
        while self.awaited.front().is_some_and(|(_, number)| !waits(*number)) {
            self.awaited.pop_front();
        }
        if self.awaited.is_empty() {
            self.awaited = VecDeque::new();
        }
        self.awaited.front().map(|(at, _)| *at)
    }

    pub(super) fn awaited(&self) -> impl Iterator<Item = (RunTime, u64)> {
        self.awaited.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> NodeId {
        std::format!("n{number}@h:1").parse().expect("valid")
    }

    fn up(sessions: &mut Sessions, peer: u64, node: usize) -> u32 {
        sessions.up(ConnId(peer), &id(node), Incarnation([1; 16]), Duration::from_secs(10))
    }

    #[test]
    fn a_node_keeps_its_place_however_often_it_comes() {
        let mut sessions = Sessions::default();
        let (a, b) = (up(&mut sessions, 1, 1), up(&mut sessions, 2, 2));
        assert_ne!(a, b);
        assert_eq!((sessions.up_at(&id(1)), sessions.id(a), sessions.len()), (Some(a), Some(&id(1)), 2));
        assert_eq!(sessions.down(ConnId(1)), Some(a));
        assert_eq!((sessions.up_at(&id(1)), sessions.id(a)), (None, Some(&id(1))));
        assert_eq!(up(&mut sessions, 3, 1), a);
        assert_eq!(sessions.id_of(ConnId(3)), Some(&id(1)));
        assert_eq!(sessions.down(ConnId(1)), None, "that session has ended");
    }

    #[test]
    fn nodes_that_have_left_are_forgotten_once_they_are_too_many() {
        let mut sessions = Sessions::default();
        let stays = up(&mut sessions, 1, 0);
        for node in 1..MET_MAX + 2 {
            up(&mut sessions, 2, node);
            sessions.down(ConnId(2));
            assert!(!sessions.is_full());
        }
        up(&mut sessions, 2, MET_MAX + 2);
        sessions.down(ConnId(2));
        assert!(sessions.is_full());
        let forgotten = sessions.forget_down();
        assert_eq!(forgotten.len(), MET_MAX + 2);
        assert!(!forgotten.contains(&stays) && sessions.id(stays).is_some());
        let again = up(&mut sessions, 3, 5);
        assert!(forgotten.contains(&again), "its place is another node's");
    }

    #[test]
    fn the_first_acknowledgement_that_has_not_come_is_overdue_first() {
        let mut sessions = Sessions::default();
        up(&mut sessions, 1, 1);
        let session = sessions.get_mut(ConnId(1)).expect("up");
        let at = |seconds| RunTime::START + Duration::from_secs(seconds);
        session.awaits(at(1), 7);
        session.awaits(at(2), 8);
        assert_eq!(session.overdue_at(|_| true), Some(at(11)));
        assert_eq!(session.overdue_at(|number| number == 8), Some(at(12)));
        assert_eq!(session.overdue_at(|_| false), None);
    }
}
