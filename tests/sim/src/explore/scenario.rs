//! The configurations that are explored.

use std::time::Duration;

use noex_proto::{ClusterConfig, Limits, NodeId, defaults};

use crate::HostId;

/// How often what is not the delivery of something may happen in one run.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Budget {
    /// Calls of the process, each with a monitor of it.
    pub calls: u8,
    /// Claims to the name.
    pub claims: u8,
    /// Calls that their callers wait for no more.
    pub cancels: u8,
    /// Processes that are gone at once.
    pub crashes: u8,
    /// Ends of the process, or of one that has or claims the name.
    pub exits: u8,
    /// Nodes that are told to stop.
    pub leaves: u8,
    /// Resets that never arrive at one of the ends.
    pub losses: u8,
    /// Processes that do nothing for a while.
    pub pauses: u8,
    /// Dials that fail though somebody listens.
    pub refusals: u8,
    /// Connections that the network resets.
    pub resets: u8,
    /// Nodes that get the secrets of the next phase of a rotation.
    pub rotations: u8,
    /// Messages that an application sends to all nodes that are up, beside one to each that comes up.
    pub sends: u8,
    /// Starts of nodes that have crashed or left.
    pub starts: u8,
    /// Times that a host's clock goes on to what its machine does next, or that a driver gives up waiting for the other end.
    pub waits: u8,
}

/// A small configuration, explored in every order of events.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// The nodes, one per host.
    pub(super) nodes: Vec<Node>,
    /// The exploration begins when all are connected, not when all have started.
    pub(super) joined: bool,
    pub(super) rules: Rules,
    /// What may happen beside deliveries.
    pub budget: Budget,
}

/// What else differs between scenarios.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// The second node has a process, which the first one calls.
    pub(super) calls: bool,
    /// Each node has a process, which may claim a name.
    pub(super) claims: bool,
    /// The one that all others join, and which has room for one of them.
    pub(super) hub: Option<HostId>,
    /// A record leaves the driver's queue only when it arrives, so that what follows waits in the machine.
    pub(super) small_buffers: bool,
    /// For how long the nodes are watched once all see each other again.
    pub(super) watched: Duration,
    /// Then each is paused once.
    pub(super) woken: bool,
}

/// A node, and the identity that it will have.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) config: ClusterConfig,
    pub(super) id: NodeId,
}

/// What nodes prove themselves by, unless it is rotated.
pub(super) const SECRET: &str = "a secret to be explored";

pub(super) const BASE_DELAY: Duration = Duration::from_millis(100);
pub(super) const MAX_DELAY: Duration = Duration::from_secs(4);

/// A threshold by which silence shows nothing before everything else has had its time.
const PATIENT: u32 = 60;

impl Node {
    fn with(self, change: impl FnOnce(ClusterConfig) -> ClusterConfig) -> Self {
        Self { config: change(self.config), ..self }
    }
}

/// Two nodes, of which one beats twenty times as often as the other.
fn mixed() -> Vec<Node> {
    let beating = |node: Node, interval| node.with(|config| config.heartbeat_interval(Duration::from_millis(interval)));
    vec![beating(node(0, &[1]), 500), beating(node(1, &[0]), 10_000)]
}

/// The identity of the node on the host of this number, unless that is a twin of another.
fn id(host: HostId) -> NodeId {
    NodeId::new(["a", "b", "c"][host], &format!("10.0.0.{}", host + 1), defaults::PORT).expect("a valid id")
}

/// That node, with these seeds.
fn node(host: HostId, seeds: &[HostId]) -> Node {
    twin(host, host, seeds)
}

