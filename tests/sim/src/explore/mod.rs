//! Every order of events of a small cluster, to a bounded depth.
//!
//! The search goes breadth first over states: cloned machines, and connections with what is under way on them. From each state
//! it lets happen everything that can happen next: a frame or the end of a stream arrives on any connection, a dial is accepted
//! or fails, a host's clock goes on, a connection is reset, a node crashes, leaves, starts. So the first violation found has a
//! shortest trace.
//!
//! A state that is like one seen before is not followed again. Two are alike where [`noex_proto::Machine::hash_abstraction`]
//! says so of every machine, and what is under way on every connection says the same: nonces, keys and absolute times are left
//! out.

mod call;
mod claim;
mod digest;
mod driver;
mod host;
mod link;
mod rest;
mod scenario;
mod state;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::coverage::Coverage;
use crate::safety::{Invariant, Violation};
#[cfg(test)]
pub(crate) use claim::two_holders;
pub use scenario::{Budget, Scenario};
use state::{Checked, Move, State};

/// What an exploration has come to.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// States that differ.
    pub states: usize,
    /// Moves tried, to states seen before too.
    pub moves: usize,
    /// States in which nothing is under way.
    pub at_rest: usize,
    /// In how many states the machines had counted what.
    pub coverage: Coverage,
    /// All states that this many moves lead to were reached.
    pub depth: usize,
    /// Nothing is left to explore: within the budget, there are no other states.
    pub exhausted: bool,
    /// The invariant that was broken, if one was.
    pub violation: Option<Violation>,
    /// The shortest trace to it, with a column per host; empty where there is none.
    pub text: String,
}

/// How a state was reached first.
#[derive(Clone, Copy, Debug)]
struct Reached {
    from: u32,
    by: Move,
}

impl Scenario {
    /// Explores all states that are at most `depth` moves from the beginning. It ends early at the first violation, or once
    /// there are more than `most` states.
    #[must_use]
    pub fn explore(&self, depth: usize, most: usize) -> Exploration {
        Search { scenario: self, reached: Vec::new(), moves: 0, at_rest: 0, coverage: Coverage::default() }.run(depth, most)
    }

    /// The state in which the exploration begins.
    fn beginning(&self, recording: bool) -> Result<State, Violation> {
        let mut state = State::new(&self.nodes, self.rules, recording)?;
        if self.joined {
            while let Some(next) = state.deliveries().first() {
                state.happen(*next)?;
            }
        }
        state.budget = self.budget;
        Ok(state)
    }
}

struct Search<'a> {
    scenario: &'a Scenario,
    /// How each state but the first was reached; the number of a state is its place, plus one.
    reached: Vec<Reached>,
    moves: usize,
    at_rest: usize,
    coverage: Coverage,
}

/// Where and how the search ended.
struct Found {
    violation: Violation,
    at: u32,
    /// The last move; none where the state itself is wrong.
    by: Option<Move>,
}

impl Search<'_> {
    fn run(mut self, depth: usize, most: usize) -> Exploration {
        let mut done = 0;
        let mut exhausted = false;
        let found = match self.scenario.beginning(false) {
            Err(violation) => Some(Found { violation, at: 0, by: None }),
            Ok(first) => {
                let mut found = self.judge(&first).err().map(|violation| Found { violation, at: 0, by: None });
                let mut seen = HashSet::from([first.digest()]);
                let mut frontier = vec![(0, first)];
                while found.is_none() && done < depth && !exhausted && self.reached.len() < most {
                    match self.level(frontier, &mut seen, most) {
                        Ok(next) => {
                            frontier = next;
                            if self.reached.len() < most {
                                done += 1;
                                exhausted = frontier.is_empty();
                            }
                        }
                        Err(violation) => {
                            found = Some(violation);
                            break;
                        }
                    }
                }
                found
            }
        };
        let text = found.as_ref().map_or_else(String::new, |found| self.trace(found));
        Exploration {
            states: self.reached.len() + 1,
            moves: self.moves,
            at_rest: self.at_rest,
            coverage: self.coverage,
            depth: done,
            exhausted,
            violation: found.map(|found| found.violation),
            text,
        }
    }

    /// All states one move further.
    fn level(&mut self, frontier: Vec<(u32, State)>, seen: &mut HashSet<u128>, most: usize) -> Result<Vec<(u32, State)>, Found> {
        let mut further = Vec::new();
        for (at, state) in frontier {
            for by in state.moves() {
                let mut next = state.clone();
                self.moves += 1;
                guarded(|| next.apply(by)).map_err(|violation| Found { violation, at, by: Some(by) })?;
                if !seen.insert(next.digest()) {
                    continue;
                }
                self.reached.push(Reached { from: at, by });
                let number = u32::try_from(self.reached.len()).expect("fewer states than fit the memory");
                self.coverage.merge(&next.coverage());
                self.judge(&next).map_err(|violation| Found { violation, at: number, by: None })?;
                further.push((number, next));
            }
            if self.reached.len() >= most {
                break;
            }
        }
        Ok(further)
    }

    /// Judges a state in which nothing is under way, on a copy that goes on from there.
    fn judge(&mut self, state: &State) -> Checked {
        if !state.deliveries().is_empty() {
            return Ok(());
        }
        self.at_rest += 1;
        let mut copy = state.clone();
        guarded(|| copy.judge_at_rest())
    }

    /// The way to a violation, once more and with its lines.
    fn trace(&self, found: &Found) -> String {
        let mut moves: Vec<Move> = found.by.into_iter().collect();
        let mut at = found.at;
        while let Some(place) = (at as usize).checked_sub(1) {
            moves.push(self.reached[place].by);
            at = self.reached[place].from;
        }
        let Ok(mut state) = self.scenario.beginning(true) else { return String::new() };
        let ended = guarded(|| {
            moves.iter().rev().try_for_each(|by| state.apply(*by))?;
            state.judge_at_rest()
        });
        let mut text = crate::trace::text(state.lines.iter().flatten(), state.hosts.len());
        if let Err(violation) = ended {
            text.push_str(&format!("{} moves to {violation}\n", moves.len()));
        }
        text
    }
}

