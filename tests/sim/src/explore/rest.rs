//! What must hold where nothing is under way, and what must become of it.

use std::time::Duration;

use noex_proto::{Input, Instant};

use super::link::{EndState, Link};
use super::scenario::MAX_DELAY;
use super::state::{Checked, Move, PAUSE, State, Watched};
use super::{call, claim};
use crate::HostId;
use crate::safety::{Invariant, Violation};

/// How many moves it may take until all see each other again.
const RECOVERY: usize = 4000;

/// How long a probe of a session takes whose round trip is short.
const PROBE: Duration = Duration::from_secs(2);

/// How long a message of the admission, or a handshake, may take.
const ADMISSION: Duration = Duration::from_secs(10);

/// How long it takes at most until a view counts as settled, and until the greater dials whom it was told of.
const SETTLING: Duration = Duration::from_secs(1);

impl State {
    /// Judges a state in which nothing is under way.
    pub(super) fn judge_at_rest(&mut self) -> Checked {
        for one in 0..self.hosts.len() {
            for other in 0..self.hosts.len() {
                if self.hosts[one].id() != self.hosts[other].id() {
                    self.judge_pair(one, other)?;
                }
            }
        }
        self.judge_hub()?;
        self.recover()
    }

    pub(super) fn sees(&self, one: HostId, other: HostId) -> bool {
        self.hosts[one].monitor.up.contains_key(self.hosts[other].id())
    }

    /// The running processes with the identity of a host: at most one, unless the scenario has a twin.
    fn twins(&self, of: HostId) -> Vec<HostId> {
        let alike = |host: &HostId| self.hosts[*host].id() == self.hosts[of].id() && self.hosts[*host].is_running();
        (0..self.hosts.len()).filter(alike).collect()
    }

    /// Of two identities that run, both have a session with the other, one process of each, or none has; and whoever sees another
    /// has one connection with it, and otherwise none.
    fn judge_pair(&mut self, one: HostId, other: HostId) -> Checked {
        let (ones, others) = (self.twins(one), self.twins(other));
        if !ones.contains(&one) || others.is_empty() {
            return Ok(());
        }
        let deaf = |link: &Link| {
            let between = link.ends.iter().all(|end| ones.contains(&end.host) || others.contains(&end.host));
            between && (0..2).any(|end| link.is_deaf(end))
        };
        // An end that was told nothing believes what it was told last.
        if self.links.iter().any(deaf) {
            return Ok(());
        }
        let seeing = ones.iter().filter(|host| self.sees(**host, other)).count();
        let seen = others.iter().filter(|host| self.sees(**host, one)).count();
        if seeing != seen || seeing > 1 || !self.disturbed && seeing == 0 && self.rules.hub.is_none() {
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
        let seen_by = others.iter().find(|host| sees && self.sees(**host, one));
        let Some(reader) = seen_by.copied() else { return Ok(()) };
        let sent = self.hosts[one].monitor.up.get(self.hosts[other].id()).map(|up| up.sent);
        let received = self.hosts[reader].monitor.up.get(self.hosts[one].id()).map(|up| up.received);
        if sent != received {
            let detail = format!("at rest, {reader} has {received:?} of {sent:?} messages that were sent since it came up");
            return self.violate(one, Invariant::PayloadsArePrefixes, detail);
        }
        Ok(())
    }

    /// A node that has room for one member has one, where there is another that runs.
    fn judge_hub(&mut self) -> Checked {
        let Some(hub) = self.rules.hub.filter(|_| !self.disturbed) else { return Ok(()) };
        if self.is_full(hub) {
            return Ok(());
        }
        self.violate(hub, Invariant::Agreement, "at rest, it has room for a member, and has none".into())
    }

    fn is_full(&self, hub: HostId) -> bool {
        let mut others = (0..self.hosts.len()).filter(|other| *other != hub && self.hosts[*other].is_running());
        others.clone().count() == 0 || others.any(|other| self.sees(hub, other) && self.sees(other, hub))
    }

    /// Whether all see each other that have room, by one of twins.
    fn are_met(&self) -> bool {
        if let Some(hub) = self.rules.hub {
            return self.is_full(hub);
        }
        let hosts = 0..self.hosts.len();
        let met = |one: HostId, other: HostId| {
            self.hosts[one].id() == self.hosts[other].id() || self.twins(one).iter().any(|twin| self.sees(*twin, other))
        };
        hosts.clone().all(|one| hosts.clone().all(|other| met(one, other)))
    }

    /// What it takes without a fault until all see each other: the longest backoff, a probe of a connection that one end has lost, a
    /// question for members and the courtesy of the greater. A connection that never came to a session, or not to its end, is given up
    /// by the deadline of its handshake or admission.
    fn patience(&self) -> Duration {
        let deaf = |link: &&Link| (0..2).any(|end| link.is_deaf(end) && !self.is_used(link, end));
        let given_up = self.links.iter().filter(deaf).map(|_| ADMISSION).sum::<Duration>();
        MAX_DELAY + PROBE + SETTLING * 2 + given_up
    }

    /// Whether this end of a connection is that of a session in use.
    fn is_used(&self, link: &Link, end: usize) -> bool {
        let (own, other) = (link.ends[end], link.ends[1 - end]);
        let session = self.hosts[own.host].machine.session(self.hosts[other.host].id());
        session == Ok(Some(own.conn))
    }

    /// From here on all hosts run, nothing fails, everything arrives at once, and all clocks run alike: all come to see each other, and
    /// no silence has to last for it.
    fn recover(&mut self) -> Checked {
        let stopped = |state: &Self| (0..state.hosts.len()).filter(|host| state.hosts[*host].is_stopped()).collect::<Vec<_>>();
        self.disturbed = true;
        let mut clock = Clock::of(self);
        if let Some(hub) = self.rules.hub
            && self.hosts[hub].is_running()
            && !stopped(self).is_empty()
        {
            // Who was refused comes in when another one has left, and needs no help for it.
            self.line(None, || "from here on nothing fails".into());
            clock.until_met(self)?;
        }
        self.line(None, || "from here on all hosts run and nothing fails".into());
        for host in stopped(self) {
            self.happen(Move::Start(host as u8))?;
        }
        let mut clock = Clock::of(self);
        clock.until_met(self)?;
        if self.rules.calls {
            clock.run(self, call::PATIENCE)?;
            self.judge_calling()?;
        }
        if self.rules.claims {
            clock.run(self, claim::PATIENCE)?;
            self.judge_claims()?;
        }
        if self.rules.watched > Duration::ZERO {
            // Silence that lasted before may end a session yet: the clocks did not agree then.
            clock.run(self, self.rules.watched)?;
            clock.until_met(self)?;
            self.watched = Watched::All;
            clock.run(self, self.rules.watched)?;
            self.watched = Watched::Nobody;
        }
        if self.rules.woken {
            for host in 0..self.hosts.len() {
                let mut copy = self.clone();
                if let Err(violation) = copy.wake(host, clock.clone()) {
                    self.lines = copy.lines;
                    return Err(violation);
                }
            }
        }
        Ok(())
    }

    /// A process is paused while everything else goes on, and wakes. What has come meanwhile is read after its deadlines.
    fn wake(&mut self, host: HostId, mut clock: Clock) -> Checked {
        self.line(Some(host), || "is paused, and the others go on".into());
        clock.paused = Some(host);
        clock.run(self, PAUSE)?;
        self.line(Some(host), || "wakes".into());
        clock.paused = None;
        self.watched = Watched::Woken(host);
        clock.tick(self, host)?;
        clock.until_met(self)
    }
}

/// One time for all hosts: it goes on when nothing is under way any more.
#[derive(Clone, Debug)]
struct Clock {
    began: Vec<Instant>,
    elapsed: Duration,
    /// A process that does nothing.
    paused: Option<HostId>,
}

impl Clock {
    fn of(state: &State) -> Self {
        Self { began: state.hosts.iter().map(|host| host.now).collect(), elapsed: Duration::ZERO, paused: None }
    }

