//! Hosts: a machine, its clock, and a driver that keeps the contract of `noex_proto`.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use noex_proto::testing::Contract;
use noex_proto::{
    Action, Close, ClusterError, ClusterEvent, ClusterStatus, ConnId, Input, Instant, Machine, NodeDownReason, NodeId,
    SubscriptionId, WallTime,
};

use super::application::{Delivered, Subscriber};
use super::network::{self, Target};
use super::queue::Happening;
use super::resolver::{Failing, Inquiry, Resolving};
use super::scripts::Scripts;
use super::wire::{Conn, DialStep, End, EndState, Pipe};
use super::{HostId, Meeting, World};
use crate::frames;
use crate::plan::matters::input_name;
use crate::safety::{self, Activity, Invariant, Monitor, Picture};

/// A tick that comes later than this after its time is a late one.
const LATE: Duration = Duration::from_millis(100);

/// A clock that runs at its own rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    since: u64,
    local: u64,
    pub(super) permille: u64,
    /// The highest rate that it has had.
    pub(super) fastest: u64,
}

impl Clock {
    pub(super) fn at(&self, now: u64) -> u64 {
        self.local + (now - self.since) * self.permille / 1000
    }

    /// The first moment at which the clock shows `local` or more.
    pub(super) fn when(&self, local: u64) -> u64 {
        self.since + (local.saturating_sub(self.local) * 1000).div_ceil(self.permille)
    }

    pub(super) fn set_rate(&mut self, now: u64, permille: u64) {
        *self = Self { since: now, local: self.at(now), permille, fastest: self.fastest.max(permille) };
    }
}

/// What a frozen host finds when it goes on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    Accept(u32),
    Confirm(u32, u8),
    Connected(u32),
    Failed(u32, Failing),
    Job(u32),
    Linger(u32, u8),
    Lookup(u32),
    Read(u32, u8),
}

#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) machine: Machine,
    pub(super) contract: Contract,
    pub(super) clock: Clock,
    pub(super) wall_offset: Duration,
    /// The events that its machine has emitted, and the messages that it has delivered.
    pub(super) emitted: u64,
    pub(super) delivered: Delivered,
    /// When the port of each other host last refused, and the time before.
    pub(super) refusals: BTreeMap<HostId, [u64; 2]>,
    /// The connections that its machine has closed since the last input, and which end of each is this host's: by one of them a
    /// node may have come up before.
    pub(super) closed: Vec<(usize, usize)>,
    /// The connection of the session by which each other node came up last, and which end of it is this host's.
    pub(super) sessions: BTreeMap<NodeId, (usize, usize)>,
    /// The number of the present process.
    pub(super) process: u32,
    /// A number of the present start that no other start anywhere has.
    pub(super) origin: u64,
    /// When it began.
    pub(super) since: u64,
    /// The last identity of each process.
    pub(super) ids: Vec<Option<NodeId>>,
    pub(super) alive: bool,
    pub(super) powered: bool,
    pub(super) frozen: bool,
    pub(super) listening: Option<u16>,
    /// What its resolver does, and whether its driver can begin no connection.
    pub(super) resolving: Resolving,
    pub(super) exhausted: bool,
    /// How late its driver confirms graceful closes, in nanoseconds.
    pub(super) late_closes: u64,
    pub(super) inquiry: Inquiry,
    /// Connections of the present process by number: the place in the table, twice, plus the end.
    pub(super) conns: Vec<u32>,
    pub(super) wake: u64,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) credits: VecDeque<(ConnId, usize)>,
    pub(super) monitor: Monitor,
    pub(super) messages_of: SubscriptionId,
    /// A subscriber that reads rarely, and others that came later.
    pub(super) slow: Subscriber,
    pub(super) later: VecDeque<Subscriber>,
    pub(super) events: Vec<(Duration, ClusterEvent)>,
    pub(super) messages: Vec<(NodeId, Bytes)>,
    /// Errors that the application heard of conflicts about identities.
    pub(super) conflicts: u64,
    pub(super) next_port: u16,
    pub(super) scripts: Scripts,
    /// A stranger, in place of a machine.
    pub(super) rogue: Option<super::Rogue>,
    /// Where a program runs on it, what that is to be told.
    #[cfg(feature = "app")]
    pub(super) told: Option<super::program::Told>,
}

