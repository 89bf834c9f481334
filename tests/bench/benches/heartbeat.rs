//! One heartbeat from machine to machine beside its two HMACs alone, by turns in one run: `cargo bench -p noex-bench --bench heartbeat`.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use noex_bench::Cluster;
use noex_proto::defaults;
use sha2::Sha256;

const ROUNDS: usize = 4_000;
/// How many heartbeats, and pairs of tags, a round has at least.
const TURNS: u64 = 100;
/// What the tag of a heartbeat covers: its number, its length, and the message.
const SIGNED: usize = 8 + 4 + 33;

fn main() {
    let key = Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("any length will do");
    for nodes in [2, 10] {
        let mut cluster = Cluster::mesh(nodes);
        // What comes once, at the beginning of a session, is over.
        cluster.run_for(defaults::HEARTBEAT_INTERVAL * 3);
        // By turns, so that both meet the same machine.
        let rounds = (0..ROUNDS).map(|_| (heartbeat(&mut cluster), tags(&key)));
        let (mut heartbeats, mut tag_pairs): (Vec<_>, Vec<_>) = rounds.unzip();
        let mut ratios: Vec<_> = heartbeats.iter().zip(&tag_pairs).map(|(heartbeat, tags)| heartbeat / tags).collect();
        println!("{nodes} nodes, each with sessions to all others");
        for (what, figures) in
            [("one heartbeat, ns", &mut heartbeats), ("its two tags alone, ns", &mut tag_pairs), ("ratio", &mut ratios)]
        {
            figures.sort_by(f64::total_cmp);
            let [quarter, median, three_quarters] = [1, 2, 3].map(|part| figures[ROUNDS * part / 4]);
            println!("{what:>24}: median {median:.2}, quartiles {quarter:.2} and {three_quarters:.2}");
        }
    }
}

/// What a heartbeat takes, in nanoseconds: that of so many, with the ticks between them.
fn heartbeat(cluster: &mut Cluster) -> f64 {
    let (before, start) = (cluster.records(), Instant::now());
    while cluster.records() - before < TURNS {
        cluster.run_for(defaults::HEARTBEAT_INTERVAL);
    }
    nanos_each(start, cluster.records() - before)
}

fn nanos_each(start: Instant, count: u64) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

/// What two tags take, in nanoseconds.
fn tags(key: &Hmac<Sha256>) -> f64 {
    let message = [7; SIGNED];
    let start = Instant::now();
    for _ in 0..TURNS * 2 {
        black_box(key.clone().chain_update(black_box(&message)).finalize());
    }
    nanos_each(start, TURNS)
}