    /// Lets something happen whose time has come, no later than at `end`. Whether there was something.
    fn step(&mut self, state: &mut State, end: Duration) -> Result<bool, Violation> {
        let arrives = |state: &State, next: &Move| self.paused.is_none_or(|paused| state.told(*next) != Some(paused));
        if let Some(next) = state.deliveries().into_iter().find(|next| arrives(state, next)) {
            state.happen(next)?;
            return Ok(true);
        }
        let lingering = state.links.iter().enumerate().find_map(|(place, link)| {
            let end = link.ends.iter().position(|end| end.state == EndState::Lingering && Some(end.host) != self.paused)?;
            Some(Move::Linger(place as u8, end as u8))
        });
        if let Some(next) = lingering {
            state.happen(next)?;
            return Ok(true);
        }
        let hosts = (0..state.hosts.len()).filter(|host| Some(*host) != self.paused);
        let due = hosts.filter_map(|host| Some((state.hosts[host].machine.poll_timeout()? - self.began[host], host)));
        match due.min() {
            Some((due, host)) if due.max(self.elapsed) <= end => {
                self.elapsed = due.max(self.elapsed);
                self.tick(state, host)?;
                Ok(true)
            }
            _ => {
                self.elapsed = end;
                Ok(false)
            }
        }
    }

    /// A host sees to its deadlines.
    fn tick(&self, state: &mut State, host: HostId) -> Checked {
        self.set(state);
        state.feed(host, Input::Tick)
    }

    /// What comes at a host comes at this time.
    fn set(&self, state: &mut State) {
        for (host, began) in self.began.iter().enumerate() {
            state.host_mut(host).now = *began + self.elapsed;
        }
    }

    fn run(&mut self, state: &mut State, time: Duration) -> Checked {
        let end = self.elapsed + time;
        while self.step(state, end)? {}
        self.set(state);
        Ok(())
    }

    fn until_met(&mut self, state: &mut State) -> Checked {
        let end = self.elapsed + state.patience();
        for _ in 0..RECOVERY {
            // A session that one end has lost is in use at neither once the other has heard of it.
            let settled = state.deliveries().is_empty() && state.are_met();
            if settled {
                return Ok(());
            }
            if !self.step(state, end)? {
                break;
            }
        }
        let detail = format!("nothing fails any more, and {end:?} later not all see each other again");
        state.violate(0, Invariant::RecoveryWithoutSilence, detail)
    }
}
