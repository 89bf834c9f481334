//! Connections that are no nodes.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use noex_driver::{Cluster, ClusterStatus, Runtime};

use crate::common::*;

const STRANGERS: usize = 300;

/// What a stranger says. Writes may fail, as it may be shut out.
fn speak(kind: usize, stream: &mut TcpStream, trickle: &mut Vec<TcpStream>) {
    let noise: Vec<u8> = (0..5_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let _shut_out = match kind % 5 {
        0 => stream.write_all(&[0xff; 4]),
        1 => stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        2 => stream.write_all(&noise),
        3 => stream.try_clone().map(|stream| trickle.push(stream)),
        _ => Ok(()),
    };
}

/// A frame that announces a HELLO, for those that send it one byte at a time.
const SLOWLY: &[u8] = &[0, 0, 0, 107, 1, b'N', b'O', b'E', b'X', 1, 1, 0, 0];

pub async fn strangers_harm_nobody_and_keep_nobody_out<R: Runtime>() {
    let (a, b) = pair::<R>(lively("a"), lively("b")).await;
    let (mut at_a, mut at_b) = (Watch::new(&a), Watch::new(&b));
    at_a.forget().await;
    at_b.forget().await;
    let port = id(&a).port();
    let done = Arc::new(AtomicBool::new(false));
    let stop = done.clone();
    let crowd = thread::spawn(move || {
        let mut streams = Vec::new();
        let mut trickle = Vec::new();
        for kind in 0..STRANGERS {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            speak(kind, &mut stream, &mut trickle);
            streams.push(stream);
        }
        for byte in SLOWLY.chunks(1).cycle() {
            for stream in &mut trickle {
                let _shut_out = stream.write_all(byte);
            }
            if stop.load(Ordering::SeqCst) {
                return streams.len();
            }
            thread::sleep(Duration::from_millis(10));
        }
        0
    });
    // While they come, and once they are all there.
    let during = start::<R>(lively("during").seeds([seed(&a)])).await;
    meet(&during, &a).await;
    eventually("all strangers have come", || a.counters().accepted >= STRANGERS as u64).await;
    let after = start::<R>(lively("after").seeds([seed(&a)])).await;
    meet(&after, &a).await;
    heartbeats(&[&a, &b, &during, &after], 2).await;
    done.store(true, Ordering::SeqCst);
    assert_eq!(crowd.join().unwrap(), STRANGERS);

    at_a.read().await;
    at_b.read().await;
    assert_eq!((at_a.downs(), at_b.downs()), (vec![], vec![]));
    assert_eq!((a.status(), a.connected_node_count()), (ClusterStatus::Running, Ok(3)));
    let counters = a.counters();
    assert!(counters.faults >= STRANGERS as u64 * 2 / 5, "{counters:?}");
    assert!(at_a.errors().len() <= 200, "reports about strangers are bounded in their rate");
    patient(a.stop()).await;
}

/// The first frame of a dialler that has no secret.
fn hello_without_a_secret() -> Vec<u8> {
    let id = b"stranger@127.0.0.1:1";
    let mut frame = [b"\x01NOEX\x01\x01\x00\x00", &[7; 32][..], &[9; 16], &[0; 8], &1000_u32.to_be_bytes()].concat();
    frame.extend([&[0, id.len() as u8], &id[..], &[0, 0], &[0, 0]].concat());
    [&(frame.len() as u32).to_be_bytes(), &frame[..]].concat()
}

/// It is refused, stays, and writes on for as long as it can. What the operating system keeps for the two sides is a few megabytes.
pub async fn a_stranger_that_was_refused_and_writes_on_is_cut_off_and_not_recorded<R: Runtime>() {
    const MUCH: usize = 64 << 20;
    let a = Cluster::<R>::with_recorder(1 << 20);
    patient(a.start(lively("a").cluster_secret("the secret of this cluster"))).await.unwrap();
    let port = id(&a).port();
    let stranger = thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(&hello_without_a_secret()).unwrap();
        let mut reject = [0; 6];
        stream.read_exact(&mut reject).unwrap();
        let mut written = 0;
        while written < MUCH
            && let Ok(length) = stream.write(&[0; 64 * 1024])
        {
            written += length;
        }
        (reject, written)
    });
    eventually("it is gone", || stranger.is_finished()).await;
    let (reject, written) = stranger.join().unwrap();
    assert_eq!(reject, [0, 0, 0, 2, 5, 2]);
    assert!(written < MUCH, "it was not cut off");
    patient(a.stop()).await;
    let recorded = a.take_recording().len();
    assert!(recorded < 16 * 1024, "{recorded} bytes were recorded");
}
