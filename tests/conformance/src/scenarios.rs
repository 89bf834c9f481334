//! What applications see. The type parameters are the runtimes of the nodes.

use std::net::TcpListener;
use std::pin::pin;
use std::sync::mpsc;
use std::time::Duration;

use futures_lite::{Stream, StreamExt, future};
use noex_driver::{
    Cluster, ClusterConfig, ClusterError, ClusterEvent, ClusterStatus, EventStream, LocalFault, MessageStream, NodeDownReason,
    NodeId, Runtime, SecretUse, SendError, StartError, WaitError,
};

use crate::{PATIENCE, current, eventually, patient};

/// Short enough for tests that wait for heartbeats, and long enough for a machine that is busy.
const INTERVAL: Duration = Duration::from_millis(200);

fn config(name: &str) -> ClusterConfig {
    ClusterConfig::new(name).host("127.0.0.1").port(0)
}

async fn start<R: Runtime>(config: ClusterConfig) -> Cluster<R> {
    let cluster = Cluster::new();
    patient::<R, _>(cluster.start(config)).await.unwrap();
    cluster
}

fn id<R: Runtime>(node: &Cluster<R>) -> NodeId {
    node.local_node_id().unwrap()
}

/// Two nodes with a session between them.
async fn pair<A: Runtime, B: Runtime>(change: impl Fn(ClusterConfig) -> ClusterConfig) -> (Cluster<A>, Cluster<B>) {
    let a = start(change(config("a"))).await;
    let b = start(change(config("b")).seeds([id(&a).to_string()])).await;
    a.wait_for_nodes(1, PATIENCE).await.unwrap();
    b.wait_for_nodes(1, PATIENCE).await.unwrap();
    (a, b)
}

/// Three nodes, each with a session to the others, of which only one knew another at first.
async fn trio<A: Runtime, B: Runtime, C: Runtime>(
    change: impl Fn(ClusterConfig) -> ClusterConfig,
) -> (Cluster<A>, Cluster<B>, Cluster<C>) {
    let (a, b) = pair::<A, B>(&change).await;
    let c = start(change(config("c")).seeds([id(&a).to_string()])).await;
    a.wait_for_nodes(2, PATIENCE).await.unwrap();
    b.wait_for_nodes(2, PATIENCE).await.unwrap();
    c.wait_for_nodes(2, PATIENCE).await.unwrap();
    (a, b, c)
}

async fn find<R: Runtime, T>(events: &mut EventStream<R>, mut want: impl FnMut(ClusterEvent) -> Option<T>) -> T {
    patient::<R, _>(async {
        loop {
            if let Some(found) = want(events.next().await.expect("the stream is open")) {
                return found;
            }
        }
    })
    .await
}

/// The next up or down: of which node, and why it is down if it is.
async fn change<R: Runtime>(events: &mut EventStream<R>) -> (NodeId, Option<NodeDownReason>) {
    find(events, |event| match event {
        ClusterEvent::NodeUp(node) => Some((node.id, None)),
        ClusterEvent::NodeDown { id, reason } => Some((id, Some(reason))),
        _ => None,
    })
    .await
}

async fn status<R: Runtime>(events: &mut EventStream<R>, wanted: ClusterStatus) {
    find(events, |event| (event == ClusterEvent::StatusChange(wanted)).then_some(())).await;
}

/// What a stream that nobody adds to still holds.
async fn rest<R: Runtime, T>(stream: impl Stream<Item = T>) -> Vec<T> {
    patient::<R, _>(stream.collect()).await
}

fn send_numbers<R: Runtime>(from: &Cluster<R>, to: &NodeId, count: u32) {
    for number in 0..count {
        from.send(to, format!("message {number}")).unwrap();
    }
}

async fn expect_numbers<R: Runtime>(at: &mut MessageStream<R>, from: &NodeId, count: u32) {
    for number in 0..count {
        let message = patient::<R, _>(at.next()).await.unwrap().unwrap();
        assert_eq!(message.from, *from);
        assert_eq!(message.payload, format!("message {number}"));
    }
}