impl Host {
    pub(super) fn new(now: u64) -> Self {
        let mut machine = Machine::new();
        let messages_of = machine.subscribe_messages();
        let slow = Subscriber::new(&mut machine);
        Self {
            machine,
            contract: Contract::default(),
            clock: Clock { since: now, local: 0, permille: 1000, fastest: 1000 },
            wall_offset: Duration::from_secs(1_700_000_000),
            emitted: 0,
            delivered: Delivered::new(),
            refusals: BTreeMap::new(),
            closed: Vec::new(),
            sessions: BTreeMap::new(),
            process: 0,
            origin: 0,
            since: 0,
            ids: vec![None],
            alive: true,
            powered: true,
            frozen: false,
            listening: None,
            resolving: Resolving::Normal,
            exhausted: false,
            late_closes: 0,
            inquiry: Inquiry::default(),
            conns: Vec::new(),
            wake: u64::MAX,
            waiting: VecDeque::new(),
            credits: VecDeque::new(),
            monitor: Monitor::default(),
            messages_of,
            slow,
            later: VecDeque::new(),
            events: Vec::new(),
            messages: Vec::new(),
            conflicts: 0,
            next_port: 49_152,
            scripts: Scripts::default(),
            rogue: None,
            #[cfg(feature = "app")]
            told: None,
        }
    }

    pub(super) fn local(&self, now: u64) -> Instant {
        Instant::new(Duration::from_nanos(self.clock.at(now)))
    }

    /// The place and the end of a connection of the present process.
    pub(super) fn conn(&self, id: ConnId) -> Option<(usize, usize)> {
        let place = usize::try_from(id.0).ok()?.checked_sub(1)?;
        self.conns.get(place).map(|place| place_and_end(*place))
    }

    /// The same of all its connections, in their order.
    pub(super) fn ends(&self) -> impl DoubleEndedIterator<Item = (usize, usize)> {
        self.conns.iter().map(|place| place_and_end(*place))
    }
}

impl World {
    /// Feeds an input, performs what the machine asks for, reports what the kernel took meanwhile, and sets the timer.
    pub(super) fn feed(&mut self, host: HostId, input: Input) {
        if let Some(rogue) = self.hosts[host].rogue {
            return self.rogue_input(host, rogue, &input);
        }
        self.feed_one(host, input);
        self.give_credit(host);
    }

    /// The application has asked for something: performs what the machine asks for, and goes on as after an input.
    pub(super) fn settle(&mut self, host: HostId) {
        if self.violation.is_some() {
            return;
        }
        self.steps += 1;
        let acted = self.perform(host, None, None) > 0;
        self.check_machine(host, false, acted);
        self.give_credit(host);
    }

    fn give_credit(&mut self, host: HostId) {
        while let Some((conn, bytes)) = self.hosts[host].credits.pop_front() {
            self.feed_one(host, Input::Transmitted { bytes, conn });
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.view(host, self.now, &self.hosts[host].machine);
        }
        self.set_timer(host);
    }

    /// The wall-clock time of a host.
    pub(crate) fn wall(&self, host: HostId) -> WallTime {
        WallTime(self.hosts[host].wall_offset + Duration::from_nanos(self.now))
    }

