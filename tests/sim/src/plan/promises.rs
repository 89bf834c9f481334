//! What may be expected of a plan, by what is in it.

use std::time::Duration;

use super::{Fault, NodePlan, Op, Plan, Seed};
use crate::Resolving;
use crate::world::resolver::{SLOWEST, USUAL};

/// How much later than its bound anything may come.
pub(super) const MARGIN: Duration = Duration::from_millis(20);
/// More than the frames of a handshake and an admission take.
const HANDSHAKE_BYTES: usize = 2048;

impl Plan {
    /// How long the healed nodes may take to agree.
    pub(super) fn agreement_bound(&self) -> Duration {
        let heartbeat = self.nodes.iter().map(|node| node.heartbeat_ms).max().unwrap_or(0);
        let threshold = self.nodes.iter().map(|node| u64::from(node.threshold)).max().unwrap_or(0);
        let backoff = self.nodes.iter().map(|node| node.max_ms).max().unwrap_or(0);
        let latency = self.longest_latency();
        let mut bound = heartbeat * threshold + heartbeat / 2 + 10_000 + backoff + 3 * heartbeat + 20_000;
        if self.small_limits {
            // Dials that lead nowhere hold the few places for as long as a dial may take.
            bound += 10_000 * self.nodes.len() as u64;
        }
        if let Some(rate) = self.bytes_per_second {
            // What is queued goes first.
            bound += (4 << 20) * 1000 / rate.max(20_000) / 4;
        }
        Duration::from_millis(bound + self.names_bound(backoff)) + 4 * latency
    }

    /// How much longer it takes where a name has to be looked up whose last address is the one that lives: each sixteen addresses are a
    /// dial, before each of which there is a lookup, and one of each may be under way.
    fn names_bound(&self, backoff_ms: u64) -> u64 {
        let Some(most) = self.names.iter().map(|name| name.addrs.len().div_ceil(16) as u64).max() else { return 0 };
        let slow = self.steps.iter().any(|step| matches!(step.op, Op::Resolver { how: Resolving::Slow, .. }));
        let slowest = if slow { SLOWEST.as_secs() * 1000 } else { 0 };
        let lookup = self.names.iter().map(|name| name.lookup_ms.0.max(name.lookup_ms.1)).max().unwrap_or(0).max(slowest);
        // With limits at their minimum names wait for each other, and dials too.
        let of = |node: &NodePlan| node.seeds.iter().filter(|seed| matches!(seed, Seed::Name(_))).count();
        let at_once = if self.small_limits { self.nodes.iter().map(of).max().unwrap_or(0) as u64 } else { 1 };
        (most + 1) * at_once * (lookup + 10_000 + backoff_ms)
    }

    /// The longest that bytes are on their way in one direction.
    pub(super) fn longest_latency(&self) -> Duration {
        let latencies = self.path_latencies.iter().map(|(_, _, latency)| latency.longest());
        latencies.chain([self.latency.longest()]).max().unwrap_or_default()
    }

    /// How long so many bytes take at most to pass from one node to another: a kernel holds no more than its window of them until the word
    /// that they were read is back, and each takes its time on the wire.
    pub(super) fn time_to_pass(&self, bytes: usize) -> Duration {
        let windows = u32::try_from(bytes / self.window_bytes.max(1)).unwrap_or(u32::MAX).saturating_add(1);
        let on_the_wire = self.bytes_per_second.map_or(0.0, |rate| bytes as f64 / rate.max(1) as f64);
        (2 * self.longest_latency()).saturating_mul(windows) + Duration::from_secs_f64(on_the_wire)
    }

    /// How long this takes at most by any clock of the plan.
    pub(super) fn on_any_clock(&self, time: Duration) -> Duration {
        let rates = self.steps.iter().map(|step| if let Op::Clock { permille, .. } = step.op { permille } else { 1000 });
        let fastest = u32::try_from(rates.max().unwrap_or(1000).max(1000)).unwrap_or(u32::MAX);
        time * fastest / 1000
    }

    /// The nodes of the core that have room for all others: these see each other in the end.
    pub(super) fn roomy_core(&self) -> Vec<usize> {
        self.core.iter().copied().filter(|node| self.nodes[*node].members.is_none()).collect()
    }

    /// Whether there are so many nodes that what each does for each other one is dear.
    pub(super) fn is_many(&self) -> bool {
        self.nodes.len() > 16
    }

    /// The seeds that a node may be given while it runs, each time, and whether its own are kept.
    fn new_seeds(&self, node: usize) -> impl Iterator<Item = (&[Seed], bool)> {
        self.steps.iter().filter_map(move |step| match &step.op {
            Op::SetSeeds { node: of, seeds, keep } if *of == node => Some((seeds.as_slice(), *keep)),
            _ => None,
        })
    }

