//! Handlers: what they hear, and that nothing they do harms anyone.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use futures_lite::future;
use noex_driver::{
    Cluster, ClusterError, ClusterStatus, LocalFault, NodeDownReason, NodeId, NodeInfo, Runtime, StartError, Subscription,
};

use crate::common::*;

#[derive(Debug, PartialEq)]
enum Heard {
    Down(NodeId, NodeDownReason),
    Error(ClusterError),
    Message(NodeId, String),
    Up(NodeId),
}

/// A handler may use what belongs to the node's runtime, though that does not know its thread.
pub async fn a_handler_runs_inside_the_runtime<R: Runtime>() {
    let a = Cluster::<R>::new();
    let (word, words) = async_channel::unbounded();
    a.on_status_change(move |status| {
        if status == ClusterStatus::Starting {
            let word = word.clone();
            R::current().unwrap().spawn(async move { word.send(status).await.unwrap() });
        }
    });
    a.start(config("a")).await.unwrap();
    assert_eq!(patient(words.recv()).await, Ok(ClusterStatus::Starting));
}

pub async fn each_handler_hears_its_own_in_order<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let (a_id, b_id) = (id(&a), id(&b));
    let mut at_b = b.messages();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let push = |heard: &Arc<Mutex<Vec<Heard>>>| {
        let heard = heard.clone();
        move |item| heard.lock().unwrap().push(item)
    };
    let (up, down, error, text) = (push(&heard), push(&heard), push(&heard), push(&heard));
    // A handler may call any method, also of the node that calls it.
    let weak = a.downgrade();
    a.on_node_up(move |node| {
        let a = weak.upgrade().unwrap();
        assert!(a.node(&node.id).unwrap().is_some() && a.nodes().is_ok());
        a.send(&node.id, "welcome").unwrap();
        up(Heard::Up(node.id));
    });
    a.on_node_down(move |id, reason| down(Heard::Down(id, reason)));
    a.on_error(move |fault| error(Heard::Error(fault)));
    a.on_message(move |message| text(Heard::Message(message.from, String::from_utf8(message.payload.to_vec()).unwrap())));
    let until = async |count: usize| {
        eventually("the handlers are called", || heard.lock().unwrap().len() == count).await;
    };
    // Registered late, it hears of the members that there are.
    until(1).await;
    assert_eq!(message(&mut at_b).await.payload, "welcome");
    b.send(&a_id, "one").unwrap();
    b.send(&a_id, "two").unwrap();
    until(3).await;
    b.stop().await;
    until(4).await;
    let expected = [
        Heard::Up(b_id.clone()),
        Heard::Message(b_id.clone(), "one".into()),
        Heard::Message(b_id.clone(), "two".into()),
        Heard::Down(b_id, NodeDownReason::GracefulShutdown),
    ];
    assert_eq!(*heard.lock().unwrap(), expected);
}

pub async fn who_is_unsubscribed_is_not_called<R: Runtime>() {
    let a = start::<R>(config("a")).await;
    let (gone, kept) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let count = |counter: &Arc<Mutex<i32>>| {
        let counter = counter.clone();
        move |_: NodeInfo| *counter.lock().unwrap() += 1
    };
    let subscription = a.on_node_up(count(&gone));
    // Dropping a subscription keeps the handler.
    drop(a.on_node_up(count(&kept)));
    subscription.unsubscribe();
    subscription.unsubscribe();
    let b = start(config("b").seeds([seed(&a)])).await;
    meet(&a, &b).await;
    eventually("the other is called", || *kept.lock().unwrap() == 1).await;
    eventually("the handler is dropped", || Arc::strong_count(&gone) == 1).await;
    assert_eq!(*gone.lock().unwrap(), 0);
}

/// Registered once, called in every run; unsubscribed, never again.
pub async fn handlers_survive_a_restart<R: Runtime>() {
    let a = Cluster::<R>::new();
    let (word, words) = async_channel::unbounded();
    let subscription = a.on_status_change(move |status| word.send_blocking(status).unwrap());
    for _ in 0..3 {
        patient(a.start(config("a"))).await.unwrap();
        patient(a.stop()).await;
        for wanted in [ClusterStatus::Starting, ClusterStatus::Running, ClusterStatus::Stopping, ClusterStatus::Stopped] {
            assert_eq!(patient(words.recv()).await, Ok(wanted));
        }
    }
    subscription.unsubscribe();
    // The handler goes, and its end of the channel with it.
    assert!(patient(words.recv()).await.is_err());
}

