//! Machines whose bytes arrive at once.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use noex_proto::{
    Action, Close, ClusterConfig, ConnId, ConnectError, Destination, Input, Instant, Limits, Machine, MailboxItem, NodeId,
    ProcessId, ProtocolHash, WallTime, defaults,
};

/// One side of a connection: the node and its number for it.
type End = (usize, ConnId);

/// What the processes understand.
const PROTOCOL: ProtocolHash = ProtocolHash([7; 8]);
/// How many items a driver takes at a time.
const BATCH: usize = 64;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Long enough to take in some hundred members.
const JOINING: Duration = Duration::from_millis(20);

/// Nodes with a common secret and default limits. Node 0 is the seed of all others.
#[derive(Clone, Debug)]
pub struct Cluster {
    machines: Vec<Machine>,
    /// When each of them wants its next tick: asked for once after each input, as a driver does.
    due: Vec<Option<Instant>>,
    now: Instant,
    /// How many records were sent.
    records: u64,
    /// The other ends, by node and number of the connection.
    links: Vec<Vec<Option<End>>>,
    todo: VecDeque<Todo>,
    /// No node is told of others than node 0.
    star: bool,
}

#[derive(Clone, Debug)]
enum Todo {
    /// Perform what the machine asks for.
    Drain(usize),
    Feed(usize, Input),
}

impl Cluster {
    /// A full mesh of `nodes` nodes.
    #[must_use]
    pub fn mesh(nodes: usize) -> Self {
        let mut cluster = Self::empty(false);
        cluster.grow(nodes);
        let up: usize = (0..nodes).map(|node| cluster.up_count(node)).sum();
        assert_eq!(up, nodes * (nodes - 1), "the nodes form a mesh");
        cluster
    }

    /// Node 0 with a session to each of `peers` others, which have none with each other.
    #[must_use]
    pub fn star(peers: usize) -> Self {
        let mut cluster = Self::empty(true);
        cluster.grow(peers + 1);
        assert_eq!(cluster.up_count(0), peers, "all reach node 0");
        cluster
    }

    fn empty(star: bool) -> Self {
        Self { machines: vec![], due: vec![], now: Instant::START, records: 0, links: vec![], todo: VecDeque::new(), star }
    }

    /// Starts `nodes` more nodes, one after the other.
    pub fn grow(&mut self, nodes: usize) {
        for _ in 0..nodes {
            self.start();
            self.join();
        }
    }

    /// Starts one more node, up to its first dial.
    pub fn start(&mut self) {
        let node = self.machines.len();
        let config = ClusterConfig::new(format!("node{node:04}"))
            .host(host(node).to_string())
            .cluster_secret("a secret of the benchmarks")
            .seeds((node > 0).then(|| format!("node0000@{}:{}", host(0), defaults::PORT)));
        let config = match self.star && node > 0 {
            // A ray of a star ingests one of those that node 0 lists, and cannot reach it.
            true => config.limits(Limits::default().members(1)),
            false => config,
        };
        let mut machine = Machine::new();
        machine.start(self.now, config).expect("a valid configuration");
        self.machines.push(machine);
        self.due.push(None);
        self.links.push(vec![]);
        let mut entropy = [0; 32];
        entropy[..8].copy_from_slice(&node.to_le_bytes());
        self.feed(node, Input::Listening { entropy, local: listener(node), network: Box::default() });
    }

    /// The identity of a node.
    #[must_use]
    pub fn id(&self, node: usize) -> NodeId {
        self.machines[node].local_node_id().expect("the node runs")
    }

    /// The number of nodes that a node has a session with.
    #[must_use]
    pub fn up_count(&self, node: usize) -> usize {
        self.machines[node].connected_node_count().expect("the node runs")
    }

