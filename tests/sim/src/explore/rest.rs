//! What must hold where nothing is under way, and what must become of it.

use super::link::EndState;
use super::state::{Checked, Move, State};
use crate::HostId;
use crate::safety::Invariant;

/// How many moves it may take until all see each other again.
const RECOVERY: usize = 4000;

impl State {
    /// Judges a state in which nothing is under way. `undisturbed`: nothing has happened but deliveries.
    pub(super) fn judge_at_rest(&mut self, undisturbed: bool) -> Checked {
        for one in 0..self.hosts.len() {
            for other in 0..one {
                self.judge_pair(one, other, undisturbed)?;
            }
        }
        self.recover()
    }

    fn sees(&self, one: HostId, other: HostId) -> bool {
        self.hosts[one].monitor.up.contains_key(&self.hosts[other].id)
    }

    /// Both ends agree about whether they have a session, and have no other connection.
    fn judge_pair(&mut self, one: HostId, other: HostId, undisturbed: bool) -> Checked {
        if !self.hosts[one].is_running() || !self.hosts[other].is_running() {
            return Ok(());
        }
        let (sees, seen) = (self.sees(one, other), self.sees(other, one));
        if sees != seen || undisturbed && !sees {
            let detail = format!("at rest, {one} sees {other}: {sees}, {other} sees {one}: {seen}");
            return self.violate(one, Invariant::Agreement, detail);
        }
        let between = self.links.iter().filter(|link| {
            link.is_open() && [link.ends[0].host, link.ends[1].host].iter().all(|host| [one, other].contains(host))
        });
        let count = between.count();
        if count != usize::from(sees) {
            return self.violate(
                one,
                Invariant::OneSession,
                format!("at rest, {count} connections with {other}, and sees it: {sees}"),
            );
        }
        Ok(())
    }

    /// From here on all hosts run, nothing fails, and everything arrives before any clock goes on: all come to see each other.
    fn recover(&mut self) -> Checked {
        self.line(None, || "from here on all hosts run and nothing fails".into());
        for host in 0..self.hosts.len() {
            if self.hosts[host].is_stopped() {
                self.happen(Move::Start(host as u8))?;
            }
        }
        for _ in 0..RECOVERY {
            if let Some(next) = self.deliveries().first() {
                self.happen(*next)?;
                continue;
            }
            let hosts = 0..self.hosts.len();
            if hosts.clone().all(|one| hosts.clone().all(|other| one == other || self.sees(one, other))) {
                return Ok(());
            }
            let lingering = self.links.iter().enumerate().find_map(|(place, link)| {
                let end = link.ends.iter().position(|end| end.state == EndState::Lingering)?;
                Some(Move::Linger(place as u8, end as u8))
            });
            let waiting = hosts.filter(|host| self.hosts[*host].is_waiting());
            let slowest = waiting.min_by_key(|host| self.hosts[*host].now).map(|host| Move::Wait(host as u8));
            match lingering.or(slowest) {
                Some(next) => self.happen(next)?,
                None => break,
            }
        }
        self.violate(0, Invariant::Agreement, "nothing fails any more, and yet not all see each other again".into())
    }
}
