//! Messages: whole, in order, and bounded where the reader is slow.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use futures_lite::future;
use noex_driver::{Cluster, Limits, Message, NodeId, Runtime, SendError};

use crate::common::*;
use crate::proxy::Proxy;

const MIB: usize = 1 << 20;

/// Bytes that show where they were cut, swapped or repeated: all are taken from one pattern, each from its own place.
fn payload(number: usize, size: usize) -> Bytes {
    const PERIOD: usize = 251;
    static PATTERN: LazyLock<Bytes> = LazyLock::new(|| {
        let period: Vec<u8> = (0..PERIOD as u8).collect();
        period.repeat(16 * MIB / PERIOD + 2).into()
    });
    let begin = number * 7 % PERIOD;
    PATTERN.slice(begin..begin + size)
}

/// On a busy machine the test itself reads slowly; how that is bounded is not the matter here.
fn patient_reader() -> Limits {
    Limits::default().message_bytes_per_subscriber(256 * MIB)
}

async fn exchange<R: Runtime>(from: &Cluster<R>, to: &Cluster<R>, sizes: &[usize]) {
    let mut messages = to.messages();
    let (sender, receiver) = (id(from), id(to));
    let send = async {
        for (number, &size) in sizes.iter().enumerate() {
            let payload = payload(number, size);
            // A queue that is full has room again when some of it has been read.
            eventually("the queue has room", || match from.send(&receiver, payload.clone()) {
                Ok(()) => true,
                Err(SendError::QueueFull { .. }) => false,
                Err(error) => panic!("{error}"),
            })
            .await;
        }
    };
    let read = async {
        for (number, &size) in sizes.iter().enumerate() {
            let message = message(&mut messages).await;
            assert_eq!((&message.from, message.payload.len()), (&sender, size));
            assert!(message.payload == payload(number, size), "message {number} of {size} bytes arrives as it was sent");
        }
    };
    future::zip(send, read).await;
}

pub async fn messages_of_every_size_arrive_whole_and_in_order<R: Runtime>() {
    let config = |name| config(name).cluster_secret("sixteen bytes or more").limits(patient_reader());
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    // Around the limits of a piece and of a record, and the largest there is, with small ones between.
    let edges = [0, 1, 2, 255, 256, 16 << 10, 32 << 10, (64 << 10) - 21, 64 << 10, 65 << 10, MIB, 16 * MIB, 1, 16 * MIB - 1, 3];
    let mut sizes = edges.to_vec();
    sizes.extend((0..8).flat_map(|power| [1 << (2 * power), (1 << (2 * power)) + 1]));
    future::zip(exchange(&a, &b, &sizes), exchange(&b, &a, &sizes)).await;
    let too_large = a.send(&id(&b), vec![0; 16 * MIB + 1]);
    assert_eq!(too_large, Err(SendError::TooLarge { limit: 16 * MIB, size: 16 * MIB + 1 }));
}

pub async fn a_slow_reader_costs_a_bounded_queue_and_no_heartbeat<R: Runtime>() {
    const QUEUE: usize = 100 * MIB;
    let b = start::<R>(lively("b").limits(patient_reader())).await;
    let proxy = Proxy::new(id(&b).port());
    let limits = Limits::default().send_queue_bytes(QUEUE);
    // Nobody can go round the proxy.
    let a = start(lively("a").advertise_host("127.9.9.9").limits(limits).seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    let b_id = id(&b);
    let (mut at_a, mut at_b) = (Watch::new(&a), Watch::new(&b));
    at_a.forget().await;
    at_b.forget().await;
    let mut messages = b.messages();
    proxy.limit(Some(4 * MIB));

    // All share one payload, so that only what is written takes memory.
    let payload = Bytes::from(vec![7; MIB]);
    let mut queued = 0;
    for round in 0..5 {
        let full = loop {
            match a.send(&b_id, payload.clone()) {
                Ok(()) => queued += 1,
                Err(full) => break full,
            }
        };
        assert_eq!(full, SendError::QueueFull { limit: QUEUE, to: b_id.clone() });
        // What the machine has handed over it no longer counts. That is a window, and what the system's buffers have taken since.
        assert!(round > 0 || (99..=120).contains(&queued), "{queued} MiB were taken");
        // Heartbeats come through, both ways, while the queue is full.
        heartbeats(&[&a, &b], 1).await;
    }
    assert!(b.counters().messages_received < queued, "all of it arrived while the reader was slow");

    // The reader recovers, and everything arrives.
    proxy.limit(None);
    let everything = async {
        for _ in 0..queued {
            assert_eq!(message(&mut messages).await.payload.len(), MIB);
        }
        a.send(&b_id, "the last").unwrap();
        assert_eq!(message(&mut messages).await.payload, "the last");
    };
    future::or(future::or(at_a.nobody_goes_down(), at_b.nobody_goes_down()), everything).await;
    at_a.read().await;
    at_b.read().await;
    assert_eq!((at_a.downs(), at_b.downs()), (vec![], vec![]));
}

/// With the same bytes for all, and a word about whom they are not queued for.
pub async fn a_broadcast_reaches_all_who_are_up_and_says_whom_not<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let c = start(config("c").seeds([seed(&a)])).await;
    meet(&a, &c).await;
    let (mut at_a, mut at_b, mut at_c) = (a.messages(), b.messages(), c.messages());
    let sent = a.broadcast("to all").unwrap();
    assert_eq!((sent.queued, &sent.refused[..]), (2, &[][..]));
    for messages in [&mut at_b, &mut at_c] {
        assert_eq!(message(messages).await, Message::new(id(&a), "to all"));
    }
    assert!(future::poll_once(at_a.next()).await.is_none(), "nobody sends to itself");
    assert_eq!(a.send(&id(&a), "to itself"), Err(SendError::ToSelf));
    assert_eq!(a.broadcast(vec![0; 16 * MIB + 1]), Err(SendError::TooLarge { limit: 16 * MIB, size: 16 * MIB + 1 }));

    // More than anybody reads meanwhile: the queues are full at some time, and the result says whose.
    let large = Bytes::from(vec![7; 16 * MIB]);
    let refused = loop {
        let sent = a.broadcast(large.clone()).unwrap();
        assert_eq!(sent.queued + sent.refused.len(), 2, "{sent:?}");
        if !sent.refused.is_empty() {
            break sent.refused;
        }
    };
    for (to, error) in refused {
        assert_eq!(error, SendError::QueueFull { limit: 32 * MIB, to: to.clone() });
        assert!(to == id(&b) || to == id(&c));
    }
    c.stop().await;
    eventually("it is down", || a.connected_node_count() == Ok(1)).await;
    eventually("the queue has room", || a.broadcast("to b alone").is_ok_and(|sent| sent.refused.is_empty())).await;
}