    fn feed_one(&mut self, host: HostId, input: Input) {
        self.hosts[host].closed.clear();
        if self.violation.is_some() {
            return;
        }
        self.steps += 1;
        if self.is_withheld(input_name(&input)) {
            return;
        }
        if self.change.is_none() {
            self.trace.mix(self.now ^ (host as u64) << 48);
            self.trace_input(&input);
        }
        if let Some(timeline) = &mut self.timeline {
            timeline.input(host, self.now, &input);
        }
        let split = self.split_check(host, &input);
        let stranger = self.stranger(host, &input);
        let at = &mut self.hosts[host];
        let before = stranger.map(|conn| (conn, Picture::of(&at.machine)));
        let now = at.local(self.now);
        let tick = matches!(input, Input::Tick);
        if tick && at.contract.due().is_some_and(|due| now - due > LATE) {
            self.coverage.note("late tick");
        }
        at.contract.input(&input);
        at.machine.handle(now, input);
        let acted = self.perform(host, split, stranger) > 0;
        if let Some((_, before)) = before {
            self.judge(host, before.check(&Picture::of(&self.hosts[host].machine)));
        }
        self.check_machine(host, tick, acted);
    }

    /// Performs what the machine asks for. How much that was. `split`: what it would ask for where the same bytes came in pieces; `stranger`:
    /// the connection whose bytes these are.
    fn perform(&mut self, host: HostId, split: Option<(Vec<Action>, String)>, stranger: Option<ConnId>) -> usize {
        let mut place = 0;
        while let Some(action) = self.next_action(host) {
            if let Some((actions, detail)) = &split
                && actions.get(place) != Some(&action)
            {
                self.violate(Some(host), Invariant::ChunkingIsIrrelevant, detail.clone());
            }
            place += 1;
            for action in self.bent_action(host, action) {
                if let Some(conn) = stranger {
                    self.judge(host, safety::check_answer(conn, &action));
                }
                let at = &mut self.hosts[host];
                let check = at.contract.action(&at.machine, &action);
                if self.kept(host, check).is_some() {
                    self.act(host, action);
                }
            }
        }
        if let Some((actions, detail)) = split
            && actions.len() != place
        {
            self.violate(Some(host), Invariant::ChunkingIsIrrelevant, detail);
        }
        place
    }

    fn next_action(&mut self, host: HostId) -> Option<Action> {
        let at = &mut self.hosts[host];
        let taken = at.contract.take(&mut at.machine);
        self.kept(host, taken).flatten()
    }

    /// Sets the host's timer to the machine's timeout.
    pub(super) fn set_timer(&mut self, host: HostId) {
        let at = &mut self.hosts[host];
        if !at.alive {
            return;
        }
        if let Some(due) = at.contract.due() {
            let local = u64::try_from(due.since_start().as_nanos()).unwrap_or(u64::MAX / 4000).min(u64::MAX / 4000);
            let due = at.clock.when(local).max(self.now);
            if due < at.wake {
                at.wake = due;
                self.queue.push(due, Happening::Wake(host as u32));
            }
        }
    }

    /// The host's timer fires.
    pub(super) fn wake(&mut self, host: HostId) {
        let at = &mut self.hosts[host];
        if at.wake != self.now {
            return;
        }
        at.wake = u64::MAX;
        if !at.alive || at.frozen {
            return;
        }
        if at.contract.due().is_some_and(|due| due <= at.local(self.now)) {
            self.feed(host, Input::Tick);
            if self.chunk_random.below(64) == 0 {
                self.read_slowly(host);
            }
        } else {
            self.set_timer(host);
        }
    }

    fn trace_input(&mut self, input: &Input) {
        let (kind, number) = match input {
            Input::Accepted { conn, .. } => (1, conn.0),
            Input::Closed { conn } => (2, conn.0),
            Input::Connected { conn, .. } => (3, conn.0),
            Input::DialFailed { conn, .. } => (4, conn.0),
            Input::Received { conn, data, .. } => (5, conn.0 ^ (data.len() as u64) << 40),
            Input::Transmitted { bytes, conn } => (6, conn.0 ^ (*bytes as u64) << 40),
            Input::Resolved { lookup, .. } => (9, lookup.0),
            Input::Tick => (7, 0),
            _ => (8, 0),
        };
        self.trace.mix(number << 4 | kind);
    }

