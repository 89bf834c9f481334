//! A small network of machines in virtual time, for tests that read like a conversation: no threads, no sockets, no sleeping.
//!
//! Every message takes [`Net::latency`], or what was set for its pair of hosts. Hosts can be crashed, frozen and cut off from each other; everything
//! that a driver promises in the documentation of [`Action`] is kept, and a [`Contract`] checks what a machine promises.
#![expect(clippy::unwrap_used, unreachable_pub, reason = "support of tests, here and of the documentation")]

pub mod conditions;
pub mod faults;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use conditions::{interval, split_seeds};
use noex_proto::testing::{Contract, Phase};
use noex_proto::{
    Action, Broadcast, Cause, Close, ClusterConfig, ClusterError, ClusterEvent, ConnId, ConnectError, Input, Instant,
    LocalNetwork, Machine, NodeDownReason, NodeId, WallTime,
};

pub const MS: Duration = Duration::from_millis(1);
pub const SECOND: Duration = Duration::from_secs(1);

pub type Host = usize;

/// One side of a connection.
type End = (Host, ConnId);

#[derive(Debug)]
enum Happening {
    /// A dial reaches the other host.
    Arrive {
        from: End,
        to: Host,
    },
    Input {
        host: Host,
        input: Input,
    },
    /// The driver looks at the deadline it was told.
    Wake {
        host: Host,
    },
}

/// A connection that its host has not heard of yet: what came on it, and whether its other end is closed.
#[derive(Debug)]
struct Backlog {
    from: End,
    data: Vec<Bytes>,
    closed: bool,
}

#[derive(Debug, Default)]
pub struct Node {
    pub machine: Machine,
    contract: Contract,
    pub events: Vec<(Duration, ClusterEvent)>,
    pub messages: Vec<(NodeId, Bytes)>,
    pub of_processes: Vec<noex_proto::ProcessAction>,
    /// For each message, how many events came before it.
    pub message_marks: Vec<usize>,
    pub stopped: usize,
    listening: bool,
    frozen: bool,
    /// What arrived while the host was frozen.
    waiting: Vec<Input>,
    /// Connections that the operating system accepted while the host was frozen.
    backlog: Vec<Backlog>,
    /// When bytes were handed to the machine, on which connection, and how many.
    pub received: Vec<(Duration, ConnId, usize)>,
    messages_of: Option<noex_proto::SubscriptionId>,
    wake: Option<Instant>,
    starts: u8,
    /// What this host's clock showed when time began.
    clock: Duration,
    pub dials: Vec<(Duration, String, u16)>,
    /// What keeps this host's system from connecting.
    pub cannot_connect: Option<Cause>,
    /// The names that were looked up.
    pub lookups: Vec<(Duration, String)>,
    pub sent: usize,
    pub records: Vec<(ConnId, Bytes)>,
    /// The operating system takes all bytes, and the machine is not told so: connections and bytes.
    pub withheld: Option<Vec<(ConnId, usize)>>,
    /// The timer does not fire; inputs come in.
    pub tickless: bool,
    /// Bytes are taken from the machine, and the operating system never takes them.
    pub clogged: bool,
    /// How long the operating system takes to take bytes.
    pub slow: Duration,
    pub closes: Vec<(ConnId, Close)>,
}

#[derive(Debug, Default)]
pub struct Net {
    pub now: Instant,
    /// Hosts start with pauses behind them.
    pub worn: bool,
    pub latency: Duration,
    pub nodes: Vec<Node>,
    /// Names, and where they lead.
    pub names: BTreeMap<String, Vec<SocketAddr>>,
    /// How long a lookup takes.
    pub lookup_time: Duration,
    /// What the resolver says instead of an answer.
    pub resolver_fails: Option<Cause>,
    /// Pairs between which nothing arrives: the first cannot reach the second.
    cut: BTreeSet<(Host, Host)>,
    /// Pairs of which the first cannot dial the second.
    undialable: BTreeSet<(Host, Host)>,
    links: BTreeMap<End, End>,
    /// Latencies that differ from the common one.
    latencies: BTreeMap<(Host, Host), Duration>,
    /// Pairs of which the second reads nothing that the first sends.
    unread: BTreeSet<(Host, Host)>,
    /// What the operating system does not take, by the sending end.
    jammed: BTreeMap<End, Vec<Bytes>>,
    /// What was sent over a cut, to be sent again when it is healed.
    lost: Vec<(Host, Host, Happening)>,
    queue: BinaryHeap<Reverse<(Instant, u64)>>,
    happenings: BTreeMap<u64, Happening>,
    last: u64,
    /// Sees, and may change, what one host sends to another.
    pub wire: Option<Wire>,
}