/// A panic is a violation too.
fn guarded(what: impl FnOnce() -> Checked) -> Checked {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let detail = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        Err(Violation { at: std::time::Duration::ZERO, detail, host: None, invariant: Invariant::NoPanic })
    })
}

#[cfg(test)]
mod tests {
    use noex_proto::{ClusterError, ClusterEvent, ConnId, Input, NodeDownReason, PeerFault};

    use super::*;

    /// Two nodes that are connected, and nothing under way.
    fn joined() -> State {
        let scenario = Scenario { joined: true, ..Scenario::named("dial").expect("a scenario") };
        scenario.beginning(false).expect("nothing broken")
    }

    fn broken(checked: Checked) -> Option<Invariant> {
        checked.err().map(|violation| violation.invariant)
    }

    #[test]
    fn what_can_never_agree_is_found_with_a_shortest_trace() {
        let quiet = Scenario { budget: Budget::default(), ..Scenario::named("dial").expect("a scenario") };
        let mut apart = quiet.clone();
        for node in &mut apart.nodes {
            node.config = node.config.clone().seeds([""; 0]);
        }
        let found = apart.explore(100, 1000);
        assert_eq!(found.violation.map(|violation| violation.invariant), Some(Invariant::Agreement), "{}", found.text);
        assert!(found.text.contains("0 moves to agreement"), "{}", found.text);

        let mut scenario = quiet;
        let other = &mut scenario.nodes[1].config;
        *other = other.clone().seeds([""; 0]).cluster_secret("quite another secret");
        let found = scenario.explore(100, 1000);
        assert_eq!(found.violation.map(|violation| violation.invariant), Some(Invariant::BlameIsTrue), "{}", found.text);
        // Accepted; HELLO, CHALLENGE, AUTH.
        assert!(found.text.contains("4 moves to blame_is_true"), "{}", found.text);
        assert!(found.text.contains(".  *  gets AUTH on 1"), "{}", found.text);
    }

    #[test]
    fn a_down_of_a_session_in_use_is_found() {
        let mut state = joined();
        let end = state.links[0].ends[0];
        assert_eq!(broken(state.feed(end.host, Input::Closed { conn: end.conn })), Some(Invariant::NoFalseDown));
        let mut state = joined();
        state.disturbed = true;
        state.happen(Move::Crash(1)).expect("nothing broken");
        let reset = *state.deliveries().first().expect("a reset under way");
        assert_eq!(broken(state.happen(reset)), None);
    }

    #[test]
    fn a_down_is_judged_by_the_connection_that_it_is_about() {
        // The last that is closed is another one, whose end is no cause.
        let mut state = joined();
        let end = state.links[0].ends[0];
        let (id, dead) = (state.hosts[1].id().clone(), (ConnId(99), 1, true));
        state.sessions = vec![(id.clone(), end.conn)];
        state.closed = vec![(end.conn, 1, false), dead];
        state.disturbed = true;
        let down = ClusterEvent::NodeDown { id, reason: NodeDownReason::ConnectionClosed };
        assert_eq!(broken(state.clone().event(0, &down)), Some(Invariant::NoFalseDown));
        state.closed = vec![(end.conn, 1, true), (ConnId(99), 1, false)];
        assert_eq!(broken(state.clone().event(0, &down)), None);
        state.closed = vec![dead];
        assert_eq!(broken(state.clone().event(0, &down)), Some(Invariant::NoFalseDown));
        // It came up by the same input: what was closed first is its session.
        state.sessions.clear();
        state.closed = vec![(end.conn, 1, true), (ConnId(99), 1, false)];
        assert_eq!(broken(state.clone().event(0, &down)), None);
        state.closed.reverse();
        assert_eq!(broken(state.event(0, &down)), Some(Invariant::NoFalseDown));
    }

