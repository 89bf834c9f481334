//! A transfer at full speed on a runtime of one thread that looks at sockets and timers rarely.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use bytes::Bytes;
use futures_lite::future;
use noex_conformance::common::{Watch, id, lively, meet, patient, start};
use noex_conformance::proxy::Proxy;
use noex_tokio::{Cluster, Limits, SendError, Tokio};
use tokio::runtime::Builder;

const SIZE: usize = 1 << 20;
const MESSAGES: usize = 200;

/// Sends as fast as the other reads.
async fn transfer(from: &Cluster, to: &Cluster) {
    let mut messages = to.messages();
    let to = id(to);
    let send = async {
        let payload = Bytes::from(vec![7; SIZE]);
        for _ in 0..MESSAGES {
            while let Err(error) = from.send(&to, payload.clone()) {
                assert!(matches!(error, SendError::QueueFull { .. }), "{error}");
                tokio::task::yield_now().await;
            }
        }
    };
    let read = async {
        for _ in 0..MESSAGES {
            messages.next().await.unwrap().unwrap();
        }
    };
    future::zip(send, read).await;
}

#[test]
fn a_transfer_delays_no_heartbeat() {
    // Twice the default, as on a machine that is slower.
    let runtime = Builder::new_current_thread().enable_all().event_interval(122).build().unwrap();
    runtime.block_on(async {
        let brisk = |name| lively(name).heartbeat_miss_threshold(3);
        let limits = || Limits::default().message_bytes_per_subscriber(2 * SIZE * MESSAGES);
        let b = start::<Tokio>(brisk("b").limits(limits())).await;
        // Its threads keep the sockets on both sides ready, so that the runtime never idles.
        let proxy = Proxy::new(id(&b).port());
        let a = start(brisk("a").limits(limits()).seeds([proxy.seed("b")])).await;
        meet(&a, &b).await;
        let (mut at_a, mut at_b) = (Watch::new(&a), Watch::new(&b));
        // In one direction: of the receiver, the sender hears nothing but heartbeats.
        let transfer = transfer(&a, &b);
        let watches = future::or(at_a.nobody_goes_down(), at_b.nobody_goes_down());
        patient(future::or(watches, transfer)).await;
    });
}
