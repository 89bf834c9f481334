//! Faults and commands that a scenario orders.

use std::time::Duration;

use bytes::Bytes;
use noex_proto::{
    ClusterStatus, ConnId, ConnectError, Input, LookupId, NodeId, Secret, SendError, SetSecretsError, SetSeedsError, WallTime,
};

use super::host::{Host, Waiting};
use super::wire::EndState;
use super::{Dialling, HostId, SECOND, Tampering, World};
use crate::timeline::Life;

impl World {
    // Commands of applications

    /// The node on a host leaves.
    pub fn stop(&mut self, host: HostId) {
        self.line(Some(host), "is told to stop");
        self.command(host, Input::Stop);
    }

    /// The node's runtime is shut down under it.
    pub fn halt(&mut self, host: HostId) {
        self.line(Some(host), "is halted");
        self.command(host, Input::Halt);
    }

    /// The application on a host says how many processes it has.
    pub fn set_process_count(&mut self, host: HostId, count: u64) {
        self.command(host, Input::SetProcessCount(count));
    }

    /// The application on a host sends a message.
    ///
    /// # Errors
    /// The machine's own.
    pub fn send(&mut self, host: HostId, to: &NodeId, payload: Bytes) -> Result<(), SendError> {
        let at = &mut self.hosts[host];
        let now = at.local(self.now);
        at.machine.send(now, to, payload)?;
        self.feed(host, Input::Tick);
        Ok(())
    }

    /// The application on a host changes its secrets.
    ///
    /// # Errors
    /// The machine's own.
    pub fn set_secrets(&mut self, host: HostId, primary: Secret, accepted: Vec<Secret>) -> Result<(), SetSecretsError> {
        if self.is_withheld("input SetSecrets") {
            return Ok(());
        }
        let at = &mut self.hosts[host];
        let now = at.local(self.now);
        at.machine.set_secrets(now, primary, accepted)?;
        self.line(Some(host), "has new secrets");
        self.feed(host, Input::Tick);
        Ok(())
    }

    /// The application on a host changes its seeds.
    ///
    /// # Errors
    /// The machine's own.
    pub fn set_seeds(&mut self, host: HostId, seeds: &[String]) -> Result<(), SetSeedsError> {
        let withheld = self.is_withheld("input SetSeeds");
        let at = &mut self.hosts[host];
        if !at.alive || at.frozen || at.monitor.status != ClusterStatus::Running || withheld {
            return Ok(());
        }
        let now = at.local(self.now);
        at.machine.set_seeds(now, seeds)?;
        at.monitor.seeds_changed(seeds);
        at.inquiry.seeds_changed();
        self.line(Some(host), &format!("has the seeds {seeds:?}"));
        self.feed(host, Input::Tick);
        Ok(())
    }

    /// A frozen process takes commands no more than anything else.
    pub(super) fn command(&mut self, host: HostId, input: Input) {
        if self.hosts[host].alive && !self.hosts[host].frozen {
            self.feed(host, input);
        }
    }

    // Processes and hosts

    /// The process on a host is gone at once; its kernel resets its connections.
    pub fn crash(&mut self, host: HostId) {
        self.line(Some(host), "crashes");
        self.end_process(host, false);
        self.draw_life(host, Life::Crashed);
    }

    /// A host is gone at once, and nobody is told. A start switches it on again.
    pub fn power_off(&mut self, host: HostId) {
        self.line(Some(host), "loses its power");
        self.end_process(host, true);
        self.hosts[host].powered = false;
        self.draw_life(host, Life::Off);
    }

    fn draw_life(&mut self, host: HostId, life: Life) {
        if let Some(timeline) = &mut self.timeline {
            timeline.life(host, self.now, life);
        }
    }

