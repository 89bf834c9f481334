//! One heartbeat from machine to machine beside its two HMACs alone, by turns in one run: `cargo bench -p noex-bench --bench heartbeat`.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use noex_bench::Cluster;
use noex_proto::defaults;
use sha2::Sha256;

const ROUNDS: usize = 200;
const TURNS: u32 = 2_000;
/// What the tag of a heartbeat covers: its number, its length, and the message.
const SIGNED: usize = 8 + 4 + 33;

fn main() {
    let mut cluster = Cluster::mesh(2);
    let key = Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("any length will do");
    // By turns, so that both meet the same machine; the fastest of each, since whatever else runs only adds to them.
    let (mut heartbeat, mut tag_pair) = (Duration::MAX, Duration::MAX);
    for _ in 0..ROUNDS {
        heartbeat = heartbeat.min(heartbeats(&mut cluster) / TURNS);
        tag_pair = tag_pair.min(tags(&key) / TURNS);
    }
    println!("one heartbeat: {heartbeat:?}; its two tags alone: {tag_pair:?}");
    println!("ratio: {:.2}", heartbeat.as_secs_f64() / tag_pair.as_secs_f64());
}

/// What so many heartbeats take, with the ticks between them.
fn heartbeats(cluster: &mut Cluster) -> Duration {
    let start = Instant::now();
    cluster.run_for(defaults::HEARTBEAT_INTERVAL * (TURNS / 2));
    start.elapsed()
}

fn tags(key: &Hmac<Sha256>) -> Duration {
    let message = [7; SIGNED];
    let start = Instant::now();
    for _ in 0..TURNS * 2 {
        black_box(key.clone().chain_update(black_box(&message)).finalize());
    }
    start.elapsed()
}
