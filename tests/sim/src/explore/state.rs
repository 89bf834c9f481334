//! One state of a small cluster, and what can happen next in it.

use std::hash::Hash;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use noex_proto::{ConnId, ConnectError, Input, LocalNetwork, NodeId, Secret, WallTime};

use super::call::{CALLED, Calling};
use super::claim::Claiming;
use super::digest::Digest;
use super::host::Host;
use super::link::{EndState, Link, StreamEnd};
use super::scenario::{Budget, Node, Rules, SECRET};
use crate::HostId;
use crate::coverage::Coverage;
use crate::frames;
use crate::safety::{Invariant, Violation};
use crate::trace::Line;

/// How long a process that is paused does nothing: longer than any answer of the protocol may take, but for the admission.
pub(super) const PAUSE: Duration = Duration::from_secs(10);

/// How many wake-ups without a consequence one move may take.
const IDLE_WAKE_UPS: usize = 64;

pub(super) type Checked = Result<(), Violation>;

/// What can happen next. Links are named by their place, ends by the one that is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Move {
    /// A dial is accepted, and its dialler is told.
    Accept(u8),
    /// The process answers the call that it has.
    Answer,
    /// The caller calls the process.
    Call,
    /// The caller waits for its call no more.
    Cancel,
    /// The process of a node claims the name.
    Claim(u8),
    /// A process is gone.
    Crash(u8),
    /// The next frame arrives.
    Deliver(u8, u8),
    /// The end of a stream, or a reset, arrives.
    End(u8, u8),
    /// The process ends, and another one is opened.
    Exit,
    /// The process of a node that has or claims the name ends.
    GiveUp(u8),
    /// A node is told to stop.
    Leave(u8),
    /// A driver waits no longer for the other end of a connection that its machine closed.
    Linger(u8, u8),
    /// A reset that is under way never arrives.
    Lose(u8, u8),
    /// A host's clock goes on by [`PAUSE`], and its process does nothing.
    Pause(u8),
    /// A dial fails.
    Refuse(u8),
    /// The network resets a connection.
    Reset(u8),
    /// A node gets the secrets of the next phase of a rotation.
    Rotate(u8),
    /// An application sends something to each node that is up.
    Send(u8),
    /// A node starts again.
    Start(u8),
    /// The process takes what is in its mailbox.
    Take,
    /// A host's clock goes on until its machine does something.
    Wait(u8),
    /// A process that was paused sees to its deadlines.
    Wake(u8),
}

/// Which downs have no cause, whatever happened before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Watched {
    /// None is known to.
    Nobody,
    /// All: everything arrives, and all clocks agree.
    All,
    /// By silence, those that this host reports, which was paused.
    Woken(HostId),
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) hosts: Vec<Rc<Host>>,
    pub(super) links: Vec<Link>,
    pub(super) budget: Budget,
    /// How many links there were.
    pub(super) links_made: u32,
    /// The beginnings of all nonces.
    pub(super) nonces: Vec<u64>,
    pub(super) rules: Rules,
    pub(super) calling: Calling,
    pub(super) claiming: Claiming,
    /// The sessions that the host which got the last input had before it.
    pub(super) sessions: Vec<(NodeId, ConnId)>,
    /// What that host has closed since: the connection, the host at its other end, and whether it had ended or was about to.
    pub(super) closed: Vec<(ConnId, HostId, bool)>,
    /// Something else has happened than deliveries, pauses and calls of the application.
    pub(super) disturbed: bool,
    pub(super) watched: Watched,
    /// A machine has asked for something.
    pub(super) acted: bool,
    /// An application has been told of something.
    pub(super) told: bool,
    /// The transitions, where somebody wants to read them.
    pub(super) lines: Option<Vec<Line>>,
}

pub(super) fn address(host: HostId, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host as u8 + 1], port))
}

