//! What nodes say of each other's faults: where all keep the rules, only what the plan makes of them.

use noex_proto::{ClusterError, PeerFault, Refusal};

use super::{Fault, Plan, Seed};
use crate::{Invariant, World};

/// Judges what nodes have reported of each other since the last look. Bytes that somebody changed on their way can look like anything.
pub(super) fn look(plan: &Plan, world: &mut World) {
    let reports = world.take_reports();
    if plan.faults.contains(&Fault::Adversary) {
        return;
    }
    let wrong = reports.into_iter().find(|(_, peer, error)| *peer < plan.nodes.len() && !is_true(plan, error));
    if let Some((host, peer, error)) = wrong {
        world.violate(Some(host), Invariant::BlameIsTrue, format!("{error}, where {peer} keeps the rules"));
    }
}

fn is_true(plan: &Plan, error: &ClusterError) -> bool {
    let has = |fault: Fault| plan.faults.contains(&fault);
    let secrets_differ = has(Fault::FirstSecret)
        || has(Fault::Rotation)
        || has(Fault::AcceptedSecrets)
        || plan.nodes.iter().any(|node| node.own_secret.is_some());
    let another_is_there = has(Fault::Renames)
        || plan
            .nodes
            .iter()
            .any(|node| node.twin_of.is_some() || node.seeds.iter().any(|seed| matches!(seed, Seed::Misnamed(_))));
    match error {
        ClusterError::Peer { fault, .. } => match fault {
            PeerFault::AuthenticationFailed => secrets_differ,
            PeerFault::AuthenticationMissing | PeerFault::AuthenticationNotOffered => plan.has_first_secret(),
            PeerFault::HandshakeTimeout => true,
            PeerFault::WrongTarget => another_is_there,
            _ => false,
        },
        ClusterError::Refused { reason, .. } => match reason {
            Refusal::AuthenticationFailed => secrets_differ,
            Refusal::AuthenticationNotOffered | Refusal::AuthenticationRequired => plan.has_first_secret(),
            Refusal::Busy | Refusal::LimitReached => plan.small_limits || has(Fault::FewMembers) || has(Fault::Rogues),
            Refusal::NotTheTarget => another_is_there,
            Refusal::LoopbackIdentity | Refusal::Unknown(_) | Refusal::Version => false,
            _ => true,
        },
        _ => true,
    }
}