/// A process on one host with the identity of the node on another.
fn twin(host: HostId, of: HostId, seeds: &[HostId]) -> Node {
    let id_of = id(of);
    let config = ClusterConfig::new(id_of.name())
        .host(id(host).host())
        .advertise_host(id_of.host())
        .seeds(seeds.iter().map(|seed| id(*seed).to_string()))
        .cluster_secret(SECRET)
        .heartbeat_interval(Duration::from_secs(1))
        .heartbeat_miss_threshold(1)
        .reconnect_base_delay(BASE_DELAY)
        .reconnect_max_delay(MAX_DELAY)
        .stop_timeout(Duration::from_secs(2))
        // So few that a subscriber who reads late has to catch up.
        .limits(Limits::default().events_per_subscriber(3));
    Node { config, id: id_of }
}

impl Scenario {
    fn new(name: &'static str, about: &'static str, nodes: Vec<Node>) -> Self {
        Self { name, about, nodes, joined: false, rules: Rules::default(), budget: Budget::default() }
    }

    /// All there are.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let pair = || vec![node(0, &[1]), node(1, &[0])];
        let patient = || pair().into_iter().map(|node| node.with(|config| config.heartbeat_miss_threshold(PATIENT))).collect();
        let three = || {
            let nodes = [node(0, &[1, 2]), node(1, &[0, 2]), node(2, &[0, 1])].into_iter();
            nodes.map(|node| node.with(|config| config.heartbeat_miss_threshold(PATIENT))).collect()
        };
        let few = |mut nodes: Vec<Node>, hub: HostId| {
            let limits = Limits::default().members(1).events_per_subscriber(3);
            nodes[hub].config = nodes[hub].config.clone().limits(limits);
            nodes
        };
        vec![
            Self {
                budget: Budget { refusals: 1, waits: 1, ..Budget::default() },
                ..Self::new("dial", "two nodes that dial each other at the same time", pair())
            },
            Self {
                budget: Budget { resets: 1, waits: 1, ..Budget::default() },
                ..Self::new("reset", "the same, and connections are reset during admission and after", pair())
            },
            Self {
                joined: true,
                budget: Budget { crashes: 1, starts: 1, waits: 2, ..Budget::default() },
                ..Self::new("restart", "two nodes that are connected; one crashes, and starts again under the same id", pair())
            },
            Self {
                joined: true,
                budget: Budget { leaves: 1, starts: 1, waits: 1, ..Budget::default() },
                ..Self::new("leave", "two nodes that are connected; one leaves, and comes back", pair())
            },
            Self {
                joined: true,
                budget: Budget { losses: 1, resets: 2, waits: 2, ..Budget::default() },
                ..Self::new("half-open", "two nodes that are connected; a reset reaches one of them only", patient())
            },
            Self {
                budget: Budget { losses: 1, resets: 1, waits: 1, ..Budget::default() },
                ..Self::new("half-open-dial", "as reset, and the reset reaches one end only", patient())
            },
            Self {
                joined: true,
                budget: Budget { crashes: 1, losses: 1, starts: 1, waits: 2, ..Budget::default() },
                ..Self::new("silent-restart", "as restart, and the reset of the connection may never arrive", patient())
            },
            Self {
                joined: true,
                rules: Rules { small_buffers: true, ..Rules::default() },
                budget: Budget { losses: 1, resets: 1, sends: 2, waits: 1, ..Budget::default() },
                ..Self::new(
                    "payload",
                    "as half-open, with kernels that take a record at a time, and messages on their way",
                    patient(),
                )
            },
            Self {
                joined: true,
                rules: Rules { small_buffers: true, ..Rules::default() },
                budget: Budget { leaves: 1, sends: 2, waits: 1, ..Budget::default() },
                ..Self::new("payload-leave", "two nodes that are connected; one leaves, with messages on their way", pair())
            },
            Self {
                joined: true,
                budget: Budget { resets: 1, rotations: 6, waits: 2, ..Budget::default() },
                ..Self::new("rotation", "two nodes that are connected; their secrets are rotated in three phases", pair())
            },
            Self {
                rules: Rules { watched: Duration::from_secs(2), woken: true, ..Rules::default() },
                budget: Budget { pauses: 2, ..Budget::default() },
                ..Self::new("pause", "two nodes that dial each other, and their processes are paused", pair())
            },
            Self {
                rules: Rules { watched: Duration::from_secs(12), ..Rules::default() },
                budget: Budget { resets: 1, waits: 1, ..Budget::default() },
                ..Self::new("mixed", "as reset; one beats twenty times as often as the other", mixed())
            },
            Self {
                joined: true,
                rules: Rules { calls: true, ..Rules::default() },
                budget: Budget { calls: 1, cancels: 1, exits: 1, resets: 1, waits: 2, ..Budget::default() },
                ..Self::new("call", "two nodes that are connected; one calls a process of the other, and watches it", patient())
            },
            Self {
                joined: true,
                rules: Rules { calls: true, ..Rules::default() },
                budget: Budget { calls: 1, cancels: 1, leaves: 1, waits: 1, ..Budget::default() },
                ..Self::new("call-leave", "the same, and a node leaves", patient())
            },
            Self {
                joined: true,
                rules: Rules { calls: true, ..Rules::default() },
                budget: Budget { calls: 1, exits: 1, losses: 1, resets: 1, waits: 1, ..Budget::default() },
                ..Self::new("call-half-open", "as call, and a reset reaches one of them only", patient())
            },
            Self {
                joined: true,
                rules: Rules { claims: true, ..Rules::default() },
                budget: Budget { claims: 2, exits: 1, resets: 1, ..Budget::default() },
                ..Self::new("claim-pair", "two nodes that are connected; a process of each may claim one name", patient())
            },
            Self {
                joined: true,
                rules: Rules { claims: true, ..Rules::default() },
                budget: Budget { claims: 2, resets: 1, ..Budget::default() },
                ..Self::new(
                    "claim",
                    "three nodes that are connected; processes claim one name, and a connection is reset",
                    three(),
                )
            },
            Self::new(
                "gossip",
                "two nodes that join through a third at the same time, and learn of each other",
                vec![node(0, &[]), node(1, &[0]), node(2, &[0])],
            ),
            Self {
                rules: Rules { hub: Some(2), ..Rules::default() },
                budget: Budget { leaves: 1, ..Budget::default() },
                ..Self::new(
                    "full",
                    "two nodes that join a third, which may have one member; one leaves",
                    few(vec![node(0, &[2]), node(1, &[2]), node(2, &[])], 2),
                )
            },
            Self {
                rules: Rules { hub: Some(0), ..Rules::default() },
                budget: Budget { leaves: 1, ..Budget::default() },
                ..Self::new(
                    "lesser-full",
                    "the same, and the third has the lesser identity",
                    few(vec![node(0, &[]), node(1, &[0]), node(2, &[0])], 0),
                )
            },
            Self {
                budget: Budget { resets: 1, waits: 1, ..Budget::default() },
                ..Self::new(
                    "twin",
                    "a node, and two processes with one identity, the greater, that join it, and a connection is reset",
                    vec![node(0, &[]), node(1, &[0]), twin(2, 1, &[0])],
                )
            },
            Self {
                budget: Budget { leaves: 1, waits: 1, ..Budget::default() },
                ..Self::new("twin-leave", "the same, and a node leaves", vec![node(0, &[]), node(1, &[0]), twin(2, 1, &[0])])
            },
            Self {
                budget: Budget { resets: 1, waits: 1, ..Budget::default() },
                ..Self::new(
                    "lesser-twin",
                    "as twin, with the lesser identity",
                    vec![node(0, &[1]), node(1, &[]), twin(2, 0, &[1])],
                )
            },
        ]
    }

    /// The same with other settings of all nodes.
    #[cfg(test)]
    pub(crate) fn with(mut self, change: fn(ClusterConfig) -> ClusterConfig) -> Self {
        self.nodes = self.nodes.into_iter().map(|node| node.with(change)).collect();
        self
    }

    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|scenario| scenario.name == name)
    }
}
