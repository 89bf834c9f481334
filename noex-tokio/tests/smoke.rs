//! The driver on tokio, on loopback sockets.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::time::Duration;

use futures_lite::{StreamExt, future};
use noex_tokio::{
    Cluster, ClusterConfig, ClusterError, ClusterEvent, ClusterStatus, EventStream, LocalFault, NodeDownReason, SendError,
    StartError, WaitError,
};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// Longer than anything here takes on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(20);

fn config(name: &str) -> ClusterConfig {
    ClusterConfig::new(name).host("127.0.0.1").port(0)
}

async fn start(name: &str) -> Cluster {
    let cluster = Cluster::new();
    cluster.start(config(name)).await.unwrap();
    cluster
}

/// Two nodes with a session between them.
async fn pair() -> (Cluster, Cluster) {
    let a = start("a").await;
    let b = Cluster::new();
    b.start(config("b").seeds([a.local_node_id().unwrap().to_string()])).await.unwrap();
    a.wait_for_nodes(1, PATIENCE).await.unwrap();
    b.wait_for_nodes(1, PATIENCE).await.unwrap();
    (a, b)
}

async fn patient<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

async fn find<T>(events: &mut EventStream, mut want: impl FnMut(ClusterEvent) -> Option<T>) -> T {
    patient(async {
        loop {
            if let Some(found) = want(events.next().await.expect("the stream is open")) {
                return found;
            }
        }
    })
    .await
}

async fn status(events: &mut EventStream, wanted: ClusterStatus) {
    find(events, |event| (event == ClusterEvent::StatusChange(wanted)).then_some(())).await;
}

/// Waits for a handler's word without blocking the runtime of this one thread.
async fn heard<T: Send + 'static>(words: mpsc::Receiver<T>) -> (T, mpsc::Receiver<T>) {
    tokio::task::spawn_blocking(move || (words.recv_timeout(PATIENCE).expect("the handler is called"), words)).await.unwrap()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[tokio::test]
async fn two_nodes_meet_talk_and_part() {
    let (a, b) = pair().await;
    let (a_id, b_id) = (a.local_node_id().unwrap(), b.local_node_id().unwrap());
    assert_eq!(a.node_ids().unwrap(), std::slice::from_ref(&b_id));
    assert_eq!(b.connected_nodes().unwrap()[0].id, a_id);
    assert!(a.is_node_connected(&b_id).unwrap());
    assert_eq!(a.connected_node_count(), Ok(1));
    assert!(a.local_node_info().unwrap().last_heartbeat_at.is_some());

    let mut messages = b.messages();
    for number in 0..1000_u32 {
        a.send(&b_id, format!("message {number}")).unwrap();
    }
    for number in 0..1000_u32 {
        let message = patient(messages.next()).await.unwrap().unwrap();
        assert_eq!(message.from, a_id);
        assert_eq!(message.payload, format!("message {number}"));
    }

    let mut events = b.events();
    find(&mut events, |event| matches!(event, ClusterEvent::NodeUp(node) if node.id == a_id).then_some(())).await;
    patient(a.stop()).await;
    assert_eq!(a.status(), ClusterStatus::Stopped);
    assert!(a.nodes().is_err());
    let down = |event| match event {
        ClusterEvent::NodeDown { id, reason } => Some((id, reason)),
        _ => None,
    };
    assert_eq!(find(&mut events, down).await, (a_id.clone(), NodeDownReason::GracefulShutdown));
    assert_eq!(b.send(&a_id, "too late"), Err(SendError::NotConnected { to: a_id }));
    patient(b.stop()).await;
}

#[tokio::test]
async fn large_messages_arrive_whole_from_both_sides() {
    let (a, b) = pair().await;
    let (a_id, b_id) = (a.local_node_id().unwrap(), b.local_node_id().unwrap());
    let (mut at_a, mut at_b) = (a.messages(), b.messages());
    let payload = vec![b'x'; 700_000];
    a.send(&b_id, payload.clone()).unwrap();
    b.send(&a_id, payload.clone()).unwrap();
    assert_eq!(patient(at_a.next()).await.unwrap().unwrap().payload, payload);
    assert_eq!(patient(at_b.next()).await.unwrap().unwrap().payload, payload);
}

#[tokio::test]
async fn a_node_starts_again_on_the_same_port_at_once() {
    let cluster = start("a").await;
    for _ in 0..20 {
        let port = cluster.local_node_id().unwrap().port();
        assert_eq!(cluster.start(config("a")).await, Err(StartError::AlreadyRunning));
        patient(cluster.stop()).await;
        patient(cluster.start(config("a").port(port))).await.unwrap();
    }
    // Without waiting for the stop either, as soon as an event says that it is over.
    let port = cluster.local_node_id().unwrap().port();
    let mut events = cluster.events();
    assert!(future::poll_once(pin!(cluster.stop())).await.is_none(), "its listener is still served");
    status(&mut events, ClusterStatus::Stopped).await;
    patient(cluster.start(config("a").port(port))).await.unwrap();
    future::zip(patient(cluster.stop()), patient(cluster.stop())).await;
    patient(cluster.stop()).await;
}

