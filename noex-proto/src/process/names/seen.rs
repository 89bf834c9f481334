//! The claims of other nodes that are in sight, and what each of those nodes is owed for them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::process::id::{ProcessName, ProtocolHash};
use crate::wire::names::{Claim, WITNESSES_MAX};
use crate::{ConnId, PeerFault};

/// The most claims of one node: a constant of the protocol.
pub(super) const CLAIMS_MAX: usize = 65_536;

/// What is in sight, by name and by node.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    claims: BTreeMap<(ProcessName, ConnId), Sight>,
    peers: BTreeMap<ConnId, Peer>,
    /// How many sessions have not given their snapshot's end.
    unsynced: usize,
}

/// A claim of another node.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) number: u64,
    pub(super) process: u64,
    pub(super) protocol: ProtocolHash,
    /// The witnesses, where it has settled.
    witnesses: u16,
    settled: bool,
    /// This node is a witness of it.
    pub(super) attested: bool,
    /// It was told that this claim lost to one of this node's.
    pub(super) reported: bool,
    /// The snapshot that has named it.
    snapshot: u32,
}

impl Sight {
    /// The witnesses, where it has settled.
    pub(super) fn settled(&self) -> Option<u32> {
        self.settled.then_some(self.witnesses.into())
    }
}

/// What one session has told, and what its node is owed.
#[derive(Clone, Debug, Default)]
struct Peer {
    names: BTreeMap<u64, ProcessName>,
    /// The greatest number told.
    highest: u64,
    /// By the number of the claim that it is owed for.
    owed: BTreeMap<u64, Owed>,
    /// How many of those are of claims that are not kept.
    full: usize,
    stage: Stage,
    /// Which snapshot this is, and how many claims it has named.
    snapshot: u32,
    named: usize,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Stage {
    #[default]
    Before,
    Open,
    Done,
}

/// What a node is owed for a claim of its own.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Owed {
    /// An acknowledgement.
    pub(super) ack: bool,
    /// The claim is not kept, which is to be said.
    pub(super) full: bool,
    /// What this node's own claim to the name has become.
    pub(super) tell: bool,
}

/// What a claim that came is to this node.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Came {
    /// It was not in sight.
    New,
    /// It has settled since, or has more witnesses.
    Changed,
    /// It is what it was, or older than what is in sight.
    Old,
    /// There is no room for it.
    NotKept,
}

impl Seen {
    pub(super) fn len(&self) -> usize {
        self.claims.len()
    }

    /// The claims to a name, by their sessions.
    pub(super) fn named(&self, name: &ProcessName) -> impl Iterator<Item = (ConnId, &Sight)> {
        let range = (name.clone(), ConnId(0))..=(name.clone(), ConnId(u64::MAX));
        self.claims.range(range).map(|((_, peer), sight)| (*peer, sight))
    }

