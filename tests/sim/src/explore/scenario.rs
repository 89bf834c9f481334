//! The configurations that are explored.

use std::time::Duration;

use noex_proto::{ClusterConfig, Limits, NodeId, defaults};

use crate::HostId;

/// How often what is not the delivery of something may happen in one run.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Budget {
    /// Processes that are gone at once.
    pub crashes: u8,
    /// Nodes that are told to stop.
    pub leaves: u8,
    /// Dials that fail though somebody listens.
    pub refusals: u8,
    /// Connections that the network resets.
    pub resets: u8,
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
    /// What may happen beside deliveries.
    pub budget: Budget,
}

/// A node, and the identity that it will have.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) config: ClusterConfig,
    pub(super) id: NodeId,
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
        .cluster_secret("a secret to be explored")
        .heartbeat_interval(Duration::from_secs(1))
        .heartbeat_miss_threshold(1)
        .reconnect_base_delay(Duration::from_millis(100))
        .reconnect_max_delay(Duration::from_secs(4))
        .stop_timeout(Duration::from_secs(2))
        // So few that a subscriber who reads late has to catch up.
        .limits(Limits { events_per_subscriber: 3, ..Limits::default() });
    Node { config, id: id_of }
}

impl Scenario {
    /// All there are.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            Self {
                name: "dial",
                about: "two nodes that dial each other at the same time",
                nodes: vec![node(0, &[1]), node(1, &[0])],
                joined: false,
                budget: Budget { refusals: 1, waits: 1, ..Budget::default() },
            },
            Self {
                name: "reset",
                about: "the same, and connections are reset during admission and after",
                nodes: vec![node(0, &[1]), node(1, &[0])],
                joined: false,
                budget: Budget { resets: 1, waits: 1, ..Budget::default() },
            },
            Self {
                name: "restart",
                about: "two nodes that are connected; one crashes, and starts again under the same id",
                nodes: vec![node(0, &[1]), node(1, &[0])],
                joined: true,
                budget: Budget { crashes: 1, starts: 1, waits: 2, ..Budget::default() },
            },
            Self {
                name: "leave",
                about: "two nodes that are connected; one leaves, and comes back",
                nodes: vec![node(0, &[1]), node(1, &[0])],
                joined: true,
                budget: Budget { leaves: 1, starts: 1, waits: 1, ..Budget::default() },
            },
            Self {
                name: "gossip",
                about: "two nodes that join through a third at the same time, and learn of each other",
                nodes: vec![node(0, &[]), node(1, &[0]), node(2, &[0])],
                joined: false,
                budget: Budget::default(),
            },
            Self {
                name: "twin",
                about: "a node, and two processes with one identity, the greater, that join it, and a connection is reset",
                nodes: vec![node(0, &[]), node(1, &[0]), twin(2, 1, &[0])],
                joined: false,
                budget: Budget { resets: 1, waits: 1, ..Budget::default() },
            },
            Self {
                name: "twin-leave",
                about: "the same, and a node leaves",
                nodes: vec![node(0, &[]), node(1, &[0]), twin(2, 1, &[0])],
                joined: false,
                budget: Budget { leaves: 1, waits: 1, ..Budget::default() },
            },
            Self {
                name: "lesser-twin",
                about: "as twin, with the lesser identity",
                nodes: vec![node(0, &[1]), node(1, &[]), twin(2, 0, &[1])],
                joined: false,
                budget: Budget { resets: 1, waits: 1, ..Budget::default() },
            },
        ]
    }

    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|scenario| scenario.name == name)
    }
}
