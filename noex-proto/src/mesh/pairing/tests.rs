//! The steps of a pair in every order: two nodes dial each other, connections are reset, and each end learns of it in its time.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Consent, Decision, Offer, Pair, Situation};
use crate::ConnId;
use crate::id::incarnation::Incarnation;

/// The node with the lesser id, and the one with the greater.
const OFFERER: usize = 0;
const DECIDER: usize = 1;

const INCARNATION: Incarnation = Incarnation([7; 16]);

/// What is said of the admission.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Word {
    Offer(Offer),
    Intro(u64),
    Refused,
}

/// A connection; of each pair the offerer's half is the first.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Line {
    dialler: usize,
    keyed: [bool; 2],
    open: [bool; 2],
    reset: bool,
    /// What is on its way to each end.
    words: [VecDeque<Word>; 2],
    /// An offer that the decider has not answered.
    offer: Option<Offer>,
    /// A choice that the offerer has not answered.
    intro: Option<u64>,
}

#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Side {
    pair: Pair,
    used: Option<usize>,
    count: u64,
    ups: u8,
    downs: u8,
}

#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct World {
    lines: Vec<Line>,
    sides: [Side; 2],
    resets: usize,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Dial(usize),
    Key(usize, usize),
    Hear(usize, usize),
    Reset(usize),
    /// An end learns that the connection is no more.
    Learn(usize, usize),
    /// The decider waits no longer for the answer to its choice. What it said is still on its way.
    GiveUp(usize),
}

/// Which steps a broken pair takes instead.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Break {
    Nothing,
    /// The decider takes every offer for news of the death of the session in use.
    EachOfferIsNews,
    /// The offerer consents to a choice that was overtaken.
    ConsentsToAll,
}

impl World {
    fn situation(&self, side: usize) -> Situation {
        Situation { other_incarnation: false, in_use: self.sides[side].used.is_some(), room: true }
    }

    fn steps(&self, lines: usize, resets: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        if self.lines.len() < lines {
            steps.extend([Step::Dial(OFFERER), Step::Dial(DECIDER)]);
        }
        for (number, line) in self.lines.iter().enumerate() {
            let whole = !line.reset && line.open == [true; 2];
            for side in [OFFERER, DECIDER] {
                // The accepting side has the keys first.
                let next = if side == line.dialler { line.keyed[1 - side] } else { true };
                if whole && !line.keyed[side] && next {
                    steps.push(Step::Key(number, side));
                }
                if line.open[side] && line.keyed[side] && !line.words[side].is_empty() {
                    steps.push(Step::Hear(number, side));
                }
                let over = line.reset || !line.open[1 - side] && line.words[side].is_empty();
                if line.open[side] && over {
                    steps.push(Step::Learn(number, side));
                }
            }
            if self.resets < resets && !line.reset && line.open != [false; 2] {
                steps.push(Step::Reset(number));
            }
            let chosen = self.sides[DECIDER].pair.chosen == Some(ConnId(number as u64));
            if self.resets < resets && chosen && line.open[DECIDER] {
                steps.push(Step::GiveUp(number));
            }
        }
        steps
    }