    fn act(&mut self, host: HostId, action: Action) {
        if let Some(timeline) = &mut self.timeline {
            timeline.action(host, self.now, &action);
        }
        if self.change.is_some() {
            self.trace.mix(self.now ^ (host as u64) << 48);
        }
        #[cfg(feature = "app")]
        if self.tell_program(host, &action) {
            return;
        }
        match action {
            Action::Connect { conn, remote } => self.connect(host, conn, remote),
            Action::Close { conn, how } => self.close(host, conn, how),
            Action::Event(event) => self.event(host, event),
            Action::Message => self.read_messages(host),
            Action::Process(action) => self.process_action(host, action),
            Action::Resolve { host: name, lookup } => {
                self.resolve(host, lookup, name);
            }
            Action::Transmit { conn, data } => {
                self.trace.mix_bytes(&data);
                self.records += 1;
                if self.change.is_some() {
                    self.sent.extend(frames::names_of(&data));
                }
                if data.len() > 4096 && frames::has_next_page(&data) {
                    self.coverage.note("members told in pages");
                }
                self.count(host, Activity::Send);
                let Some((place, end)) = self.hosts[host].conn(conn) else { return };
                self.check_nonce(host, place, end, &data);
                let pipe = &mut self.conns[place].pipes[end];
                pipe.out_bytes += data.len();
                pipe.given += data.len() as u64;
                pipe.ends.push_back(pipe.given);
                pipe.out.push_back(data);
                self.pump(place, end);
            }
            Action::Stopped => {
                let at = &mut self.hosts[host];
                at.listening = None;
                self.line(Some(host), "stopped");
                self.abandon_lingering(host);
            }
        }
    }

    /// Adds a connection to the tables; its dialler is `host`.
    pub(super) fn connect(&mut self, host: HostId, id: ConnId, remote: SocketAddr) {
        let place = self.conns.len();
        let at = &mut self.hosts[host];
        at.conns.push((place << 1) as u32);
        let process = at.process;
        if at.inquiry.tries(remote.ip()) {
            self.coverage.note("address beyond the sixteenth");
        }
        let (target, step) = match network::target(remote) {
            Target::Host(to) if to < self.hosts.len() && self.hosts[host].exhausted => (to, DialStep::Fail(Failing::Local)),
            _ if self.hosts[host].exhausted => (host, DialStep::Fail(Failing::Local)),
            Target::Host(to) if to < self.hosts.len() => (to, DialStep::Request),
            Target::Host(_) | Target::Nowhere => (host, DialStep::Fail(Failing::Unreachable)),
            Target::Nobody => (host, DialStep::Fail(Failing::Refused)),
            Target::Silence => (host, DialStep::Lost),
        };
        let dialler = End { host, process, id, state: EndState::Pending };
        let acceptor = End { host: target, process: 0, id: ConnId(0), state: EndState::Pending };
        self.conns.push(Conn {
            ends: [dialler, acceptor],
            pipes: [Pipe::default(), Pipe::default()],
            step,
            retries: 0,
            remote,
            tampering: None,
            tampered: false,
            lingering: [0; 2],
            begun: self.now,
            opened: [0; 2],
            heard: [0; 2],
        });
        let delay = self.latency(host, target);
        self.queue.push(self.now + delay, Happening::Dial(place as u32));
        self.note_contact(host, target, Meeting::Dial);
    }