/// Whoever sits on the path between the hosts.
pub struct Wire(pub Box<dyn FnMut(Host, Host, Bytes) -> Bytes>);

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

pub fn config(name: &str, host: Host) -> ClusterConfig {
    ClusterConfig::new(name)
        .host(address(host).ip().to_string())
        .port(4369)
        .cluster_secret("correct horse battery staple")
        .heartbeat_interval(SECOND)
}

pub fn address(host: Host) -> SocketAddr {
    SocketAddr::from(([10, 0, u8::try_from(host / 250).unwrap(), u8::try_from(host % 250 + 1).unwrap()], 4369))
}

pub fn id(name: &str, host: Host) -> NodeId {
    format!("{name}@{}", address(host)).parse().unwrap()
}

impl Net {
    pub fn new(hosts: usize) -> Self {
        let nodes = (0..hosts).map(|_| Node::default()).collect();
        Self { latency: MS, nodes, ..Self::default() }
    }

    pub fn start(&mut self, host: Host, config: ClusterConfig) {
        let (seeds, config) = if self.worn { split_seeds(config) } else { (Vec::new(), config) };
        let (now, interval) = (self.clock(host), interval(&config));
        let node = &mut self.nodes[host];
        let listen = node.machine.start(now, config).unwrap();
        node.messages_of.get_or_insert_with(|| node.machine.subscribe_messages());
        node.listening = true;
        node.starts += 1;
        let mut entropy = [u8::try_from(host % 250).unwrap(); 32];
        entropy[31] = node.starts;
        let ip = listen.host.parse().unwrap_or_else(|_| address(host).ip());
        let local = SocketAddr::new(ip, listen.port);
        self.feed(host, {
            let ips = vec![address(host).ip()];
            let network = LocalNetwork { interfaces: ips.clone(), own: ips, ..LocalNetwork::default() };
            Input::Listening { entropy, local, network: Box::new(network) }
        });
        if self.worn {
            self.wear(host, interval);
            let seeds = seeds.iter().map(|seed| seed.parse().unwrap()).collect();
            self.feed(host, Input::SetSeeds(seeds));
        }
    }

    /// What a host's clock shows.
    pub fn clock(&self, host: Host) -> Instant {
        self.now + self.nodes[host].clock
    }

    /// When a host's machine wants to be woken.
    pub fn timeout(&self, host: Host) -> Option<Instant> {
        let node = &self.nodes[host];
        let at = node.machine.poll_timeout()?;
        Some(Instant::new(at.since_start().saturating_sub(node.clock)))
    }

    /// The process is gone at once; its connections are reset.
    pub fn crash(&mut self, host: Host) {
        self.reset_all(host, true);
    }

    /// The machine is gone without a trace: nobody is told, its connections just carry nothing any more.
    pub fn lose_power(&mut self, host: Host) {
        self.reset_all(host, false);
    }

    fn reset_all(&mut self, host: Host, tell: bool) {
        let old = std::mem::take(&mut self.nodes[host]);
        for conn in old.contract.conns(Phase::Dialling).chain(old.contract.conns(Phase::Open)) {
            if let Some((peer, remote)) = self.links.remove(&(host, conn)) {
                self.links.remove(&(peer, remote));
                if tell {
                    self.after(self.latency(host, peer), Happening::Input { host: peer, input: Input::Closed { conn: remote } });
                }
            }
        }
        let node = &mut self.nodes[host];
        node.starts = old.starts;
        node.events = old.events;
        // Numbers of connections are never reused, not even across crashes of one host of this network.
        while node.machine.next_conn() < old.machine.next_conn() {
            let conn = node.machine.next_conn();
            let accepted = Input::Accepted { conn, remote: address(host) };
            node.contract.feed(&mut node.machine, Instant::START, accepted).unwrap();
        }
    }

    fn accept(&mut self, from: End, to: Host) -> ConnId {
        let conn = self.nodes[to].machine.next_conn();
        self.links.insert(from, (to, conn));
        self.links.insert((to, conn), from);
        self.feed(to, Input::Accepted { conn, remote: SocketAddr::new(address(from.0).ip(), 50_000) });
        conn
    }

