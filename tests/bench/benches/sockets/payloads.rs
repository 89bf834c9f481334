//! Messages from one node to another, as fast as they go.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use hmac::{Hmac, KeyInit, Mac};
use noex_tokio::{Bytes, Cluster, MessageStream, NodeId};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use crate::system::Cpu;
use crate::table::{Samples, head, row};
use crate::{seed, start};

const ROUNDS: usize = 15;
/// About what records gather before one is written.
const BARE_BUFFER: usize = 16 << 10;

/// How messages of one size are sent.
struct Stream {
    size: usize,
    /// How many are sent in one round.
    messages: usize,
    /// How many are sent, or read, before one looks after the other.
    batch: usize,
    /// How many batches may be on their way: less than what the queues on both sides take.
    window: usize,
}

const SMALL: Stream = Stream { size: 64, messages: 512 << 10, batch: 1024, window: 64 };
const LARGE: Stream = Stream { size: 64 << 10, messages: 8 << 10, batch: 16, window: 12 };

/// Measures messages of 64 B and of 64 KiB, from one task to another on a runtime of two threads.
pub(crate) fn measure() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let a = start(0, None).await;
        let b = start(1, Some(&seed(&a))).await;
        let patience = std::time::Duration::from_secs(10);
        a.wait_for_nodes(1, patience).await.expect("they meet");
        b.wait_for_nodes(1, patience).await.expect("they meet");
        head("messages one way between two nodes in one process, authenticated");
        small(&a, &b).await;
        large(&a, &b).await;
    });
}

async fn small(a: &Cluster, b: &Cluster) {
    let (mut bare, mut rate, mut spent) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(SMALL.messages as f64 / SMALL.run_bare().await / 1e6);
        let (time, cpu) = SMALL.run(a, b).await;
        rate.push(SMALL.messages as f64 / time / 1e6);
        spent.push(cpu / SMALL.messages as f64 * 1e9);
    }
    row("64 B: million messages/s", 2, &Samples::new(rate));
    row("64 B: the same over a bare connection, buffered", 2, &Samples::new(bare));
    row("64 B: processor time a message, both ends and kernel, ns", 0, &Samples::new(spent));
}

async fn large(a: &Cluster, b: &Cluster) {
    let gigabytes = (LARGE.messages * LARGE.size) as f64 / 1e9;
    let (mut bare, mut rate, mut limits, mut share, mut spent) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(gigabytes / LARGE.run_bare().await);
        let (time, cpu) = LARGE.run(a, b).await;
        let (limit_time, limit_cpu) = limit();
        rate.push(gigabytes / time);
        limits.push(gigabytes / limit_time);
        share.push(limit_time / time * 100.0);
        spent.push(cpu / (2.0 * limit_cpu));
    }
    row("64 KiB: GB/s", 2, &Samples::new(rate));
    row("64 KiB: the same over a bare connection, GB/s", 2, &Samples::new(bare));
    row("64 KiB: limit, one HMAC and two copies on one core, GB/s", 2, &Samples::new(limits));
    row("64 KiB: share of the limit, %", 0, &Samples::new(share));
    row("64 KiB: processor time of both ends and kernel, in those of two such limits", 2, &Samples::new(spent));
}

impl Stream {
    /// Sends all messages, and returns once they have arrived: seconds by the clock, and of processor time.
    async fn run(&self, a: &Cluster, b: &Cluster) -> (f64, f64) {
        let room = Arc::new(Semaphore::new(self.window));
        let messages = b.messages();
        let (sender, to) = (a.clone(), b.local_node_id().expect("it runs"));
        let (begin, before) = (Instant::now(), Cpu::now());
        let sending = tokio::spawn(send(sender, to, room.clone(), self.messages / self.batch, self.batch, self.size));
        let reading = tokio::spawn(read(messages, room, self.messages, self.batch));
        sending.await.expect("it ends");
        reading.await.expect("it ends");
        (begin.elapsed().as_secs_f64(), (Cpu::now() - before).total())
    }

    /// The same over a connection of tokio, without frames, numbers or tags: seconds by the clock.
    async fn run_bare(&self) -> f64 {
        let Self { messages, size, .. } = *self;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("it can listen");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("it listens");
        let (peer, _) = listener.accept().await.expect("a peer");
        let begin = Instant::now();
        let sending = tokio::spawn(async move {
            let (mut stream, payload) = (BufWriter::with_capacity(BARE_BUFFER, stream), vec![7; size]);
            for _ in 0..messages {
                stream.write_all(&payload).await.expect("it is open");
            }
            stream.flush().await.expect("it is open");
        });
        let reading = tokio::spawn(async move {
            let (mut peer, mut payload) = (BufReader::with_capacity(BARE_BUFFER, peer), vec![0; size]);
            for _ in 0..messages {
                peer.read_exact(&mut payload).await.expect("it is open");
            }
        });
        sending.await.expect("it ends");
        reading.await.expect("it ends");
        begin.elapsed().as_secs_f64()
    }
}

async fn send(a: Cluster, to: NodeId, room: Arc<Semaphore>, batches: usize, batch: usize, size: usize) {
    let payload = Bytes::from(vec![7; size]);
    for _ in 0..batches {
        room.acquire().await.expect("it is open").forget();
        for _ in 0..batch {
            a.send(&to, payload.clone()).expect("there is room");
        }
    }
}

async fn read(mut messages: MessageStream, room: Arc<Semaphore>, count: usize, batch: usize) {
    for number in 1..=count {
        messages.next().await.expect("it is open").expect("none is dropped");
        if number % batch == 0 {
            room.add_permits(1);
        }
    }
}

/// What one side takes at least for so many messages of 64 KiB, their HMACs and a copy into and one out of a buffer: seconds by the
/// clock, and of processor time.
fn limit() -> (f64, f64) {
    let key = Hmac::<Sha256>::new_from_slice(&[7; 32]).expect("any length will do");
    // In one piece, at distances that are no multiple of a page: copies between like places of two pages are slower.
    let mut memory = vec![7; 3 * LARGE.size + 2 * 1088];
    let (payload, rest) = memory.split_at_mut(LARGE.size + 1088);
    let (record, socket) = rest.split_at_mut(LARGE.size + 1088);
    let (payload, record) = (&payload[..LARGE.size], &mut record[..LARGE.size]);
    let (begin, before) = (Instant::now(), Cpu::now());
    for _ in 0..LARGE.messages {
        black_box(&mut *record).copy_from_slice(black_box(payload));
        black_box(key.clone().chain_update(&*record).finalize());
        black_box(&mut *socket).copy_from_slice(record);
    }
    (begin.elapsed().as_secs_f64(), (Cpu::now() - before).total())
}