impl State {
    /// All nodes have started, and nothing has arrived yet.
    pub(super) fn new(nodes: &[Node], rules: Rules, recording: bool) -> Result<Self, Violation> {
        let hosts = nodes.iter().map(|node| Rc::new(Host::new(Rc::new(node.clone()), 0)));
        let mut state = Self {
            hosts: hosts.collect(),
            links: Vec::new(),
            budget: Budget::default(),
            links_made: 0,
            nonces: Vec::new(),
            rules,
            calling: Calling::default(),
            claiming: Claiming::default(),
            sessions: Vec::new(),
            closed: Vec::new(),
            disturbed: false,
            watched: Watched::Nobody,
            acted: false,
            told: false,
            lines: recording.then(Vec::new),
        };
        for host in 0..nodes.len() {
            state.start(host)?;
        }
        Ok(state)
    }

    /// What makes this state the same as another one.
    pub(super) fn digest(&self) -> u128 {
        let mut digest = Digest::default();
        (self.budget, &self.calling, &self.claiming).hash(&mut digest);
        for host in &self.hosts {
            host.digest().hash(&mut digest);
        }
        for link in &self.links {
            link.cut.hash(&mut digest);
            for (end, way) in link.ends.iter().zip(&link.ways) {
                (end.host, end.state, self.rank(end.host, end.conn), way.end, way.lost, way.data.len()).hash(&mut digest);
                for frame in &way.data {
                    frames::hash_abstraction(frame, &mut digest);
                }
            }
        }
        digest.value()
    }

    /// The place of a connection among those of its host: what its machine knows it by.
    fn rank(&self, host: HostId, conn: ConnId) -> usize {
        let ends = self.links.iter().flat_map(|link| &link.ends);
        ends.filter(|end| end.host == host && end.conn < conn && end.state != EndState::Gone && end.conn != ConnId(0)).count()
    }

    /// What the machines have counted on the way here.
    pub(super) fn coverage(&self) -> Coverage {
        let mut coverage = Coverage::default();
        for host in &self.hosts {
            coverage.add_counters(&host.machine.counters());
        }
        coverage
    }

    // What can happen

    /// The moves that need neither time nor a fault: something is under way.
    pub(super) fn deliveries(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (place, link) in self.links.iter().enumerate() {
            let number = place as u8;
            if link.is_pending() {
                let listens = !self.hosts[link.ends[1].host].is_stopped();
                moves.push(if listens { Move::Accept(number) } else { Move::Refuse(number) });
                continue;
            }
            for end in 0..2_u8 {
                let told = &link.ends[usize::from(end)];
                let way = &link.ways[usize::from(1 - end)];
                if told.state == EndState::Gone {
                    continue;
                }
                if !way.data.is_empty() {
                    moves.push(Move::Deliver(number, end));
                }
                if way.end == Some(StreamEnd::Reset) || way.end == Some(StreamEnd::Fin) && way.data.is_empty() {
                    moves.push(Move::End(number, end));
                }
            }
        }
        self.add_turns(&mut moves);
        let paused = self.hosts.iter().enumerate().filter(|(_, host)| host.paused && !host.is_stopped());
        moves.extend(paused.map(|(place, _)| Move::Wake(place as u8)));
        moves
    }

    /// The host to which a delivery is made.
    pub(super) fn told(&self, delivery: Move) -> Option<HostId> {
        let end = |link: u8, end: usize| self.links[usize::from(link)].ends[end].host;
        match delivery {
            Move::Accept(link) => Some(end(link, 1)),
            Move::Deliver(link, of) | Move::End(link, of) => Some(end(link, usize::from(of))),
            Move::Refuse(link) => Some(end(link, 0)),
            Move::Answer | Move::Take => Some(CALLED),
            _ => None,
        }
    }

