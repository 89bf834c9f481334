//! A message to a peer and back, and a call, beside the same over a bare connection, by turns.

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use noex_tokio::{Address, Bytes, Cluster, MessageStream, NodeId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

use crate::process::{Message, SIZE, answerer};
use crate::system::Cpu;
use crate::table::{Samples, head, row};
use crate::{seed, start};

const ROUNDS: usize = 31;
const PINGS: u32 = 1_000;

/// Measures on a runtime of two threads, on two runtimes of one thread each, and with both ends on one thread.
pub(crate) fn measure() {
    head(&format!("{SIZE} B to a peer and back, {PINGS} times a round"));
    let pool = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    on("one runtime of two threads", &pool, &pool);
    let (near, far) = (single(), Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime"));
    on("a thread for each end", &near, &far);
    let one = single();
    on("one thread", &one, &one);
}

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Measures pings from a task on `near` that a task on `far` answers.
fn on(what: &str, near: &Runtime, far: &Runtime) {
    let (from, to) = near.block_on(async {
        let b = far.spawn(start(1, None)).await.expect("it starts");
        let a = start(0, Some(&seed(&b))).await;
        a.wait_for_nodes(1, Duration::from_secs(10)).await.expect("they meet");
        b.wait_for_nodes(1, Duration::from_secs(10)).await.expect("they meet");
        (a, b)
    });
    far.spawn(answer(to.clone(), to.messages()));
    let mut call = near.block_on(async {
        let (near, far_node) = (from.clone(), to.clone());
        far.spawn(async move { answerer(&far_node, &near) }).await.expect("it is opened")
    });
    let mut noex = Pings { messages: from.messages(), to: to.local_node_id().expect("it runs"), from };
    let mut bare = near.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("it can listen");
        let address = listener.local_addr().expect("an address");
        far.spawn(async move { echo(listener.accept().await.expect("a peer").0).await });
        let stream = TcpStream::connect(address).await.expect("it listens");
        stream.set_nodelay(true).expect("an option");
        stream
    });
    let (mut of_noex, mut of_bare, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut of_calls, mut call_ratios) = (Vec::new(), Vec::new());
    let (mut noex_cpu, mut bare_cpu, mut call_cpu) = (0.0, 0.0, 0.0);
    for _ in 0..ROUNDS {
        let (bare_time, spent, back) = timed(near, bare, |mut bare| {
            Box::pin(async move {
                bare_pings(&mut bare).await;
                bare
            })
        });
        bare = back;
        bare_cpu += spent;
        let (time, spent, back) = timed(near, noex, |mut noex| {
            Box::pin(async move {
                noex.run().await;
                noex
            })
        });
        noex = back;
        noex_cpu += spent;
        let (call_time, spent, back) = timed(near, call, |call| {
            Box::pin(async move {
                calls(&call).await;
                call
            })
        });
        call = back;
        call_cpu += spent;
        of_calls.push(call_time);
        call_ratios.push(call_time / time);
        of_bare.push(bare_time);
        of_noex.push(time);
        ratios.push(time / bare_time);
    }
    row(&format!("{what}: bare, us"), 1, &Samples::new(of_bare));
    row(&format!("{what}: noex, us"), 1, &Samples::new(of_noex));
    row(&format!("{what}: ratio"), 2, &Samples::new(ratios));
    row(&format!("{what}: ratio of processor time, all rounds"), 2, &Samples::new(vec![noex_cpu / bare_cpu]));
    row(&format!("{what}: a call, us"), 1, &Samples::new(of_calls));
    row(&format!("{what}: a call, in noex's pings"), 2, &Samples::new(call_ratios));
    row(
        &format!("{what}: a call, in the processor time of noex's pings, all rounds"),
        2,
        &Samples::new(vec![call_cpu / noex_cpu]),
    );
    let count = f64::from(PINGS) * ROUNDS as f64;
    row(&format!("{what}: a call, processor time at both ends, us"), 1, &Samples::new(vec![call_cpu / count * 1e6]));
}

/// Does a round of pings in a task: microseconds a ping, and seconds of processor time.
fn timed<T: Send + 'static>(
    near: &Runtime,
    with: T,
    pings: impl FnOnce(T) -> Pin<Box<dyn Future<Output = T> + Send>>,
) -> (f64, f64, T) {
    let pings = pings(with);
    let (begin, before) = (Instant::now(), Cpu::now());
    let with = near.block_on(near.spawn(pings)).expect("it ends");
    let micros = begin.elapsed().as_secs_f64() * 1e6 / f64::from(PINGS);
    (micros, (Cpu::now() - before).total(), with)
}

struct Pings {
    from: Cluster,
    messages: MessageStream,
    to: NodeId,
}

impl Pings {
    async fn run(&mut self) {
        let payload = Bytes::from_static(&[7; SIZE]);
        for _ in 0..PINGS {
            self.from.send(&self.to, payload.clone()).expect("there is room");
            self.messages.next().await.expect("it is open").expect("none is dropped");
        }
    }
}

async fn answer(node: Cluster, mut messages: MessageStream) {
    while let Some(Ok(message)) = messages.next().await {
        node.send(&message.from, message.payload).expect("there is room");
    }
}

async fn calls(to: &Address<Message>) {
    let body = Bytes::from_static(&[7; SIZE]);
    for _ in 0..PINGS {
        to.call(|reply| Message::Echo(body.clone(), reply)).await.expect("an answer");
    }
}

async fn bare_pings(stream: &mut TcpStream) {
    let mut buffer = [7; SIZE];
    for _ in 0..PINGS {
        stream.write_all(&buffer).await.expect("it is open");
        stream.read_exact(&mut buffer).await.expect("it is open");
    }
}

async fn echo(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("an option");
    let mut buffer = [0; SIZE];
    while stream.read_exact(&mut buffer).await.is_ok() {
        stream.write_all(&buffer).await.expect("it is open");
    }
}
