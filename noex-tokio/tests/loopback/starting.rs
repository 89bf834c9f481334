//! Starts that are refused, and secrets.

use std::net::TcpListener;
use std::time::Duration;

use noex_driver::{
    Cluster, ClusterConfig, ClusterError, ClusterStatus, Limits, NodeDownReason, PeerFault, Refusal, Runtime, SecretUse,
    SetSecretsError, StartError,
};

use crate::common::*;
use crate::proxy::Proxy;

const OLD: &str = "the old secret of this cluster";
const NEW: &str = "the new secret of this cluster";

pub(crate) async fn an_invalid_configuration_is_refused_before_anything_listens<R: Runtime>() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let a = Cluster::<R>::new();
    let mut watch = Watch::new(&a);
    let millis = Duration::from_millis;
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        config("a").limits(limits)
    };
    let cases: [(&str, ClusterConfig); 22] = [
        ("node_name", config("")),
        ("node_name", config("1a")),
        ("node_name", config(&"a".repeat(65))),
        ("host", config("a").host("256.1.1.1")),
        ("advertise_host", config("a").advertise_host("0.0.0.0")),
        ("seeds", config("a").seeds(["b@127.0.0.1"])),
        ("seeds", config("a").seeds(["b@127.0.0.1:0"])),
        ("cluster_name", config("a").cluster_name("")),
        ("cluster_secret", config("a").cluster_secret("")),
        ("cluster_secret", config("a").cluster_secret("fifteen bytes..")),
        ("accepted_secrets", config("a").accepted_secrets([OLD])),
        ("accepted_secrets", config("a").cluster_secret(OLD).accepted_secrets(["short"])),
        ("heartbeat_interval", config("a").heartbeat_interval(millis(99))),
        ("heartbeat_interval", config("a").heartbeat_interval(millis(600_001))),
        ("heartbeat_miss_threshold", config("a").heartbeat_miss_threshold(0)),
        ("reconnect_base_delay", config("a").reconnect_base_delay(millis(2)).reconnect_max_delay(millis(1))),
        ("reconnect_max_delay", config("a").reconnect_max_delay(Duration::ZERO)),
        ("forget_after", config("a").forget_after(Duration::ZERO)),
        ("stop_timeout", config("a").stop_timeout(Duration::ZERO)),
        ("limits.members", limits(|limits| limits.members = 0)),
        ("limits.send_queue_bytes", limits(|limits| limits.send_queue_bytes = 1)),
        ("limits.half_open_per_address", limits(|limits| limits.half_open = 1)),
    ];
    for (field, config) in cases {
        // Where it tried to listen, the error would be another.
        match a.start(config.port(port)).await {
            Err(StartError::Config(error)) => {
                assert_eq!(error.field(), field);
                assert!(error.reason().starts_with(field), "{error}");
            }
            other => panic!("{field}: {other:?}"),
        }
        assert_eq!(a.status(), ClusterStatus::Stopped);
    }
    assert_eq!(watch.read().await, []);
}