    /// All that can happen next, within the budget.
    pub(super) fn moves(&self) -> Vec<Move> {
        let mut moves = self.deliveries();
        let budget = &self.budget;
        for (place, link) in self.links.iter().enumerate() {
            let number = place as u8;
            if link.is_pending() {
                if budget.refusals > 0 && !self.hosts[link.ends[1].host].is_stopped() {
                    moves.push(Move::Refuse(number));
                }
                continue;
            }
            if budget.resets > 0 && !link.cut {
                moves.push(Move::Reset(number));
            }
            for end in 0..2_u8 {
                let state = link.ends[usize::from(end)].state;
                if budget.waits > 0 && state == EndState::Lingering {
                    moves.push(Move::Linger(number, end));
                }
                let reset = link.ways[usize::from(1 - end)].end == Some(StreamEnd::Reset);
                if budget.losses > 0 && state == EndState::Open && reset {
                    moves.push(Move::Lose(number, end));
                }
            }
        }
        self.add_calls(&mut moves);
        self.add_claims(&mut moves);
        for (place, host) in self.hosts.iter().enumerate() {
            let number = place as u8;
            if host.is_stopped() {
                if budget.starts > 0 {
                    moves.push(Move::Start(number));
                }
                continue;
            }
            if budget.waits > 0 && host.is_waiting() && !host.paused {
                moves.push(Move::Wait(number));
            }
            if budget.pauses > 0 && !host.paused {
                moves.push(Move::Pause(number));
            }
            if budget.sends > 0 && !host.monitor.up.is_empty() && !host.paused {
                moves.push(Move::Send(number));
            }
            // A rotation's next phase begins once all have gone through the one before.
            if budget.rotations > 0 && host.phase < 3 && self.hosts.iter().all(|other| other.phase >= host.phase) {
                moves.push(Move::Rotate(number));
            }
            if budget.crashes > 0 {
                moves.push(Move::Crash(number));
            }
            if budget.leaves > 0 && host.is_running() {
                moves.push(Move::Leave(number));
            }
        }
        moves
    }

    /// Lets something happen, at the cost that it has.
    pub(super) fn apply(&mut self, next: Move) -> Checked {
        let listens = |state: &Self, link: u8| !state.hosts[state.links[usize::from(link)].ends[1].host].is_stopped();
        let harmless = matches!(next, Move::Accept(_) | Move::Deliver(..) | Move::End(..) | Move::Pause(_))
            || matches!(next, Move::Rotate(_) | Move::Send(_) | Move::Wake(_))
            || matches!(next, Move::Claim(_) | Move::GiveUp(_))
            || matches!(next, Move::Answer | Move::Call | Move::Cancel | Move::Exit | Move::Take);
        self.disturbed |= !harmless;
        match next {
            Move::Call => self.budget.calls -= 1,
            Move::Cancel => self.budget.cancels -= 1,
            Move::Claim(_) => self.budget.claims -= 1,
            Move::Exit | Move::GiveUp(_) => self.budget.exits -= 1,
            Move::Crash(_) => self.budget.crashes -= 1,
            Move::Leave(_) => self.budget.leaves -= 1,
            Move::Refuse(link) if listens(self, link) => self.budget.refusals -= 1,
            Move::Lose(..) => self.budget.losses -= 1,
            Move::Pause(_) => self.budget.pauses -= 1,
            Move::Reset(_) => self.budget.resets -= 1,
            Move::Rotate(_) => self.budget.rotations -= 1,
            Move::Send(_) => self.budget.sends -= 1,
            Move::Start(_) => self.budget.starts -= 1,
            Move::Linger(..) | Move::Wait(_) => self.budget.waits -= 1,
            Move::Accept(_) | Move::Answer | Move::Deliver(..) | Move::End(..) | Move::Refuse(_) | Move::Take | Move::Wake(_) => {
            }
        }
        self.happen(next)
    }

