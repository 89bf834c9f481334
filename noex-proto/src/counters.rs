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
    /// Error reports held back to bound their rate.
    pub reports_held_back: u64,
}
