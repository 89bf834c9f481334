//! What is told on its way to the wire: withdrawals, then claims that the peer has to know before an acknowledgement, then those, then what
//! else has changed.

use super::Names;
use super::rank::Rank;
use super::seen::Owed;
use super::sessions::{Row, Snapshot};
use crate::ConnId;
use crate::process::id::ProcessId;
use crate::time::RunTime;
use crate::wire::message::kind;
use crate::wire::names::{ACK_MAX, Ack, CLAIM_MAX, Claim, HEAD_MAX, List, Word, encode_acks, encode_names};
use crate::wire::record::{MESSAGE_HEAD, RecordBuilder};

/// The most of one record that is filled at a time.
const PART: usize = 32 * 1024;
/// The longest withdrawal.
const WITHDRAWN_LEN: usize = 9;

/// What goes into one record: a message before the acknowledgements, those, and one behind them.
#[derive(Debug, Default)]
struct Telling {
    withdrawn: List,
    early: List,
    acks: List,
    claims: List,
    begins: bool,
    ends: bool,
}

impl Telling {
    fn len(&self) -> usize {
        let lists = [&self.withdrawn, &self.early, &self.acks, &self.claims];
        3 * (MESSAGE_HEAD + HEAD_MAX) + lists.iter().map(|list| list.len()).sum::<usize>()
    }

    fn write(self, record: &mut RecordBuilder) {
        let Self { withdrawn, mut early, acks, mut claims, begins, ends } = self;
        if acks.is_empty() {
            early.append(&core::mem::take(&mut claims));
        }
        // Without acknowledgements there is one message.
        let ends_early = ends && acks.is_empty();
        if begins || ends_early || !withdrawn.is_empty() || !early.is_empty() {
            record.push(kind::NAMES, |body| encode_names(body, begins, ends_early, &withdrawn, &early));
        }
        if !acks.is_empty() {
            record.push(kind::NAMES_ACK, |body| encode_acks(body, &acks));
            if ends || !claims.is_empty() {
                record.push(kind::NAMES, |body| encode_names(body, false, ends, &List::default(), &claims));
            }
        }
    }
}

impl Names {
    /// Whether there is something that a session was not told.
    #[cfg(any(debug_assertions, test))]
    pub(super) fn has_news(&self, peer: ConnId) -> bool {
        let Some(session) = self.sessions.get(peer) else { return false };
        session.snapshot != Snapshot::Done
            || self.own.stamp() > session.withdrawn_to && self.own.next_withdrawn(session.withdrawn_to).is_some()
            || self.own.next_change(session.claims_to).is_some()
            || self.seen.owes(peer)
    }

    /// Whether a session has been told of claims that are no more, and does not know that they are.
    pub(in crate::process) fn owes_withdrawals(&self, peer: ConnId) -> bool {
        let Some(session) = self.sessions.get(peer) else { return false };
        match session.snapshot {
            Snapshot::Due => session.again,
            Snapshot::Open if session.again => true,
            Snapshot::Open | Snapshot::Done => {
                !self.own.remembers(session.withdrawn_to) || self.own.next_withdrawn(session.withdrawn_to).is_some()
            }
        }
    }

    /// Adds what a session was not told to a record, as much as fits. Whether that is anything.
    pub(in crate::process) fn fill_record(&mut self, peer: ConnId, run: RunTime, record: &mut RecordBuilder) -> bool {
        if !self.waits(peer) {
            return false;
        }
        let room = record.room().unwrap_or(0).min(PART);
        let mut telling = Telling::default();
        let is_done = self.fill(peer, run, room, &mut telling).is_some();
        if is_done {
            self.pending.remove(&peer);
            if self.pending.is_empty() {
                self.own.forget_withdrawn();
            }
        }
        let before = record.len();
        telling.write(record);
        record.len() > before
    }