    /// Lets something happen at no cost.
    pub(super) fn happen(&mut self, next: Move) -> Checked {
        let place = usize::from;
        match next {
            Move::Accept(link) => self.accept(place(link)),
            Move::Answer => self.answer(),
            Move::Call => self.call(),
            Move::Cancel => self.cancel(),
            Move::Claim(host) => self.claim(place(host)),
            Move::Exit => self.replace(),
            Move::GiveUp(host) => self.give_up(place(host)),
            Move::Take => self.take(),
            Move::Crash(host) => self.crash(place(host)),
            Move::Deliver(link, end) => self.deliver(place(link), place(end)),
            Move::End(link, end) => self.end(place(link), place(end)),
            Move::Leave(host) => {
                self.line(Some(place(host)), || "is told to stop".into());
                self.feed(place(host), Input::Stop)
            }
            Move::Linger(link, end) => {
                let told = self.links[place(link)].ends[place(end)];
                self.line(Some(told.host), || "waits no longer for the other end".into());
                self.links[place(link)].abort(place(end));
                self.feed(told.host, Input::Closed { conn: told.conn })
            }
            Move::Lose(link, end) => {
                let link = &mut self.links[place(link)];
                link.lose(place(end));
                let (host, number) = (link.ends[place(end)].host, link.number);
                self.line(Some(host), || format!("will never hear of the end of {number}"));
                Ok(())
            }
            Move::Pause(host) => {
                self.line(Some(place(host)), || "is paused".into());
                let at = self.host_mut(place(host));
                at.now = at.now + PAUSE;
                at.paused = true;
                Ok(())
            }
            Move::Refuse(link) => {
                let link = self.links.remove(place(link));
                self.line(Some(link.ends[0].host), || format!("dial {} fails", link.number));
                self.feed(link.ends[0].host, Input::DialFailed { conn: link.ends[0].conn, error: ConnectError::Refused })
            }
            Move::Reset(link) => {
                self.links[place(link)].reset();
                let number = self.links[place(link)].number;
                self.line(None, || format!("the network resets {number}"));
                Ok(())
            }
            Move::Rotate(host) => self.rotate(place(host)),
            Move::Send(host) => {
                self.line(Some(place(host)), || "sends to all".into());
                self.send_to_all(place(host))
            }
            Move::Start(host) => self.start(place(host)),
            Move::Wait(host) => self.wait(place(host)),
            Move::Wake(host) => {
                self.line(Some(place(host)), || "wakes".into());
                self.host_mut(place(host)).paused = false;
                self.feed(place(host), Input::Tick)
            }
        }?;
        self.links.retain(|link| !link.is_over());
        self.check_claims()
    }

    fn accept(&mut self, place: usize) -> Checked {
        let link = &mut self.links[place];
        let [dialler, acceptor] = link.ends;
        let conn = self.hosts[acceptor.host].machine.next_conn();
        link.ends[0].state = EndState::Open;
        link.ends[1].state = EndState::Open;
        link.ends[1].conn = conn;
        let number = link.number;
        self.line(Some(acceptor.host), || format!("accepts {number} from {}", dialler.host));
        self.feed(acceptor.host, Input::Accepted { conn, remote: address(dialler.host, 50_000) })?;
        self.feed(
            dialler.host,
            Input::Connected { conn: dialler.conn, remote: address(acceptor.host, noex_proto::defaults::PORT) },
        )
    }

    fn deliver(&mut self, place: usize, end: usize) -> Checked {
        let link = &mut self.links[place];
        let told = link.ends[end];
        let Some(data) = link.ways[1 - end].data.pop_front() else { return Ok(()) };
        let (sender, bytes, number) = (link.ends[1 - end], data.len(), link.number);
        self.line(Some(told.host), || format!("gets {} on {number}", frames::name(&data)));
        self.feed(told.host, Input::Received { conn: told.conn, data, wall: WallTime(Duration::ZERO) })?;
        if self.rules.small_buffers && sender.state == EndState::Open {
            // Where the sender has closed meanwhile, or is gone, its machine knows nothing of this connection.
            self.feed(sender.host, Input::Transmitted { bytes, conn: sender.conn })?;
        }
        Ok(())
    }