    pub(super) fn end_process(&mut self, host: HostId, silent: bool) {
        for index in 0..self.hosts[host].conns.len() {
            let place = self.hosts[host].conns[index];
            let (place, end) = ((place >> 1) as usize, (place & 1) as usize);
            if !matches!(self.conns[place].ends[end].state, EndState::Gone { .. }) {
                self.reset_end(place, end, silent);
                // A host that is on again answers what still comes by a reset.
                self.conns[place].ends[end].state = EndState::Gone { silent: false };
            }
        }
        for waiting in std::mem::take(&mut self.hosts[host].waiting) {
            if let Waiting::Accept(place) = waiting {
                self.reset_end(place as usize, 1, silent);
            }
        }
        self.note_counters(host);
        self.ledger.gone(self.hosts[host].origin, self.now);
        let old = &mut self.hosts[host];
        let mut new = Host::new(self.now);
        new.clock = old.clock;
        new.clock.set_rate(self.now, 1000);
        new.wall_offset = old.wall_offset;
        new.process = old.process + 1;
        new.ids = std::mem::take(&mut old.ids);
        new.ids.push(None);
        new.alive = false;
        new.events = std::mem::take(&mut old.events);
        new.messages = std::mem::take(&mut old.messages);
        new.next_port = old.next_port;
        (new.resolving, new.exhausted, new.late_closes) = (old.resolving, old.exhausted, old.late_closes);
        *old = new;
    }

    /// Whether a process runs on a host.
    #[must_use]
    pub fn is_alive(&self, host: HostId) -> bool {
        self.hosts[host].alive
    }

    /// Whether the process on a host is frozen.
    #[must_use]
    pub fn is_frozen(&self, host: HostId) -> bool {
        self.hosts[host].frozen
    }

    /// The process on a host stands still; its kernel goes on.
    pub fn freeze(&mut self, host: HostId) {
        if self.hosts[host].alive {
            self.line(Some(host), "freezes");
            self.hosts[host].frozen = true;
            if self.hosts[host].machine.status() != ClusterStatus::Stopped {
                self.draw_life(host, Life::Frozen);
            }
        }
    }

    /// A frozen process goes on: its timer is late, and then it finds what has come meanwhile.
    pub fn thaw(&mut self, host: HostId) {
        if !self.hosts[host].frozen {
            return;
        }
        self.line(Some(host), "goes on");
        self.hosts[host].frozen = false;
        let local = self.hosts[host].local(self.now);
        self.hosts[host].scripts.goes_on(local);
        self.hosts[host].wake = u64::MAX;
        let status = self.hosts[host].machine.status();
        if status != ClusterStatus::Stopped {
            self.draw_life(host, Life::from(status));
        }
        let tick_first = self.chunk_random.permille(700);
        if tick_first {
            self.feed(host, Input::Tick);
        }
        for waiting in std::mem::take(&mut self.hosts[host].waiting) {
            match waiting {
                Waiting::Accept(place) => self.accept_late(place as usize),
                Waiting::Confirm(place, end) => self.confirm(place as usize, end.into()),
                Waiting::Connected(place) => self.connected(place as usize),
                Waiting::Failed(place, error) => self.dial_failed(place as usize, error),
                Waiting::Job(job) => self.job(job),
                Waiting::Lookup(number) => self.lookup_over(number),
                Waiting::Linger(place, end) => self.linger_over(place as usize, end.into()),
                Waiting::Read(place, end) => {
                    self.conns[place as usize].pipes[end as usize].noted = false;
                    self.read(place as usize, end.into());
                }
            }
        }
        for index in 0..self.hosts[host].conns.len() {
            let place = self.hosts[host].conns[index];
            self.pump_later((place >> 1) as usize, (place & 1) as usize);
        }
        self.feed(host, Input::Tick);
    }

    fn accept_late(&mut self, place: usize) {
        let end = &self.conns[place].ends[1];
        let host = &self.hosts[end.host];
        if host.process == end.process && host.listening == Some(self.conns[place].remote.port()) {
            self.accepted(place);
        } else {
            self.conns[place].ends[1].state = EndState::Gone { silent: false };
            self.answer_by_reset(place, 1);
        }
    }

    /// A host's clock runs at this rate from now on: 1000 is real time.
    pub fn set_clock_rate(&mut self, host: HostId, permille: u64) {
        self.line(Some(host), &format!("has a clock at {permille} permille"));
        let now = self.now;
        self.hosts[host].clock.set_rate(now, permille.max(1));
        self.hosts[host].wake = u64::MAX;
        self.set_timer(host);
    }

