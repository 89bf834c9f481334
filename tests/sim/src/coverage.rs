//! What a run has been through: faults and rare states, each once per run.

use std::collections::BTreeMap;

use noex_proto::{ClusterError, Counters, DialError, Refusal, Unreached};

use crate::Fault;

/// All that is counted beside the kinds of faults. What is not here cannot be noted; what is here and never occurs is too rare.
const STATES: [&str; 80] = [
    "address beyond the sixteenth",
    "dead session replaced",
    "apart: for a cause",
    "apart: lost",
    "death: port",
    "death: probe",
    "death: reset",
    "death: silence",
    "down: connection closed",
    "down: connection refused",
    "down: graceful shutdown",
    "down: heartbeat timeout",
    "duplicate refused",
    "error: identity conflict",
    "error: local",
    "error: node unreachable",
    "error: peer's fault",
    "error: refused",
    "error: reports held back",
    "error: no room for a member",
    "error: seed mismatch",
    "error: seed unreachable",
    "claim: no process",
    "claim: released",
    "claim: stopped",
    "claim: taken",
    "claim: taken by a claim",
    "claim: timed out",
    "claim: too few",
    "name: a claim dropped",
    "name: conflict",
    "name: given up",
    "name: lost to another",
    "name: released",
    "name: settled",
    "full queue",
    "lookup failed",
    "lookup timed out",
    "half-open connection",
    "late tick",
    "members asked for",
    "no descriptors",
    "peer's fault",
    "probe",
    "replacement with data in transit",
    "reset within a frame",
    "rotation",
    "slow subscriber lagged",
    "slow subscriber missed messages",
    "stale admission",
    "stranger evicted",
    "tampered bytes",
    "waiting offer",
    "call: answer dropped",
    "call: answered",
    "call: busy",
    "call: cancelled",
    "call: disconnected",
    "call: dropped",
    "call: exited",
    "call: expired",
    "call: no process",
    "call: not connected",
    "call: not started",
    "call: not understood",
    "call: queue full",
    "call: stopped",
    "call: timed out",
    "call: too large",
    "call: wrong protocol",
    "cast: queue full",
    "monitor: a process ended",
    "monitor: no connection",
    "monitor: no process",
    "monitor: removed",
    "process: a call over before its answer",
    "process: a call over in its batch",
    "process: asked to stop",
    "process: casts missed",
    "process: ended by the machine",
];

/// What is counted beside these, only to be compared with how much of it there was: there is some of it in every run, or, where it takes so
/// many nodes that few plans have them, in about one of a hundred, or plans hardly lead to it.
const COUNTS: [&str; 21] = [
    "accepted connections",
    "call: unsupported",
    "claim: full",
    "claim: not started",
    "claim: too many",
    "dials",
    "error: name not kept",
    "failed dials",
    "handshakes",
    "members told in pages",
    "messages received",
    "messages sent",
    "milliseconds to agree",
    "monitor: queue full",
    "name: lost before the claim returned",
    "node downs",
    "node ups",
    "process: a call expired in its batch",
    "process: an answer waits for room",
    "process: not opened",
    "records",
];

/// What has occurred, and how often.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    seen: BTreeMap<&'static str, u64>,
}

impl Coverage {
    pub(crate) fn note(&mut self, what: &'static str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&mut self, what: &'static str, count: u64) {
        debug_assert!(
            STATES.contains(&what) || COUNTS.contains(&what) || Fault::ALL.iter().any(|fault| fault.name() == what),
            "{what} is not on the list"
        );
        if count > 0 {
            *self.seen.entry(what).or_default() += count;
        }
    }

    /// Takes in what a machine has counted.
    pub(crate) fn add_counters(&mut self, counters: &Counters) {
        self.add("duplicate refused", counters.duplicates);
        self.add("dead session replaced", counters.replaced);
        self.add("stale admission", counters.stale_admissions);
        self.add("waiting offer", counters.offers_deferred);
        self.add("probe", counters.probes);
        self.add("stranger evicted", counters.evicted);
        self.add("peer's fault", counters.faults);
        self.add("members asked for", counters.member_answers);
        self.add("accepted connections", counters.accepted);
        self.add("dials", counters.dials);
        self.add("failed dials", counters.dial_failures);
        self.add("handshakes", counters.handshakes);
        self.add("messages received", counters.messages_received);
        self.add("messages sent", counters.messages_sent);
        self.add("node downs", counters.downs);
        self.add("node ups", counters.ups);
    }

    pub(crate) fn note_error(&mut self, error: &ClusterError) {
        if let ClusterError::SeedUnreachable { why: Unreached::Dial(DialError::LookupTimedOut), .. } = error {
            self.note("lookup timed out");
        }
        if let ClusterError::Refused { reason: Refusal::LimitReached, .. } = error {
            self.note("error: no room for a member");
        }
        self.note(match error {
            ClusterError::CastNotUnderstood { .. } => "error: cast not understood",
            ClusterError::IdentityConflict { .. } => "error: identity conflict",
            ClusterError::Local(_) => "error: local",
            ClusterError::NameNotKept { .. } => "error: name not kept",
            ClusterError::NodeUnreachable { .. } => "error: node unreachable",
            ClusterError::Peer { .. } => "error: peer's fault",
            ClusterError::Refused { .. } => "error: refused",
            ClusterError::SeedMismatch { .. } => "error: seed mismatch",
            ClusterError::SeedUnreachable { .. } => "error: seed unreachable",
            ClusterError::Suppressed { .. } => "error: reports held back",
            other => unreachable!("{other:?} is new"),
        });
    }

    /// Takes in what another run has been through, each once.
    pub fn merge(&mut self, other: &Self) {
        for what in other.seen.keys() {
            *self.seen.entry(what).or_default() += 1;
        }
    }

    /// All faults and rare states, and how often each has occurred; in a merged one, in how many runs.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let all = STATES.into_iter().chain(Fault::ALL.into_iter().map(Fault::name));
        all.map(|what| (what, self.seen.get(what).copied().unwrap_or(0)))
    }

    /// The same, and what is only compared.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.iter().chain(COUNTS.map(|what| (what, self.seen.get(what).copied().unwrap_or(0))))
    }
}
