//! Plans: a run as plain data, drawn from a seed or written by hand.

mod apart;
#[cfg(feature = "app")]
mod application;
mod blame;
mod check;
mod claims;
mod deaths;
mod dials;
mod draw;
mod drawn;
mod judge;
pub(crate) mod matters;
mod names;
mod op;
mod order;
mod processes;
mod promises;
mod questions;
mod rest;
mod run;
mod secrets;
mod shrink;
mod situations;

use std::time::Duration;

use noex_proto::{ClusterConfig, Limits};
use serde::{Deserialize, Serialize};

use crate::world::network;
use crate::{Chunking, Latency, Rogue, Script};
pub use matters::Matters;
pub use op::{Op, Step};
pub use run::{Outcome, STEP_BOUND};

/// A kind of fault or of unusual configuration. Each is on in about half of the seeds.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// An adversary on the wire.
    Adversary,
    /// Little bandwidth and small kernel buffers.
    Bandwidth,
    /// Clocks at half to twice the rate.
    ClockRate,
    /// Processes that crash, and start again later.
    Crash,
    /// Processes that crash again and again.
    CrashLoop,
    /// Dials refused, dropped, late, or unreachable.
    DialFaults,
    /// A second process with the same identity.
    DuplicateId,
    /// Reads and writes of a few bytes, or all at once.
    Fragmentation,
    /// Processes that stand still.
    Freeze,
    /// Connections that only one end knows of.
    HalfOpen,
    /// Latencies with a tail, and other ones for single paths.
    Latency,
    /// Nodes that leave, and come again.
    Leave,
    /// Limits at their minimum.
    SmallLimits,
    /// Different heartbeat intervals and thresholds.
    MixedIntervals,
    /// A node with another secret.
    MixedSecrets,
    /// Drivers that misuse the machine.
    Misuse,
    /// Pairs that can dial in one direction only, for good.
    OneWayDials,
    /// Partitions of any shape.
    Partition,
    /// Hosts that lose power.
    PowerOff,
    /// Resets at any byte.
    Reset,
    /// Strangers without the secret.
    Rogues,
    /// Secrets are rotated.
    Rotation,
    /// Seeds that are missing, late, oneself, or another node.
    Seeds,
    /// Readers and writers that stall.
    Stall,
    /// Wall clocks that jump.
    WallClock,
    /// Seeds by names: with many addresses, dead ones too, and resolvers that are slow, fail, or say something else each time.
    Names,
    /// Drivers without descriptors.
    Descriptors,
    /// Several secrets are accepted at once while one is rotated.
    AcceptedSecrets,
    /// A cluster without a secret is given its first.
    FirstSecret,
    /// Drivers that confirm graceful closes late.
    LateCloses,
    /// A node that has room for fewer members than there are nodes.
    FewMembers,
    /// Hosts that come back under another name.
    Renames,
    /// Runtimes that are shut down under a node.
    Halt,
    /// Nodes that are given other seeds while they run.
    NewSeeds,
}

impl Fault {
    /// All kinds, in the order of their random streams: a new one goes to the end.
    pub const ALL: [Self; 34] = [
        Self::Adversary,
        Self::Bandwidth,
        Self::ClockRate,
        Self::Crash,
        Self::CrashLoop,
        Self::DialFaults,
        Self::DuplicateId,
        Self::Fragmentation,
        Self::Freeze,
        Self::HalfOpen,
        Self::Latency,
        Self::Leave,
        Self::SmallLimits,
        Self::MixedIntervals,
        Self::MixedSecrets,
        Self::Misuse,
        Self::OneWayDials,
        Self::Partition,
        Self::PowerOff,
        Self::Reset,
        Self::Rogues,
        Self::Rotation,
        Self::Seeds,
        Self::Stall,
        Self::WallClock,
        Self::Names,
        Self::Descriptors,
        Self::AcceptedSecrets,
        Self::FirstSecret,
        Self::LateCloses,
        Self::FewMembers,
        Self::Renames,
        Self::Halt,
        Self::NewSeeds,
    ];
}

/// A node, and how it is configured. Its host has its number.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// When it starts first.
    pub start_ms: u64,
    /// Its heartbeat interval.
    pub heartbeat_ms: u64,
    /// How many heartbeats a peer may miss.
    pub threshold: u32,
    /// The first delay between dials.
    pub base_ms: u64,
    /// The longest delay between dials.
    pub max_ms: u64,
    /// How long lost nodes are kept.
    pub forget_ms: u64,
    /// Whom it dials first.
    pub seeds: Vec<Seed>,
    /// The number of its secret, if that is another one than the cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_secret: Option<u8>,
    /// The node whose identity it claims too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin_of: Option<usize>,
    /// Its limit on members, where that is below the number of nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<usize>,
    /// The processes that it opens, each in its place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Script>,
}