    /// A host's wall clock jumps by this many milliseconds.
    pub fn jump_wall_clock(&mut self, host: HostId, millis: i64) {
        let offset = &mut self.hosts[host].wall_offset;
        let by = Duration::from_millis(millis.unsigned_abs());
        *offset = if millis < 0 { offset.saturating_sub(by) } else { *offset + by };
    }

    // Paths

    /// From now on nothing passes from one host to another: bytes wait in the kernel, which sends them again once it is mended.
    pub fn cut(&mut self, from: HostId, to: HostId) {
        if from != to {
            self.network.path_mut(from, to).cut = true;
        }
    }

    /// What was cut from one host to another passes again.
    pub fn mend(&mut self, from: HostId, to: HostId) {
        if !std::mem::take(&mut self.network.path_mut(from, to).cut) {
            return;
        }
        // Also what a process sent that is no more, and its kernel still holds.
        for place in 0..self.conns.len() {
            for end in [0, 1] {
                if self.conns[place].ends[end].host == from {
                    self.retransmit(place, end, to);
                }
            }
        }
    }

    /// A kernel sends again within some seconds.
    fn retransmit(&mut self, place: usize, end: usize, to: HostId) {
        let conn = &mut self.conns[place];
        let pipe = &mut conn.pipes[end];
        if conn.ends[1 - end].host != to || pipe.scheduled || pipe.flight.is_empty() {
            return;
        }
        let at = self.now + self.latency_random.within(SECOND / 5, 3 * SECOND);
        for (due, _) in &mut pipe.flight {
            *due = at.max(*due);
        }
        pipe.last_arrival = pipe.last_arrival.max(at);
        self.schedule(place, end);
    }

    /// What becomes of dials from one host to another.
    pub fn set_dialling(&mut self, from: HostId, to: HostId, dialling: Dialling) {
        self.network.path_mut(from, to).dialling = dialling;
    }

    // Connections

    /// The connections to another host that this one's end has open, with that end.
    pub(super) fn open_to(&self, one: HostId, other: HostId) -> impl Iterator<Item = (usize, usize)> {
        self.hosts[one].ends().filter(move |(place, end)| {
            let ends = &self.conns[*place].ends;
            ends[1 - end].host == other && !matches!(ends[*end].state, EndState::Gone { .. })
        })
    }

    /// The connections between two hosts that both ends have open, with the first host's end.
    fn between(&self, one: HostId, other: HostId) -> Vec<(usize, usize)> {
        let live = |(place, end): &(usize, usize)| !matches!(self.conns[*place].ends[1 - end].state, EndState::Gone { .. });
        self.open_to(one, other).filter(live).collect()
    }

    /// Every connection between two hosts is reset, at any byte of what is on its way.
    pub fn reset(&mut self, one: HostId, other: HostId) {
        for (place, _) in self.between(one, other) {
            self.reset_conn(place);
        }
    }

    /// One of the connections between two hosts is reset, whichever it is.
    pub fn reset_one(&mut self, one: HostId, other: HostId) {
        let conns = self.between(one, other);
        if !conns.is_empty() {
            let (place, _) = conns[self.wire_random.index(conns.len())];
            self.reset_conn(place);
        }
    }

    /// Every connection between two hosts is reset from within the network: both ends are told at once, even where nothing passes.
    pub fn sever(&mut self, one: HostId, other: HostId) {
        for (place, _) in self.between(one, other) {
            for end in [0, 1] {
                let ends = &self.conns[place].ends;
                if matches!(ends[1 - end].state, EndState::Open | EndState::Lingering) {
                    let pipe = &mut self.conns[place].pipes[end];
                    pipe.truncate_flight(0);
                    pipe.inbox.push_back(super::wire::Item::Reset);
                    self.read(place, end);
                }
            }
        }
    }

    fn reset_conn(&mut self, place: usize) {
        for end in [0, 1] {
            let pipe = &mut self.conns[place].pipes[end];
            let flying = pipe.unread;
            let keep = self.wire_random.index(flying + 1);
            pipe.truncate_flight(keep);
            self.answer_by_reset(place, end);
        }
    }