/// Neither the protocol, nor messages, nor other handlers, for longer than a failure takes to be detected.
pub async fn a_handler_that_blocks_delays_nobody<R: Runtime>() {
    let a = Cluster::<R>::new();
    let (release, released) = mpsc::channel::<()>();
    a.on_status_change(move |status| {
        if status == ClusterStatus::Starting {
            released.recv_timeout(PATIENCE).expect("the test goes on while this blocks");
        }
    });
    let (word, words) = async_channel::unbounded();
    a.on_node_up(move |node| word.send_blocking(node.id).unwrap());
    patient(a.start(lively("a"))).await.unwrap();
    let b = start::<R>(lively("b").seeds([seed(&a)])).await;
    let mut at_b = Watch::new(&b);
    meet(&a, &b).await;
    assert_eq!(patient(words.recv()).await, Ok(id(&b)));
    // More than a node may be silent for.
    heartbeats(&[&a, &b], MISSED as usize + 2).await;
    let mut messages = b.messages();
    a.send(&id(&b), "on its way").unwrap();
    assert_eq!(message(&mut messages).await.payload, "on its way");
    at_b.read().await;
    assert_eq!((at_b.ups(), at_b.downs()), (vec![id(&a)], vec![]));
    release.send(()).unwrap();
}

/// Dropped, it panics.
struct Spiteful;

impl Drop for Spiteful {
    fn drop(&mut self) {
        panic!("as it is dropped");
    }
}

/// Also when two handlers panic over each other's reports, and with a value that panics in its turn.
pub async fn a_handler_that_panics_is_reported_and_called_again<R: Runtime>() {
    let a = Cluster::<R>::new();
    let mut watch = Watch::new(&a);
    a.on_status_change(|status| panic!("over {status}"));
    let spiteful = Arc::new(AtomicUsize::new(0));
    let calls = spiteful.clone();
    a.on_status_change(move |_| {
        calls.fetch_add(1, Ordering::SeqCst);
        std::panic::panic_any(Spiteful);
    });
    a.on_error(|error| panic!("first over {error}"));
    a.on_error(|error| panic!("second over {error}"));
    patient(a.start(config("a"))).await.unwrap();
    let panicked = |wanted: &str, error: &ClusterError| matches!(error, ClusterError::Local(LocalFault::HandlerPanicked { message }) if message == wanted);
    for wanted in ["over starting", "over running"] {
        watch.error("a panic", |error| panicked(wanted, error)).await;
    }
    watch.error("a panic over no text", |error| panicked("a value that is no text", error)).await;
    eventually("the handler is called again", || spiteful.load(Ordering::SeqCst) == 2).await;
    patient(a.stop()).await;
}

/// A handler may call a method that waits, by blocking on it.
pub async fn a_handler_may_unsubscribe_itself_and_stop_the_node<R: Runtime>() {
    let a = Cluster::<R>::new();
    let weak = a.downgrade();
    let (word, words) = async_channel::unbounded();
    let (give, take) = mpsc::channel::<Subscription>();
    let subscription = a.on_status_change(move |status| {
        take.recv_timeout(PATIENCE).unwrap().unsubscribe();
        let a = weak.upgrade().unwrap();
        future::block_on(a.stop());
        word.send_blocking((status, a.status())).unwrap();
    });
    give.send(subscription).unwrap();
    // The stop may come before the node listens.
    let started = patient(a.start(config("a"))).await;
    assert!(matches!(started, Ok(()) | Err(StartError::Stopped)), "{started:?}");
    assert_eq!(patient(words.recv()).await, Ok((ClusterStatus::Starting, ClusterStatus::Stopped)));
    // The handler is gone, and its end of the channel with it.
    assert!(patient(words.recv()).await.is_err());
}