    /// The entry of a connection that its host has not heard of yet.
    fn unaccepted(&mut self, end: End) -> Option<&mut Backlog> {
        self.nodes.iter_mut().flat_map(|node| &mut node.backlog).find(|backlog| backlog.from == end)
    }

    pub fn latency(&self, from: Host, to: Host) -> Duration {
        self.latencies.get(&(from, to)).copied().unwrap_or(self.latency)
    }

    /// What is sent over a cut is sent again later.
    fn pass(&mut self, from: Host, to: Host, happening: Happening) {
        if self.cut.contains(&(from, to)) {
            self.lost.push((from, to, happening));
        } else {
            self.after(self.latency(from, to), happening);
        }
    }

    fn transmit(&mut self, end: End, data: Bytes) {
        let (host, conn) = end;
        let bytes = data.len();
        let slow = self.nodes[host].slow;
        match &mut self.nodes[host].withheld {
            Some(withheld) => withheld.push((conn, bytes)),
            None => self.after(slow, Happening::Input { host, input: Input::Transmitted { bytes, conn } }),
        }
        if let Some((peer, remote)) = self.links.get(&end).copied() {
            if self.links.contains_key(&(peer, remote)) {
                let wall = WallTime(self.now.since_start());
                let data = match &mut self.wire {
                    Some(Wire(wire)) => wire(host, peer, data),
                    None => data,
                };
                self.pass(host, peer, Happening::Input { host: peer, input: Input::Received { conn: remote, data, wall } });
            }
        } else if let Some(backlog) = self.unaccepted(end) {
            backlog.data.push(data);
        }
    }

    /// Feeds an input to a host and performs what its machine asks for.
    pub fn feed(&mut self, host: Host, input: Input) {
        if self.nodes[host].frozen {
            self.nodes[host].waiting.push(input);
            return;
        }
        if let Input::Received { conn, data, .. } = &input {
            self.nodes[host].received.push((self.now.since_start(), *conn, data.len()));
        }
        // An answer to a process that is gone is nobody's.
        if matches!(&input, Input::Resolved { lookup, .. } if !self.nodes[host].contract.is_asked(*lookup)) {
            return;
        }
        let now = self.clock(host);
        self.nodes[host].contract.input(&input);
        self.nodes[host].machine.handle(now, input);
        self.perform(host);
    }

    pub fn perform(&mut self, host: Host) {
        let Node { machine, contract, .. } = &mut self.nodes[host];
        let actions = contract.drain(machine).unwrap_or_else(|broken| panic!("at {host}: {broken}"));
        for action in actions {
            self.act(host, action);
        }
        let wake = self.timeout(host);
        let node = &mut self.nodes[host];
        if let Some(at) = wake
            && node.wake.is_none_or(|set| at < set || set < self.now)
        {
            node.wake = Some(at);
            self.at(at, Happening::Wake { host });
        }
    }

    /// Whether a dial gets no answer of any kind.
    fn is_cut(&self, from: Host, to: Host) -> bool {
        self.cut.contains(&(from, to)) || self.cut.contains(&(to, from)) || self.undialable.contains(&(from, to))
    }

