//! What can happen in a plan.

use serde::{Deserialize, Serialize};

use super::{Fault, Seed};
use crate::{Dialling, Resolving, Tampering};

/// Something that happens at a moment of the plan.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When.
    pub at_ms: u64,
    /// What.
    pub op: Op,
}

/// What can happen. Nodes are numbers; what lasts is undone after `ms`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// A node sends messages to all that are up.
    Broadcast {
        /// From where.
        from: usize,
        /// Bytes of each, and more where it takes more to say for whom it is.
        size: usize,
        /// How many.
        count: usize,
    },
    /// The application on a node calls a process.
    Call {
        /// From where.
        from: usize,
        /// Where the process is.
        to: usize,
        /// Its place there.
        process: usize,
        /// Whether it is called by its name.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        named: bool,
        /// Whether the call is of a protocol that the process does not have.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        foreign: bool,
        /// Bytes of each call.
        size: usize,
        /// Bytes of each answer.
        answer: usize,
        /// How many.
        count: usize,
        /// The time that an answer may take.
        timeout_ms: u64,
        /// When the caller waits no more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancel_ms: Option<u64>,
    },
    /// The application on a node casts to a process.
    Cast {
        /// From where.
        from: usize,
        /// Where the process is.
        to: usize,
        /// Its place there.
        process: usize,
        /// Whether it is reached by its name.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        named: bool,
        /// Bytes of each.
        size: usize,
        /// How many.
        count: usize,
    },
    /// A process claims a name of the cluster.
    Claim {
        /// Which node.
        node: usize,
        /// The place of the process.
        process: usize,
        /// Which name.
        name: usize,
        /// Whether it stands by until the name is free.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        when_free: bool,
        /// How many other nodes have to agree.
        #[serde(default, skip_serializing_if = "is_zero")]
        min_nodes: usize,
        /// Whether it goes on where it loses the name.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        keep: bool,
        /// The time that the claim may take.
        timeout_ms: u64,
        /// When its future is dropped, unless it has returned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        drop_ms: Option<u64>,
    },
    /// A node's clock runs at this rate.
    Clock {
        /// Which.
        node: usize,
        /// In thousandths.
        permille: u64,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// A node's process is gone, and starts again after `ms`, if that is given.
    Crash {
        /// Which.
        node: usize,
        /// For how long, or until when, in milliseconds.
        ms: Option<u64>,
    },
    /// Nothing passes from any of one group to any of the other.
    Cut {
        /// From where.
        from: Vec<usize>,
        /// To where.
        to: Vec<usize>,
        /// For how long, or until when, in milliseconds.
        ms: u64,
        /// Whether connections are reset too.
        reset: bool,
    },
    /// The driver of a node has no descriptors for new connections.
    Descriptors {
        /// Which.
        node: usize,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// Dials from one node to another fail in this way.
    Dials {
        /// From where.
        from: usize,
        /// To where.
        to: usize,
        /// In which way.
        how: Dialling,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// A process on a node ends, and another one takes its place.
    Exit {
        /// Which node.
        node: usize,
        /// The place of the process.
        process: usize,
        /// After how many milliseconds there is another one.
        ms: u64,
    },
    /// A node's process stands still.
    Freeze {
        /// Which.
        node: usize,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// The runtime of a node is shut down under it, and it starts again after `ms`, if that is given.
    Halt {
        /// Which.
        node: usize,
        /// For how long, or until when, in milliseconds.
        ms: Option<u64>,
    },
    /// The connections of one node to another end without the other's notice.
    HalfOpen {
        /// Where they end.
        at: usize,
        /// Who does not notice.
        with: usize,
        /// Whether not even a reset answers.
        silent: bool,
    },
    /// The nodes of a cluster without a secret are given their first one, each at its time within `ms`.
    FirstSecret {
        /// For how long, or until when, in milliseconds.
        ms: u64,
        /// The node that never gets it, if there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        without: Option<usize>,
    },
    /// The driver of a node confirms graceful closes late.
    LateCloses {
        /// Which.
        node: usize,
        /// How late, in milliseconds.
        by_ms: u64,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// A node leaves, and starts again after `ms`, if that is given.
    Leave {
        /// Which.
        node: usize,
        /// For how long, or until when, in milliseconds.
        ms: Option<u64>,
    },
    /// The driver of a node misuses its machine.
    Misuse {
        /// Which.
        node: usize,
    },
    /// A process on a node watches another one, or a task does.
    Monitor {
        /// From where.
        from: usize,
        /// The place of the process that watches; none where a task does.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<usize>,
        /// Where the process is that is watched.
        to: usize,
        /// Its place there.
        process: usize,
        /// Whether it is reached by its name.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        named: bool,
        /// When it is watched no more.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
    },
    /// A host loses power, and starts again after `ms`, if that is given.
    PowerOff {
        /// Which.
        node: usize,
        /// For how long, or until when, in milliseconds.
        ms: Option<u64>,
    },
    /// A node announces this many processes.
    Processes {
        /// Which.
        node: usize,
        /// How many.
        count: u64,
    },
    /// A node's process is gone, and its host comes back after `ms` under another name; or under its own, where it had another one.
    Rename {
        /// Which.
        node: usize,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// The resolver of a node does this.
    Resolver {
        /// Which.
        node: usize,
        /// What it does.
        how: Resolving,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// The connections between two nodes are reset.
    Reset {
        /// One side.
        one: usize,
        /// The other side.
        other: usize,
    },
    /// One of the connections between two nodes is reset.
    ResetOne {
        /// One side.
        one: usize,
        /// The other side.
        other: usize,
    },
    /// A stranger dials a node.
    RogueDials {
        /// Which stranger.
        rogue: usize,
        /// Which.
        node: usize,
        /// How many.
        count: usize,
    },
    /// The cluster's secret is rotated to this one, in three phases `ms` apart.
    Rotate {
        /// To where.
        to: u8,
        /// For how long, or until when, in milliseconds.
        ms: u64,
        /// Secrets that are accepted beside, in the first two phases, and before those that are needed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        more: Vec<u8>,
    },
    /// A node sends messages to another one.
    Send {
        /// From where.
        from: usize,
        /// To where.
        to: usize,
        /// Bytes of each.
        size: usize,
        /// How many.
        count: usize,
    },
    /// A process gives a name of the cluster back.
    Release {
        /// Which node.
        node: usize,
        /// The place of the process.
        process: usize,
        /// Which name.
        name: usize,
    },
    /// The application on a node asks a process to stop.
    RequestStop {
        /// From where.
        from: usize,
        /// Where the process is.
        to: usize,
        /// Its place there.
        process: usize,
    },
    /// A node that runs is given other seeds, until it starts again.
    SetSeeds {
        /// Which.
        node: usize,
        /// Missing ones, nodes, and nodes under another name.
        seeds: Vec<Seed>,
        /// Whether its own stay, beside these.
        #[serde(default)]
        keep: bool,
    },
    /// A node does not read what another one writes.
    StallReader {
        /// Who does not read.
        reader: usize,
        /// From where.
        from: usize,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// The kernel takes nothing of what a node writes to another one.
    StallWriter {
        /// From where.
        from: usize,
        /// To where.
        to: usize,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// The application on a node subscribes once more, and reads rarely.
    Subscribe {
        /// Which.
        node: usize,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// An adversary touches a share of the writes between two nodes.
    Tamper {
        /// One side.
        one: usize,
        /// The other side.
        other: usize,
        /// In which way.
        how: Tampering,
        /// In thousandths.
        permille: u32,
        /// For how long, or until when, in milliseconds.
        ms: u64,
    },
    /// A host's wall clock jumps.
    WallClock {
        /// Which.
        node: usize,
        /// For how long, or until when, in milliseconds.
        ms: i64,
    },
}

impl Op {
    /// The nodes that it names.
    pub(crate) fn nodes_mut(&mut self) -> Vec<&mut usize> {
        match self {
            Self::Clock { node, .. }
            | Self::Crash { node, .. }
            | Self::Descriptors { node, .. }
            | Self::Broadcast { from: node, .. }
            | Self::Claim { node, .. }
            | Self::Exit { node, .. }
            | Self::Release { node, .. }
            | Self::Freeze { node, .. }
            | Self::Halt { node, .. }
            | Self::LateCloses { node, .. }
            | Self::Leave { node, .. }
            | Self::Misuse { node }
            | Self::PowerOff { node, .. }
            | Self::Processes { node, .. }
            | Self::Rename { node, .. }
            | Self::Resolver { node, .. }
            | Self::RogueDials { node, .. }
            | Self::Subscribe { node, .. }
            | Self::WallClock { node, .. } => vec![node],
            Self::Cut { from, to, .. } => from.iter_mut().chain(to).collect(),
            Self::Call { from: one, to: other, .. }
            | Self::Cast { from: one, to: other, .. }
            | Self::Monitor { from: one, to: other, .. }
            | Self::RequestStop { from: one, to: other, .. }
            | Self::Dials { from: one, to: other, .. }
            | Self::HalfOpen { at: one, with: other, .. }
            | Self::Reset { one, other }
            | Self::ResetOne { one, other }
            | Self::Send { from: one, to: other, .. }
            | Self::StallReader { reader: one, from: other, .. }
            | Self::StallWriter { from: one, to: other, .. }
            | Self::Tamper { one, other, .. } => vec![one, other],
            Self::SetSeeds { node, seeds, .. } => {
                let of = seeds.iter_mut().filter_map(|seed| match seed {
                    Seed::Misnamed(of) | Seed::Node(of) => Some(of),
                    Seed::Missing | Seed::Name(_) | Seed::Rogue(_) => None,
                });
                of.chain([node]).collect()
            }
            Self::FirstSecret { without, .. } => without.iter_mut().collect(),
            Self::Rotate { .. } => Vec::new(),
        }
    }

    /// The process that it is about: its node, and its place there.
    pub(super) const fn process(&self) -> Option<(usize, usize)> {
        match self {
            Self::Call { to: node, process, .. }
            | Self::Cast { to: node, process, .. }
            | Self::Claim { node, process, .. }
            | Self::Exit { node, process, .. }
            | Self::Release { node, process, .. }
            | Self::Monitor { to: node, process, .. }
            | Self::RequestStop { to: node, process, .. } => Some((*node, *process)),
            _ => None,
        }
    }

    /// The kinds of faults that it can belong to; none where it is no fault.
    pub(crate) fn kinds(&self) -> &'static [Fault] {
        match self {
            Self::Clock { .. } => &[Fault::ClockRate],
            Self::Crash { .. } => &[Fault::Crash, Fault::CrashLoop, Fault::HalfOpen, Fault::Stall],
            Self::Cut { .. } => &[Fault::Partition],
            Self::Descriptors { .. } => &[Fault::Descriptors],
            Self::Dials { .. } => &[Fault::DialFaults],
            Self::Freeze { .. } => &[Fault::Freeze],
            Self::HalfOpen { .. } => &[Fault::HalfOpen],
            Self::Halt { .. } => &[Fault::Halt],
            Self::FirstSecret { .. } => &[Fault::FirstSecret],
            Self::LateCloses { .. } => &[Fault::LateCloses],
            Self::Leave { .. } => &[Fault::Leave, Fault::Partition],
            Self::Misuse { .. } => &[Fault::Misuse],
            Self::PowerOff { .. } => &[Fault::PowerOff],
            Self::Broadcast { .. }
            | Self::Call { .. }
            | Self::Cast { .. }
            | Self::Claim { .. }
            | Self::Exit { .. }
            | Self::Release { .. }
            | Self::Monitor { .. }
            | Self::Processes { .. }
            | Self::RequestStop { .. }
            | Self::Send { .. }
            | Self::Subscribe { .. } => &[],
            Self::Rename { .. } => &[Fault::Renames],
            Self::Resolver { .. } => &[Fault::Names],
            Self::Reset { .. } => &[Fault::DialFaults, Fault::Reset],
            Self::ResetOne { .. } => &[Fault::Reset, Fault::Stall],
            Self::RogueDials { .. } => &[Fault::Rogues],
            Self::Rotate { .. } => &[Fault::Rotation, Fault::AcceptedSecrets],
            Self::SetSeeds { .. } => &[Fault::NewSeeds],
            Self::StallReader { .. } | Self::StallWriter { .. } => &[Fault::Stall],
            Self::Tamper { .. } => &[Fault::Adversary],
            Self::WallClock { .. } => &[Fault::WallClock],
        }
    }

    /// Whether it is no fault, or one of these kinds.
    pub(super) fn is_among(&self, faults: &[Fault]) -> bool {
        self.kinds().is_empty() || self.kinds().iter().any(|kind| faults.contains(kind))
    }

    /// Takes a node out, and moves those after it up. Whether the step still means something.
    pub(crate) fn forget(&mut self, gone: usize) -> bool {
        if let Self::Cut { from, to, .. } = self {
            from.retain(|node| *node != gone);
            to.retain(|node| *node != gone);
            if from.is_empty() || to.is_empty() {
                return false;
            }
        }
        if let Self::SetSeeds { seeds, .. } = self {
            seeds.retain(|seed| !matches!(seed, Seed::Misnamed(of) | Seed::Node(of) if *of == gone));
        }
        let mut kept = true;
        for node in self.nodes_mut() {
            kept &= *node != gone;
            *node -= usize::from(*node > gone);
        }
        kept
    }

    /// For how long it lasts, where it does not last for good.
    pub(crate) fn duration_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Clock { ms, .. }
            | Self::Cut { ms, .. }
            | Self::Descriptors { ms, .. }
            | Self::Dials { ms, .. }
            | Self::Exit { ms, .. }
            | Self::Freeze { ms, .. }
            | Self::FirstSecret { ms, .. }
            | Self::LateCloses { ms, .. }
            | Self::Rename { ms, .. }
            | Self::Resolver { ms, .. }
            | Self::Rotate { ms, .. }
            | Self::StallReader { ms, .. }
            | Self::StallWriter { ms, .. }
            | Self::Subscribe { ms, .. }
            | Self::Tamper { ms, .. } => Some(ms),
            Self::Crash { ms, .. }
            | Self::Halt { ms, .. }
            | Self::Leave { ms, .. }
            | Self::Monitor { ms, .. }
            | Self::PowerOff { ms, .. } => ms.as_mut(),
            Self::Call { timeout_ms, .. } | Self::Claim { timeout_ms, .. } => Some(timeout_ms),
            Self::Broadcast { .. }
            | Self::Cast { .. }
            | Self::Release { .. }
            | Self::HalfOpen { .. }
            | Self::Misuse { .. }
            | Self::Processes { .. }
            | Self::RequestStop { .. }
            | Self::Reset { .. }
            | Self::ResetOne { .. }
            | Self::RogueDials { .. }
            | Self::Send { .. }
            | Self::SetSeeds { .. }
            | Self::WallClock { .. } => None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(number: &usize) -> bool {
    *number == 0
}
