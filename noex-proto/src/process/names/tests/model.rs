//! Every order of events of one name, explored with the code of the machine itself.
//!
//! It is the space of a model that was written down first: some nodes claim, exit and stand by; sessions are reset and nodes restart, of
//! which both ends learn at different times; whatever is on its way arrives in order, at any time. In every state: no two settled claims
//! whose nodes have been connected without a break since the later one began; nobody is refused for a claim that its own unbroken
//! session says is gone. With nothing on its way and all sessions up: no claim that has not settled; one holder at most, which every
//! node sees; with somebody who stands by, one holder.
//!
//! What a node is to be told leaves it at once; in `Lazy` spaces, at any time, so that changes overtake each other.

mod spaces;

use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::format;
use std::string::String;
use std::vec;

use super::*;
use crate::process::names::claims::Claiming;
use crate::process::names::own::Asked;
use crate::wire::names::Word;

/// What may happen, and how often.
#[derive(Clone, Copy, Debug)]
struct Space {
    nodes: usize,
    claims: u8,
    resets: u8,
    exits: u8,
    restarts: u8,
    /// These stand by for the name.
    standby: &'static [usize],
    /// These two are never connected.
    cut: Option<(usize, usize)>,
    /// What is to be told leaves a node at any time, and not at once.
    is_lazy: bool,
    defect: Option<Defect>,
}

/// What is done to the code, so that it breaks a rule.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Defect {
    /// Nobody is waited for.
    NoAck,
    /// An up tells nothing of what was claimed before.
    NoSnapshot,
    /// An acknowledgement overtakes what its sender claimed before.
    LateClaim,
    /// Each node prefers its own claim.
    TwoRules,
    /// A third node's word counts though there is a session with the other claimant.
    AnyWord,
    /// One that stands by tries again only when what it sees changes.
    NoTimer,
    /// A grown number of witnesses is not told again.
    NeverAgain,
}

const NONE: Space =
    Space { nodes: 2, claims: 0, resets: 0, exits: 0, restarts: 0, standby: &[], cut: None, is_lazy: false, defect: None };

#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum End {
    Up,
    /// It was reset, of which this end does not know yet.
    Lost,
    Down,
}

#[derive(Clone, Debug)]
struct Node {
    names: Names,
    /// How often it has started.
    starts: u8,
    /// The numbers of its claims, in their order.
    numbers: Vec<u64>,
    /// To whom there was no session at some time since its claim began.
    broken: BTreeSet<usize>,
    /// What each node was told of its settled claim.
    told: BTreeMap<usize, u32>,
    sessions: BTreeMap<usize, ConnId>,
    last: u64,
}

#[derive(Clone, Debug)]
struct State {
    space: Space,
    nodes: Vec<Node>,
    ends: BTreeMap<(usize, usize), End>,
    queues: BTreeMap<(usize, usize), VecDeque<Said>>,
    claims: u8,
    resets: u8,
    exits: u8,
    restarts: u8,
}

#[derive(Clone, Debug)]
enum Act {
    Deliver(usize, usize),
    LearnDown(usize, usize),
    Reset(usize, usize),
    ComeUp(usize, usize, bool),
    Claim(usize),
    Try(usize),
    Exit(usize),
    Restart(usize),
    Release(usize, usize),
}

type Judged = Result<(), String>;

const P: ProtocolHash = ProtocolHash([0; 8]);
const NOW: Instant = Instant::from_millis(1_000_000);

fn name() -> ProcessName {
    "x".parse().expect("valid")
}

fn asked() -> Asked {
    Asked { name: name(), process: 1, protocol: P, options: ClaimOptions::default() }
}