    /// All claims, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&ProcessName, ConnId, &Sight)> {
        self.claims.iter().map(|((name, peer), sight)| (name, *peer, sight))
    }

    pub(super) fn get_mut(&mut self, name: &ProcessName, peer: ConnId) -> Option<&mut Sight> {
        self.claims.get_mut(&(name.clone(), peer))
    }

    /// The name that a claim of a session is to.
    pub(super) fn name(&self, peer: ConnId, number: u64) -> Option<&ProcessName> {
        self.peers.get(&peer)?.names.get(&number)
    }

    /// Whether every session has told all claims of its node.
    pub(super) const fn are_synced(&self) -> bool {
        self.unsynced == 0
    }

    // Sessions

    pub(super) fn up(&mut self, peer: ConnId) {
        self.peers.insert(peer, Peer::default());
        self.unsynced += 1;
    }

    /// A session has ended: the names that its node had claimed.
    pub(super) fn down(&mut self, peer: ConnId) -> Vec<ProcessName> {
        let Some(row) = self.peers.remove(&peer) else { return Vec::new() };
        self.unsynced -= usize::from(row.stage != Stage::Done);
        let names: Vec<ProcessName> = row.names.into_values().collect();
        for name in &names {
            self.claims.remove(&(name.clone(), peer));
        }
        names
    }

    // What they tell

    /// A snapshot begins.
    pub(super) fn begin(&mut self, peer: ConnId) -> Result<(), PeerFault> {
        let row = self.peers.get_mut(&peer).ok_or(PeerFault::UnexpectedMessage)?;
        self.unsynced += usize::from(row.stage == Stage::Done);
        row.stage = Stage::Open;
        row.snapshot += 1;
        row.named = 0;
        Ok(())
    }

    /// A snapshot ends. What it has not named is no more: these names.
    pub(super) fn end(&mut self, peer: ConnId) -> Result<Vec<ProcessName>, PeerFault> {
        let row = self.peers.get_mut(&peer).filter(|row| row.stage == Stage::Open).ok_or(PeerFault::UnexpectedMessage)?;
        row.stage = Stage::Done;
        self.unsynced -= 1;
        if row.named == row.names.len() {
            return Ok(Vec::new());
        }
        let (snapshot, claims) = (row.snapshot, &self.claims);
        let is_named = |name: &ProcessName| claims.get(&(name.clone(), peer)).is_some_and(|sight| sight.snapshot == snapshot);
        let gone: Vec<u64> = row.names.iter().filter(|(_, name)| !is_named(name)).map(|(number, _)| *number).collect();
        Ok(gone.into_iter().filter_map(|number| self.remove(peer, number)).collect())
    }

    /// A claim is told: what it is to this node, which keeps so many in all.
    pub(super) fn claim(&mut self, peer: ConnId, told: &Claim, limit: usize) -> Result<Came, PeerFault> {
        let row = self.peers.get_mut(&peer).filter(|row| row.stage != Stage::Before).ok_or(PeerFault::UnexpectedMessage)?;
        if row.names.get(&told.number).is_some_and(|name| *name != told.name) {
            return Err(PeerFault::NumberInUse);
        }
        row.highest = row.highest.max(told.number);
        let key = (told.name.clone(), peer);
        let before = self.claims.get_mut(&key);
        if let Some(sight) = before {
            if sight.number > told.number {
                return Ok(Came::Old);
            }
            if sight.number == told.number {
                row.named += usize::from(core::mem::replace(&mut sight.snapshot, row.snapshot) != row.snapshot);
                let settled = told.settled.max(sight.settled());
                let changed = settled != sight.settled();
                sight.set(settled);
                return Ok(if changed { Came::Changed } else { Came::Old });
            }
            // Another claim takes its place, and its room.
            let number = sight.number;
            row.named -= usize::from(sight.snapshot == row.snapshot);
            row.names.remove(&number);
            row.forget_owed(number);
            self.claims.remove(&key);
        }
        if self.claims.len() >= limit {
            if told.settled.is_none() {
                row.full += usize::from(!row.owed.contains_key(&told.number));
                row.owed.entry(told.number).or_default().full = true;
            }
            row.check()?;
            return Ok(Came::NotKept);
        }
        // It may have been one for which there was no room.
        row.forget_owed(told.number);
        row.named += 1;
        row.names.insert(told.number, told.name.clone());
        row.check()?;
        let mut sight = Sight {
            number: told.number,
            process: told.process,
            protocol: told.protocol,
            witnesses: 0,
            settled: false,
            attested: false,
            reported: false,
            snapshot: row.snapshot,
        };
        sight.set(told.settled);
        self.claims.insert(key, sight);
        Ok(Came::New)
    }

    /// A claim is no more: the name that it was to, if it was in sight.
    pub(super) fn withdrawn(&mut self, peer: ConnId, number: u64) -> Result<Option<ProcessName>, PeerFault> {
        let row = self.peers.get_mut(&peer).filter(|row| row.stage != Stage::Before).ok_or(PeerFault::UnexpectedMessage)?;
        if number > row.highest {
            return Err(PeerFault::NeverClaimed);
        }
        row.forget_owed(number);
        Ok(self.remove(peer, number))
    }

    fn remove(&mut self, peer: ConnId, number: u64) -> Option<ProcessName> {
        let row = self.peers.get_mut(&peer)?;
        let name = row.names.remove(&number)?;
        row.forget_owed(number);
        let sight = self.claims.remove(&(name.clone(), peer))?;
        row.named -= usize::from(sight.snapshot == row.snapshot);
        Some(name)
    }

    // What they are owed

    /// A node is owed something for its claim.
    pub(super) fn owe(&mut self, peer: ConnId, number: u64, owe: impl FnOnce(&mut Owed)) {
        if let Some(row) = self.peers.get_mut(&peer) {
            owe(row.owed.entry(number).or_default());
        }
    }

    /// Whether a node is owed anything.
    #[cfg(any(debug_assertions, test))]
    pub(super) fn owes(&self, peer: ConnId) -> bool {
        self.peers.get(&peer).is_some_and(|row| !row.owed.is_empty())
    }

    /// The next claim that a node is owed something for, and what.
    pub(super) fn next_owed(&self, peer: ConnId) -> Option<(u64, Owed)> {
        self.peers.get(&peer)?.owed.iter().next().map(|(number, owed)| (*number, *owed))
    }

    /// A node was given what it is owed for a claim.
    pub(super) fn settled_up(&mut self, peer: ConnId, number: u64) {
        if let Some(row) = self.peers.get_mut(&peer) {
            row.forget_owed(number);
        }
    }

    /// What a node is owed, by the numbers of its claims.
    pub(super) fn owed(&self, peer: ConnId) -> impl Iterator<Item = (u64, Owed)> {
        self.peers.get(&peer).into_iter().flat_map(|row| row.owed.iter().map(|(number, owed)| (*number, *owed)))
    }

    #[cfg(debug_assertions)]
    pub(super) fn audit(&self) {
        assert_eq!(self.peers.values().map(|row| row.names.len()).sum::<usize>(), self.claims.len(), "claims in sight");
        assert_eq!(self.peers.values().filter(|row| row.stage != Stage::Done).count(), self.unsynced, "open snapshots");
        for (peer, row) in &self.peers {
            let mut named = 0;
            for (number, name) in &row.names {
                let sight =
                    self.claims.get(&(name.clone(), *peer)).expect("a claim that is in sight by its number is by its name");
                assert_eq!(sight.number, *number, "the number of a claim in sight");
                named += usize::from(sight.snapshot == row.snapshot);
            }
            assert_eq!(row.named, named, "claims that a snapshot has named");
            assert!(row.full + named <= CLAIMS_MAX, "claims of a node");
            let full = row.owed.values().filter(|owed| owed.full).count();
            assert_eq!(row.full, full, "claims that are not kept");
            let is_known = |(number, owed): (&u64, &Owed)| owed.full != row.names.contains_key(number);
            assert!(row.owed.iter().all(is_known), "something is owed for nothing");
        }
    }
}