/// A seed.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seed {
    /// An address where no host is.
    Missing,
    /// The address of this node under another name.
    Misnamed(usize),
    /// This name, whoever is found there.
    Name(usize),
    /// This node.
    Node(usize),
    /// This stranger.
    Rogue(usize),
}

/// A name that seeds have.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NamePlan {
    /// What it leads to, in the resolver's order.
    pub addrs: Vec<Addr>,
    /// Whether the resolver gives them in another order each time.
    #[serde(default)]
    pub shuffled: bool,
    /// What a lookup of it takes, at least and at most.
    pub lookup_ms: (u64, u64),
}

/// An address of a name.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Addr {
    /// That of this node.
    Node(usize),
    /// One where connections are refused.
    Refusing,
    /// One that swallows packets.
    Silent,
    /// One to which the network knows no way.
    Unreachable,
}

/// A whole run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The seed of the run's own randomness, and of the plan where it was drawn.
    pub seed: u64,
    /// The kinds of faults in it.
    pub faults: Vec<Fault>,
    /// The nodes, on hosts 0 and up.
    pub nodes: Vec<NodePlan>,
    /// The names that seeds may have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<NamePlan>,
    /// The strangers, on the hosts after them.
    pub rogues: Vec<Rogue>,
    /// Whether the hosts have names, and as long ones as there can be, in place of addresses.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub long_names: bool,
    /// Whether the cluster has a secret.
    pub secret: bool,
    /// Whether all limits are at their minimum.
    pub small_limits: bool,
    /// Bandwidth, if limited.
    pub bytes_per_second: Option<u64>,
    /// What a kernel holds of one direction.
    pub window_bytes: usize,
    /// How streams are cut.
    pub chunking: Chunking,
    /// Whether resets destroy what is on its way.
    pub reset_cuts: bool,
    /// The latency of all paths.
    pub latency: Latency,
    /// Other ones, for single paths.
    pub path_latencies: Vec<(usize, usize, Latency)>,
    /// Pairs of which the first can never dial the second.
    pub undialable: Vec<(usize, usize)>,
    /// What happens.
    pub steps: Vec<Step>,
    /// When everything is mended, for the nodes of the core.
    pub heal_ms: u64,
    /// The nodes that are mended then, and have to agree.
    pub core: Vec<usize>,
    /// How long they are watched after they have agreed.
    pub watch_ms: u64,
}

/// A plan that cannot be run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InvalidPlan {
    /// Where, in a plan that was read from text.
    line: Option<usize>,
    what: String,
}

impl std::fmt::Display for InvalidPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("invalid plan: ")?;
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for InvalidPlan {}