/// What is lost with a connection is lost, but nothing comes twice, or too early.
pub async fn nothing_comes_twice_or_too_early_when_connections_break<R: Runtime>() {
    let b = start::<R>(config("b").advertise_host("127.9.9.9")).await;
    let proxy = Proxy::new(id(&b).port());
    let a = start::<R>(config("a").advertise_host("127.9.9.9").seeds([proxy.seed("b")])).await;
    let b_id = id(&b);
    let mut messages = b.messages();
    let mut watch = Watch::new(&a);
    let mut last = None;
    for round in 0..10_u64 {
        watch.up(&b_id).await;
        meet(&a, &b).await;
        watch.forget().await;
        let received = b.counters().messages_received;
        for number in 0..400 {
            // The connection breaks while these are on their way.
            if number == 200 {
                eventually("the first arrive", || b.counters().messages_received > received).await;
                proxy.cut();
            }
            let mut payload = (round * 1000 + number).to_be_bytes().to_vec();
            payload.resize(8 + (number as usize * 37) % 5_000, 0);
            match a.send(&b_id, payload) {
                Ok(()) | Err(SendError::NotConnected { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    watch.up(&b_id).await;
    a.send(&b_id, u64::MAX.to_be_bytes().to_vec()).unwrap();
    while last != Some(u64::MAX) {
        let payload = message(&mut messages).await.payload;
        let number = u64::from_be_bytes(payload[..8].try_into().unwrap());
        assert!(last < Some(number), "{number} after {last:?}");
        last = Some(number);
    }
    assert!(a.counters().downs >= 10 && b.counters().downs >= 10);
}

/// A subscriber that does not read loses messages, is told how many, and holds up nobody.
pub async fn a_subscriber_that_does_not_read_holds_up_nobody<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let (mut unread, mut read) = (b.messages(), b.messages());
    let payload = Bytes::from(vec![7; MIB]);
    for _ in 0..100 {
        a.send(&id(&b), payload.clone()).unwrap();
        assert_eq!(message(&mut read).await.payload.len(), MIB);
    }
    let lagged = patient(async {
        loop {
            if let Err(lagged) = unread.next().await.unwrap() {
                break lagged;
            }
        }
    });
    let missed = lagged.await.missed;
    assert!((1..100).contains(&missed), "{missed}");
}

/// Each with each, by stream and by handler.
pub async fn three_nodes_talk_to_each_other<R: Runtime>() {
    const EACH: usize = 500;
    let config = |name| config(name).cluster_secret("sixteen bytes or more");
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let c = start(config("c").seeds([seed(&a)])).await;
    meet(&a, &c).await;
    meet(&b, &c).await;
    let (word, by_handler) = async_channel::unbounded();
    c.on_message(move |message| word.send_blocking(message).unwrap());
    let (mut at_a, mut at_b) = (a.messages(), b.messages());
    let nodes = [&a, &b, &c];
    for (from, to) in
        nodes.iter().flat_map(|from| nodes.iter().map(move |to| (from, id(to)))).filter(|(from, to)| id(from) != *to)
    {
        for number in 0..EACH {
            from.send(&to, format!("message {number}")).unwrap();
        }
    }
    let mut next = BTreeMap::new();
    let mut check = |at: &str, message: Message| {
        let number = next.entry((at.to_owned(), message.from)).or_insert(0);
        assert_eq!(message.payload, format!("message {number}"));
        *number += 1;
    };
    for _ in 0..2 * EACH {
        check("a", message(&mut at_a).await);
        check("b", message(&mut at_b).await);
        check("c", patient(by_handler.recv()).await.unwrap());
    }
    assert!(next.len() == 6 && next.values().all(|&count| count == EACH), "{next:?}");
}

/// A node that sends through a proxy to another, which nobody can go round, with a queue for eight messages.
async fn clogged<R: Runtime>() -> (Cluster<R>, Cluster<R>, Proxy) {
    let b = start::<R>(lively("b").limits(patient_reader())).await;
    let proxy = Proxy::new(id(&b).port());
    let limits = Limits::default().message_bytes(MIB).send_queue_bytes(8 * (MIB + 64));
    let a = start(lively("a").advertise_host("127.9.9.9").limits(limits).seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    (a, b, proxy)
}

/// Fills the queue, and gives the number of messages.
fn fill<R: Runtime>(from: &Cluster<R>, to: &NodeId) -> usize {
    let payload = Bytes::from(vec![7; MIB]);
    let queued = (0..).find(|_| from.send(to, payload.clone()).is_err()).unwrap();
    assert!(matches!(from.send(to, payload), Err(SendError::QueueFull { .. })));
    queued
}

/// At half of the queue, and not for each record before.
pub async fn senders_that_wait_for_room_go_on_together<R: Runtime>() {
    let (a, b, proxy) = clogged::<R>().await;
    let b_id = id(&b);
    assert_eq!(a.ready(&b_id).await, Ok(()), "nothing is queued");
    let mut messages = b.messages();
    proxy.limit(Some(4 * MIB));
    let mut queued = fill(&a, &b_id);

    // Given: a hundred who wait, and one who has given up.
    let mut waits: Vec<_> = (0..101).map(|_| Box::pin(a.ready(&b_id))).collect();
    for wait in &mut waits {
        assert_eq!(future::poll_once(wait).await, None);
    }
    drop(waits.pop());
    let mut first = waits.pop().unwrap();
    proxy.limit(None);
    let mut polls = 0;
    let counted = future::poll_fn(|cx| {
        polls += 1;
        first.as_mut().poll(cx)
    });
    assert_eq!(patient(counted).await, Ok(()));
    assert!(polls < 10, "polled {polls} times, for 64 records or more");
    for wait in waits {
        assert_eq!(patient(wait).await, Ok(()));
    }
    for _ in 0..4 {
        a.send(&b_id, vec![7; MIB]).unwrap();
        queued += 1;
    }

    // A sender that waits each time loses nothing, and is refused once at most before each wait.
    let sender = async {
        for _ in 0..100 {
            if a.send(&b_id, vec![7; MIB]).is_err() {
                a.ready(&b_id).await.unwrap();
                a.send(&b_id, vec![7; MIB]).unwrap();
            }
        }
    };
    let reader = async {
        for _ in 0..queued + 100 {
            assert_eq!(message(&mut messages).await.payload.len(), MIB);
        }
    };
    patient(future::zip(sender, reader)).await;
}

/// The error says which.
pub async fn waiting_for_room_ends_with_the_session_or_the_node<R: Runtime>() {
    let stopped = Cluster::<R>::new();
    let stranger: NodeId = "b@127.0.0.1:1".parse().unwrap();
    assert!(matches!(stopped.ready(&stranger).await, Err(SendError::NotStarted(_))));
    let (a, b, proxy) = clogged::<R>().await;
    let b_id = id(&b);
    assert_eq!(a.ready(&stranger).await, Err(SendError::NotConnected { to: stranger }));
    assert_eq!(a.ready(&id(&a)).await, Err(SendError::ToSelf));

    // Given: a full queue, whose session is cut and comes again.
    proxy.freeze();
    fill(&a, &b_id);
    let mut wait = Box::pin(a.ready(&b_id));
    assert_eq!(future::poll_once(&mut wait).await, None);
    proxy.cut();
    assert_eq!(patient(wait).await, Err(SendError::NotConnected { to: b_id.clone() }));
    proxy.thaw();
    meet(&a, &b).await;
    assert_eq!(a.ready(&b_id).await, Ok(()), "the next session has a queue of its own");

    proxy.freeze();
    fill(&a, &b_id);
    let mut wait = Box::pin(a.ready(&b_id));
    assert_eq!(future::poll_once(&mut wait).await, None);
    let stop = async {
        // It lets go long before the stop is over, which writes what is queued.
        let waited = patient(wait).await;
        proxy.thaw();
        waited
    };
    let (waited, ()) = future::zip(stop, patient(a.stop())).await;
    assert!(matches!(waited, Err(SendError::NotStarted(_))), "{waited:?}");
}