#[tokio::test]
async fn a_start_that_cannot_listen_names_the_address() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = taken.local_addr().unwrap();
    let cluster = Cluster::new();
    let error = cluster.start(config("a").port(addr.port())).await.unwrap_err();
    assert!(matches!(error, StartError::Bind { addr: named, .. } if named == addr.to_string()));
    assert_eq!(cluster.status(), ClusterStatus::Stopped);
    patient(cluster.start(config("a"))).await.unwrap();
}

#[tokio::test]
async fn a_start_that_is_dropped_or_stopped_on_its_way_is_over() {
    let cluster = Cluster::new();
    let named = || config("a").host("localhost");
    {
        let mut starting = pin!(cluster.start(named()));
        if future::poll_once(&mut starting).await.is_none() {
            assert_eq!(cluster.status(), ClusterStatus::Starting);
            assert_eq!(cluster.start(named()).await, Err(StartError::AlreadyRunning));
            // The start is not polled meanwhile.
            patient(cluster.stop()).await;
            assert_eq!(cluster.status(), ClusterStatus::Stopped);
            assert_eq!(patient(starting).await, Err(StartError::Stopped));
        }
    }
    patient(cluster.stop()).await;
    drop(future::poll_once(pin!(cluster.start(named()))).await);
    patient(cluster.stop()).await;
    patient(cluster.start(named())).await.unwrap();
    assert_eq!(cluster.status(), ClusterStatus::Running);
}

#[test]
fn outside_a_runtime_a_start_is_an_error() {
    let cluster = Cluster::new();
    assert!(matches!(future::block_on(cluster.start(config("a"))), Err(StartError::Runtime { .. })));
    assert_eq!(cluster.status(), ClusterStatus::Stopped);
    future::block_on(cluster.stop());
    assert!(matches!(future::block_on(cluster.wait_for_nodes(1, PATIENCE)), Err(WaitError::NotStarted(_))));
}

static STATIC: LazyLock<Cluster> = LazyLock::new(Cluster::new);

#[test]
fn a_static_cluster_and_its_handlers_outlive_runtimes() {
    let (word, words) = mpsc::channel();
    STATIC.on_status_change(move |status| word.send(status).unwrap());
    for _ in 0..3 {
        let runtime = runtime();
        runtime.block_on(STATIC.start(config("a"))).unwrap();
        for wanted in [ClusterStatus::Starting, ClusterStatus::Running] {
            assert_eq!(words.recv_timeout(PATIENCE), Ok(wanted));
        }
        // From outside any runtime, as from another one.
        future::block_on(STATIC.stop());
        for wanted in [ClusterStatus::Stopping, ClusterStatus::Stopped] {
            assert_eq!(words.recv_timeout(PATIENCE), Ok(wanted));
        }
    }
}

