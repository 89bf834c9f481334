//! The digest of a view: one number that two nodes with the same members agree on, whatever the order in which these came.

use sha2::{Digest, Sha256};

use crate::NodeId;
use crate::id::incarnation::Incarnation;

/// What a member adds to the digest of a view: the first 8 bytes of SHA-256 over its incarnation and its id. The sum is taken modulo 2^64,
/// so a member is added and taken away in O(1).
pub(crate) fn member_digest(incarnation: &Incarnation, id: &NodeId) -> u64 {
    let hash = Sha256::new().chain_update(incarnation.0).chain_update(id.as_str()).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first)
}
