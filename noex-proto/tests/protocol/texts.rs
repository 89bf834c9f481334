//! What people read: logs and error messages are searched for these words.

use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use noex_proto::{
    ClusterConfig, ClusterError, ClusterEvent, ClusterNotStartedError, ClusterStatus, ConnId, Contact, DialError, Instant,
    LocalFault, Machine, MessagesLagged, NodeDownReason, NodeId, NodeIdFault, NodeInfo, NodeStatus, PeerFault, ProcessId,
    ReadinessReason, Refusal, SendError, SetSecretsError, SetSeedsError, StartError, TimeFormat, Unreached, WallTime,
};

fn process() -> ProcessId {
    let text = r#"{"node":"b@10.0.0.2:4369","number":7,"incarnation":"5f5f5f5f000000000000000000000000"}"#;
    serde_json::from_str(text).unwrap()
}

fn check<T: Display>(texts: &[(T, &str)]) {
    for (value, text) in texts {
        assert_eq!(value.to_string(), *text);
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Untimed;

impl TimeFormat for Untimed {
    type Time = ();

    fn time(_: WallTime) {}

    fn wall((): &()) -> WallTime {
        WallTime::default()
    }
}

fn id() -> NodeId {
    "b@10.0.0.2:4369".parse().unwrap()
}

fn info() -> NodeInfo {
    let text = r#"{"id":"b@10.0.0.2:4369","last_down":null,"last_heartbeat_at_ms":0,"process_count":7,"started_at_ms":null,"status":"connected","uptime_ms":61900}"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn peers_are_blamed_by_the_rule_that_they_broke() {
    check(&[
        (PeerFault::AuthenticationFailed, "authentication failed (wrong secret or other cluster name)"),
        (PeerFault::AuthenticationMissing, "it offers no authentication, which is required here"),
        (PeerFault::AuthenticationNotOffered, "it requires authentication, and no secret is set here"),
        (PeerFault::BadTag, "bad record tag"),
        (PeerFault::ClaimNotAcknowledged, "a claim to a name not acknowledged in time"),
        (PeerFault::ControlFlood, "control messages faster than it reads the answers"),
        (PeerFault::FrameTooLong, "frame too long"),
        (PeerFault::FrameTooShort, "frame too short"),
        (PeerFault::HandshakeTimeout, "handshake not completed in time"),
        (PeerFault::IntervalOutOfBounds, "heartbeat interval out of bounds"),
        (PeerFault::InvalidMagic, "not the noex protocol"),
        (PeerFault::InvalidNodeId, "invalid node id"),
        (PeerFault::LoopbackIdentity, "another machine's node with an identity on loopback (it needs advertise_host)"),
        (PeerFault::MalformedBody, "malformed message body"),
        (PeerFault::MalformedHandshake, "malformed handshake frame"),
        (PeerFault::MalformedRecord, "malformed record"),
        (PeerFault::MessageTooLarge, "message too large"),
        (
            PeerFault::NeverAsked,
            "an answer to a call, the end of a process, or the acknowledgement of a claim, that was never asked for",
        ),
        (PeerFault::NeverClaimed, "the end of a claim that was never told"),
        (PeerFault::NonceReused, "nonce reused"),
        (PeerFault::NumberInUse, "a call, a monitor or a claim with the number of another one that is open"),
        (PeerFault::ReservedFlags, "reserved flags set"),
        (PeerFault::TooManyNames, "more names than one node may have"),
        (PeerFault::UnexpectedMessage, "unexpected message"),
        (PeerFault::UnexpectedOffer, "unexpected admission offer"),
        (PeerFault::UnknownMessage, "unknown message"),
        (PeerFault::VersionMismatch, "no common protocol version"),
        (PeerFault::WrongTarget, "another node than was wanted"),
    ]);
}

#[test]
fn refusals_say_what_the_peer_said() {
    check(&[
        (Refusal::AuthenticationFailed, "authentication failed (wrong secret or other cluster name)"),
        (Refusal::AuthenticationNotOffered, "the peer offers no authentication"),
        (Refusal::AuthenticationRequired, "the peer requires authentication"),
        (Refusal::Busy, "the peer is busy"),
        (Refusal::Duplicate, "a session exists already"),
        (Refusal::IdentityConflict, "another running process has this identity"),
        (Refusal::Leaving, "the peer is leaving"),
        (Refusal::LimitReached, "the peer has as many members as it may"),
        (Refusal::LoopbackIdentity, "this node tells a loopback address, and the peer is on another machine: set advertise_host"),
        (Refusal::NotAdmitted, "the peer did not admit this node"),
        (Refusal::NotTheTarget, "the peer is another node than was dialled"),
        (Refusal::ToSelf, "the peer is this node itself"),
        (Refusal::Unknown(77), "unknown reason 77"),
        (Refusal::Version, "no common protocol version"),
    ]);
}

#[test]
fn dials_say_why_they_led_to_no_session() {
    check(&[
        (Unreached::Closed, "the connection ended before a session was up"),
        (Unreached::Dial(DialError::LookupTimedOut), "name lookup timed out"),
        (Unreached::Dial(DialError::Refused), "connection refused"),
        (Unreached::Dial(DialError::TimedOut), "timed out"),
        (Unreached::Dial(DialError::Unreachable), "unreachable"),
        (Unreached::Dial(DialError::Unresolved), "the name does not resolve"),
        (Unreached::Fault(PeerFault::BadTag), "bad record tag"),
        (Unreached::Refused(Refusal::Busy), "the peer is busy"),
    ]);
}

#[test]
fn events_say_what_happened_and_to_whom() {
    let addr: SocketAddr = "10.0.0.2:50000".parse().unwrap();
    let why = Unreached::Dial(DialError::Refused);
    let seed: NodeId = "s@10.0.0.9:4369".parse().unwrap();
    let local = |fault| ClusterEvent::Error(ClusterError::Local(fault));
    let down = |reason| ClusterEvent::NodeDown { id: id(), reason };
    let texts: &[(ClusterEvent, &str)] = &[
        (
            ClusterEvent::Error(ClusterError::IdentityConflict { id: id() }),
            "error: identity conflict: two running processes claim b@10.0.0.2:4369",
        ),
        (
            local(LocalFault::AdvertisedElsewhere { advertised: "db-1".into(), listening: [127, 0, 1, 1].into() }),
            "error: peers are told db-1, and this node listens on 127.0.1.1 alone, which is not there: set host to an address that \
             peers reach, such as 0.0.0.0, or advertise_host to one that is listened on",
        ),
        (local(LocalFault::Accept { cause: "too many files".into() }), "error: accepting connections failed: too many files"),
        (local(LocalFault::Dial { cause: "too many files".into() }), "error: dialling failed on this machine: too many files"),
        (local(LocalFault::HandlerPanicked { message: "oh".into() }), "error: a handler panicked: oh"),
        (
            local(LocalFault::Lookup { cause: "try again".into(), host: "seed.example".into() }),
            "error: the lookup of seed.example failed on this machine: try again",
        ),
        (
            local(LocalFault::LoopbackAdvertised),
            "error: peers are told a loopback address: set advertise_host to be reached from other machines",
        ),
        (local(LocalFault::NoSecret), "error: listening beyond loopback without a cluster secret: anyone can join"),
        (
            ClusterEvent::Error(ClusterError::NodeUnreachable { id: id(), why }),
            "error: node b@10.0.0.2:4369 is unreachable: connection refused",
        ),
        (
            ClusterEvent::Error(ClusterError::Peer {
                addr,
                claimed: None,
                fault: PeerFault::BadTag,
                id: Some(id()),
                wanted: None,
            }),
            "error: fault of peer b@10.0.0.2:4369 at 10.0.0.2:50000: bad record tag",
        ),
        (
            ClusterEvent::Error(ClusterError::Peer {
                addr,
                claimed: None,
                fault: PeerFault::InvalidMagic,
                id: None,
                wanted: None,
            }),
            "error: fault of peer at 10.0.0.2:50000: not the noex protocol",
        ),
        (
            ClusterEvent::Error(ClusterError::Peer {
                addr,
                claimed: Some(id()),
                fault: PeerFault::AuthenticationFailed,
                id: None,
                wanted: None,
            }),
            "error: fault of peer at 10.0.0.2:50000 (claims to be b@10.0.0.2:4369): authentication failed (wrong secret or other cluster name)",
        ),
        (
            ClusterEvent::Error(ClusterError::Peer {
                addr,
                claimed: Some(id()),
                fault: PeerFault::WrongTarget,
                id: None,
                wanted: Some(seed.clone()),
            }),
            "error: peer 10.0.0.2 (claims to be b@10.0.0.2:4369) wanted s@10.0.0.9:4369, which is not here",
        ),
        (
            ClusterEvent::Error(ClusterError::Refused { addr, reason: Refusal::Leaving }),
            "error: refused by peer at 10.0.0.2:50000: the peer is leaving",
        ),
        (
            ClusterEvent::Error(ClusterError::SeedMismatch { found: id(), seed: seed.clone() }),
            "error: seed s@10.0.0.9:4369 is node b@10.0.0.2:4369",
        ),
        (
            ClusterEvent::Error(ClusterError::SeedUnreachable { seed: seed.into(), why }),
            "error: seed s@10.0.0.9:4369 is unreachable: connection refused",
        ),
        (
            ClusterEvent::Error(ClusterError::CastNotUnderstood { cause: "unknown variant `X`".into(), process: process() }),
            "error: a cast to b@10.0.0.2:4369/7.5f5f5f5f was not understood: unknown variant `X`",
        ),
        (ClusterEvent::Error(ClusterError::Suppressed { count: 12 }), "error: 12 reports about strangers held back"),
        (ClusterEvent::Lagged { missed: 3 }, "lagged: 3 events missed"),
        (down(NodeDownReason::ConnectionClosed), "node down: b@10.0.0.2:4369 (connection_closed)"),
        (down(NodeDownReason::ConnectionRefused), "node down: b@10.0.0.2:4369 (connection_refused)"),
        (down(NodeDownReason::GracefulShutdown), "node down: b@10.0.0.2:4369 (graceful_shutdown)"),
        (down(NodeDownReason::HeartbeatTimeout), "node down: b@10.0.0.2:4369 (heartbeat_timeout)"),
        (ClusterEvent::NodeUp(info()), "node up: b@10.0.0.2:4369 (connected, 7 processes, up 61s)"),
        (ClusterEvent::StatusChange(ClusterStatus::Running), "status: running"),
        (ClusterEvent::StatusChange(ClusterStatus::Starting), "status: starting"),
        (ClusterEvent::StatusChange(ClusterStatus::Stopped), "status: stopped"),
        (ClusterEvent::StatusChange(ClusterStatus::Stopping), "status: stopping"),
    ];
    check(texts);
    for (event, text) in texts {
        assert_eq!(event.clone().into_format::<Untimed>().to_string(), *text, "another type of time is not seen");
    }
    check(&[(NodeStatus::Connecting, "connecting"), (NodeStatus::Disconnected, "disconnected")]);
}

#[test]
fn callers_are_told_which_call_was_refused_and_why() {
    let not_started = "the cluster is not running: call start first";
    check(&[
        (SendError::NotConnected { to: id() }, "node b@10.0.0.2:4369 is not connected"),
        (SendError::NotStarted(ClusterNotStartedError::default()), not_started),
        (SendError::QueueFull { limit: 9, to: id() }, "the queue to b@10.0.0.2:4369 is full (limit 9 bytes)"),
        (SendError::ToSelf, "a node does not send to itself"),
        (SendError::TooLarge { limit: 9, size: 10 }, "a message of 10 bytes is over the limit of 9"),
    ]);
    check(&[(StartError::AlreadyRunning, "the cluster is already running")]);
    check(&[(SetSecretsError::NotStarted(ClusterNotStartedError::default()), not_started)]);
    check(&[
        (ReadinessReason::NoSeedMet, "no seed has been met since the start"),
        (ReadinessReason::NotRunning(ClusterStatus::Stopping), "the node is stopping"),
        (ReadinessReason::Ready { connected: 2 }, "ready, with 2 nodes connected"),
        (ReadinessReason::TooFewNodes { connected: 0, wanted: 1 }, "0 of 1 nodes connected"),
    ]);
    let mut lagged = MessagesLagged::default();
    lagged.missed = 4;
    check(&[(lagged, "subscriber too slow, 4 messages dropped")]);
}

#[test]
fn what_is_invalid_is_named_with_its_rule() {
    let config = ClusterConfig::new("n").heartbeat_interval(Duration::ZERO);
    let error = Machine::new().start(Instant::START, config).unwrap_err();
    check(&[(error, "invalid cluster configuration: heartbeat_interval must be 100ms to 600s, not 0ns")]);
}

#[test]
fn times_and_connections_are_told_apart_in_logs() {
    assert_eq!(Instant::from_millis(61_234).to_string(), "61.234s");
    assert_eq!(ConnId(5).to_string(), "#5");
    assert_eq!(id().as_ref(), "b@10.0.0.2:4369");
}

#[test]
fn an_error_leads_to_what_it_is_about() {
    use std::error::Error;

    let chain = |error: &dyn Error| -> Vec<String> {
        let mut next = error.source();
        std::iter::from_fn(|| {
            let source = next?;
            next = source.source();
            Some(source.to_string())
        })
        .collect()
    };
    let seed = || "b@10.0.0.2:4369".parse::<Contact>().unwrap();
    let refused = Unreached::Dial(DialError::Refused);
    let unreachable = ClusterError::SeedUnreachable { seed: seed(), why: refused };
    assert_eq!(chain(&unreachable), ["connection refused", "connection refused"]);
    let local = ClusterError::Local(LocalFault::Dial { cause: "no descriptor".into() });
    assert_eq!(chain(&local), ["no descriptor"], "the fault has the text of the error");
    let not_started = ClusterNotStartedError::default();
    for error in [
        &SendError::NotStarted(not_started) as &dyn Error,
        &SetSecretsError::NotStarted(not_started),
        &SetSeedsError::NotStarted(not_started),
    ] {
        assert_eq!(chain(error), [not_started.to_string()]);
    }

    // A value of the configuration that is no host or seed keeps the rule that it breaks.
    let config = ClusterConfig::new("a").seeds(["b@h"]).check().unwrap_err();
    let invalid = "b@h".parse::<Contact>().unwrap_err();
    assert_eq!(
        chain(&StartError::Config(config.clone())),
        [config.to_string(), invalid.to_string(), invalid.reason().to_string()]
    );
    let host = ClusterConfig::new("a").host("256.1.1.1").check().unwrap_err();
    assert_eq!(chain(&host), [NodeIdFault::HostDotted.to_string()]);
    assert_eq!(chain(&"b@h".parse::<NodeId>().unwrap_err()), [NodeIdFault::MissingPort.to_string()]);
}
