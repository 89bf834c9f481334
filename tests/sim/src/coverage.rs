//! What a run has been through: faults and rare states, each once per run.

use std::collections::BTreeMap;

use noex_proto::ClusterError;

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
        if count > 0 {
            *self.seen.entry(what).or_default() += count;
        }
    }

    pub(crate) fn note_error(&mut self, error: &ClusterError) {
        self.note(match error {
            ClusterError::IdentityConflict { .. } => "error: identity conflict",
            ClusterError::Local(_) => "error: local",
            ClusterError::NodeUnreachable { .. } => "error: node unreachable",
            ClusterError::Peer { .. } => "error: peer's fault",
            ClusterError::Refused { .. } => "error: refused",
            ClusterError::SeedMismatch { .. } => "error: seed mismatch",
            ClusterError::SeedUnreachable { .. } => "error: seed unreachable",
            ClusterError::Suppressed { .. } => "error: reports held back",
        });
    }

    /// Takes in what another run has been through, each once.
    pub fn merge(&mut self, other: &Self) {
        for what in other.seen.keys() {
            *self.seen.entry(what).or_default() += 1;
        }
    }

    /// What has occurred, and how often; in a merged one, in how many runs.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.seen.iter().map(|(what, count)| (*what, *count))
    }
}