impl Plan {
    /// Draws the plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        draw::draw(seed)
    }

    /// Reads a plan as it was written by [`Plan::to_text`].
    ///
    /// # Errors
    /// Names the line of what does not parse, or the step that is impossible.
    pub fn from_text(text: &str) -> Result<Self, InvalidPlan> {
        // The message of the parser ends with the line.
        let plan: Self = serde_json::from_str(text).map_err(|error| InvalidPlan { line: None, what: error.to_string() })?;
        match plan.first_fault() {
            Some((place, what)) => Err(InvalidPlan { line: place.line(text), what }),
            None => Ok(plan),
        }
    }

    /// The plan as text: JSON, one step per line.
    #[must_use]
    pub fn to_text(&self) -> String {
        to_text(&serde_json::to_value(self).unwrap_or_default())
    }

    /// Whether every step can be ordered.
    ///
    /// # Errors
    /// Names the first thing that cannot be.
    pub fn check(&self) -> Result<(), InvalidPlan> {
        match self.first_fault() {
            Some((_, what)) => Err(InvalidPlan { line: None, what }),
            None => Ok(()),
        }
    }

    /// The identity of a node.
    pub(crate) fn id(&self, node: usize) -> String {
        let of = self.nodes[node].twin_of.unwrap_or(node);
        format!("{}@{}:{}", self.nodes[of].name, self.host(of), noex_proto::defaults::PORT)
    }

    /// What others call a node's host.
    fn host(&self, node: usize) -> String {
        if self.long_names { network::long_name(node) } else { address(node) }
    }

    /// What a node is told of a seed.
    fn seed(&self, node: usize, seed: &Seed) -> String {
        match seed {
            Seed::Missing => format!("nobody@10.200.0.{}:4369", node + 1),
            Seed::Misnamed(of) => format!("misnamed@{}:4369", address(*of)),
            Seed::Name(number) => name(*number),
            Seed::Node(of) => self.id(*of),
            Seed::Rogue(rogue) => format!("rogue@{}:4369", address(self.nodes.len() + rogue)),
        }
    }

    /// A node's configuration, without its secrets.
    pub(crate) fn config(&self, node: usize) -> ClusterConfig {
        self.config_as(node, &self.nodes[self.nodes[node].twin_of.unwrap_or(node)].name)
    }

    /// The same under this name.
    pub(super) fn config_as(&self, node: usize, name_of_node: &str) -> ClusterConfig {
        let plan = &self.nodes[node];
        let seeds = plan.seeds.iter().map(|seed| self.seed(node, seed));
        let mut config = ClusterConfig::new(name_of_node)
            .host(address(node))
            .seeds(seeds)
            .heartbeat_interval(Duration::from_millis(plan.heartbeat_ms))
            .heartbeat_miss_threshold(plan.threshold)
            .reconnect_base_delay(Duration::from_millis(plan.base_ms))
            .reconnect_max_delay(Duration::from_millis(plan.max_ms))
            .forget_after(Duration::from_millis(plan.forget_ms));
        if self.long_names || plan.twin_of.is_some() {
            config = config.advertise_host(self.host(plan.twin_of.unwrap_or(node)));
        }
        let limits = if self.small_limits { self.limits() } else { Limits::default() };
        config.limits(match plan.members {
            Some(members) => limits.members(members),
            None => limits,
        })
    }

    /// How many seeds a node may be given.
    fn most_seeds(&self, node: usize) -> usize {
        let limits = if self.small_limits { self.limits() } else { Limits::default() };
        self.nodes[node].members.unwrap_or(limits.members)
    }

    /// Limits as small as they can be with this many nodes.
    fn limits(&self) -> Limits {
        let nodes = self.nodes.len();
        Limits::default()
            .calls_per_peer(processes::FEW_CALLS)
            .calls_served_per_peer(processes::FEW_CALLS / 2)
            .closing_connections(1)
            .control_messages(4)
            .departed_nodes(1)
            .dials_in_flight(2)
            .dials_per_second(4)
            .disconnected_nodes(1)
            .error_reports_per_second(1)
            .events_per_subscriber(1)
            .half_open(nodes)
            .half_open_per_address(2)
            .local_names(self.nodes.iter().map(|node| node.processes.len()).max().unwrap_or(0).max(1))
            .lookups_in_flight(1)
            .mailbox_bytes(processes::SMALL_MAILBOX)
            .mailbox_messages(processes::FEW_MESSAGES)
            .mailboxes_bytes(processes::SMALL_MAILBOX * 3 / 2)
            .members(self.nodes.iter().map(|node| node.seeds.len()).max().unwrap_or(0).max(nodes))
            .message_bytes(4096)
            .message_bytes_per_subscriber(4096)
            .monitors_per_process(2)
            .names(3)
            .processes(self.nodes.iter().map(|node| node.processes.len()).max().unwrap_or(0).max(1))
            .send_queue_bytes(4096)
            .send_window_bytes(1)
    }
}

/// A plan as text: JSON, one node or step per line.
pub(crate) fn to_text(plan: &serde_json::Value) -> String {
    let mut out = String::from("{\n");
    if let Some(fields) = plan.as_object() {
        let count = fields.len();
        for (place, (name, value)) in fields.iter().enumerate() {
            out.push_str(&format!("  \"{name}\": "));
            match value.as_array().filter(|_| matches!(name.as_str(), "nodes" | "steps")) {
                Some(items) if !items.is_empty() => {
                    let items: Vec<String> = items.iter().map(|item| format!("    {item}")).collect();
                    out.push_str(&format!("[\n{}\n  ]", items.join(",\n")));
                }
                _ => out.push_str(&value.to_string()),
            }
            out.push_str(if place + 1 < count { ",\n" } else { "\n" });
        }
    }
    out.push_str("}\n");
    out
}

/// The text of a name.
pub(super) fn name(number: usize) -> String {
    format!("seed{number}.example")
}

/// The address of a host.
fn address(host: usize) -> String {
    format!("10.0.{}.{}", host / 250, host % 250 + 1)
}