    /// Collects what a session was not told. None where some of it has no room.
    fn fill(&mut self, peer: ConnId, run: RunTime, room: usize, telling: &mut Telling) -> Option<()> {
        let Self { own, sessions, .. } = self;
        let session = sessions.get_mut(peer)?;
        if telling.len() + CLAIM_MAX + ACK_MAX > room {
            return None;
        }
        if session.snapshot != Snapshot::Due && !own.remembers(session.withdrawn_to) {
            // Too much was withdrawn meanwhile: it hears anew what there is.
            (session.snapshot, session.again, session.claims_to) = (Snapshot::Due, true, 0);
            own.untold(session.node);
        }
        if session.snapshot == Snapshot::Due {
            telling.begins = true;
            session.snapshot = Snapshot::Open;
            session.withdrawn_to = own.stamp();
        }
        while let Some((stamp, number)) = own.next_withdrawn(session.withdrawn_to) {
            if telling.len() + WITHDRAWN_LEN > room {
                return None;
            }
            session.withdrawn_to = stamp;
            if number <= session.highest {
                telling.withdrawn.withdrawn(number);
            }
        }
        session.withdrawn_to = own.stamp();
        while let Some((number, owed)) = self.seen.next_owed(peer) {
            if telling.len() + CLAIM_MAX + ACK_MAX > room {
                return None;
            }
            self.settle_up(peer, run, number, owed, telling);
        }
        let Self { own, sessions, rewaited, .. } = self;
        let session = sessions.get_mut(peer)?;
        while let Some((stamp, number)) = own.next_change(session.claims_to) {
            if telling.len() + CLAIM_MAX > room {
                return None;
            }
            session.claims_to = stamp;
            let Some(claim) = own.get_mut(number).filter(|claim| !claim.is_told(session.node)) else { continue };
            if tell(claim, number, session, run, &mut telling.claims) {
                rewaited.insert(peer);
            }
        }
        if session.snapshot == Snapshot::Open {
            telling.ends = true;
            (session.snapshot, session.again) = (Snapshot::Done, false);
        }
        Some(())
    }

    /// A node gets what it is owed for its claim. First it is told of this node's own claim to that name.
    fn settle_up(&mut self, peer: ConnId, run: RunTime, number: u64, owed: Owed, telling: &mut Telling) {
        self.seen.settled_up(peer, number);
        if owed.full {
            return telling.acks.ack(&Ack { number, word: Word::Full });
        }
        let Some(name) = self.seen.name(peer, number).cloned() else { return };
        let own = self.own.named(&name).map(|(number, _)| number);
        if let (Some(own), Some(session)) = (own, self.sessions.get_mut(peer))
            && let Some(claim) = self.own.get_mut(own).filter(|claim| !claim.is_told(session.node))
            && tell(claim, own, session, run, &mut telling.early)
        {
            self.rewaited.insert(peer);
        }
        if owed.ack
            && let Some(word) = self.word(peer, &name, own.is_some())
            && let Some(sight) = self.seen.get_mut(&name, peer)
        {
            sight.attested |= word == Word::Clean;
            telling.acks.ack(&Ack { number, word });
        }
    }

    /// Nobody is told again what a claim of this node has become.
    #[cfg(test)]
    pub(super) fn forget_tells(&mut self) {
        for peer in self.sessions.keys().collect::<alloc::vec::Vec<_>>() {
            for (number, owed) in self.seen.owed(peer).filter(|(_, owed)| owed.tell).collect::<alloc::vec::Vec<_>>() {
                self.seen.settled_up(peer, number);
                if owed.ack {
                    self.seen.owe(peer, number, |owed| owed.ack = true);
                }
            }
        }
    }

    /// What a node says of another one's claim. None where it is not asked for: of one that has settled it says nothing but that it is a witness.
    fn word(&self, peer: ConnId, name: &crate::process::id::ProcessName, has_own: bool) -> Option<Word> {
        let (_, sight) = self.seen.named(name).find(|(other, _)| *other == peer)?;
        let best = self.best_seen(name, Some(peer));
        if sight.settled().is_some() {
            return (best.is_none() && !has_own && !sight.attested).then_some(Word::Clean);
        }
        let rank = Rank { settled: sight.settled(), node: self.sessions.id_of(peer)? };
        let better = best.filter(|(other, ..)| *other < rank).and_then(|(other, third, process)| {
            let by: ProcessId = self.process(third, process)?;
            Some(Word::Better { by, settled: other.settled.is_some() })
        });
        Some(better.unwrap_or(Word::Clean))
    }
}

/// Tells a claim. Whether its acknowledgement is waited for from here on.
fn tell(claim: &mut super::own::Claim, number: u64, session: &mut Row, run: RunTime, list: &mut List) -> bool {
    let is_first = claim.tell(session.node);
    session.highest = session.highest.max(number);
    let super::own::Claim { name, process, protocol, .. } = claim;
    list.claim(&Claim { number, name: name.clone(), process: *process, protocol: *protocol, settled: claim.settled() });
    let awaits = is_first && claim.waits_for(session.node);
    if awaits {
        session.awaits(run, number);
    }
    awaits
}
