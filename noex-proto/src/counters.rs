//! What a machine counts.

/// What the machine has counted since it was made. Counters never go back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted.
    pub accepted: u64,
    /// Strangers that had to make room for others before they were authenticated.
    pub evicted: u64,
    /// Connections begun.
    pub dials: u64,
    /// Dials that failed, whatever the cause.
    pub dial_failures: u64,
    /// Connections closed because the peer broke a rule of the protocol.
    pub faults: u64,
    /// Handshakes completed.
    pub handshakes: u64,
    /// Sessions refused because another with the same node is in use.
    pub duplicates: u64,
    /// Sessions that had died unnoticed at the other side and were replaced.
    pub replaced: u64,
    /// Sessions closed because their admission had been overtaken by a later one.
    pub stale_admissions: u64,
    /// Offers of a session that had to wait for another one's admission, or for a probe.
    pub offers_deferred: u64,
    /// Sessions that were asked for a sign of life because another incarnation of their node came.
    pub probes: u64,
    /// Nodes that came up.
    pub ups: u64,
    /// Nodes that went down.
    pub downs: u64,
    /// Messages taken from the application.
    pub messages_sent: u64,
    /// Messages handed to the application.
    pub messages_received: u64,
    /// Requests for members that were answered.
    pub member_answers: u64,
    /// Calls made by this node's tasks and processes.
    pub calls: u64,
    /// Those that were answered.
    pub calls_answered: u64,
    /// Those that failed otherwise than by their deadline.
    pub calls_failed: u64,
    /// Those whose deadline passed.
    pub calls_timed_out: u64,
    /// Those that nobody waited for any more.
    pub calls_cancelled: u64,
    /// Answers and failures that came for a call that was over.
    pub late_answers: u64,
    /// Calls that came for this node's processes.
    pub requests: u64,
    /// Those that failed here.
    pub requests_failed: u64,
    /// Casts of this node's tasks and processes.
    pub casts_sent: u64,
    /// Casts that came for this node's processes and found room.
    pub casts_received: u64,
    /// Casts that found no process of their protocol, or no room.
    pub casts_dropped: u64,
    /// Casts that a process of this node could not decode.
    pub casts_not_understood: u64,
    /// Claims to names of the cluster that this node's processes began, without those that wait for their turn.
    pub claims: u64,
    /// Those that settled.
    pub claims_settled: u64,
    /// Those that did not.
    pub claims_failed: u64,
    /// Names that processes of this node had and lost to another node's, or for want of nodes.
    pub names_lost: u64,
    /// Names of other nodes that found no room here.
    pub names_not_kept: u64,
    /// Error reports held back to bound their rate.
    pub reports_held_back: u64,
}