pub(crate) async fn an_occupied_port_is_named<R: Runtime>() {
    let first = start::<R>(config("a")).await;
    let port = id(&first).port();
    let second = Cluster::<R>::new();
    let mut watch = Watch::new(&second);
    let error = second.start(config("b").port(port)).await.unwrap_err();
    assert!(matches!(&error, StartError::Bind { addr, .. } if *addr == format!("127.0.0.1:{port}")), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")));
    watch.read().await;
    assert_eq!(watch.statuses(), [ClusterStatus::Starting, ClusterStatus::Stopped]);
    // The same handle starts once the port is free.
    first.stop().await;
    second.start(config("b").port(port)).await.unwrap();
}

pub(crate) async fn a_second_start_is_refused_at_any_stage<R: Runtime>() {
    // Starting: of several starts at once, one gets through.
    let a = Cluster::<R>::new();
    let results = all((0..8).map(|_| a.start(config("a").host("localhost")))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().all(|result| matches!(result, Ok(()) | Err(StartError::AlreadyRunning))), "{results:?}");
    // Running.
    let own = id(&a);
    assert_eq!(a.start(config("other")).await, Err(StartError::AlreadyRunning));
    assert_eq!(a.local_node_id(), Ok(own));
    a.stop().await;

    // Stopping: the peer cannot be told, so the stop lasts.
    let b = start::<R>(config("b")).await;
    let proxy = Proxy::new(id(&b).port());
    a.start(config("a").stop_timeout(Duration::from_secs(2)).seeds([proxy.seed("b")])).await.unwrap();
    meet(&a, &b).await;
    proxy.freeze();
    let mut watch = Watch::new(&a);
    let (refused, ()) = futures_lite::future::zip(
        async {
            watch.status(ClusterStatus::Stopping).await;
            a.start(config("a")).await
        },
        a.stop(),
    )
    .await;
    assert_eq!(refused, Err(StartError::AlreadyRunning));
    a.start(config("a")).await.unwrap();
}

pub(crate) async fn only_who_knows_the_secret_joins<R: Runtime>() {
    let (a, b) = pair::<R>(config("a").cluster_secret(OLD), config("b").cluster_secret(Some(OLD))).await;
    assert_eq!(a.secret_use(&id(&b)), Ok(Some(SecretUse::Primary)));
    let mut at_a = Watch::new(&a);
    at_a.forget().await;
    let rejected = async |config: ClusterConfig, refusal: Refusal, fault: PeerFault| {
        let stranger = Cluster::<R>::new();
        let mut watch = Watch::new(&stranger);
        stranger.start(config.seeds([seed(&a)])).await.unwrap();
        let told = |error: &ClusterError| match error {
            ClusterError::Refused { reason, .. } => *reason == refusal,
            ClusterError::Peer { fault: met, .. } => *met == fault,
            _ => false,
        };
        watch.error("the stranger hears why", told).await;
        assert_eq!((stranger.nodes(), watch.ups()), (Ok(vec![]), vec![]));
    };
    rejected(config("c").cluster_secret(NEW), Refusal::AuthenticationFailed, PeerFault::AuthenticationFailed).await;
    rejected(
        config("d").cluster_secret(OLD).cluster_name("other"),
        Refusal::AuthenticationFailed,
        PeerFault::AuthenticationFailed,
    )
    .await;
    rejected(config("e"), Refusal::AuthenticationRequired, PeerFault::AuthenticationNotOffered).await;
    at_a.error("and so does the node", |error| matches!(error, ClusterError::Peer { id: None, .. })).await;
    assert_eq!((at_a.ups(), at_a.downs()), (vec![], vec![]));
}

pub(crate) async fn secrets_are_rotated_without_a_down<R: Runtime>() {
    let b = start::<R>(config("b").cluster_secret(OLD)).await;
    let proxy = Proxy::new(id(&b).port());
    let a = start(config("a").advertise_host("127.9.9.9").cluster_secret(OLD).seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    let (a_id, b_id) = (id(&a), id(&b));
    let uses = || (a.secret_use(&b_id).unwrap(), b.secret_use(&a_id).unwrap());
    let mut at_a = Watch::new(&a);
    let reconnect = async |watch: &mut Watch<R>| {
        watch.forget().await;
        proxy.cut();
        assert_eq!(watch.down(&b_id).await, NodeDownReason::ConnectionClosed);
        watch.up(&b_id).await;
        meet(&a, &b).await;
    };
    assert_eq!(uses(), (Some(SecretUse::Primary), Some(SecretUse::Primary)));

    // Everyone accepts the new one, then everyone proves it, then nobody accepts the old one.
    for node in [&a, &b] {
        node.set_secrets(OLD, [NEW]).unwrap();
    }
    b.set_secrets(NEW, [OLD]).unwrap();
    assert_eq!(uses(), (Some(SecretUse::Primary), Some(SecretUse::Accepted(0))));
    a.set_secrets(NEW, [OLD]).unwrap();
    assert_eq!(uses(), (Some(SecretUse::Accepted(0)), Some(SecretUse::Accepted(0))));
    reconnect(&mut at_a).await;
    assert_eq!(uses(), (Some(SecretUse::Primary), Some(SecretUse::Primary)));
    b.set_secrets(OLD, [""; 0]).unwrap();
    assert_eq!(uses().1, Some(SecretUse::Retired), "the session stays up");
    b.set_secrets(NEW, [""; 0]).unwrap();
    a.set_secrets(NEW, [""; 0]).unwrap();
    let mut messages = b.messages();
    a.send(&b_id, "still there").unwrap();
    assert_eq!(message(&mut messages).await.payload, "still there");
    at_a.read().await;
    assert_eq!(at_a.downs().len(), 1, "the one that was made");

    let invalid = a.set_secrets("short", [""; 0]);
    assert!(matches!(&invalid, Err(SetSecretsError::Invalid(error)) if error.field() == "cluster_secret"), "{invalid:?}");
    a.stop().await;
    assert!(matches!(a.set_secrets(OLD, [""; 0]), Err(SetSecretsError::NotStarted(_))));
}

pub(crate) async fn a_session_without_a_secret_is_open<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b").cluster_secret(None::<String>)).await;
    assert_eq!(a.secret_use(&id(&b)), Ok(Some(SecretUse::Open)));
    assert_eq!(a.secret_use(&id(&a)), Ok(None));
}
