//! The world: hosts, the network between them, and virtual time.

mod application;
mod books;
mod checks;
mod ends;
mod faults;
mod host;
mod judge;
mod kernel;
pub(crate) mod network;
#[cfg(feature = "app")]
mod program;
mod queue;
pub(crate) mod resolver;
mod rogue;
pub(crate) mod scripts;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use noex_proto::{ClusterConfig, ClusterError, ClusterEvent, Input, LocalNetwork, Machine, NodeDownReason, NodeId, StartError};

use crate::coverage::Coverage;
use crate::plan::matters::Change;
use crate::random::Random;
use crate::safety::{Check, Invariant, Violation};
use crate::timeline::{Page, Timeline};
use crate::trace::{Line, Trace};
pub(crate) use ends::Sign;
use host::Host;
pub(crate) use judge::{Contact, Meeting};
use network::Network;
pub use network::{Dialling, Latency};
use queue::{Happening, Queue};
pub use resolver::Resolving;
use resolver::{Lookup, Name};
pub use rogue::Rogue;
pub use scripts::Script;
use scripts::{Job, Ledger};
use wire::Conn;
pub use wire::{Chunking, Tampering};

/// A host, by its number: 0 for the first.
pub type HostId = usize;

pub(crate) const SECOND: u64 = 1_000_000_000;

/// The streams of random numbers of a run.
const LATENCY: u64 = 1 << 32;
const ENTROPY: u64 = LATENCY + 1;
const CHUNKS: u64 = LATENCY + 2;
const WIRE: u64 = LATENCY + 3;
const SCRIPTS: u64 = LATENCY + 4;

/// A simulated world. Equal seeds and equal calls lead to equal runs.
///
/// Hosts have the addresses 10.0.0.1, 10.0.0.2, and so on, and run one node each. Safety is checked after every step; the first
/// [`Violation`] ends the run.
#[derive(Clone, Debug)]
pub struct World {
    now: u64,
    queue: Queue,
    hosts: Vec<Host>,
    conns: Vec<Conn>,
    network: Network,
    names: BTreeMap<String, Name>,
    /// All lookups that were ever asked for.
    lookups: Vec<Lookup>,
    /// Which processes each node opens, what is true of all of them, and what they are to do.
    scripts: BTreeMap<HostId, Vec<Script>>,
    ledger: Ledger,
    jobs: Vec<Job>,
    chunking: Chunking,
    /// What a kernel holds of one direction before its writer has to wait.
    window: usize,
    reset_cuts: bool,
    latency_random: Random,
    entropy_random: Random,
    chunk_random: Random,
    wire_random: Random,
    script_random: Random,
    trace: Trace,
    violation: Option<Violation>,
    steps: u64,
    records: u64,
    origins: u64,
    recording: bool,
    pub(crate) timeline: Option<Box<Timeline>>,
    pub(crate) coverage: Coverage,
    pub(crate) downs: Vec<Down>,
    /// Dials, ups and downs, where somebody judges them.
    contacts: Option<Vec<Contact>>,
    /// What hosts have reported of the peer at an address, where contacts are noted.
    reports: Vec<(HostId, HostId, ClusterError)>,
    /// What is changed to see what comes of that, and the messages that were sent then.
    pub(crate) change: Option<Change>,
    pub(crate) sent: BTreeSet<&'static str>,
    /// The nonces of all handshakes.
    nonces: BTreeSet<[u8; 32]>,
    captured: Vec<(usize, usize, Bytes)>,
    #[cfg(test)]
    pub(crate) bend: Bend,
}

/// What becomes of an action of a host's machine.
#[cfg(test)]
pub(crate) type BendAction = fn(&World, HostId, noex_proto::Action) -> Vec<noex_proto::Action>;

/// Who has a name, to a host.
#[cfg(test)]
pub(crate) type BendHolder = fn(HostId, Option<noex_proto::ProcessId>) -> Option<noex_proto::ProcessId>;