/// A handler may call a method that waits, by blocking on it.
pub async fn a_handler_may_stop_its_node<A: Runtime>() {
    let a = Cluster::<A>::new();
    let weak = a.downgrade();
    let (word, words) = async_channel::unbounded();
    a.on_status_change(move |status| {
        if let (ClusterStatus::Running, Some(node)) = (status, weak.upgrade()) {
            future::block_on(node.stop());
            word.send_blocking(node.status()).unwrap();
        }
    });
    let started = patient::<A, _>(a.start(config("a"))).await;
    assert!(matches!(started, Ok(()) | Err(StartError::Stopped)), "the stop may come before the start returns");
    assert_eq!(patient::<A, _>(words.recv()).await, Ok(ClusterStatus::Stopped));
    patient::<A, _>(a.stop()).await;
}

/// Also when two handlers panic over each other's reports.
pub async fn a_handler_that_panics_is_reported_and_called_again<A: Runtime>() {
    let a = Cluster::<A>::new();
    let mut events = a.events();
    a.on_status_change(|status| panic!("over {status}"));
    a.on_error(|error| panic!("first over {error}"));
    a.on_error(|error| panic!("second over {error}"));
    patient::<A, _>(a.start(config("a"))).await.unwrap();
    for wanted in ["over starting", "over running"] {
        let panic = |event| match event {
            ClusterEvent::Error(ClusterError::Local(LocalFault::HandlerPanicked { message })) => Some(message),
            _ => None,
        };
        assert_eq!(find(&mut events, panic).await, wanted);
    }
    patient::<A, _>(a.stop()).await;
}

/// After a stop that was waited for, and after one that only an event told of.
pub async fn a_node_starts_again_on_its_port_at_once<A: Runtime>() {
    let a = start::<A>(config("a")).await;
    let port = id(&a).port();
    for _ in 0..10 {
        assert_eq!(a.start(config("a")).await, Err(StartError::AlreadyRunning));
        patient::<A, _>(a.stop()).await;
        assert_eq!(a.status(), ClusterStatus::Stopped);
        assert!(a.nodes().is_err());
        patient::<A, _>(a.start(config("a").port(port))).await.unwrap();
    }
    let mut events = a.events();
    // Not waited for, unless it is over by then.
    future::poll_once(pin!(a.stop())).await;
    status(&mut events, ClusterStatus::Stopped).await;
    patient::<A, _>(a.start(config("a").port(port))).await.unwrap();
    patient::<A, _>(future::zip(a.stop(), a.stop())).await;
    patient::<A, _>(a.stop()).await;
}

/// What never answers is left.
pub async fn a_silent_peer_does_not_keep_a_node_from_stopping<A: Runtime>() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let a = start::<A>(config("a").seeds([format!("silent@{}", silent.local_addr().unwrap())])).await;
    let rt = current::<A>();
    patient::<A, _>(rt.spawn_blocking(move || silent.accept())).await.unwrap().unwrap();
    patient::<A, _>(a.stop()).await;
    assert_eq!(a.status(), ClusterStatus::Stopped);
}

/// And the node can be started elsewhere.
pub async fn a_start_that_cannot_listen_names_the_address<A: Runtime>() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    let a = Cluster::<A>::new();
    let error = a.start(config("a").port(addr.port())).await.unwrap_err();
    assert!(matches!(&error, StartError::Bind { addr: named, .. } if *named == addr.to_string()), "{error}");
    assert_eq!(a.status(), ClusterStatus::Stopped);
    patient::<A, _>(a.start(config("a"))).await.unwrap();
}