#[test]
fn a_runtime_that_is_shut_down_leaves_the_node_stopped() {
    let cluster = Cluster::new();
    let peer = Cluster::new();
    let (first, second) = (runtime(), runtime());
    second.block_on(peer.start(config("peer"))).unwrap();
    let seed = peer.local_node_id().unwrap().to_string();
    let ups = Arc::new(AtomicUsize::new(0));
    let count = ups.clone();
    cluster.on_node_up(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    first.block_on(cluster.start(config("a").seeds([&seed]))).unwrap();
    future::block_on(cluster.wait_for_nodes(1, PATIENCE)).unwrap();
    drop(first);
    future::block_on(cluster.stop());
    assert_eq!(cluster.status(), ClusterStatus::Stopped);

    second.block_on(cluster.start(config("a").seeds([&seed]))).unwrap();
    future::block_on(cluster.wait_for_nodes(1, PATIENCE)).unwrap();
    second.block_on(patient(async {
        while ups.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    }));
}

#[tokio::test]
async fn a_handler_that_panics_is_reported_and_called_again() {
    let cluster = Cluster::new();
    let mut events = cluster.events();
    cluster.on_status_change(|status| panic!("over {status}"));
    // Two that panic over every error, also over each other's.
    cluster.on_error(|error| panic!("first over {error}"));
    cluster.on_error(|error| panic!("second over {error}"));
    cluster.start(config("a")).await.unwrap();
    for wanted in ["over starting", "over running"] {
        let panic = |event| match event {
            ClusterEvent::Error(ClusterError::Local(LocalFault::HandlerPanicked { message })) => Some(message),
            _ => None,
        };
        assert_eq!(find(&mut events, panic).await, wanted);
    }
    patient(cluster.stop()).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_handler_that_blocks_delays_nobody() {
    let (release, released) = mpsc::channel::<()>();
    let a = Cluster::new();
    let mut released = Some(released);
    a.on_status_change(move |_| {
        if let Some(released) = released.take() {
            released.recv_timeout(PATIENCE).expect("the test goes on while this blocks");
        }
    });
    let (word, words) = mpsc::channel();
    a.on_node_up(move |node| word.send(node.id).unwrap());
    a.start(config("a")).await.unwrap();
    let b = start("b").await;
    let c = Cluster::new();
    let seeds = [a.local_node_id().unwrap().to_string(), b.local_node_id().unwrap().to_string()];
    c.start(config("c").seeds(seeds)).await.unwrap();
    c.wait_for_nodes(2, PATIENCE).await.unwrap();
    heard(words).await;
    release.send(()).unwrap();
}

#[tokio::test]
async fn a_handler_may_unsubscribe_itself_and_stop_the_node() {
    let a = Cluster::new();
    let (word, words) = mpsc::channel();
    let (calls, weak) = (word.clone(), a.downgrade());
    let (give, mut taken) = mpsc::channel::<noex_tokio::Subscription>();
    let take = std::mem::replace(&mut taken, mpsc::channel().1);
    let subscription = a.on_status_change(move |status| {
        calls.send(status).unwrap();
        take.recv_timeout(PATIENCE).unwrap().unsubscribe();
        // Waits in a handler for what leads to further events.
        future::block_on(weak.upgrade().unwrap().stop());
        calls.send(weak.upgrade().unwrap().status()).unwrap();
    });
    give.send(subscription).unwrap();
    drop(word);
    let mut events = a.events();
    // The stop may come before the node listens.
    let _either = a.start(config("a")).await;
    status(&mut events, ClusterStatus::Stopped).await;
    let (first, words) = heard(words).await;
    let (second, words) = heard(words).await;
    assert_eq!((first, second), (ClusterStatus::Starting, ClusterStatus::Stopped));
    // The handler is gone, and its end of the channel with it.
    let end = tokio::task::spawn_blocking(move || words.recv_timeout(PATIENCE)).await.unwrap();
    assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_node_and_ends_its_streams() {
    let (a, b) = pair().await;
    let of_a = a.events();
    let mut messages_of_a = a.messages();
    let (word, words) = mpsc::channel::<()>();
    a.on_message(move |_| word.send(()).unwrap());
    let weak = a.downgrade();
    let clone = a.clone();
    drop(a);
    assert_eq!(clone.status(), ClusterStatus::Running);
    drop(clone);
    assert!(weak.upgrade().is_none());
    let mut of_b = b.events();
    find(&mut of_b, |event| matches!(event, ClusterEvent::NodeDown { .. }).then_some(())).await;
    let rest: Vec<_> = patient(of_a.collect()).await;
    assert_eq!(rest.last(), Some(&ClusterEvent::StatusChange(ClusterStatus::Stopped)));
    assert!(patient(messages_of_a.next()).await.is_none());
    // Handlers go too.
    let end = tokio::task::spawn_blocking(move || words.recv_timeout(PATIENCE)).await.unwrap();
    assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
}

#[tokio::test]
async fn waiting_for_nodes_says_how_it_ended() {
    let a = start("a").await;
    let error = a.wait_for_nodes(3, Duration::from_millis(10)).await.unwrap_err();
    assert_eq!(error, WaitError::TimedOut { connected: 0, wanted: 3 });
    let (waited, ()) = future::zip(a.wait_for_nodes(1, PATIENCE), async { patient(a.stop()).await }).await;
    assert!(matches!(waited, Err(WaitError::NotStarted(_))));
}

#[tokio::test]
async fn a_peer_that_never_answers_does_not_keep_a_node_from_stopping() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let a = Cluster::new();
    a.start(config("a").seeds([format!("silent@{}", silent.local_addr().unwrap())])).await.unwrap();
    let (_accepted, _) = patient(silent.accept()).await.unwrap();
    patient(a.stop()).await;
}

#[test]
fn a_peer_that_stops_reading_fills_its_queue_and_keeps_nobody_from_stopping() {
    let (living, freezing) = (runtime(), Builder::new_current_thread().enable_all().build().unwrap());
    let (a, b) = (Cluster::new(), Cluster::new());
    living.block_on(a.start(config("a").stop_timeout(Duration::from_secs(1)))).unwrap();
    let seed = a.local_node_id().unwrap().to_string();
    freezing.block_on(async {
        b.start(config("b").seeds([seed])).await.unwrap();
        b.wait_for_nodes(1, PATIENCE).await.unwrap();
    });
    let b_id = b.local_node_id().unwrap();
    future::block_on(a.wait_for_nodes(1, PATIENCE)).unwrap();
    // From here on nothing of `b` runs.
    let full = living.block_on(patient(async {
        loop {
            if let Err(full) = a.send(&b_id, vec![0; 100_000]) {
                return full;
            }
            tokio::task::yield_now().await;
        }
    }));
    assert!(matches!(full, SendError::QueueFull { .. }), "{full}");
    living.block_on(patient(a.stop()));
    assert_eq!(a.status(), ClusterStatus::Stopped);
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_is_the_clock() {
    let a = start("a").await;
    let before = a.uptime().unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(a.uptime().unwrap() >= before + Duration::from_secs(3600));
    // Also where that clock is not in reach.
    let other = a.clone();
    let outside = std::thread::spawn(move || other.uptime().unwrap()).join().unwrap();
    assert!(outside >= before + Duration::from_secs(3600));
    a.stop().await;
}
