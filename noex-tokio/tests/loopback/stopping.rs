//! Leaving the cluster, whatever the peers do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures_lite::StreamExt;
use noex_driver::{Cluster, ClusterStatus, NodeDownReason, Runtime, SendError};

use crate::common::*;
use crate::proxy::Proxy;

pub(crate) async fn what_was_queued_arrives_before_the_leave<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let (a_id, b_id) = (id(&a), id(&b));
    let mut messages = b.messages();
    let mut at_b = Watch::new(&b);
    for number in 0..200_u8 {
        a.send(&b_id, vec![number; 50_000]).unwrap();
    }
    let mut arrived = 0;
    let (_, ()) = futures_lite::future::zip(patient::<R, _>("it stops", a.stop()), async {
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

pub(crate) async fn a_stop_is_no_down_for_its_own_subscribers<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let port = id(&a).port();
    let mut at_a = Watch::new(&a);
    let mut messages = a.messages();
    patient::<R, _>("it stops", a.stop()).await;
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

pub(crate) async fn all_who_stop_at_once_return<R: Runtime>() {
    let never = Cluster::<R>::new();
    let mut watch = Watch::new(&never);
    patient::<R, _>("a node that never started has stopped", never.stop()).await;
    assert_eq!((watch.read().await.len(), never.status()), (0, ClusterStatus::Stopped));

    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let a_id = id(&a);
    let mut at_b = Watch::new(&b);
    patient::<R, _>("all return", all((0..16).map(|_| a.stop()))).await;
    assert_eq!(a.status(), ClusterStatus::Stopped);
    patient::<R, _>("once more", a.stop()).await;
    assert_eq!(at_b.down(&a_id).await, NodeDownReason::GracefulShutdown);
    assert_eq!(at_b.downs().len(), 1);
}

pub(crate) async fn nodes_that_stop_at_once_stop<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let c = start(config("c").seeds([seed(&a), seed(&b)])).await;
    c.wait_for_nodes(2, PATIENCE).await.unwrap();
    let mut watches = [Watch::new(&a), Watch::new(&b), Watch::new(&c)];
    patient::<R, _>("all stop", all([a.stop(), b.stop(), c.stop()])).await;
    for watch in &mut watches {
        watch.read().await;
        assert!(watch.downs().iter().all(|(_, reason)| *reason == NodeDownReason::GracefulShutdown), "{:?}", watch.downs());
    }
}

/// The network between the two takes nothing any more, and ends nothing.
pub(crate) async fn peers_that_read_nothing_delay_a_stop_for_its_timeout_only<R: Runtime>() {
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
    patient::<R, _>("it stops", all((0..4).map(|_| a.stop()))).await;
    watch.read().await;
    assert_eq!((watch.statuses(), watch.downs()), (vec![ClusterStatus::Stopping, ClusterStatus::Stopped], vec![]));
    // Their connections have ended, and the port is free.
    for mut stranger in strangers {
        stranger.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(stranger.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
    a.start(config("a").port(port)).await.unwrap();
}

pub(crate) async fn the_last_handle_stops_the_node<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let (a_id, port) = (id(&a), id(&a).port());
    let mut at_b = Watch::new(&b);
    let events = a.events();
    drop(a);
    assert_eq!(at_b.down(&a_id).await, NodeDownReason::GracefulShutdown);
    // Its streams end, and its port is free.
    patient::<R, _>("the stream ends", events.count()).await;
    let again = Cluster::<R>::new();
    eventually::<R>("the port is free", || std::net::TcpListener::bind(("127.0.0.1", port)).is_ok()).await;
    again.start(config("a").port(port)).await.unwrap();
}

/// A seed that left is tried again at the longest delay; so it is found when it comes back.
pub(crate) async fn a_seed_that_left_and_comes_back_is_found<R: Runtime>() {
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
