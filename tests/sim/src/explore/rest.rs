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
            for other in 0..self.hosts.len() {
                if self.hosts[one].id() != self.hosts[other].id() {
                    self.judge_pair(one, other, undisturbed)?;
                }
            }
        }
        self.recover()
    }

    fn sees(&self, one: HostId, other: HostId) -> bool {
        self.hosts[one].monitor.up.contains_key(self.hosts[other].id())
    }

    /// The running processes with the identity of a host: at most one, unless the scenario has a twin.
    fn twins(&self, of: HostId) -> Vec<HostId> {
        let alike = |host: &HostId| self.hosts[*host].id() == self.hosts[of].id() && self.hosts[*host].is_running();
        (0..self.hosts.len()).filter(alike).collect()
    }

    /// Of two identities that run, both have a session with the other, one process of each, or none has; and whoever sees another
    /// has one connection with it, and otherwise none.
    fn judge_pair(&mut self, one: HostId, other: HostId, undisturbed: bool) -> Checked {
        let (ones, others) = (self.twins(one), self.twins(other));
        if !ones.contains(&one) || others.is_empty() {
            return Ok(());
        }
        let seeing = ones.iter().filter(|host| self.sees(**host, other)).count();
        let seen = others.iter().filter(|host| self.sees(**host, one)).count();
        if seeing != seen || seeing > 1 || undisturbed && seeing == 0 {
            let detail = format!("at rest, {seeing} of {ones:?} see {other}, and {seen} of {others:?} see {one}");
            return self.violate(one, Invariant::Agreement, detail);
        }
        let sees = self.sees(one, other);
        let between = self.links.iter().filter(|link| {
            let [dialler, acceptor] = link.ends.map(|end| end.host);
            link.is_open() && (dialler == one && others.contains(&acceptor) || acceptor == one && others.contains(&dialler))
        });
        let count = between.count();
        if count != usize::from(sees) {
            let detail = format!("at rest, {count} connections with {others:?}, and sees {other}: {sees}");
            return self.violate(one, Invariant::OneSession, detail);
        }
        Ok(())
    }

    /// From here on all hosts run, nothing fails, and everything arrives before any clock goes on: all come to see each other, by one
    /// of twins.
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
            let met = |one: HostId, other: HostId| {
                self.hosts[one].id() == self.hosts[other].id() || self.twins(one).iter().any(|twin| self.sees(*twin, other))
            };
            if hosts.clone().all(|one| hosts.clone().all(|other| met(one, other))) {
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
