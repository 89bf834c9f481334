//! Which errors pass by themselves. `tests/docs` checks that each variant is named here.

use crate::net::{MS, Net, SECOND, config, id};
use noex_proto::{ClusterError, DialError, LocalFault, PeerFault, ProcessId, Refusal, Unreached};

const PEER_FAULTS: [(PeerFault, bool); 28] = [
    (PeerFault::AuthenticationFailed, false),
    (PeerFault::AuthenticationMissing, false),
    (PeerFault::AuthenticationNotOffered, false),
    (PeerFault::BadTag, false),
    (PeerFault::ClaimNotAcknowledged, true),
    (PeerFault::ControlFlood, false),
    (PeerFault::FrameTooLong, false),
    (PeerFault::FrameTooShort, false),
    (PeerFault::HandshakeTimeout, true),
    (PeerFault::IntervalOutOfBounds, false),
    (PeerFault::InvalidMagic, false),
    (PeerFault::InvalidNodeId, false),
    (PeerFault::LoopbackIdentity, false),
    (PeerFault::MalformedBody, false),
    (PeerFault::MalformedHandshake, false),
    (PeerFault::MalformedRecord, false),
    (PeerFault::MessageTooLarge, false),
    (PeerFault::NeverAsked, false),
    (PeerFault::NeverClaimed, false),
    (PeerFault::NumberInUse, false),
    (PeerFault::NonceReused, false),
    (PeerFault::ReservedFlags, false),
    (PeerFault::TooManyNames, false),
    (PeerFault::UnexpectedMessage, false),
    (PeerFault::UnexpectedOffer, false),
    (PeerFault::UnknownMessage, false),
    (PeerFault::VersionMismatch, false),
    (PeerFault::WrongTarget, true),
];

const REFUSALS: [(Refusal, bool); 14] = [
    (Refusal::AuthenticationFailed, false),
    (Refusal::AuthenticationNotOffered, false),
    (Refusal::AuthenticationRequired, false),
    (Refusal::Busy, true),
    (Refusal::Duplicate, true),
    (Refusal::IdentityConflict, false),
    (Refusal::Leaving, true),
    (Refusal::LimitReached, false),
    (Refusal::LoopbackIdentity, false),
    (Refusal::NotAdmitted, false),
    (Refusal::NotTheTarget, true),
    (Refusal::ToSelf, true),
    (Refusal::Unknown(77), false),
    (Refusal::Version, false),
];

fn unreached() -> Vec<(Unreached, bool)> {
    let mut all = vec![
        (Unreached::Closed, true),
        (Unreached::Dial(DialError::LookupTimedOut), true),
        (Unreached::Dial(DialError::Refused), true),
        (Unreached::Dial(DialError::TimedOut), true),
        (Unreached::Dial(DialError::Unreachable), true),
        (Unreached::Dial(DialError::Unresolved), true),
    ];
    all.extend(PEER_FAULTS.map(|(fault, passes)| (Unreached::Fault(fault), passes)));
    all.extend(REFUSALS.map(|(reason, passes)| (Unreached::Refused(reason), passes)));
    all
}

#[test]
fn each_error_says_whether_it_passes_by_itself() {
    let (addr, id) = ("10.0.0.2:50000".parse().unwrap(), id("b", 1));
    let process = r#"{"node":"b@10.0.0.2:4369","number":7,"incarnation":"5f5f5f5f000000000000000000000000"}"#;
    let process: ProcessId = serde_json::from_str(process).unwrap();
    let mut errors = vec![
        (ClusterError::IdentityConflict { id: id.clone() }, false),
        (ClusterError::Local(LocalFault::Accept { cause: "too many files".into() }), false),
        (
            ClusterError::Local(LocalFault::AdvertisedElsewhere { advertised: "db-1".into(), listening: [127, 0, 1, 1].into() }),
            false,
        ),
        (ClusterError::Local(LocalFault::Dial { cause: "too many files".into() }), false),
        (ClusterError::Local(LocalFault::Lookup { cause: "try again".into(), host: "h".into() }), true),
        (ClusterError::Local(LocalFault::HandlerPanicked { message: "oh".into() }), false),
        (ClusterError::Local(LocalFault::LoopbackAdvertised), false),
        (ClusterError::Local(LocalFault::NoSecret), false),
        (ClusterError::CastNotUnderstood { cause: "no".into(), process: process.clone() }, false),
        (ClusterError::SeedMismatch { found: id.clone(), seed: id.clone() }, false),
        (ClusterError::NameNotKept { by: process, limit: 3, name: "db".parse().unwrap() }, false),
        (ClusterError::Suppressed { count: 12 }, false),
    ];
    let nodes = unreached().into_iter().map(|(why, passes)| (ClusterError::NodeUnreachable { id: id.clone(), why }, passes));
    errors.extend(nodes);
    let seeds = unreached().into_iter();
    errors.extend(seeds.map(|(why, passes)| (ClusterError::SeedUnreachable { seed: id.clone().into(), why }, passes)));
    errors.extend(
        PEER_FAULTS.map(|(fault, passes)| (ClusterError::Peer { addr, claimed: None, fault, id: None, wanted: None }, passes)),
    );
    errors.extend(REFUSALS.map(|(reason, passes)| (ClusterError::Refused { addr, reason }, passes)));
    for (error, passes) in errors {
        assert_eq!(error.is_transient(), passes, "{error}");
    }
}

/// All seed each other, and the first runs a while before the last: nobody is needed, and nobody is called.
#[test]
fn a_clean_cold_start_needs_nobody() {
    let mut net = Net::new(3);
    let seeds: Vec<String> = (0..3).map(|host| id("n", host).to_string()).collect();
    for host in 0..3 {
        net.start(host, config("n", host).seeds(&seeds));
        net.run(3 * SECOND);
    }
    net.run(20 * SECOND + MS);
    assert!(net.is_mesh(&[0, 1, 2]));
    let errors: Vec<ClusterError> = (0..3).flat_map(|host| net.errors(host)).collect();
    assert!(errors.iter().any(|error| matches!(error, ClusterError::SeedUnreachable { .. })), "{errors:?}");
    let needing: Vec<_> = errors.iter().filter(|error| !error.is_transient()).collect();
    assert_eq!(needing, Vec::<&ClusterError>::new());
}