    fn act(&mut self, host: Host, action: Action) {
        match action {
            Action::Connect { conn, remote } => {
                let node = &mut self.nodes[host];
                node.dials.push((self.now.since_start(), remote.ip().to_string(), remote.port()));
                if let Some(cause) = &node.cannot_connect {
                    let error = ConnectError::Local(cause.clone());
                    return self.after(MS, Happening::Input { host, input: Input::DialFailed { conn, error } });
                }
                match (0..self.nodes.len()).find(|to| address(*to).ip() == remote.ip()) {
                    Some(to) => self.after(self.latency(host, to), Happening::Arrive { from: (host, conn), to }),
                    None => {
                        let error = ConnectError::Unreachable;
                        self.after(MS, Happening::Input { host, input: Input::DialFailed { conn, error } });
                    }
                }
            }
            Action::Resolve { host: name, lookup } => {
                self.nodes[host].lookups.push((self.now.since_start(), name.clone()));
                let found = || self.names.get(name.trim_end_matches('.')).cloned().unwrap_or_default();
                let addrs = self.resolver_fails.clone().map_or_else(|| Ok(found()), Err);
                self.after(self.lookup_time, Happening::Input { host, input: Input::Resolved { addrs, lookup } });
            }
            Action::Close { conn, how } => {
                let node = &mut self.nodes[host];
                node.closes.push((conn, how));
                let jammed = self.jammed.remove(&(host, conn)).is_some();
                let peer = self.links.remove(&(host, conn)).filter(|peer| self.links.contains_key(peer));
                if let Some(backlog) = self.unaccepted((host, conn)) {
                    backlog.closed = true;
                }
                let away = match (how, peer) {
                    (Close::Graceful { linger, .. }, Some((peer, _))) => {
                        let round_trip = self.latency(host, peer) + self.latency(peer, host);
                        let done = if jammed { linger } else { round_trip.min(linger) };
                        self.after(done, Happening::Input { host, input: Input::Closed { conn } });
                        if jammed { done } else { Duration::ZERO }
                    }
                    (Close::Graceful { linger, .. }, None) => {
                        self.after(linger, Happening::Input { host, input: Input::Closed { conn } });
                        linger
                    }
                    (Close::Abort, _) => Duration::ZERO,
                };
                if let Some((peer, remote)) = peer {
                    let closed = Happening::Input { host: peer, input: Input::Closed { conn: remote } };
                    if self.cut.contains(&(host, peer)) {
                        self.pass(host, peer, closed);
                    } else {
                        self.after(self.latency(host, peer) + away, closed);
                    }
                }
            }
            Action::Event(event) => self.nodes[host].events.push((self.now.since_start(), event)),
            Action::Message => {
                let node = &mut self.nodes[host];
                let Some(subscription) = node.messages_of else { return };
                while let Some(message) = node.machine.poll_message(subscription) {
                    let message = message.expect("no test is slow");
                    node.message_marks.push(node.events.len());
                    node.messages.push((message.from, message.payload));
                }
            }
            Action::Process(action) => self.nodes[host].of_processes.push(action),
            Action::Transmit { conn, data } => {
                let node = &mut self.nodes[host];
                node.sent += data.len();
                node.records.push((conn, data.clone()));
                if node.clogged {
                    return;
                }
                let peer = self.links.get(&(host, conn)).map(|(peer, _)| *peer);
                if peer.is_some_and(|peer| self.unread.contains(&(host, peer))) {
                    self.jammed.entry((host, conn)).or_default().push(data);
                } else {
                    self.transmit((host, conn), data);
                }
            }
            Action::Stopped => {
                self.nodes[host].stopped += 1;
                self.nodes[host].listening = false;
            }
        }
    }

    fn after(&mut self, delay: Duration, happening: Happening) {
        self.at(self.now + delay, happening);
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        self.last += 1;
        self.queue.push(Reverse((at.max(self.now), self.last)));
        self.happenings.insert(self.last, happening);
    }