/// What a test changes of what sound machines do and say, to show that a broken one is found out.
#[cfg(test)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Bend {
    pub(crate) action: Option<BendAction>,
    pub(crate) books: Option<fn(noex_proto::Books) -> noex_proto::Books>,
    pub(crate) config: Option<fn(ClusterConfig) -> ClusterConfig>,
    /// What a process takes from its mailbox.
    pub(crate) items: Option<fn(&mut Vec<noex_proto::MailboxItem>)>,
    /// The process that has a name, as a host sees it.
    pub(crate) holder: Option<BendHolder>,
    /// What is open between processes, by the machine's count.
    pub(crate) open: Option<fn(noex_proto::OpenWith) -> noex_proto::OpenWith>,
    /// The bytes in flight of a connection, by the machine's count.
    pub(crate) in_flight: Option<fn(Option<usize>) -> Option<usize>>,
    /// What a machine would do that reads the same bytes in pieces.
    pub(crate) twin: Option<fn(&mut Vec<noex_proto::Action>)>,
    pub(crate) usage: Option<fn(&mut noex_proto::Usage)>,
}

/// A node down, for whoever judges it.
#[derive(Clone, Debug)]
pub(crate) struct Down {
    pub(crate) at: u64,
    pub(crate) host: HostId,
    pub(crate) id: NodeId,
    /// The time on the host's own clock.
    pub(crate) local: Duration,
    pub(crate) reason: NodeDownReason,
}