    fn take(&mut self, step: Step, broken: Break) -> Result<(), String> {
        match step {
            Step::Dial(dialler) => {
                let (words, open) = ([VecDeque::new(), VecDeque::new()], [true; 2]);
                let line = Line { dialler, keyed: [false; 2], open, reset: false, words, offer: None, intro: None };
                self.lines.push(line);
            }
            Step::Key(line, side) => {
                self.lines[line].keyed[side] = true;
                self.sides[side].pair.begin(ConnId(line as u64));
                if side == OFFERER {
                    let Side { pair, used, .. } = &self.sides[OFFERER];
                    let offer = pair.offer(&INCARNATION, used.is_some());
                    self.say(line, DECIDER, Word::Offer(offer));
                }
            }
            Step::Reset(line) => {
                self.resets += 1;
                self.lines[line].reset = true;
                self.lines[line].words = [VecDeque::new(), VecDeque::new()];
            }
            Step::Learn(line, side) => {
                self.lines[line].reset = true;
                self.close(line, side, broken)?;
            }
            Step::GiveUp(line) => {
                self.resets += 1;
                self.close(line, DECIDER, broken)?;
            }
            Step::Hear(line, side) => match self.lines[line].words[side].pop_front() {
                Some(Word::Offer(offer)) => {
                    self.lines[line].offer = Some(offer);
                    self.decide(line, broken)?;
                }
                Some(Word::Intro(count)) if side == OFFERER => {
                    self.lines[line].intro = Some(count);
                    self.consent(line, broken)?;
                }
                Some(Word::Intro(count)) => {
                    let decider = &mut self.sides[DECIDER];
                    if decider.pair.chosen.take() != Some(ConnId(line as u64)) {
                        return Err(format!("INTRO on {line}, which was not chosen"));
                    }
                    decider.pair.used(count);
                    decider.used = Some(line);
                    decider.ups += 1;
                    self.decide_all(broken)?;
                }
                Some(Word::Refused) => {
                    self.close(line, OFFERER, broken)?;
                    self.close(line, DECIDER, broken)?;
                }
                None => {}
            },
        }
        Ok(())
    }

    fn say(&mut self, line: usize, to: usize, word: Word) {
        let line = &mut self.lines[line];
        if !line.reset && line.open[to] {
            line.words[to].push_back(word);
        }
    }

    fn decide_all(&mut self, broken: Break) -> Result<(), String> {
        (0..self.lines.len()).rev().try_for_each(|line| self.decide(line, broken))
    }

    fn decide(&mut self, line: usize, broken: Break) -> Result<(), String> {
        let Some(offer) = self.lines[line].offer.filter(|_| self.lines[line].open[DECIDER]) else { return Ok(()) };
        let mut decision = self.sides[DECIDER].pair.decide(offer, self.situation(DECIDER));
        if broken == Break::EachOfferIsNews && decision == Decision::RefuseDuplicate {
            decision = Decision::Replace;
        }
        match decision {
            Decision::Wait => {}
            Decision::RefuseDuplicate => {
                self.lines[line].offer = None;
                self.say(line, OFFERER, Word::Refused);
            }
            Decision::Replace => {
                let used = self.sides[DECIDER].used.expect("one is in use");
                self.close(used, DECIDER, broken)?;
            }
            Decision::Choose => {
                self.lines[line].offer = None;
                let decider = &mut self.sides[DECIDER];
                decider.pair.chosen = Some(ConnId(line as u64));
                decider.count += 1;
                let count = decider.count;
                self.say(line, OFFERER, Word::Intro(count));
            }
            Decision::Full | Decision::Probe => return Err(format!("{decision:?} of nothing")),
        }
        Ok(())
    }

    fn consent(&mut self, line: usize, broken: Break) -> Result<(), String> {
        let Some(count) = self.lines[line].intro.filter(|_| self.lines[line].open[OFFERER]) else { return Ok(()) };
        let mut consent = self.sides[OFFERER].pair.consent(&INCARNATION, count, self.situation(OFFERER));
        if broken == Break::ConsentsToAll && consent == Consent::Stale {
            consent = if self.sides[OFFERER].used.is_some() { Consent::Replace } else { Consent::Admit };
        }
        match consent {
            Consent::Stale => {
                self.lines[line].reset = true;
                self.close(line, OFFERER, broken)?;
            }
            Consent::Replace => {
                let used = self.sides[OFFERER].used.expect("one is in use");
                self.close(used, OFFERER, broken)?;
                self.consent(line, broken)?;
            }
            Consent::Admit => {
                self.lines[line].intro = None;
                let offerer = &mut self.sides[OFFERER];
                offerer.count += 1;
                let own = offerer.count;
                offerer.pair.admitted(INCARNATION, own, count);
                offerer.used = Some(line);
                offerer.ups += 1;
                self.say(line, DECIDER, Word::Intro(own));
            }
            Consent::Full | Consent::Probe => return Err(format!("{consent:?} of nothing")),
        }
        Ok(())
    }