    /// How many records the nodes have sent so far: at rest each is a heartbeat.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.records
    }

    /// Lets time pass, without telling any node.
    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Lets this much time pass, in which every node is given its ticks when they are due.
    pub fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some((due, node)) = self.next_due().filter(|(due, _)| *due <= until) {
            self.now = self.now.max(due);
            self.input(node, Input::Tick);
            self.settle();
        }
        self.now = until;
    }

    fn next_due(&self) -> Option<(Instant, usize)> {
        let due = |(node, due): (usize, &Option<Instant>)| due.map(|due| (due, node));
        self.due.iter().enumerate().filter_map(due).min()
    }

    /// Queues a message from one node to another, and what follows from it.
    pub fn send(&mut self, from: usize, to: &NodeId, payload: Bytes) {
        self.machines[from].send(self.now, to, payload).expect("there is room");
        self.todo.push_back(Todo::Drain(from));
    }

    /// Opens a process of a node.
    pub fn open(&mut self, node: usize) -> ProcessId {
        self.machines[node].open(self.now, PROTOCOL).expect("there is room")
    }

    /// Sends a process a message from a node, which it takes: all that follows.
    pub fn cast(&mut self, from: usize, (node, process): (usize, &ProcessId), body: Bytes) {
        let to = Destination::Process(process.clone());
        self.machines[from].cast(self.now, &to, PROTOCOL, body).expect("there is room");
        self.drain(from);
        self.settle();
        assert_eq!(self.machines[node].take(self.now, process.number(), BATCH).len(), 1, "it has arrived");
    }

    /// Calls a process from a node, which answers with what it was sent: all that follows.
    pub fn call(&mut self, from: usize, (node, process): (usize, &ProcessId), body: Bytes) {
        let to = Destination::Process(process.clone());
        self.machines[from].call(self.now, &to, PROTOCOL, body, self.now + TIMEOUT).expect("there is room");
        self.drain(from);
        self.settle();
        let mut items = self.machines[node].take(self.now, process.number(), BATCH);
        let Some(MailboxItem::Call { body, request, .. }) = items.pop() else { panic!("it has arrived") };
        self.machines[node].answer(self.now, request, body, false).expect("there is room");
        self.drain(node);
        self.settle();
    }

    /// A process of node 0 sets so many monitors of a process of node 1.
    pub fn watch(&mut self, process: &ProcessId, count: usize) {
        let (watcher, to) = (self.open(0), Destination::Process(process.clone()));
        for _ in 0..count {
            self.machines[0].monitor(self.now, Some(watcher.number()), &to).expect("there is room");
            self.drain(0);
            self.settle();
        }
    }

    /// Ends the session of node 0 with its first peer, for node 0 alone, without what it asks for.
    pub fn lose(&mut self) {
        let conn = self.links[0].iter().position(Option::is_some).expect("a session");
        self.feed_alone(0, Input::Closed { conn: ConnId(conn as u64) });
        assert_eq!(self.up_count(0), 0, "the session was with its only peer");
    }

    /// Queues an input for a node.
    pub fn feed(&mut self, node: usize, input: Input) {
        self.todo.push_back(Todo::Feed(node, input));
    }

    /// Feeds a node one input and takes what it asks for, without performing it.
    pub fn feed_alone(&mut self, node: usize, input: Input) {
        self.machines[node].handle(self.now, input);
        while self.machines[node].poll_action().is_some() {}
    }

    /// Lets a node that was started join: what follows at this moment, and while it takes in those that it is told of, step by step.
    pub fn join(&mut self) {
        self.settle();
        self.run_for(JOINING);
    }

    /// Lets everything happen that follows at this moment.
    pub fn settle(&mut self) {
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Drain(node) => self.drain(node),
                Todo::Feed(node, input) => self.input(node, input),
            }
        }
    }

    fn input(&mut self, node: usize, input: Input) {
        self.machines[node].handle(self.now, input);
        self.drain(node);
    }

    fn drain(&mut self, node: usize) {
        while let Some(action) = self.machines[node].poll_action() {
            self.perform(node, action);
        }
        self.due[node] = self.machines[node].poll_timeout();
        // What was due at this moment already, such as a dial.
        if self.due[node].is_some_and(|due| due <= self.now) {
            self.feed(node, Input::Tick);
        }
    }

    fn link(&mut self, node: usize, ConnId(conn): ConnId) -> &mut Option<End> {
        let (links, conn) = (&mut self.links[node], usize::try_from(conn).expect("few connections"));
        if links.len() <= conn {
            links.resize(conn + 1, None);
        }
        &mut links[conn]
    }

    fn perform(&mut self, node: usize, action: Action) {
        match action {
            Action::Close { conn, how } => {
                if let Some((peer, other)) = self.link(node, conn).take() {
                    self.feed(peer, Input::Closed { conn: other });
                }
                if matches!(how, Close::Graceful { .. }) {
                    self.feed(node, Input::Closed { conn });
                }
            }
            Action::Connect { conn, remote } => {
                let peer = node_at(remote);
                if self.star && node > 0 && peer > 0 {
                    return self.feed(node, Input::DialFailed { conn, error: ConnectError::Refused });
                }
                let other = self.machines[peer].next_conn();
                self.machines[peer].handle(self.now, Input::Accepted { conn: other, remote: listener(node) });
                self.todo.push_back(Todo::Drain(peer));
                *self.link(node, conn) = Some((peer, other));
                *self.link(peer, other) = Some((node, conn));
                self.feed(node, Input::Connected { conn, remote: listener(peer) });
            }
            Action::Resolve { .. } => unreachable!("nodes are dialled by address"),
            Action::Transmit { conn, data } => {
                self.records += 1;
                // What it leads to stands behind this action.
                self.machines[node].handle(self.now, Input::Transmitted { bytes: data.len(), conn });
                if let Some((peer, other)) = *self.link(node, conn) {
                    self.feed(peer, Input::Received { conn: other, data, wall: WallTime(Duration::ZERO) });
                }
            }
            Action::Event(_) | Action::Message | Action::Process(_) | Action::Stopped => {}
        }
    }
}

fn host(node: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0001 + u32::try_from(node).expect("few nodes"))
}

fn listener(node: usize) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(host(node)), defaults::PORT)
}

fn node_at(addr: SocketAddr) -> usize {
    let IpAddr::V4(host) = addr.ip() else { unreachable!("nodes listen on IPv4") };
    (host.to_bits() - 0x0a00_0001) as usize
}