    fn close(&mut self, host: HostId, id: ConnId, how: Close) {
        let Some((place, end)) = self.hosts[host].conn(id) else { return };
        let state = self.conns[place].ends[end].state;
        self.hosts[host].closed.push((place, end));
        let replacing = self.hosts[host].machine.counters().replaced > self.hosts[host].contract.counters().replaced;
        if replacing && self.conns[place].pipes.iter().any(|pipe| pipe.unread + pipe.out_bytes > 0) {
            self.coverage.note("replacement with data in transit");
        }
        if state == EndState::Pending {
            // The machine gives a dial up that takes too long.
            let addr = self.conns[place].remote.ip();
            self.hosts[host].inquiry.failed(addr, Failing::TimedOut);
        }
        match how {
            Close::Graceful { linger, read_at_most } if state == EndState::Open => {
                self.conns[place].ends[end].state = EndState::Lingering;
                self.conns[place].lingering[end] = read_at_most;
                let until = self.now + u64::try_from(linger.as_nanos()).unwrap_or(u64::MAX / 2);
                self.queue.push(until, Happening::Linger(place as u32, end as u8));
                self.pump(place, end);
            }
            Close::Graceful { .. } | Close::Abort => {
                self.reset_end(place, end, false);
            }
        }
    }

    fn event(&mut self, host: HostId, event: ClusterEvent) {
        self.hosts[host].emitted += 1;
        let own = self.hosts[host].machine.local_node_id().ok();
        if let ClusterEvent::StatusChange(ClusterStatus::Starting) = &event {
            self.hosts[host].inquiry.started();
        }
        if let ClusterEvent::StatusChange(ClusterStatus::Stopped) = &event {
            self.hosts[host].scripts.node_is_stopped();
        }
        if let ClusterEvent::StatusChange(ClusterStatus::Running) = &event {
            let at = &mut self.hosts[host];
            if let Some(id) = at.ids.last_mut() {
                id.clone_from(&own);
            }
        }
        let text = event.to_string();
        self.trace.mix_bytes(text.as_bytes());
        let check = self.hosts[host].monitor.event(&event);
        self.judge(host, check);
        match &event {
            ClusterEvent::NodeUp(info) => {
                self.check_up(host, info);
                self.note_session(host, &info.id);
                self.hosts[host].inquiry.up();
                let now = self.now;
                self.hosts[host].scripts.node_is_up(&info.id, now);
                self.note_contact_of(host, &info.id, |live, _| Meeting::Up { alone: live == 1 });
            }
            ClusterEvent::NodeDown { id, reason } => {
                self.hosts[host].scripts.node_is_down();
                self.note_down(host, id, *reason);
                let left = *reason == NodeDownReason::GracefulShutdown;
                if *reason == NodeDownReason::ConnectionRefused {
                    self.check_refused(host, id);
                }
                self.note_contact_of(host, id, |live, clear| Meeting::Down { left, free: live == 0, clear });
            }
            ClusterEvent::Error(error) => {
                if matches!(error, noex_proto::ClusterError::IdentityConflict { .. }) {
                    self.hosts[host].conflicts += 1;
                }
                if let ClusterError::SeedMismatch { found, seed } = error {
                    self.hosts[host].inquiry.met_in_place_of(found, seed);
                }
                let at = &self.hosts[host];
                let check = at.inquiry.check_error(error, at.local(self.now).since_start());
                self.judge(host, check);
                self.coverage.note_error(error);
                self.note_report(host, error);
                if matches!(
                    error,
                    ClusterError::IdentityConflict { .. } | ClusterError::Peer { .. } | ClusterError::Refused { .. }
                ) {
                    self.count(host, Activity::Report);
                }
            }
            ClusterEvent::NameConflict { name, winner, loser } => self.check_conflict(host, name, winner, loser),
            ClusterEvent::Lagged { .. } | ClusterEvent::StatusChange(_) => {}
            other => unreachable!("{other:?} is new"),
        }
        self.line(Some(host), &text);
        if self.recording {
            let at = Duration::from_nanos(self.now);
            self.hosts[host].events.push((at, event));
        }
    }
}

/// A connection's place among all, and the end of it, as a host keeps them.
fn place_and_end(of_host: u32) -> (usize, usize) {
    ((of_host >> 1) as usize, (of_host & 1) as usize)
}