    /// A host's connections to another one end, and that one does not notice. If `silent`, it is not even answered when it sends.
    pub fn half_open(&mut self, at: HostId, with: HostId, silent: bool) {
        for (place, end) in self.between(at, with) {
            if self.conns[place].ends[end].state != EndState::Open || self.hosts[at].frozen {
                continue;
            }
            self.coverage.note("half-open connection");
            let conn = self.conns[place].ends[end].id;
            // The reset that the machine's close leads to is lost.
            let cuts = std::mem::replace(&mut self.reset_cuts, false);
            let path = self.network.path_mut(at, with);
            let cut = std::mem::replace(&mut path.cut, true);
            self.feed(at, Input::Closed { conn });
            self.network.path_mut(at, with).cut = cut;
            self.reset_cuts = cuts;
            let pipe = &mut self.conns[place].pipes[end];
            pipe.truncate_flight(0);
            pipe.flight.clear();
            self.conns[place].ends[end].state = EndState::Gone { silent };
        }
    }

    /// The kernel takes nothing more of what one host writes to another, or takes it again.
    pub fn stall_writer(&mut self, from: HostId, to: HostId, stalled: bool) {
        for (place, end) in self.open_to(from, to).collect::<Vec<_>>() {
            self.conns[place].pipes[end].writer_stalled = stalled;
            if !stalled {
                self.pump_later(place, end);
            }
        }
    }

    /// A host reads nothing more of what another one writes to it, or reads again.
    pub fn stall_reader(&mut self, reader: HostId, from: HostId, stalled: bool) {
        for (place, end) in self.open_to(reader, from).collect::<Vec<_>>() {
            self.conns[place].pipes[1 - end].reader_stalled = stalled;
            if !stalled {
                self.read(place, 1 - end);
                self.pump_later(place, 1 - end);
            }
        }
    }

    /// Whether the resets that closes lead to destroy some of what is on its way before them.
    pub fn set_reset_cuts(&mut self, cuts: bool) {
        self.reset_cuts = cuts;
    }

    /// An adversary sits on all present connections between two hosts, and touches that share of all writes.
    pub fn tamper(&mut self, one: HostId, other: HostId, how: Option<Tampering>, permille: u32) {
        for (place, _) in self.between(one, other) {
            self.conns[place].tampering = how.map(|how| (how, permille));
            self.conns[place].tampered |= how.is_some();
        }
    }

    /// How late the driver of a host confirms graceful closes.
    pub fn set_late_closes(&mut self, host: HostId, late: Duration) {
        self.hosts[host].late_closes = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
    }

    // A driver that does not keep its contract

    /// The driver of a host feeds inputs that make no sense: for connections that are no more or never were, twice, and too early.
    pub fn misuse(&mut self, host: HostId) {
        if !self.hosts[host].alive || self.hosts[host].frozen {
            return;
        }
        self.line(Some(host), "has a driver that misuses the machine");
        let gone = (0..self.hosts[host].conns.len()).rev().find(|index| {
            let place = self.hosts[host].conns[*index];
            matches!(self.conns[(place >> 1) as usize].ends[(place & 1) as usize].state, EndState::Gone { .. })
        });
        let never = ConnId(self.hosts[host].conns.len() as u64 + 7);
        let ids = [gone.map(|index| ConnId(index as u64 + 1)), Some(never), Some(ConnId(0))];
        let remote = std::net::SocketAddr::from(([10, 0, 0, 77], 1));
        for conn in ids.into_iter().flatten() {
            let data = Bytes::from_static(&[0, 0, 0, 1, 1]);
            for input in [
                Input::Closed { conn },
                Input::Transmitted { bytes: 100, conn },
                Input::Received { conn, data, wall: WallTime(Duration::ZERO) },
                Input::Connected { conn, remote },
                Input::DialFailed { conn, error: ConnectError::Refused },
                Input::Accepted { conn, remote },
                Input::Resolved { addrs: Ok(vec![remote]), lookup: LookupId(u64::MAX) },
                Input::Tick,
                Input::Listening { entropy: [0; 32], local: remote, network: Box::default() },
                Input::Closed { conn },
            ] {
                self.feed(host, input);
            }
        }
    }
}
