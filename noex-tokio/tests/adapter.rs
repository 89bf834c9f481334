//! What is particular to tokio: runtimes that begin and end, and a clock that can be paused.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::net::IpAddr;
#[cfg(target_os = "linux")]
use std::net::TcpStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use futures_lite::{Stream, future};
use noex_conformance::common::{PATIENCE, config, patient};
use noex_conformance::named::{Answer, Named, name};
use noex_tokio::{Cluster, ClusterEvent, ClusterStatus, Limits, NodeDownReason, SendError, StartError, Tokio, WaitError};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
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

/// Where the system lets as many wait as Linux does.
#[cfg(target_os = "linux")]
#[test]
fn two_hundred_connections_can_wait_to_be_accepted() {
    let cluster = Cluster::new();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(cluster.start(config("a"))).unwrap();
    // Nobody accepts while the runtime is not polled.
    let addr = ([127, 0, 0, 1], cluster.local_node_id().unwrap().port()).into();
    let waiting: Vec<_> = (0..200).map(|_| TcpStream::connect_timeout(&addr, PATIENCE).unwrap()).collect();
    drop(waiting);
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
    second.block_on(patient(cluster.stop()));
    assert_eq!(cluster.status(), ClusterStatus::Stopped);

    second.block_on(cluster.start(config("a").seeds([&seed]))).unwrap();
    future::block_on(cluster.wait_for_nodes(1, PATIENCE)).unwrap();
    second.block_on(patient(async {
        while ups.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    }));
}

#[test]
fn a_runtime_may_end_while_thousands_of_lookups_wait() {
    let cluster = noex_driver::Cluster::<Named<Tokio>>::new();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let hosts: Vec<_> = (0..Limits::default().members).map(|n| format!("{n}.ends.test")).collect();
    hosts.iter().for_each(|host| name(host, Answer::Never));
    runtime.block_on(cluster.start(config("a").seeds(hosts))).unwrap();
    drop(runtime);
    assert_eq!(cluster.status(), ClusterStatus::Stopped);
    let next = Builder::new_current_thread().enable_all().build().unwrap();
    next.block_on(patient(async {
        cluster.start(config("a").seeds(["0.ends.test"])).await.unwrap();
        cluster.stop().await;
    }));
}

/// Nothing is sent beyond loopback: the node only listens there, and dials nobody.
#[test]
fn a_node_on_every_interface_is_known_by_one_that_others_reach() {
    let reachable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local(),
        IpAddr::V6(_) => false,
    };
    let own: Vec<_> = if_addrs::get_if_addrs().unwrap().iter().map(if_addrs::Interface::ip).filter(reachable).collect();
    let cluster = Cluster::new();
    let runtime = runtime();
    runtime.block_on(cluster.start(config("a").host("0.0.0.0").cluster_secret("0123456789abcdef"))).unwrap();
    let host: IpAddr = cluster.local_node_id().unwrap().host().parse().unwrap();
    // A machine without a network has nothing better than loopback.
    assert!(own.contains(&host) || own.is_empty() && host.is_loopback(), "{host} is none of {own:?}");
    runtime.block_on(cluster.stop());
}

