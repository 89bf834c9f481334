//! Starts: those that are refused, dropped, or repeated.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::error::Error as _;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::time::Duration;

use futures_lite::future;
use noex_driver::{Cluster, ClusterConfig, ClusterStatus, Limits, Runtime, StartError};

use crate::common::*;
use crate::named::{Answer, Named, name};
use crate::proxy::Proxy;

const SECRET: &str = "the secret of this cluster";

pub async fn an_invalid_configuration_is_refused_before_anything_listens<R: Runtime>() {
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
    let cases: [(&str, ClusterConfig); 24] = [
        ("node_name", config("")),
        ("node_name", config("a.b")),
        ("node_name", config(&"a".repeat(65))),
        ("host", config("a").host("256.1.1.1")),
        ("advertise_host", config("a").advertise_host("0.0.0.0")),
        ("advertise_port", config("a").advertise_port(0)),
        ("start_timeout", config("a").start_timeout(Duration::ZERO)),
        ("seeds", config("a").seeds(["b@127.0.0.1"])),
        ("seeds", config("a").seeds(["b@127.0.0.1:0"])),
        ("cluster_name", config("a").cluster_name("")),
        ("cluster_secret", config("a").cluster_secret("")),
        ("cluster_secret", config("a").cluster_secret("fifteen bytes..")),
        ("accepted_secrets", config("a").accepted_secrets([SECRET])),
        ("accepted_secrets", config("a").cluster_secret(SECRET).accepted_secrets(["short"])),
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

pub async fn an_occupied_port_is_named<R: Runtime>() {
    let first = start::<R>(config("a")).await;
    let port = id(&first).port();
    let second = Cluster::<R>::new();
    let mut watch = Watch::new(&second);
    let error = second.start(config("b").port(port)).await.unwrap_err();
    assert!(matches!(&error, StartError::Bind { addr, .. } if *addr == format!("127.0.0.1:{port}")), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")));
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    assert_eq!(cause.map(io::Error::kind), Some(io::ErrorKind::AddrInUse));
    watch.read().await;
    assert_eq!(watch.statuses(), [ClusterStatus::Starting, ClusterStatus::Stopped]);
    // The same handle starts once the port is free.
    first.stop().await;
    second.start(config("b").port(port)).await.unwrap();
}

pub async fn a_second_start_is_refused_at_any_stage<R: Runtime>() {
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
    let (refused, ()) = future::zip(
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

/// After a stop that was waited for, and after one that only an event told of.
pub async fn a_node_starts_again_on_the_same_port_at_once<R: Runtime>() {
    let a = start::<R>(config("a")).await;
    let port = id(&a).port();
    for _ in 0..10 {
        patient(a.stop()).await;
        patient(a.start(config("a").port(port))).await.unwrap();
    }
    let mut watch = Watch::new(&a);
    // Not waited for, unless it is over by then.
    future::poll_once(pin!(a.stop())).await;
    watch.status(ClusterStatus::Stopped).await;
    patient(a.start(config("a").port(port))).await.unwrap();
}

/// Wherever it is dropped, and where it is stopped on its way.
pub async fn a_start_that_is_dropped_or_stopped_on_its_way_is_over<R: Runtime>() {
    let a = Cluster::<R>::new();
    // A name, since an address is listened on without waiting for anything.
    let named = || config("a").host("localhost");
    {
        let mut starting = pin!(a.start(named()));
        if future::poll_once(&mut starting).await.is_none() {
            assert_eq!(a.status(), ClusterStatus::Starting);
            assert_eq!(a.start(named()).await, Err(StartError::AlreadyRunning));
            // The start is not polled meanwhile.
            patient(a.stop()).await;
            assert_eq!(patient(starting).await, Err(StartError::Stopped));
        }
    }
    patient(a.stop()).await;
    let started = future::poll_once(pin!(a.start(named()))).await;
    if started.is_none() {
        assert!(matches!(a.status(), ClusterStatus::Stopping | ClusterStatus::Stopped));
    }
    patient(a.stop()).await;
    patient(a.start(named())).await.unwrap();
    assert_eq!(a.status(), ClusterStatus::Running);
}

/// Where the name servers swallow the question for the node's own host.
pub async fn a_start_waits_for_its_hosts_addresses_for_its_time_or_until_a_stop<R: Runtime>() {
    let a = Cluster::<Named<R>>::new();
    let host = format!("swallowed-{}.test", free_port());
    name(&host, Answer::Never);
    let named = |timeout| config("a").host(&host).port(4369).start_timeout(timeout);
    let error = patient(a.start(named(Duration::from_millis(100)))).await.unwrap_err();
    let StartError::Bind { addr, cause } = &error else { panic!("{error}") };
    assert_eq!(*addr, format!("{host}:4369"));
    assert_eq!(cause.get_ref().downcast_ref::<io::Error>().map(io::Error::kind), Some(io::ErrorKind::TimedOut));
    assert!(error.to_string().contains("name lookup timed out"), "{error}");
    // A stop waits for no resolver.
    let starting = a.start(named(Duration::from_secs(600)));
    let (started, ()) = patient(future::zip(starting, async {
        eventually("it starts", || a.status() == ClusterStatus::Starting).await;
        a.stop().await;
    }))
    .await;
    assert_eq!(started, Err(StartError::Stopped));
    patient(a.start(config("a"))).await.unwrap();
}
