//! Leaving the cluster, whatever the peers do.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use futures_lite::{StreamExt, future};
use noex_driver::{Cluster, ClusterEvent, ClusterStatus, NodeDownReason, Runtime, SendError};

use crate::common::*;
use crate::proxy::Proxy;

pub async fn what_was_queued_arrives_before_the_leave<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let (a_id, b_id) = (id(&a), id(&b));
    let mut messages = b.messages();
    let mut at_b = Watch::new(&b);
    for number in 0..200_u8 {
        a.send(&b_id, vec![number; 50_000]).unwrap();
    }
    let mut arrived = 0;
    let (_, ()) = futures_lite::future::zip(patient(a.stop()), async {
        for number in 0..200_u8 {
            assert_eq!(message(&mut messages).await.payload, vec![number; 50_000]);
            arrived += 1;
        }
    })
    .await;
    assert_eq!((arrived, at_b.down(&a_id).await), (200, NodeDownReason::GracefulShutdown));
    assert_eq!(b.send(&a_id, "too late"), Err(SendError::NotConnected { to: a_id }));
    assert_eq!(at_b.errors(), []);
}

pub async fn a_stop_is_no_down_for_its_own_subscribers<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let port = id(&a).port();
    let mut at_a = Watch::new(&a);
    let mut messages = a.messages();
    patient(a.stop()).await;
    at_a.read().await;
    assert_eq!((at_a.downs(), at_a.errors()), (vec![], vec![]));
    assert_eq!(at_a.statuses(), [ClusterStatus::Stopping, ClusterStatus::Stopped]);

    // The streams are open: a later start is heard on them, and its members come up.
    at_a.forget().await;
    a.start(config("a").port(port).seeds([seed(&b)])).await.unwrap();
    at_a.up(&id(&b)).await;
    meet(&a, &b).await;
    b.send(&id(&a), "welcome back").unwrap();
    assert_eq!(message(&mut messages).await.payload, "welcome back");
    assert_eq!(at_a.statuses(), [ClusterStatus::Starting, ClusterStatus::Running]);
}

pub async fn all_who_stop_at_once_return<R: Runtime>() {
    let never = Cluster::<R>::new();
    let mut watch = Watch::new(&never);
    patient(never.stop()).await;
    assert_eq!((watch.read().await.len(), never.status()), (0, ClusterStatus::Stopped));

    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let a_id = id(&a);
    let mut at_b = Watch::new(&b);
    patient(all((0..16).map(|_| a.stop()))).await;
    assert_eq!(a.status(), ClusterStatus::Stopped);
    patient(a.stop()).await;
    assert_eq!(at_b.down(&a_id).await, NodeDownReason::GracefulShutdown);
    assert_eq!(at_b.downs().len(), 1);
}

pub async fn a_stop_beside_a_restart_returns<R: Runtime>() {
    let a = start::<R>(config("a")).await;
    let restart = async {
        a.stop().await;
        a.start(config("a")).await.unwrap();
    };
    // It begins before the other, and looks after it.
    let mut stop = Box::pin(a.stop());
    if future::poll_once(&mut stop).await.is_none() {
        patient(future::zip(restart, stop)).await;
    } else {
        patient(restart).await;
    }
    assert_eq!(a.status(), ClusterStatus::Running);
    patient(a.stop()).await;
}

pub async fn nodes_that_stop_at_once_stop<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let c = start(config("c").seeds([seed(&a), seed(&b)])).await;
    c.wait_for_nodes(2, PATIENCE).await.unwrap();
    let mut watches = [Watch::new(&a), Watch::new(&b), Watch::new(&c)];
    patient(all([a.stop(), b.stop(), c.stop()])).await;
    for watch in &mut watches {
        watch.read().await;
        assert!(watch.downs().iter().all(|(_, reason)| *reason == NodeDownReason::GracefulShutdown), "{:?}", watch.downs());
    }
}

/// The network between the two takes nothing any more, and ends nothing.
pub async fn peers_that_read_nothing_delay_a_stop_for_its_timeout_only<R: Runtime>() {
    let b = start::<R>(config("b")).await;
    let proxy = Proxy::new(id(&b).port());
    let a = start(config("a").stop_timeout(Duration::from_millis(500)).seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    // Strangers that read nothing, at each stage of a handshake.
    let port = id(&a).port();
    let mut strangers: Vec<_> = (0..3).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    strangers[1].write_all(&[0, 0, 1]).unwrap();
    strangers[2].write_all(&[0, 0, 0, 90, 1]).unwrap();
    proxy.freeze();
    while a.send(&id(&b), vec![0; 1 << 20]).is_ok() {}
    let mut watch = Watch::new(&a);
    patient(all((0..4).map(|_| a.stop()))).await;
    watch.read().await;
    assert_eq!((watch.statuses(), watch.downs()), (vec![ClusterStatus::Stopping, ClusterStatus::Stopped], vec![]));
    // Their connections have ended, and the port is free.
    for mut stranger in strangers {
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(stranger.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
    a.start(config("a").port(port)).await.unwrap();
}

/// Its streams end, its handlers go, its peer hears a farewell, and its port is free.
pub async fn dropping_the_last_handle_stops_the_node_and_ends_its_streams<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let (a_id, port) = (id(&a), id(&a).port());
    let mut at_b = Watch::new(&b);
    let (events, mut messages) = (a.events(), a.messages());
    let (word, words) = async_channel::bounded::<()>(1);
    a.on_message(move |_| word.send_blocking(()).unwrap());
    let weak = a.downgrade();
    let clone = a.clone();
    drop(a);
    assert_eq!(clone.status(), ClusterStatus::Running);
    drop(clone);
    assert!(weak.upgrade().is_none());
    assert_eq!(at_b.down(&a_id).await, NodeDownReason::GracefulShutdown);
    let events: Vec<_> = patient(events.collect()).await;
    assert_eq!(events.last(), Some(&ClusterEvent::StatusChange(ClusterStatus::Stopped)));
    // The end is the end, however often it is asked for.
    for _ in 0..3 {
        assert_eq!(patient(messages.next()).await, None);
    }
    assert!(patient(words.recv()).await.is_err());
    eventually("the port is free", || TcpListener::bind(("127.0.0.1", port)).is_ok()).await;
}

/// A seed that left is tried again at the longest delay; so it is found when it comes back.
pub async fn a_seed_that_left_and_comes_back_is_found<R: Runtime>() {
    let b = start::<R>(config("b")).await;
    let (b_id, port) = (id(&b), id(&b).port());
    let a = start(config("a").seeds([seed(&b)])).await;
    meet(&a, &b).await;
    let mut at_a = Watch::new(&a);
    at_a.forget().await;
    b.stop().await;
    assert_eq!(at_a.down(&b_id).await, NodeDownReason::GracefulShutdown);
    b.start(config("b").port(port)).await.unwrap();
    at_a.up(&b_id).await;
    assert_eq!((at_a.ups().len(), at_a.downs().len()), (1, 1));
}

/// A seed that accepts the connection and says nothing.
pub async fn a_silent_peer_does_not_keep_a_node_from_stopping<R: Runtime>() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let a = start::<R>(config("a").seeds([format!("silent@{}", silent.local_addr().unwrap())])).await;
    let mut accepted = Vec::new();
    eventually("the seed is dialled", || {
        accepted.extend(silent.accept());
        !accepted.is_empty()
    })
    .await;
    patient(a.stop()).await;
    assert_eq!(a.status(), ClusterStatus::Stopped);
}