/// What ends with a thread may end after tokio's own part of that thread.
#[test]
fn a_runtime_a_start_or_a_last_handle_may_be_dropped_with_its_thread() {
    type Start = Pin<Box<dyn Future<Output = Result<(), StartError>>>>;
    thread_local! {
        static RUNTIME: RefCell<Option<Runtime>> = const { RefCell::new(None) };
        static HANDLE: RefCell<Option<Cluster>> = const { RefCell::new(None) };
        static START: RefCell<Option<Start>> = const { RefCell::new(None) };
    }
    let living = runtime();
    let peer = Cluster::new();
    living.block_on(peer.start(config("peer"))).unwrap();
    let seed = peer.local_node_id().unwrap().to_string();
    let mut events = peer.events();
    // Whichever of the two is made first on a thread.
    for tokio_first in [true, false] {
        let touch = move || drop(tokio::runtime::Handle::try_current());
        let cluster = Cluster::new();
        let lost = cluster.clone();
        let ending = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            if tokio_first {
                touch();
            }
            RUNTIME.with_borrow_mut(|own| *own = Some(runtime));
            RUNTIME.with_borrow(|own| own.as_ref().unwrap().block_on(lost.start(config("a")))).unwrap();
        });
        ending.join().unwrap();
        assert_eq!(cluster.status(), ClusterStatus::Stopped);
        living.block_on(patient(cluster.stop()));

        let still = Builder::new_current_thread().enable_all().build().unwrap();
        let pending = cluster.clone();
        let entered = still.handle().clone();
        let ending = std::thread::spawn(move || {
            if tokio_first {
                touch();
            }
            START.with_borrow_mut(|start| *start = None);
            let _inside = entered.enter();
            let mut start: Start = Box::pin(async move { pending.start(config("a")).await });
            assert!(future::block_on(future::poll_once(&mut start)).is_none(), "nobody runs its task");
            START.with_borrow_mut(|own| *own = Some(start));
        });
        ending.join().unwrap();
        assert_eq!(cluster.status(), ClusterStatus::Stopped);
        drop(still);
        living.block_on(patient(cluster.stop()));

        let own = Cluster::new();
        living.block_on(own.start(config("b").seeds([&seed]))).unwrap();
        future::block_on(own.wait_for_nodes(1, PATIENCE)).unwrap();
        let ending = std::thread::spawn(move || {
            if tokio_first {
                touch();
            }
            HANDLE.with_borrow_mut(|last| *last = Some(own));
            touch();
        });
        ending.join().unwrap();
        let reason = living.block_on(patient(async {
            loop {
                if let Some((_, reason)) = events.next().await.and_then(ClusterEvent::into_node_down) {
                    return reason;
                }
            }
        }));
        assert_eq!(reason, NodeDownReason::GracefulShutdown);
    }
}

/// Of a task that waits: its executor panics as it is woken.
struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("as it is woken");
    }
}

#[test]
fn a_start_that_panics_on_its_way_leaves_the_node_stopped() {
    let runtime = runtime();
    let cluster = Cluster::new();
    // Never dropped: its place among those who wait does not bear that (docs/decisions.md, `event-listener`).
    let events = Box::leak(Box::new(cluster.events()));
    let waker = Waker::from(Arc::new(Panicking));
    assert!(Pin::new(events).poll_next(&mut Context::from_waker(&waker)).is_pending());
    let start = AssertUnwindSafe(|| runtime.block_on(cluster.start(config("a"))));
    assert!(catch_unwind(start).is_err());
    assert_eq!(cluster.status(), ClusterStatus::Stopped);
    runtime.block_on(patient(cluster.stop()));
    runtime.block_on(patient(cluster.start(config("a")))).unwrap();
}

#[test]
fn a_start_on_a_runtime_that_lacks_something_says_so() {
    let cluster = Cluster::new();
    for lacking in [Builder::new_current_thread().enable_time(), Builder::new_current_thread().enable_io()] {
        let lacking = lacking.build().unwrap();
        let outcome = lacking.block_on(cluster.start(config("a")));
        assert!(matches!(outcome, Err(StartError::Runtime { .. })), "{outcome:?}");
        assert_eq!(cluster.status(), ClusterStatus::Stopped);
    }
    let whole = runtime();
    whole.block_on(patient(cluster.start(config("a")))).unwrap();
}

/// Its timers panic for who waits for them elsewhere.
#[test]
fn a_wait_ends_where_the_runtime_of_the_node_does() {
    for round in 0..300 {
        let cluster = Cluster::new();
        let ending = Builder::new_current_thread().enable_all().build().unwrap();
        ending.block_on(cluster.start(config("a"))).unwrap();
        let waiting = std::thread::spawn(move || {
            loop {
                match future::block_on(future::poll_once(cluster.wait_for_nodes(1, PATIENCE))) {
                    None => {}
                    Some(outcome) => return outcome,
                }
            }
        });
        std::thread::sleep(Duration::from_micros(round % 50 * 4));
        drop(ending);
        let outcome = waiting.join().expect("it does not panic");
        assert!(matches!(outcome, Err(WaitError::NotStarted(_))), "{outcome:?}");
    }
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
    let a = Cluster::new();
    a.start(config("a")).await.unwrap();
    let before = a.uptime().unwrap();
    tokio::time::advance(Duration::from_secs(3600)).await;
    assert!(a.uptime().unwrap() >= before + Duration::from_secs(3600));
    // Also where that clock is not in reach.
    let other = a.clone();
    let outside = std::thread::spawn(move || other.uptime().unwrap()).join().unwrap();
    assert!(outside >= before + Duration::from_secs(3600));
    a.stop().await;
}