    /// A node gets the secrets of the next phase: accept the new one, prove itself by it, drop the old one.
    fn rotate(&mut self, host: HostId) -> Checked {
        let at = self.host_mut(host);
        at.phase += 1;
        let (now, phase) = (at.now, at.phase);
        let (old, new) = (Secret::from(SECRET), Secret::from("the secret that it is rotated to"));
        let (primary, accepted) = match phase {
            1 => (old, vec![new]),
            2 => (new, vec![old]),
            _ => (new, Vec::new()),
        };
        at.machine.set_secrets(now, primary, accepted).expect("a running node and valid secrets");
        self.line(Some(host), || format!("goes on to phase {phase} of the rotation"));
        self.feed(host, Input::Tick)
    }

    fn end(&mut self, place: usize, end: usize) -> Checked {
        let link = &mut self.links[place];
        let (told, number) = (link.ends[end], link.number);
        let way = std::mem::take(&mut link.ways[1 - end]);
        let lost = way.data.len();
        if told.state == EndState::Lingering {
            link.leave(end);
        }
        self.line(Some(told.host), || match way.end {
            Some(StreamEnd::Reset) if lost > 0 => format!("gets the reset of {number}, and {lost} frames are lost"),
            Some(StreamEnd::Reset) => format!("gets the reset of {number}"),
            _ => format!("gets the end of {number}"),
        });
        self.feed(told.host, Input::Closed { conn: told.conn })
    }

    fn crash(&mut self, host: HostId) -> Checked {
        self.line(Some(host), || "crashes".into());
        for link in &mut self.links {
            for end in 0..2 {
                // A dial that is under way to a host reaches whatever runs there then.
                if link.ends[end].host == host
                    && !matches!(link.ends[end].state, EndState::Gone)
                    && (end == 0 || !link.is_pending())
                {
                    link.abort(end);
                }
            }
        }
        self.calling_crashed(host);
        self.claiming_crashed(host);
        let old = &self.hosts[host];
        self.hosts[host] = Rc::new(Host::new(Rc::clone(&old.node), old.starts));
        Ok(())
    }

    fn start(&mut self, host: HostId) -> Checked {
        self.line(Some(host), || "starts".into());
        let at = self.host_mut(host);
        at.starts += 1;
        // Equal starts get equal entropy, so that an instance is the same in all runs.
        let entropy = [host as u8 * 16 + at.starts; 32];
        let (now, config) = (at.now, at.node.config.clone());
        at.machine.start(now, config).expect("a stopped node and a valid configuration");
        let local = address(host, noex_proto::defaults::PORT);
        let network = LocalNetwork {
            interfaces: vec![local.ip()],
            own: vec![local.ip()],
            route: Some(local.ip()),
            ..LocalNetwork::default()
        };
        self.feed(host, Input::Listening { entropy, local, network: Box::new(network) })?;
        if self.rules.calls && host == CALLED {
            self.open_process();
            return self.drain(host);
        }
        if self.rules.claims {
            self.open_claimant(host);
            return self.drain(host);
        }
        Ok(())
    }

    /// A host's clock goes on until its machine does something.
    fn wait(&mut self, host: HostId) -> Checked {
        self.line(Some(host), || "waits".into());
        for _ in 0..IDLE_WAKE_UPS {
            let at = self.host_mut(host);
            let Some(due) = at.machine.poll_timeout() else { return Ok(()) };
            at.now = at.now.max(due);
            self.acted = false;
            self.feed(host, Input::Tick)?;
            if self.acted {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn host_mut(&mut self, host: HostId) -> &mut Host {
        let host = Rc::make_mut(&mut self.hosts[host]);
        host.hash.set(0);
        host
    }

    pub(super) fn violate(&mut self, host: HostId, invariant: Invariant, detail: String) -> Checked {
        self.line(Some(host), || format!("VIOLATION {invariant}: {detail}"));
        Err(Violation { at: self.hosts[host].now.since_start(), detail, host: Some(host), invariant })
    }

    pub(super) fn line(&mut self, host: Option<HostId>, what: impl FnOnce() -> String) {
        if self.lines.is_some() {
            let at = host.map_or(Duration::ZERO, |host| self.hosts[host].now.since_start());
            let line = Line { at, host, what: what() };
            self.lines.get_or_insert_default().push(line);
        }
    }
}