/// Wherever it is dropped, and where it is stopped on its way.
pub async fn a_start_that_is_dropped_leaves_the_node_stopped<A: Runtime>() {
    let a = Cluster::<A>::new();
    // A name, since an address is listened on without waiting for anything.
    let named = || config("a").host("localhost");
    {
        let mut starting = pin!(a.start(named()));
        if future::poll_once(&mut starting).await.is_none() {
            assert_eq!(a.status(), ClusterStatus::Starting);
            // The start is not polled meanwhile.
            patient::<A, _>(a.stop()).await;
            assert_eq!(patient::<A, _>(starting).await, Err(StartError::Stopped));
        }
    }
    patient::<A, _>(a.stop()).await;
    drop(future::poll_once(pin!(a.start(named()))).await);
    patient::<A, _>(a.stop()).await;
    patient::<A, _>(a.start(named())).await.unwrap();
    assert_eq!(a.status(), ClusterStatus::Running);
}

/// Registered once, called in every run; unsubscribed, never again.
pub async fn handlers_survive_a_restart<A: Runtime>() {
    let a = Cluster::<A>::new();
    let (word, words) = async_channel::unbounded();
    let subscription = a.on_status_change(move |status| word.send_blocking(status).unwrap());
    for _ in 0..3 {
        patient::<A, _>(a.start(config("a"))).await.unwrap();
        patient::<A, _>(a.stop()).await;
        for wanted in [ClusterStatus::Starting, ClusterStatus::Running, ClusterStatus::Stopping, ClusterStatus::Stopped] {
            assert_eq!(patient::<A, _>(words.recv()).await, Ok(wanted));
        }
    }
    subscription.unsubscribe();
    // The handler goes, and its end of the channel with it.
    assert!(patient::<A, _>(words.recv()).await.is_err());
}

/// With the number of nodes, or that the node is not running.
pub async fn waiting_for_nodes_says_how_it_ended<A: Runtime>() {
    let a = start::<A>(config("a")).await;
    let late = patient::<A, _>(a.wait_for_nodes(3, Duration::from_millis(10))).await;
    assert_eq!(late, Err(WaitError::TimedOut { connected: 0, wanted: 3 }));
    let (waited, ()) = future::zip(a.wait_for_nodes(1, PATIENCE), async { patient::<A, _>(a.stop()).await }).await;
    assert!(matches!(waited, Err(WaitError::NotStarted(_))));
}

/// Neither the protocol, nor messages, nor other handlers, for longer than a failure takes to be detected.
pub async fn a_handler_that_blocks_delays_nobody<A: Runtime, B: Runtime>() {
    let a = Cluster::<A>::new();
    let (release, released) = mpsc::channel::<()>();
    a.on_status_change(move |status| {
        if status == ClusterStatus::Starting {
            released.recv_timeout(PATIENCE).expect("the test goes on while this blocks");
        }
    });
    let (word, words) = async_channel::unbounded();
    a.on_node_up(move |node| word.send_blocking(node.id).unwrap());
    let quick = |name| config(name).heartbeat_interval(INTERVAL);
    patient::<A, _>(a.start(quick("a"))).await.unwrap();
    let b = start::<B>(quick("b").seeds([id(&a).to_string()])).await;
    let mut seen_by_b = b.events();
    assert_eq!(change(&mut seen_by_b).await, (id(&a), None));
    assert_eq!(patient::<A, _>(words.recv()).await, Ok(id(&b)));

    let heard = || b.node(&id(&a)).unwrap().and_then(|node| node.last_heartbeat_at).unwrap();
    let (first, detection) = (heard(), INTERVAL * 4);
    eventually::<B>(|| heard().duration_since(first).unwrap_or_default() > detection).await;
    let mut messages = b.messages();
    send_numbers(&a, &id(&b), 100);
    expect_numbers(&mut messages, &id(&a), 100).await;
    release.send(()).unwrap();
    let a_id = id(&a);
    patient::<A, _>(a.stop()).await;
    assert_eq!(change(&mut seen_by_b).await, (a_id, Some(NodeDownReason::GracefulShutdown)), "it was never down before");
}