    /// Whether a node is ever given other seeds than its own.
    pub(super) fn has_new_seeds(&self, node: usize) -> bool {
        self.new_seeds(node).next().is_some()
    }

    /// Whether this is one of a node's seeds all the time.
    pub(super) fn is_seed(&self, node: usize, seed: Seed) -> bool {
        self.nodes[node].seeds.contains(&seed) && self.new_seeds(node).all(|(seeds, keep)| keep || seeds.contains(&seed))
    }

    /// All seeds that a node ever has.
    pub(super) fn seeds_of(&self, node: usize) -> impl Iterator<Item = &Seed> {
        self.nodes[node].seeds.iter().chain(self.new_seeds(node).flat_map(|(seeds, _)| seeds))
    }

    /// Whether a node ever has another name.
    pub(super) fn is_renamed(&self, of: usize) -> bool {
        self.faults.contains(&Fault::Renames)
            && self.steps.iter().any(|step| matches!(step.op, Op::Rename { node, .. } if node == of))
    }

    /// Whether the cluster is given its first secret, so that for some time some nodes have it and some have none.
    pub(super) fn has_first_secret(&self) -> bool {
        !self.secret && self.faults.contains(&Fault::FirstSecret)
    }

    /// How long a dial takes at most until its last word, which comes after so many ways in one direction.
    pub(super) fn time_to_meet(&self, ways: u32) -> Duration {
        self.lookup() + ways * self.longest_latency() + self.time_to_pass(HANDSHAKE_BYTES)
    }

    /// How long it takes at most to look a node's host up, behind others: a quarter of the places is kept from hosts that others told of.
    pub(super) fn lookup(&self) -> Duration {
        if self.long_names { 2 * USUAL.1 } else { Duration::ZERO }
    }

    /// Whether nothing in the plan is a reason for any node to go down, but that it leaves.
    pub(super) fn is_calm(&self) -> bool {
        self.is_calm_but(None)
    }

    /// The same, where one kind of fault is left aside.
    pub(super) fn is_calm_but(&self, but: Option<Fault>) -> bool {
        self.faults.iter().filter(|fault| Some(**fault) != but).all(|fault| fault.is_calm())
    }
}

impl Fault {
    /// Whether it is no reason for any node to go down, but that it leaves.
    pub(super) const fn is_calm(self) -> bool {
        matches!(
            self,
            Self::AcceptedSecrets
                | Self::Descriptors
                | Self::DuplicateId
                | Self::FewMembers
                | Self::FirstSecret
                | Self::Fragmentation
                | Self::LateCloses
                | Self::Latency
                | Self::Leave
                | Self::MixedIntervals
                | Self::MixedSecrets
                | Self::Misuse
                | Self::Names
                | Self::NewSeeds
                | Self::OneWayDials
                | Self::Rogues
                | Self::Rotation
                | Self::Seeds
                | Self::WallClock
        )
    }
}

impl Fault {
    /// Its name, for the counters.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AcceptedSecrets => "fault: accepted secrets",
            Self::Adversary => "fault: adversary",
            Self::Bandwidth => "fault: bandwidth",
            Self::ClockRate => "fault: clock rate",
            Self::Crash => "fault: crash",
            Self::CrashLoop => "fault: crash loop",
            Self::Descriptors => "fault: descriptors",
            Self::DialFaults => "fault: dial faults",
            Self::DuplicateId => "fault: duplicate id",
            Self::FewMembers => "fault: few members",
            Self::FirstSecret => "fault: first secret",
            Self::Fragmentation => "fault: fragmentation",
            Self::Freeze => "fault: freeze",
            Self::HalfOpen => "fault: half-open",
            Self::Halt => "fault: halt",
            Self::LateCloses => "fault: late closes",
            Self::Latency => "fault: latency",
            Self::Leave => "fault: leave",
            Self::SmallLimits => "fault: small limits",
            Self::MixedIntervals => "fault: mixed intervals",
            Self::MixedSecrets => "fault: mixed secrets",
            Self::Misuse => "fault: misuse",
            Self::Names => "fault: names",
            Self::NewSeeds => "fault: new seeds",
            Self::OneWayDials => "fault: one-way dials",
            Self::Partition => "fault: partition",
            Self::PowerOff => "fault: power off",
            Self::Renames => "fault: renames",
            Self::Reset => "fault: reset",
            Self::Rogues => "fault: rogues",
            Self::Rotation => "fault: rotation",
            Self::Seeds => "fault: seeds",
            Self::Stall => "fault: stall",
            Self::WallClock => "fault: wall clock",
        }
    }
}