impl World {
    /// A world without hosts, at time zero.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now: 0,
            queue: Queue::default(),
            hosts: Vec::new(),
            conns: Vec::new(),
            network: Network::new(),
            names: BTreeMap::new(),
            lookups: Vec::new(),
            scripts: BTreeMap::new(),
            ledger: Ledger::default(),
            jobs: Vec::new(),
            chunking: Chunking::Whole,
            window: 128 << 10,
            reset_cuts: false,
            latency_random: Random::new(seed, LATENCY),
            entropy_random: Random::new(seed, ENTROPY),
            chunk_random: Random::new(seed, CHUNKS),
            wire_random: Random::new(seed, WIRE),
            script_random: Random::new(seed, SCRIPTS),
            trace: Trace::new(),
            violation: None,
            steps: 0,
            records: 0,
            origins: 0,
            recording: true,
            timeline: None,
            coverage: Coverage::default(),
            contacts: None,
            reports: Vec::new(),
            change: None,
            sent: BTreeSet::new(),
            downs: Vec::new(),
            nonces: BTreeSet::new(),
            captured: Vec::new(),
            #[cfg(test)]
            bend: Bend::default(),
        }
    }

    // Reading

    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// How many hosts there are.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// How many inputs all machines together were fed.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How many frames and records all machines together have sent.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// A hash over every input, every byte sent and every event, with their times.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.trace.hash()
    }

    /// The invariant that was broken, if one was.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The last transitions.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.trace.lines()
    }

    /// The last transitions as text, with a column per host.
    #[must_use]
    pub fn text(&self) -> String {
        crate::trace::text(self.trace.lines(), self.hosts.len())
    }

    /// The run so far as a page of HTML, if it is drawn: a file that needs nothing but itself and a browser.
    #[must_use]
    pub fn html(&self, title: &str) -> Option<String> {
        self.page(title.into(), "Simulated nodes in virtual time.".into(), Vec::new()).map(|page| page.html())
    }

    pub(crate) fn page(&self, title: String, lead: String, facts: Vec<(&'static str, String)>) -> Option<Page<'_>> {
        let timeline = self.timeline.as_deref()?;
        Some(Page { title, lead, facts, end: self.now, checked: Some(self.violation.as_ref()), timeline })
    }

    /// A host's machine.
    #[must_use]
    pub fn machine(&self, host: HostId) -> &Machine {
        &self.hosts[host].machine
    }

    /// What the application on a host was told, with the times, over all of the host's processes.
    #[must_use]
    pub fn events(&self, host: HostId) -> &[(Duration, ClusterEvent)] {
        &self.hosts[host].events
    }

    /// The messages that came to a host, with their senders.
    #[must_use]
    pub fn messages(&self, host: HostId) -> &[(NodeId, Bytes)] {
        &self.hosts[host].messages
    }

    /// The identity of a node with this name on a host, on the usual port.
    #[must_use]
    pub fn id(&self, name: &str, host: HostId) -> NodeId {
        NodeId::new(name, &network::ip(host).to_string(), noex_proto::defaults::PORT).expect("a valid name")
    }

    /// Whether each of these hosts is connected to all others of them.
    #[must_use]
    pub fn is_mesh(&self, hosts: &[HostId]) -> bool {
        let ids: Vec<_> = hosts.iter().map(|host| (*host, self.machine(*host).local_node_id())).collect();
        ids.iter().all(|(host, own)| {
            own.is_ok()
                && ids.iter().all(|(other, id)| {
                    other == host || id.as_ref().is_ok_and(|id| self.machine(*host).is_node_connected(id) == Ok(true))
                })
        })
    }

    // Building

    /// Adds a host, on which nothing runs yet.
    pub fn add_host(&mut self) -> HostId {
        self.hosts.push(Host::new(self.now));
        self.hosts.len() - 1
    }

    /// Starts a node on a host, and adds hosts up to that one.
    ///
    /// # Errors
    /// The machine's own: the configuration is invalid, or the node runs already.
    pub fn start(&mut self, host: HostId, config: ClusterConfig) -> Result<(), StartError> {
        while self.hosts.len() <= host {
            self.add_host();
        }
        if self.is_withheld("input Start") {
            return Ok(());
        }
        let config = self.change.map_or(config.clone(), |change| change.config(config));
        let at = &mut self.hosts[host];
        if !at.alive {
            at.alive = true;
            at.powered = true;
        }
        #[cfg(test)]
        let config = self.bend.config.map_or(config.clone(), |bend| bend(config));
        let now = at.local(self.now);
        let listen = at.machine.start(now, config)?;
        let port = if listen.port == 0 { 40_000 } else { listen.port };
        at.listening = Some(port);
        self.origins += 1;
        at.origin = self.origins;
        at.since = self.now;
        let mut entropy = [0; 32];
        self.entropy_random.fill(&mut entropy);
        let ip = listen.host.parse().unwrap_or_else(|_| network::ip(host));
        let own = vec![network::ip(host)];
        let route = listen.route_target.map(|_| network::ip(host));
        let network = LocalNetwork { interfaces: own.clone(), own, route, ..LocalNetwork::default() };
        self.line(Some(host), "starts");
        self.feed(host, Input::Listening { entropy, local: SocketAddr::new(ip, port), network: Box::new(network) });
        self.open_scripts(host);
        Ok(())
    }

    /// Whether an input is kept from all machines.
    fn is_withheld(&self, input: &'static str) -> bool {
        self.change.is_some_and(|change| change.withholds(input))
    }

    /// Tells every later run of the world how bytes are cut, and what a kernel holds of one direction.
    pub fn set_transport(&mut self, chunking: Chunking, window_bytes: usize, bytes_per_second: Option<u64>) {
        self.chunking = chunking;
        self.window = window_bytes.max(1);
        self.network.byte_time = bytes_per_second.map_or(0, |rate| SECOND / rate.clamp(1, SECOND));
    }

    /// Sets the latency of all paths.
    pub fn set_latency(&mut self, latency: Latency) {
        self.network.set_latency(latency);
    }

    /// Sets the latency from one host to another.
    pub fn set_path_latency(&mut self, from: HostId, to: HostId, latency: Latency) {
        self.network.path_mut(from, to).latency = latency;
    }

    /// Whether events and messages are kept for reading. On, but for long runs.
    pub fn set_recording(&mut self, recording: bool) {
        self.recording = recording;
        if !recording {
            self.trace.keep(400);
        }
    }

    /// Draws the run from now on, for [`World::html`].
    pub fn set_drawing(&mut self) {
        self.timeline.get_or_insert_default();
    }

    /// How many of the last transitions are kept.
    pub fn keep_lines(&mut self, lines: usize) {
        self.trace.keep(lines);
    }

    // Time

    /// Lets the next thing happen, unless that is after `until`. Whether something happened.
    pub fn step(&mut self, until: Duration) -> bool {
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        if self.violation.is_some() || self.queue.next_at().is_none_or(|at| at > until) {
            return false;
        }
        let Some((at, happening)) = self.queue.pop() else { return false };
        self.now = at;
        match happening {
            Happening::Wake(host) => self.wake(host as usize),
            Happening::Arrive(conn, end) => self.arrive(conn as usize, end.into()),
            Happening::Pump(conn, end) => self.pump_later(conn as usize, end.into()),
            Happening::Dial(conn) => self.dial_step(conn as usize),
            Happening::Lookup(lookup) => self.lookup_over(lookup),
            Happening::Job(job) => self.job(job),
            Happening::Confirm(conn, end) => self.confirm(conn as usize, end.into()),
            Happening::Linger(conn, end) => self.linger_over(conn as usize, end.into()),
        }
        true
    }

    /// Lets everything happen that happens until this time.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn run_until(&mut self, until: Duration) -> Result<(), Violation> {
        while self.step(until) {}
        self.check()?;
        self.now = self.now.max(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Lets everything happen that happens within this time.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        self.run_until(self.now() + time)
    }

    /// Runs until the condition holds, at most this long. Whether it came to hold.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn run_while(&mut self, most: Duration, mut condition: impl FnMut(&Self) -> bool) -> Result<bool, Violation> {
        let until = self.now() + most;
        while condition(self) {
            if !self.step(until) {
                self.check()?;
                self.now = self.now.max(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX));
                return Ok(!condition(self));
            }
        }
        self.check()?;
        Ok(true)
    }

    /// Whether all invariants hold so far, and every view is what was told of it.
    ///
    /// # Errors
    /// The first broken invariant.
    pub fn check(&mut self) -> Result<(), Violation> {
        for host in 0..self.hosts.len() {
            let at = &self.hosts[host];
            let seen = at.contract.view(&at.machine).and_then(|()| at.contract.list(&at.machine));
            if at.rogue.is_none() {
                self.kept(host, seen);
            }
            self.read_slowly(host);
        }
        self.violation.clone().map_or(Ok(()), Err)
    }

    pub(crate) fn violate(&mut self, host: Option<HostId>, invariant: Invariant, detail: String) {
        if self.violation.is_none() {
            self.trace.line(self.now, host, format!("VIOLATION {invariant}: {detail}"));
            self.violation = Some(Violation { at: Duration::from_nanos(self.now), detail, host, invariant });
        }
    }

    fn judge(&mut self, host: HostId, check: Check) {
        if let Err((invariant, detail)) = check {
            self.violate(Some(host), invariant, detail);
        }
    }

    pub(crate) fn line(&mut self, host: Option<HostId>, what: &str) {
        self.trace.line(self.now, host, what.to_string());
    }

    fn note_down(&mut self, host: HostId, id: &NodeId, reason: NodeDownReason) {
        self.coverage.note(match reason {
            NodeDownReason::ConnectionClosed => "down: connection closed",
            NodeDownReason::ConnectionRefused => "down: connection refused",
            NodeDownReason::GracefulShutdown => "down: graceful shutdown",
            NodeDownReason::HeartbeatTimeout => "down: heartbeat timeout",
            other => unreachable!("{other:?} is new"),
        });
        let local = self.hosts[host].local(self.now).since_start();
        self.downs.push(Down { at: self.now, host, id: id.clone(), local, reason });
    }
}