    /// Lets everything happen that happens within this time.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(Reverse((at, number))) = self.queue.peek().copied() {
            if at > end {
                break;
            }
            self.queue.pop();
            self.now = at;
            let happening = self.happenings.remove(&number).unwrap();
            self.happen(happening);
        }
        self.now = end;
        for Node { machine, contract, .. } in &self.nodes {
            contract.view(machine).unwrap();
        }
    }

    /// Runs until the condition holds, at most this long.
    pub fn run_until(&mut self, most: Duration, mut condition: impl FnMut(&Self) -> bool) {
        let end = self.now + most;
        while !condition(self) {
            assert!(self.now < end, "not within {most:?}: {:#?}", self.all_events());
            self.run(MS);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrive { from, to } => {
                let (host, conn) = from;
                if self.nodes[host].contract.phase(conn) != Some(Phase::Dialling) || self.is_cut(host, to) {
                    return;
                }
                if !self.nodes[to].listening {
                    let error = ConnectError::Refused;
                    self.after(self.latency(to, host), Happening::Input { host, input: Input::DialFailed { conn, error } });
                    return;
                }
                if self.nodes[to].frozen {
                    // The kernel accepts in place of a frozen process, which hears of it later.
                    self.nodes[to].backlog.push(Backlog { from, data: Vec::new(), closed: false });
                    self.after(
                        self.latency(to, host),
                        Happening::Input { host, input: Input::Connected { conn, remote: address(to) } },
                    );
                    return;
                }
                self.accept(from, to);
                self.after(
                    self.latency(to, host),
                    Happening::Input { host, input: Input::Connected { conn, remote: address(to) } },
                );
            }
            Happening::Input { host, input } => self.feed(host, input),
            Happening::Wake { host } => {
                let due = self.timeout(host).is_some_and(|at| at <= self.now);
                let node = &mut self.nodes[host];
                node.wake = None;
                if node.tickless {
                    return;
                }
                if !node.frozen && due {
                    self.feed(host, Input::Tick);
                } else if !node.frozen {
                    self.perform(host);
                }
            }
        }
    }

    pub fn all_events(&self) -> Vec<(Host, &(Duration, ClusterEvent))> {
        self.nodes.iter().enumerate().flat_map(|(host, node)| node.events.iter().map(move |event| (host, event))).collect()
    }

    pub fn ups(&self, host: Host) -> usize {
        self.nodes[host].events.iter().filter(|(_, event)| matches!(event, ClusterEvent::NodeUp(_))).count()
    }

    pub fn downs(&self, host: Host) -> Vec<(NodeId, NodeDownReason)> {
        let downs = self.nodes[host].events.iter().filter_map(|(_, event)| match event {
            ClusterEvent::NodeDown { id, reason } => Some((id.clone(), *reason)),
            _ => None,
        });
        downs.collect()
    }

    pub fn errors(&self, host: Host) -> Vec<ClusterError> {
        let errors = self.nodes[host].events.iter().filter_map(|(_, event)| match event {
            ClusterEvent::Error(error) => Some(error.clone()),
            _ => None,
        });
        errors.collect()
    }

    /// The events of a host in words, but for the cluster's status.
    pub fn story(&self, host: Host) -> Vec<String> {
        let events = self.nodes[host].events.iter().filter_map(|(_, event)| match event {
            ClusterEvent::NodeUp(info) => Some(format!("up {}", info.id.name())),
            ClusterEvent::NodeDown { id, reason } => Some(format!("down {} {reason}", id.name())),
            ClusterEvent::StatusChange(_) => None,
            other => Some(other.to_string()),
        });
        events.collect()
    }

    pub fn total_ups(&self) -> usize {
        (0..self.nodes.len()).map(|host| self.ups(host)).sum()
    }

    pub fn total_downs(&self) -> usize {
        (0..self.nodes.len()).map(|host| self.downs(host).len()).sum()
    }

    pub fn is_up(&self, host: Host, id: &NodeId) -> bool {
        self.nodes[host].machine.is_node_connected(id).unwrap_or(false)
    }

    pub fn clear_events(&mut self) {
        for node in &mut self.nodes {
            node.events.clear();
            node.dials.clear();
        }
    }

    /// Whether each of the hosts is connected to all others.
    pub fn is_mesh(&self, hosts: &[Host]) -> bool {
        hosts.iter().all(|host| self.nodes[*host].machine.connected_node_count() == Ok(hosts.len() - 1))
    }

    /// A connection from somewhere that is no host of this network.
    pub fn stranger(&mut self, host: Host, remote: SocketAddr) -> ConnId {
        let conn = self.nodes[host].machine.next_conn();
        self.feed(host, Input::Accepted { conn, remote });
        conn
    }

    /// A stranger, or whoever sits on the path, sends these bytes to a host.
    pub fn say(&mut self, host: Host, conn: ConnId, data: impl Into<Bytes>) {
        let wall = WallTime(self.now.since_start());
        self.feed(host, Input::Received { conn, data: data.into(), wall });
    }

    pub fn is_closed(&self, host: Host, conn: ConnId) -> bool {
        matches!(self.nodes[host].contract.phase(conn), Some(Phase::Closed | Phase::Closing))
    }

    /// What a host has sent on a connection.
    pub fn sent_on(&self, host: Host, conn: ConnId) -> Vec<u8> {
        let records = self.nodes[host].records.iter();
        records.filter(|(on, _)| *on == conn).flat_map(|(_, data)| data.to_vec()).collect()
    }

    pub fn send(&mut self, host: Host, to: &NodeId, payload: impl Into<Bytes>) -> Result<(), noex_proto::SendError> {
        let now = self.clock(host);
        let outcome = self.nodes[host].machine.send(now, to, payload.into());
        self.perform(host);
        outcome
    }

    pub fn broadcast(&mut self, host: Host, payload: impl Into<Bytes>) -> Result<Broadcast, noex_proto::SendError> {
        let now = self.clock(host);
        let outcome = self.nodes[host].machine.broadcast(now, payload.into());
        self.perform(host);
        outcome
    }
}