    fn close(&mut self, line: usize, side: usize, broken: Break) -> Result<(), String> {
        if !core::mem::replace(&mut self.lines[line].open[side], false) {
            return Ok(());
        }
        let conn = ConnId(line as u64);
        let own = &mut self.sides[side];
        own.pair.end(conn);
        let chosen = own.pair.chosen == Some(conn);
        if chosen {
            own.pair.chosen = None;
        }
        let used = own.used == Some(line);
        if used {
            own.used = None;
            own.pair.unused();
            own.downs += 1;
            // That nobody is down without a cause is the point of the rules.
            if !self.lines[line].reset && self.lines[line].open[1 - side] {
                return Err(format!("side {side} ends {line}, which it uses and nothing has ended"));
            }
        }
        if side == DECIDER && (chosen || used) {
            self.decide_all(broken)?;
        }
        Ok(())
    }

    /// What holds where nothing can happen any more.
    fn check_idle(&self) -> Result<(), String> {
        let [offerer, decider] = &self.sides;
        let live = |line: &Line| line.open == [true; 2] && !line.reset && line.keyed == [true; 2];
        let live: Vec<usize> = (0..self.lines.len()).filter(|number| live(&self.lines[*number])).collect();
        if offerer.used != decider.used || decider.pair.chosen.is_some() {
            return Err(format!("they disagree: {:?} and {:?}", offerer.used, decider.used));
        }
        if live.len() > 1 || !live.is_empty() && offerer.used != Some(live[0]) {
            return Err(format!("of the live sessions {live:?}, {:?} is used", offerer.used));
        }
        let counts = [offerer.ups, offerer.downs, decider.ups, decider.downs];
        if self.resets == 0 && counts != [1, 0, 1, 0] {
            return Err(format!("nothing was reset, but ups and downs are {counts:?}"));
        }
        Ok(())
    }
}

/// All states of this many connections and resets, and those at which nothing can happen any more; or what does not hold.
fn explore(lines: usize, resets: usize, broken: Break) -> Result<(usize, usize), String> {
    let mut seen = BTreeSet::from([World::default()]);
    let mut next = Vec::from([World::default()]);
    let mut idle = 0;
    while let Some(world) = next.pop() {
        let steps = world.steps(lines, resets);
        if steps.is_empty() {
            idle += 1;
            world.check_idle()?;
        }
        for step in steps {
            let mut then = world.clone();
            then.take(step, broken)?;
            if seen.insert(then.clone()) {
                next.push(then);
            }
        }
    }
    Ok((seen.len(), idle))
}

#[test]
fn two_nodes_agree_on_one_session_whatever_the_order() {
    // Given: two connections, each of which may be reset.
    let (states, idle) = explore(2, 2, Break::Nothing).expect("the rules hold");
    // Then: they agree in every state in which nothing can happen any more, and none was down for nothing.
    assert!(states > 5_000 && idle > 50, "{states} states, {idle} idle");
}

#[test]
fn a_third_connection_changes_nothing() {
    let (states, idle) = explore(3, 0, Break::Nothing).expect("the rules hold");
    assert!(states > 5_000 && idle > 5, "{states} states, {idle} idle");
}

#[test]
fn broken_steps_are_seen() {
    for broken in [Break::EachOfferIsNews, Break::ConsentsToAll] {
        let seen = explore(2, 2, broken);
        assert!(seen.is_err(), "{broken:?}: {seen:?}");
    }
}

#[test]
fn another_incarnation_is_probed_before_anything_else_is_decided() {
    for in_use in [false, true] {
        for room in [false, true] {
            let now = Situation { other_incarnation: true, in_use, room };
            let pair = Pair { named: 3, accepted: 3, incarnation: INCARNATION, ..Pair::default() };
            assert_eq!(pair.decide(Offer { count: 1, holds: true }, now), Decision::Probe);
            assert_eq!(pair.consent(&INCARNATION, 1, now), Consent::Probe);
            // A session that is chosen has its turn before.
            let pair = Pair { chosen: Some(ConnId(1)), ..pair };
            assert_eq!(pair.decide(Offer { count: 1, holds: true }, now), Decision::Wait);
        }
    }
}