/// Under the same identity, which is free again.
pub async fn a_node_that_comes_back_is_down_and_up_again<A: Runtime, B: Runtime>() {
    let (a, b) = pair::<A, B>(|config| config.reconnect_max_delay(Duration::from_secs(1))).await;
    let (a_id, b_id) = (id(&a), id(&b));
    let mut events = a.events();
    assert_eq!(change(&mut events).await, (b_id.clone(), None));
    for _ in 0..3 {
        patient::<B, _>(b.stop()).await;
        assert_eq!(change(&mut events).await, (b_id.clone(), Some(NodeDownReason::GracefulShutdown)));
        assert_eq!(a.send(&b_id, "too late"), Err(SendError::NotConnected { to: b_id.clone() }));
        patient::<B, _>(b.start(config("b").port(b_id.port()).seeds([a_id.to_string()]))).await.unwrap();
        assert_eq!(change(&mut events).await, (b_id.clone(), None));
        b.wait_for_nodes(1, PATIENCE).await.unwrap();
        let mut messages = a.messages();
        send_numbers(&b, &a_id, 10);
        expect_numbers(&mut messages, &b_id, 10).await;
    }
}

/// A subscriber that does not read loses messages, is told how many, and holds up nobody.
pub async fn a_peer_that_is_not_read_fills_its_queue<A: Runtime, B: Runtime>() {
    let (a, b) = pair::<A, B>(|config| config).await;
    let (a_id, b_id) = (id(&a), id(&b));
    let (mut unread, mut read) = (b.messages(), b.messages());
    let payload = vec![b'x'; 1 << 20];
    for _ in 0..100 {
        patient::<A, _>(async {
            loop {
                match a.send(&b_id, payload.clone()) {
                    Ok(()) => return,
                    Err(SendError::QueueFull { .. }) => future::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
        let message = patient::<B, _>(read.next()).await.unwrap().unwrap();
        assert_eq!((message.from, message.payload.len()), (a_id.clone(), payload.len()));
    }
    drop(read);
    patient::<B, _>(async {
        let lagged = loop {
            if let Err(lagged) = unread.next().await.unwrap() {
                break lagged;
            }
        };
        assert!((1..100).contains(&lagged.missed), "{lagged}");
    })
    .await;
}

/// Nobody gets in by it; the right one, set while the node runs, is enough.
pub async fn a_wrong_secret_is_refused_and_can_be_mended<A: Runtime, B: Runtime>() {
    let (right, wrong) = ("the secret of this test", "another secret than that");
    let quick = |name| config(name).reconnect_base_delay(INTERVAL).reconnect_max_delay(INTERVAL);
    let a = start::<A>(quick("a").cluster_secret(right)).await;
    let mut events = a.events();
    let b = Cluster::<B>::new();
    // Before the start, since a fault that lasts is reported once.
    let mut errors = b.events();
    patient::<B, _>(b.start(quick("b").cluster_secret(wrong).seeds([id(&a).to_string()]))).await.unwrap();
    find(&mut errors, |event| matches!(event, ClusterEvent::Error(_)).then_some(())).await;
    assert_eq!(a.connected_node_count(), Ok(0));
    assert_eq!(b.connected_node_count(), Ok(0));
    b.set_secrets(right, [wrong]).unwrap();
    assert_eq!(change(&mut events).await, (id(&b), None));
    b.wait_for_nodes(1, PATIENCE).await.unwrap();
    assert_eq!(b.secret_use(&id(&a)), Ok(Some(SecretUse::Primary)));
}

/// Streams end, handlers go, and the peer hears a farewell.
pub async fn dropping_the_last_handle_leaves_and_ends_the_streams<A: Runtime, B: Runtime>() {
    let (a, b) = pair::<A, B>(|config| config).await;
    let a_id = id(&a);
    let (of_a, messages_of_a) = (a.events(), a.messages());
    let (word, words) = async_channel::bounded::<()>(1);
    a.on_message(move |_| word.send_blocking(()).unwrap());
    let weak = a.downgrade();
    let clone = a.clone();
    drop(a);
    assert_eq!(clone.status(), ClusterStatus::Running);
    let mut of_b = b.events();
    assert_eq!(change(&mut of_b).await, (a_id.clone(), None));
    drop(clone);
    assert!(weak.upgrade().is_none());
    assert_eq!(change(&mut of_b).await, (a_id, Some(NodeDownReason::GracefulShutdown)));
    assert_eq!(rest::<A, _>(of_a).await.last(), Some(&ClusterEvent::StatusChange(ClusterStatus::Stopped)));
    assert!(rest::<A, _>(messages_of_a).await.is_empty());
    assert!(patient::<A, _>(words.recv()).await.is_err());
}

/// Both at once, so that each side reads while it writes.
pub async fn large_messages_arrive_whole_from_both_sides<A: Runtime, B: Runtime>() {
    let (a, b) = pair::<A, B>(|config| config).await;
    let (mut at_a, mut at_b) = (a.messages(), b.messages());
    let payload: Vec<u8> = (0..5_000_000_u32).map(|at| (at % 251) as u8).collect();
    for _ in 0..3 {
        a.send(&id(&b), payload.clone()).unwrap();
        b.send(&id(&a), payload.clone()).unwrap();
    }
    for _ in 0..3 {
        assert!(patient::<A, _>(at_a.next()).await.unwrap().unwrap().payload == payload);
        assert!(patient::<B, _>(at_b.next()).await.unwrap().unwrap().payload == payload);
    }
}

/// Ups, what each knows of the other, messages both ways by stream and by handler, and a farewell.
pub async fn two_nodes_meet_talk_and_part<A: Runtime, B: Runtime>() {
    let (a, b) = pair::<A, B>(|config| config.heartbeat_interval(INTERVAL)).await;
    let (a_id, b_id) = (id(&a), id(&b));
    assert_eq!(a.node_ids().unwrap(), std::slice::from_ref(&b_id));
    assert_eq!(b.connected_nodes().unwrap()[0].id, a_id);
    assert!(a.is_node_connected(&b_id).unwrap());
    assert_eq!(a.connected_node_count(), Ok(1));
    assert!(a.local_node_info().unwrap().last_heartbeat_at.is_some());
    a.set_process_count(7);
    eventually::<B>(|| b.node(&a_id).unwrap().is_some_and(|node| node.process_count == 7)).await;

    let mut at_a = a.messages();
    let (word, words) = async_channel::unbounded();
    b.on_message(move |message| word.send_blocking(message).unwrap());
    send_numbers(&a, &b_id, 1000);
    send_numbers(&b, &a_id, 1000);
    expect_numbers(&mut at_a, &b_id, 1000).await;
    for number in 0..1000 {
        let message = patient::<B, _>(words.recv()).await.unwrap();
        assert_eq!((message.from, &*message.payload), (a_id.clone(), format!("message {number}").as_bytes()));
    }

    let mut events = b.events();
    assert_eq!(change(&mut events).await, (a_id.clone(), None));
    patient::<A, _>(a.stop()).await;
    assert_eq!(change(&mut events).await, (a_id.clone(), Some(NodeDownReason::GracefulShutdown)));
    assert_eq!(b.send(&a_id, "too late"), Err(SendError::NotConnected { to: a_id }));
    patient::<B, _>(b.stop()).await;
}

/// Through one seed, and with exactly two ups at each and no down.
pub async fn three_nodes_find_each_other<A: Runtime, B: Runtime, C: Runtime>() {
    async fn two_ups<R: Runtime>(events: &mut EventStream<R>) -> Vec<NodeId> {
        let (first, second) = (change(events).await, change(events).await);
        assert_eq!((first.1, second.1), (None, None));
        let mut ups = vec![first.0, second.0];
        ups.sort();
        ups
    }
    let (a, b, c) = (Cluster::<A>::new(), Cluster::<B>::new(), Cluster::<C>::new());
    let (mut of_a, mut of_b, mut of_c) = (a.events(), b.events(), c.events());
    patient::<A, _>(a.start(config("a"))).await.unwrap();
    let seeds = [id(&a).to_string()];
    let joining = future::zip(b.start(config("b").seeds(&seeds)), c.start(config("c").seeds(&seeds)));
    let (started_b, started_c) = patient::<A, _>(joining).await;
    started_b.unwrap();
    started_c.unwrap();
    a.wait_for_nodes(2, PATIENCE).await.unwrap();
    b.wait_for_nodes(2, PATIENCE).await.unwrap();
    c.wait_for_nodes(2, PATIENCE).await.unwrap();
    let others = |own: usize| {
        let mut others = vec![id(&a), id(&b), id(&c)];
        others.remove(own);
        others.sort();
        others
    };
    let a_id = id(&a);
    assert_eq!(two_ups(&mut of_a).await, others(0));
    assert_eq!(two_ups(&mut of_b).await, others(1));
    assert_eq!(two_ups(&mut of_c).await, others(2));
    // Whatever else there was has been said before what this wait ends with.
    patient::<A, _>(a.stop()).await;
    let farewell = |of: &NodeId| (of.clone(), Some(NodeDownReason::GracefulShutdown));
    assert_eq!(change(&mut of_b).await, farewell(&a_id));
    assert_eq!(change(&mut of_c).await, farewell(&a_id));
}

/// Each with each.
pub async fn three_nodes_talk_to_each_other<A: Runtime, B: Runtime, C: Runtime>() {
    async fn expect_from_two<R: Runtime>(at: &mut MessageStream<R>, from: [NodeId; 2]) {
        let mut next = [0, 0];
        while next != [500, 500] {
            let message = patient::<R, _>(at.next()).await.unwrap().unwrap();
            let sender = from.iter().position(|id| *id == message.from).expect("nobody else sends");
            assert_eq!(message.payload, format!("message {}", next[sender]));
            next[sender] += 1;
        }
    }
    let (a, b, c) = trio::<A, B, C>(|config| config.cluster_secret("the secret of this test")).await;
    let (a_id, b_id, c_id) = (id(&a), id(&b), id(&c));
    let (mut at_a, mut at_b, mut at_c) = (a.messages(), b.messages(), c.messages());
    for to in [&b_id, &c_id] {
        send_numbers(&a, to, 500);
    }
    for to in [&a_id, &c_id] {
        send_numbers(&b, to, 500);
    }
    for to in [&a_id, &b_id] {
        send_numbers(&c, to, 500);
    }
    expect_from_two(&mut at_a, [b_id.clone(), c_id.clone()]).await;
    expect_from_two(&mut at_b, [a_id.clone(), c_id]).await;
    expect_from_two(&mut at_c, [a_id, b_id]).await;
}

/// The one that all had joined through; and it finds its way back.
pub async fn two_nodes_carry_on_without_the_third<A: Runtime, B: Runtime, C: Runtime>() {
    let (a, b, c) = trio::<A, B, C>(|config| config).await;
    let (a_id, b_id, c_id) = (id(&a), id(&b), id(&c));
    let (mut of_b, mut of_c) = (b.events(), c.events());
    for _ in 0..2 {
        change(&mut of_b).await;
        change(&mut of_c).await;
    }
    patient::<A, _>(a.stop()).await;
    let farewell = (a_id.clone(), Some(NodeDownReason::GracefulShutdown));
    assert_eq!(change(&mut of_b).await, farewell);
    assert_eq!(change(&mut of_c).await, farewell);
    assert!(b.is_node_connected(&c_id).unwrap() && c.is_node_connected(&b_id).unwrap());
    patient::<A, _>(a.start(config("a").port(a_id.port()).seeds([b_id.to_string()]))).await.unwrap();
    a.wait_for_nodes(2, PATIENCE).await.unwrap();
    assert_eq!(change(&mut of_b).await, (a_id.clone(), None), "nobody else was down meanwhile");
    assert_eq!(change(&mut of_c).await, (a_id, None));
}