    #[test]
    fn an_end_that_hears_of_nothing_is_left_out_and_replaced() {
        let mut state = joined();
        state.budget = Budget { losses: 1, resets: 1, ..Budget::default() };
        state.apply(Move::Reset(0)).expect("nothing broken");
        let lost = state.moves().into_iter().find(|next| matches!(next, Move::Lose(0, 1))).expect("a reset that may be lost");
        state.apply(lost).expect("nothing broken");
        while let Some(next) = state.deliveries().first() {
            state.happen(*next).expect("nothing broken");
        }
        assert_eq!((state.hosts[0].monitor.up.len(), state.hosts[1].monitor.up.len()), (0, 1));
        assert_eq!(broken(state.judge_at_rest()), None);
        assert_eq!(state.hosts[1].machine.counters().replaced, 1);
    }

    #[test]
    fn a_message_that_has_not_arrived_at_rest_is_found() {
        let mut state = joined();
        let id = state.hosts[1].id().clone();
        state.host_mut(0).monitor.up.get_mut(&id).expect("a node that is up").sent += 1;
        assert_eq!(broken(state.judge_at_rest()), Some(Invariant::PayloadsArePrefixes));
    }

    #[test]
    fn a_place_that_stays_free_is_found() {
        let scenario = Scenario { joined: true, ..Scenario::named("full").expect("a scenario") };
        let mut state = scenario.beginning(false).expect("nothing broken");
        assert_eq!(broken(state.clone().judge_at_rest()), None);
        // The hub has room for none of the others.
        state.host_mut(2).monitor.up.clear();
        assert_eq!(broken(state.judge_at_rest()), Some(Invariant::Agreement));
    }

    #[test]
    fn a_rule_that_an_honest_peer_breaks_is_found() {
        let fault = |fault| {
            let (addr, id) = (state::address(1, 4369), None);
            ClusterEvent::Error(ClusterError::Peer { addr, claimed: None, fault, id, wanted: None })
        };
        assert_eq!(broken(joined().event(0, &fault(PeerFault::HandshakeTimeout))), None);
        assert_eq!(broken(joined().event(0, &fault(PeerFault::AuthenticationFailed))), Some(Invariant::BlameIsTrue));
        let mut rotated = joined();
        rotated.host_mut(0).phase = 3;
        assert_eq!(broken(rotated.event(0, &fault(PeerFault::AuthenticationFailed))), None);
    }

    #[test]
    fn ends_that_disagree_at_rest_are_found() {
        assert_eq!(broken(joined().judge_at_rest()), None);
        let mut state = joined();
        state.host_mut(0).monitor.up.clear();
        assert_eq!(broken(state.judge_at_rest()), Some(Invariant::Agreement));
        let mut state = joined();
        state.links.push(state.links[0].clone());
        assert_eq!(broken(state.judge_at_rest()), Some(Invariant::OneSession));
    }

    #[test]
    fn twins_that_are_both_up_are_found() {
        let scenario = Scenario { joined: true, ..Scenario::named("twin").expect("a scenario") };
        let mut state = scenario.beginning(false).expect("nothing broken");
        assert_eq!(broken(state.clone().judge_at_rest()), None);
        let mut ups = state.hosts[1].monitor.up.clone();
        ups.append(&mut state.hosts[2].monitor.up.clone());
        for host in [1, 2] {
            state.host_mut(host).monitor.up = ups.clone();
        }
        assert_eq!(broken(state.judge_at_rest()), Some(Invariant::Agreement));
    }

    #[test]
    fn states_that_differ_by_nonces_are_one() {
        let scenario = Scenario::named("dial").expect("a scenario");
        let after = |moves: [Move; 2]| {
            let mut state = scenario.beginning(true).expect("nothing broken");
            for next in moves {
                state.happen(next).expect("nothing broken");
            }
            state
        };
        let (one, other) = (after([Move::Accept(0), Move::Accept(1)]), after([Move::Accept(1), Move::Accept(0)]));
        assert_ne!(one.links[0].ways[0].data, other.links[0].ways[0].data);
        assert_eq!(one.digest(), other.digest());
    }

    #[test]
    fn states_with_another_future_are_not_one() {
        let (mut one, mut other) = (joined(), joined());
        assert_eq!(one.digest(), other.digest());
        one.happen(Move::Reset(0)).expect("nothing broken");
        assert_ne!(one.digest(), other.digest());
        other.happen(Move::Leave(0)).expect("nothing broken");
        assert_ne!(one.digest(), other.digest());
    }
}