fn with<T>(names: &mut Names, now: Instant, work: impl FnOnce(&mut Names, &mut Step<'_>) -> T) -> T {
    let (limits, mut counters) = (Limits::default(), Counters::default());
    let done = work(names, &mut Step { now, limits: &limits, counters: &mut counters });
    names.take_effects();
    done
}

impl State {
    fn new(space: Space) -> Self {
        let Space { nodes, claims, resets, exits, restarts, .. } = space;
        let node = |number| Node {
            names: started(number, false),
            starts: 0,
            numbers: vec![],
            broken: BTreeSet::new(),
            told: BTreeMap::new(),
            sessions: BTreeMap::new(),
            last: 0,
        };
        let mut state = Self {
            space,
            nodes: (0..nodes).map(node).collect(),
            ends: BTreeMap::new(),
            queues: BTreeMap::new(),
            claims,
            resets,
            exits,
            restarts,
        };
        for i in 0..nodes {
            for j in (0..nodes).filter(|j| *j != i) {
                state.ends.insert((i, j), End::Down);
                state.queues.insert((i, j), VecDeque::new());
            }
        }
        for (i, j) in state.pairs() {
            if space.cut != Some((i, j)) {
                state.come_up(i, j, true);
                state.come_up(j, i, true);
            }
        }
        for i in space.standby {
            state.stand_by(*i);
        }
        state
    }

    fn pairs(&self) -> Vec<(usize, usize)> {
        (0..self.space.nodes).flat_map(|i| (i + 1..self.space.nodes).map(move |j| (i, j))).collect()
    }

    fn end(&self, i: usize, j: usize) -> End {
        self.ends[&(i, j)]
    }

    fn queue(&mut self, i: usize, j: usize) -> &mut VecDeque<Said> {
        self.queues.get_mut(&(i, j)).expect("a pair")
    }

    /// The claim of a node, with its number among all of its own.
    fn own(&self, i: usize) -> Option<(usize, &super::super::own::Claim)> {
        let (number, claim) = self.nodes[i].names.own.named(&name())?;
        Some((self.ordinal(i, number), claim))
    }

    fn ordinal(&self, i: usize, number: u64) -> usize {
        self.nodes[i].numbers.iter().position(|other| *other == number).expect("it was noted") + 1
    }

    /// The node of a place among those that another one has met.
    fn node_at(&self, i: usize, place: u32) -> Option<usize> {
        let id = self.nodes[i].names.sessions.id(place)?;
        (0..self.space.nodes).find(|node| super::id(*node) == *id)
    }

    fn nodes_at(&self, i: usize, places: impl Iterator<Item = u32>) -> BTreeSet<usize> {
        places.filter_map(|place| self.node_at(i, place)).collect()
    }

    /// The nodes whose claims a node sees: number, witnesses where it has settled, and whether it is a witness.
    fn seen(&self, i: usize) -> BTreeMap<usize, (usize, Option<u32>, bool)> {
        let names = &self.nodes[i].names;
        let sights = names.seen.iter().filter_map(|(_, peer, sight)| {
            let j = self.nodes[i].sessions.iter().find(|(_, conn)| **conn == peer).map(|(j, _)| *j)?;
            Some((j, (self.ordinal(j, sight.number), sight.settled(), sight.attested)))
        });
        sights.collect()
    }

    /// Whether a node stands by: whether it may try, or claims.
    fn stands(&self, i: usize) -> Option<(bool, bool)> {
        let names = &self.nodes[i].names;
        let standby = names.standbys.get(&name())?;
        Some((names.timers.get(&Due::Try(standby.caller)).is_some(), standby.claim().is_some()))
    }

    fn stand_by(&mut self, i: usize) {
        let names = &mut self.nodes[i].names;
        let caller = ClaimId(names.own.next_number());
        names.standbys.add(caller, asked());
        names.set(Due::Try(caller), NOW);
    }

    // Steps

    fn act(&mut self, act: &Act) -> Judged {
        match *act {
            Act::Deliver(i, j) => self.deliver(i, j)?,
            Act::LearnDown(i, j) => self.learn_down(i, j),
            Act::Reset(i, j) => self.reset(i, j),
            Act::ComeUp(i, j, waited) => self.come_up(i, j, waited),
            Act::Claim(i) => {
                self.claims -= 1;
                let claiming = Claiming {
                    name: name(),
                    process: 1,
                    protocol: P,
                    options: ClaimOptions::default(),
                    when_free: false,
                    lost: 0,
                };
                let _refused = with(&mut self.nodes[i].names, NOW, |names, step| names.claim(step, claiming));
                self.began(i);
            }
            Act::Try(i) => {
                let caller = self.nodes[i].names.standbys.get(&name()).expect("it stands by").caller;
                with(&mut self.nodes[i].names, NOW, |names, step| names.try_standby(step, caller));
                self.began(i);
            }
            Act::Exit(i) => {
                self.exits -= 1;
                let number = self.nodes[i].names.own.named(&name()).expect("it has a claim").0;
                with(&mut self.nodes[i].names, NOW, |names, step| {
                    // One that stands by goes on.
                    names.fail(step, number, ClaimError::Released);
                });
            }
            Act::Restart(i) => self.restart(i),
            Act::Release(i, j) => self.release(i, j),
        }
        if !self.space.is_lazy {
            for i in 0..self.space.nodes {
                for j in (0..self.space.nodes).filter(|j| *j != i) {
                    self.release(i, j);
                }
            }
        }
        self.note();
        #[cfg(debug_assertions)]
        if self.space.defect.is_none() {
            self.nodes.iter().for_each(|node| node.names.audit());
        }
        Ok(())
    }

    /// A claim may have begun.
    fn began(&mut self, i: usize) {
        let Some((number, _)) = self.nodes[i].names.own.named(&name()) else { return };
        if !self.nodes[i].numbers.contains(&number) {
            self.nodes[i].numbers.push(number);
            self.nodes[i].broken.clear();
            self.nodes[i].told.clear();
            if self.space.defect == Some(Defect::NoAck) {
                let names = &mut self.nodes[i].names;
                names.own.get_mut(number).expect("it began").waits_for_nobody();
                with(names, NOW, |names, step| names.settle(step, number));
            }
        }
    }

    /// Notes which claims were told everywhere, and to whom there was none for a while.
    fn note(&mut self) {
        for (i, j) in self.pairs() {
            if (self.end(i, j), self.end(j, i)) != (End::Up, End::Up) {
                for (a, b) in [(i, j), (j, i)] {
                    if self.nodes[a].names.own.named(&name()).is_some() {
                        self.nodes[a].broken.insert(b);
                    }
                }
            }
        }
        for i in 0..self.space.nodes {
            if self.nodes[i].names.own.named(&name()).is_none() {
                self.nodes[i].broken.clear();
                self.nodes[i].told.clear();
            }
        }
    }

    /// What a node is to be told leaves.
    fn release(&mut self, i: usize, j: usize) {
        let node = &mut self.nodes[i];
        let Some(peer) = node.sessions.get(&j).copied() else { return };
        while node.names.waits(peer) {
            let mut record = RecordBuilder::with_capacity(1024);
            node.names.fill_record(peer, RunTime::START, &mut record);
            let mut items = said(record);
            items.retain(|said| !matches!(said, Said::Told(Told::Begin | Told::End)));
            // Each session hears that it was told everything as soon as it is up.
            let is_claim = |said: &Said| matches!(said, Said::Told(Told::Claim(claim)) if claim.settled.is_some());
            for item in items.iter().filter(|item| is_claim(item)) {
                let Said::Told(Told::Claim(claim)) = item else { continue };
                node.told.insert(j, claim.settled.unwrap_or_default());
            }
            if self.ends[&(i, j)] != End::Up {
                continue;
            }
            let queue = self.queues.get_mut(&(i, j)).expect("a pair");
            if self.space.defect == Some(Defect::LateClaim) {
                let (acks, others): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| matches!(item, Said::Ack(_)));
                acks.into_iter().rev().for_each(|ack| queue.push_front(ack));
                queue.extend(others);
            } else {
                queue.extend(items);
            }
        }
    }

    fn deliver(&mut self, i: usize, j: usize) -> Judged {
        let said = self.queue(i, j).pop_front().expect("something is on its way");
        let peer = self.nodes[j].sessions[&i];
        let (defect, both_up) =
            (self.space.defect, |a, b, state: &Self| (state.end(a, b), state.end(b, a)) == (End::Up, End::Up));
        if let Said::Ack(ack) = &said
            && let Word::Better { by, .. } = &ack.word
        {
            // It is refused for a claim that is gone, and of which its own session says so.
            let third = (0..self.space.nodes).find(|node| id(*node) == *by.node()).expect("a node");
            let is_current =
                self.nodes[j].names.own.named(&name()).is_some_and(|(number, own)| number == ack.number && !own.is_settled());
            let is_gone = self.own(third).is_none() && !self.seen(j).contains_key(&third);
            let is_heeded = defect == Some(Defect::AnyWord) || !self.nodes[j].sessions.contains_key(&third);
            if is_current && is_gone && is_heeded && both_up(j, third, self) {
                return Err(format!("{j} is refused for a claim of {third} that it knows to be gone"));
            }
        }
        let names = &mut self.nodes[j].names;
        let done = with(names, NOW, |names, step| match said {
            Said::Told(told) => {
                let own = match (&told, defect) {
                    // It never meets one of its own.
                    (Told::Claim(_), Some(Defect::TwoRules)) => Some(core::mem::take(&mut names.own)),
                    _ => None,
                };
                let done = names.take(step, peer, told);
                if let Some(own) = own {
                    names.own = own;
                }
                if defect == Some(Defect::NeverAgain) {
                    names.forget_tells();
                }
                done
            }
            Said::Ack(mut ack) => {
                if let (Word::Better { by, .. }, Some(Defect::AnyWord)) = (&mut ack.word, defect) {
                    *by = ProcessId::new("nobody@h:1".parse().expect("valid"), Incarnation([0; 16]), 1);
                }
                let done = names.ack_arrived(step, peer, ack);
                if defect == Some(Defect::NeverAgain) {
                    names.forget_tells();
                }
                done
            }
        });
        self.forget_timer(j);
        done.map_err(|fault| format!("a fault of an honest node: {fault}"))
    }

    fn forget_timer(&mut self, i: usize) {
        let names = &mut self.nodes[i].names;
        if self.space.defect == Some(Defect::NoTimer)
            && let Some(standby) = names.standbys.get(&name())
            && standby.claim().is_none()
            && names.own.last() > 1
        {
            let caller = standby.caller;
            names.cancel(Due::Try(caller));
        }
    }

    fn learn_down(&mut self, i: usize, j: usize) {
        self.ends.insert((i, j), End::Down);
        self.queue(j, i).clear();
        let peer = self.nodes[i].sessions.remove(&j).expect("it was up");
        with(&mut self.nodes[i].names, NOW, |names, step| names.down(step, peer));
        self.forget_timer(i);
    }

    fn reset(&mut self, i: usize, j: usize) {
        self.resets -= 1;
        let half = self.end(j, i) == End::Down;
        self.ends.insert((i, j), End::Lost);
        if half {
            self.queue(i, j).clear();
        } else {
            self.ends.insert((j, i), End::Lost);
        }
    }

    fn come_up(&mut self, i: usize, j: usize, waited: bool) {
        self.ends.insert((i, j), End::Up);
        let starts = self.nodes[j].starts;
        let node = &mut self.nodes[i];
        node.last += 1;
        let peer = ConnId(node.last);
        node.sessions.insert(j, peer);
        let (id, silence) = (id(j), Duration::from_secs(10));
        // A newcomer is waited for only if it comes soon enough.
        let now = if waited { NOW } else { NOW + Duration::from_secs(60) };
        with(&mut node.names, now, |names, step| {
            names.up(step, &Newcomer { peer, id: &id, incarnation: Incarnation([starts; 16]), capable: true, silence });
            names.take(step, peer, Told::Begin).expect("it may begin");
            names.take(step, peer, Told::End).expect("it may end");
        });
        if self.space.defect == Some(Defect::NoSnapshot) {
            let mut record = RecordBuilder::with_capacity(1024);
            node.names.fill_record(peer, RunTime::START, &mut record);
        }
    }

    fn restart(&mut self, i: usize) {
        self.restarts -= 1;
        let node = &mut self.nodes[i];
        node.starts += 1;
        node.sessions.clear();
        start(&mut node.names, i, node.starts, false, NOW);
        if self.space.standby.contains(&i) {
            self.stand_by(i);
        }
        for j in (0..self.space.nodes).filter(|j| *j != i) {
            self.queue(j, i).clear();
            self.ends.insert((i, j), End::Down);
            match self.end(j, i) {
                End::Up => drop(self.ends.insert((j, i), End::Lost)),
                End::Down => self.queue(i, j).clear(),
                End::Lost => {}
            }
        }
    }

    fn steps(&self) -> Vec<Act> {
        let mut acts = vec![];
        for (i, j) in self.pairs() {
            for (a, b) in [(i, j), (j, i)] {
                // What was on its way when a session was lost may still arrive, until its end learns of it.
                if !self.queues[&(a, b)].is_empty() && self.end(b, a) != End::Down {
                    acts.push(Act::Deliver(a, b));
                }
                if self.end(a, b) == End::Lost {
                    acts.push(Act::LearnDown(a, b));
                }
                if self.space.is_lazy && self.nodes[a].sessions.get(&b).is_some_and(|peer| self.nodes[a].names.waits(*peer)) {
                    acts.push(Act::Release(a, b));
                }
            }
            let (first, second) = (self.end(i, j), self.end(j, i));
            if first == End::Up && self.resets > 0 && second != End::Lost {
                acts.push(Act::Reset(i, j));
            }
            // The lesser comes up first.
            if self.space.cut != Some((i, j)) && second == End::Down && first != End::Lost {
                let (a, b) = if first == End::Down { (i, j) } else { (j, i) };
                acts.extend([Act::ComeUp(a, b, true), Act::ComeUp(a, b, false)]);
            }
        }
        for i in 0..self.space.nodes {
            let own = self.own(i);
            if self.claims > 0 && own.is_none() && !self.space.standby.contains(&i) {
                acts.push(Act::Claim(i));
            }
            // One that stands by tries again and again; after three times it counts as one that will.
            if self.stands(i).is_some_and(|(ready, _)| ready) && self.nodes[i].numbers.len() < 3 {
                acts.push(Act::Try(i));
            }
            if own.is_some() && self.exits > 0 {
                acts.push(Act::Exit(i));
            }
            if self.restarts > 0 {
                acts.push(Act::Restart(i));
            }
        }
        acts
    }

    // What must hold

    fn check(&self) -> Judged {
        let all = 0..self.space.nodes;
        let holders: Vec<usize> = all.clone().filter(|i| self.own(*i).is_some_and(|(_, own)| own.is_settled())).collect();
        for a in &holders {
            for b in holders.iter().filter(|b| a < b) {
                if !self.nodes[*a].broken.contains(b) && !self.nodes[*b].broken.contains(a) {
                    return Err(format!("two holders, {a} and {b}, with an unbroken session"));
                }
            }
        }
        let is_whole = self
            .pairs()
            .iter()
            .all(|(i, j)| self.space.cut == Some((*i, *j)) || (self.end(*i, *j), self.end(*j, *i)) == (End::Up, End::Up));
        let waits = |i: usize| self.nodes[i].sessions.values().any(|peer| self.nodes[i].names.waits(*peer));
        let is_ready = |i: usize| self.stands(i).is_some_and(|(ready, _)| ready);
        if !is_whole || self.queues.values().any(|queue| !queue.is_empty()) || all.clone().any(|i| waits(i) || is_ready(i)) {
            return Ok(());
        }
        if all.clone().any(|i| self.own(i).is_some_and(|(_, own)| !own.is_settled())) {
            return Err("a claim waits for ever".into());
        }
        if holders.is_empty() && !self.space.standby.is_empty() {
            return Err("nobody holds the name, though some stand by".into());
        }
        if self.space.cut.is_some() {
            return Ok(());
        }
        if holders.len() > 1 {
            return Err(format!("{} holders at rest", holders.len()));
        }
        for i in all {
            let seen: BTreeMap<usize, usize> = self.seen(i).into_iter().map(|(j, (number, ..))| (j, number)).collect();
            let held = holders.iter().filter(|h| **h != i).filter_map(|h| Some((*h, self.own(*h)?.0)));
            if seen != held.collect() {
                return Err(format!("node {i} sees {seen:?}, and {holders:?} hold it"));
            }
        }
        Ok(())
    }

    /// What tells states apart: what the model has, and in a lazy space what was not told.
    fn key(&self) -> Box<str> {
        use core::fmt::Write as _;
        let mut key = format!("{} {} {} {}", self.claims, self.resets, self.exits, self.restarts);
        for (i, node) in self.nodes.iter().enumerate() {
            let own = self.own(i).map(|(number, own)| {
                let sets = [own.waits(), own.witnesses()].map(|bits| self.nodes_at(i, bits.iter()));
                let blamed = self.nodes_at(i, own.blamed().keys().copied());
                (number, own.is_settled(), sets, blamed, &node.broken, &node.told)
            });
            let _ok = write!(key, "{}{own:?}{:?}{:?}", node.numbers.len(), self.seen(i), self.stands(i));
            let sessions = node.sessions.iter().filter(|_| self.space.is_lazy);
            for (j, peer) in sessions {
                let session = node.names.sessions.get(*peer).expect("it is up");
                let told = node.names.own.named(&name()).map(|(_, own)| (own.has_heard(session.node), own.is_told(session.node)));
                let gone = node.names.own.next_withdrawn(session.withdrawn_to).is_some_and(|(_, gone)| gone <= session.highest);
                let owed = node.names.seen.owed(*peer).next().map(|(_, owed)| owed);
                let _ok = write!(key, "{j}{told:?}{gone}{owed:?}{:?}{}", session.snapshot, node.names.waits(*peer));
            }
        }
        for ((i, j), queue) in &self.queues {
            let _ok = write!(key, "{:?}", self.end(*i, *j));
            for said in queue {
                let _ok = match said {
                    Said::Told(Told::Claim(claim)) => write!(key, "c{}{:?}", self.ordinal(*i, claim.number), claim.settled),
                    Said::Told(Told::Withdrawn(number)) => write!(key, "w{}", self.ordinal(*i, *number)),
                    Said::Told(told) => write!(key, "{told:?}"),
                    Said::Ack(Ack { number, word: Word::Better { by, .. } }) => {
                        write!(key, "a{}{}", self.ordinal(*j, *number), by.node())
                    }
                    Said::Ack(Ack { number, .. }) => write!(key, "a{}", self.ordinal(*j, *number)),
                };
            }
        }
        key.into()
    }
}