impl Sight {
    fn set(&mut self, settled: Option<u32>) {
        self.settled = settled.is_some();
        self.witnesses = u16::try_from(settled.unwrap_or_default()).expect("no more than may be counted");
    }
}

const _: () = assert!(WITNESSES_MAX <= u16::MAX as u32);

impl Peer {
    /// Whether it has claimed no more than it may. What a snapshot has not named may be no more.
    fn check(&self) -> Result<(), PeerFault> {
        if self.named + self.full > CLAIMS_MAX { Err(PeerFault::TooManyNames) } else { Ok(()) }
    }

    fn forget_owed(&mut self, number: u64) {
        if let Some(owed) = self.owed.remove(&number) {
            self.full -= usize::from(owed.full);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ConnId = ConnId(1);
    const B: ConnId = ConnId(2);

    fn name(text: &str) -> ProcessName {
        text.parse().expect("valid")
    }

    fn told(number: u64, text: &str, settled: Option<u32>) -> Claim {
        Claim { number, name: name(text), process: 7, protocol: ProtocolHash([0; 8]), settled }
    }

    /// Two sessions, each of which has told that its node has no names.
    fn seen() -> Seen {
        let mut seen = Seen::default();
        for peer in [A, B] {
            seen.up(peer);
            assert!(!seen.are_synced());
            seen.begin(peer).expect("it may begin");
            assert_eq!(seen.end(peer), Ok(Vec::new()));
        }
        assert!(seen.are_synced());
        seen
    }

    fn claim(seen: &mut Seen, peer: ConnId, told: &Claim) -> Result<Came, PeerFault> {
        let came = seen.claim(peer, told, 10);
        if came.is_ok() {
            seen.audit();
        }
        came
    }

    #[test]
    fn a_claim_is_in_sight_until_it_is_withdrawn_or_its_session_ends() {
        let mut seen = seen();
        assert_eq!(claim(&mut seen, A, &told(1, "x", None)), Ok(Came::New));
        assert_eq!(claim(&mut seen, B, &told(1, "x", None)), Ok(Came::New));
        assert_eq!(claim(&mut seen, A, &told(1, "x", None)), Ok(Came::Old));
        assert_eq!(claim(&mut seen, A, &told(1, "x", Some(2))), Ok(Came::Changed));
        assert_eq!(claim(&mut seen, A, &told(1, "x", Some(3))), Ok(Came::Changed));
        let settled: Vec<_> = seen.named(&name("x")).map(|(peer, sight)| (peer, sight.settled())).collect();
        assert_eq!(settled, [(A, Some(3)), (B, None)]);

        // The number of witnesses only grows, and what has settled does not unsettle.
        for old in [Some(1), None] {
            assert_eq!(claim(&mut seen, A, &told(1, "x", old)), Ok(Came::Old));
        }
        assert_eq!(seen.withdrawn(A, 1), Ok(Some(name("x"))));
        assert_eq!(seen.withdrawn(A, 1), Ok(None), "it is over");
        assert_eq!(seen.down(B), [name("x")]);
        assert!(seen.named(&name("x")).next().is_none() && seen.len() == 0);
    }

    #[test]
    fn a_later_claim_of_a_node_to_the_same_name_takes_the_place_of_the_earlier() {
        let mut seen = seen();
        claim(&mut seen, A, &told(1, "x", Some(2))).expect("new");
        seen.owe(A, 1, |owed| owed.ack = true);
        assert_eq!(claim(&mut seen, A, &told(3, "x", None)), Ok(Came::New));
        assert_eq!((seen.len(), seen.owes(A)), (1, false));
        assert_eq!(claim(&mut seen, A, &told(2, "x", None)), Ok(Came::Old));
        assert_eq!(seen.withdrawn(A, 1), Ok(None));
        assert!(seen.named(&name("x")).next().is_some());
    }

    #[test]
    fn what_a_snapshot_does_not_name_is_gone_at_its_end() {
        let mut seen = seen();
        for (number, text) in [(1, "x"), (2, "y"), (3, "z")] {
            claim(&mut seen, A, &told(number, text, Some(0))).expect("new");
        }
        claim(&mut seen, B, &told(1, "y", Some(0))).expect("new");
        seen.begin(A).expect("it may begin again");
        assert!(!seen.are_synced());
        assert_eq!(claim(&mut seen, A, &told(2, "y", Some(0))), Ok(Came::Old));
        assert_eq!(claim(&mut seen, A, &told(4, "w", Some(0))), Ok(Came::New));
        assert_eq!(seen.len(), 5, "until its end");
        assert_eq!(seen.end(A), Ok([name("x"), name("z")].to_vec()));
        seen.audit();
        let names: Vec<_> = seen.iter().map(|(name, peer, _)| (name.as_str(), peer)).collect();
        assert_eq!(names, [("w", A), ("y", A), ("y", B)]);
    }

    #[test]
    fn a_snapshot_that_begins_within_another_takes_its_place() {
        let mut seen = seen();
        claim(&mut seen, A, &told(1, "x", Some(0))).expect("new");
        seen.begin(A).expect("it may begin again");
        claim(&mut seen, A, &told(1, "x", Some(0))).expect("named");
        seen.begin(A).expect("and again");
        assert_eq!(seen.end(A), Ok([name("x")].to_vec()));
    }

    #[test]
    fn what_no_honest_node_says_is_a_fault() {
        let mut seen = seen();
        claim(&mut seen, A, &told(1, "x", None)).expect("new");
        assert_eq!(claim(&mut seen, A, &told(1, "y", None)), Err(PeerFault::NumberInUse));
        assert_eq!(seen.withdrawn(A, 2), Err(PeerFault::NeverClaimed));
        assert_eq!(seen.withdrawn(B, 1), Err(PeerFault::NeverClaimed), "it is another node's");
        assert_eq!(seen.end(A), Err(PeerFault::UnexpectedMessage), "no snapshot is open");

        // Before its first snapshot a session says nothing else.
        seen.up(ConnId(3));
        assert_eq!(claim(&mut seen, ConnId(3), &told(1, "x", None)), Err(PeerFault::UnexpectedMessage));
        assert_eq!(seen.withdrawn(ConnId(3), 0), Err(PeerFault::UnexpectedMessage));
        assert_eq!(seen.end(ConnId(3)), Err(PeerFault::UnexpectedMessage));
    }

    #[test]
    fn over_the_limit_a_claim_is_not_kept_and_one_that_has_not_settled_is_answered() {
        let mut seen = seen();
        for number in 1..=10 {
            claim(&mut seen, A, &told(number, &std::format!("n{number}"), None)).expect("there is room");
        }
        assert_eq!(claim(&mut seen, B, &told(1, "x", Some(0))), Ok(Came::NotKept));
        assert!(!seen.owes(B));
        assert_eq!(claim(&mut seen, B, &told(2, "y", None)), Ok(Came::NotKept));
        assert_eq!(seen.next_owed(B), Some((2, Owed { full: true, ..Owed::default() })));
        // A claim in the place of another finds room.
        assert_eq!(claim(&mut seen, A, &told(11, "n1", None)), Ok(Came::New));
        // Once there is room, the same claim finds it.
        assert_eq!(seen.withdrawn(A, 5), Ok(Some(name("n5"))));
        assert_eq!(claim(&mut seen, B, &told(2, "y", None)), Ok(Came::New));
        assert!(!seen.owes(B));
    }

    #[test]
    fn more_claims_than_a_node_may_have_are_a_fault() {
        let mut seen = seen();
        let mut tell = |number: u64, text: &str| seen.claim(A, &told(number, text, None), 2 * CLAIMS_MAX);
        for number in 1..=CLAIMS_MAX as u64 {
            tell(number, &std::format!("n{number}")).expect("it may have them");
        }
        let next = CLAIMS_MAX as u64 + 1;
        assert_eq!(tell(next, "n1"), Ok(Came::New), "it takes the place of another");
        assert_eq!(tell(next + 1, "x"), Err(PeerFault::TooManyNames));

        // Within a snapshot only what it names counts.
        let mut again = self::seen();
        for number in 1..=CLAIMS_MAX as u64 {
            again.claim(A, &told(number, &std::format!("n{number}"), None), usize::MAX).expect("it may have them");
        }
        again.begin(A).expect("it may begin");
        for number in next..next + CLAIMS_MAX as u64 {
            again.claim(A, &told(number, &std::format!("n{number}"), None), usize::MAX).expect("the others may be gone");
        }
        assert_eq!(again.claim(A, &told(next * 3, "x", None), usize::MAX), Err(PeerFault::TooManyNames));

        // What is not kept counts as long as its answer waits.
        let mut full = self::seen();
        for number in 1..=CLAIMS_MAX as u64 {
            full.claim(A, &told(number, &std::format!("n{number}"), None), 0).expect("it may have them");
        }
        assert_eq!(full.claim(A, &told(next, "x", None), 0), Err(PeerFault::TooManyNames));
    }
}
