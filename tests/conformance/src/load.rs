//! Many subscribers, many events, and payloads at full speed: bounded, exact, and nobody waits for who is slow.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::pin::pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_lite::future;
use noex_driver::{Cluster, ClusterEvent, ClusterStatus, Limits, MessageStream, Runtime, SendError};

use crate::common::*;

const EVENTS: usize = 10_000;
const MESSAGES: usize = 10_000;
const SIZE: usize = 4 << 10;
const SUBSCRIBERS: usize = 100;

/// Four events make a round: the node starts and stops.
pub async fn ten_thousand_events_reach_a_hundred_subscribers<R: Runtime>() {
    use ClusterStatus::{Running, Starting, Stopped, Stopping};
    let a = Cluster::<R>::new();
    let handlers: Vec<_> = (0..SUBSCRIBERS / 10).map(|_| Arc::new(Mutex::new(Running))).collect();
    for last in &handlers {
        let last = last.clone();
        a.on_status_change(move |status| *last.lock().unwrap() = status);
    }
    let watches = |count: usize| (0..count).map(|_| Watch::new(&a)).collect::<Vec<_>>();
    let (mut quick, mut slow) = (watches(SUBSCRIBERS / 2), watches(SUBSCRIBERS * 4 / 10));
    for _ in 0..EVENTS / 4 {
        patient(a.start(config("a"))).await.unwrap();
        patient(a.stop()).await;
        for watch in &mut quick {
            watch.read().await;
            assert_eq!(watch.statuses(), [Starting, Running, Stopping, Stopped]);
            watch.seen.clear();
        }
    }
    // Who read nothing has nothing but the number, and how things stand.
    let expected = [ClusterEvent::Lagged { missed: EVENTS as u64 }, ClusterEvent::StatusChange(Stopped)];
    for watch in &mut slow {
        assert_eq!(watch.read().await, expected);
    }
    eventually("the handlers catch up", || handlers.iter().all(|last| *last.lock().unwrap() == Stopped)).await;
}

/// What one subscriber was given.
#[derive(Default)]
struct Tally {
    missed: usize,
    read: usize,
}

impl Tally {
    /// Reads what is there. Each message has its number, so that none comes twice or out of order.
    async fn read(&mut self, messages: &mut MessageStream) {
        while let Some(Some(message)) = future::poll_once(pin!(messages.next())).await {
            match message {
                Ok(message) => {
                    assert_eq!(message.payload[..8], (self.missed + self.read).to_be_bytes());
                    assert_eq!(message.payload.len(), SIZE);
                    self.read += 1;
                }
                Err(lagged) => self.missed += usize::try_from(lagged.missed).unwrap(),
            }
        }
    }
}

pub async fn payloads_at_full_speed_are_bounded_whoever_reads<R: Runtime>() {
    let limits = Limits::default().message_bytes(64 << 10).message_bytes_per_subscriber(1 << 20);
    let (a, b) = pair::<R>(lively("a"), lively("b").limits(limits)).await;
    let mut watch = Watch::new(&b);
    let subscribers = |count: usize| (0..count).map(|_| (b.messages(), Tally::default())).collect::<Vec<_>>();
    let (mut quick, mut slow) = (subscribers(SUBSCRIBERS / 10), subscribers(SUBSCRIBERS * 9 / 10));
    let send = async {
        let to = id(&b);
        for number in 0..MESSAGES {
            let mut payload = number.to_be_bytes().to_vec();
            payload.resize(SIZE, 0);
            let payload = Bytes::from(payload);
            while let Err(error) = a.send(&to, payload.clone()) {
                assert!(matches!(error, SendError::QueueFull { .. }), "{error}");
                future::yield_now().await;
            }
        }
    };
    let read = async {
        while quick.iter().any(|(_, tally)| tally.read + tally.missed < MESSAGES) {
            for (messages, tally) in &mut quick {
                tally.read(messages).await;
            }
            future::yield_now().await;
        }
    };
    patient(future::zip(send, read)).await;
    for (messages, tally) in &mut slow {
        tally.read(messages).await;
        assert_eq!(tally.read + tally.missed, MESSAGES);
        assert!(tally.read * SIZE <= 1 << 20, "{} messages were kept", tally.read);
    }
    watch.read().await;
    assert_eq!(watch.downs(), []);
}
