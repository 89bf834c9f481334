//! Calls between two nodes with many in flight, and calls within one node.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures_lite::future;
use noex_tokio::{Address, Bytes, Cluster, Limits};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use crate::process::{Message, SIZE, answerer};
use crate::system::Cpu;
use crate::table::{Samples, head, row};
use crate::{config, seed, start};

const ROUNDS: usize = 15;
const CALLS: usize = 128 << 10;
/// How many are in flight at a time.
const WINDOW: usize = 1_000;

/// Measures calls of a process on another node, on a runtime of two threads.
pub(crate) fn measure() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // On a thread of the runtime, as an application's tasks are.
    runtime.block_on(runtime.spawn(between_nodes())).expect("it ends");
}

async fn between_nodes() {
    let a = start(0, None).await;
    let b = Cluster::new();
    // What its process has answered counts until that takes the next batch.
    let limits = Limits::default().mailbox_messages(2 * WINDOW);
    b.start(config(1).seeds([seed(&a)]).limits(limits)).await.expect("it can listen");
    for node in [&a, &b] {
        node.wait_for_nodes(1, Duration::from_secs(10)).await.expect("they meet");
    }
    let to = answerer(&b, &a);
    head(&format!("calls of {SIZE} B between two nodes in one process, authenticated, {WINDOW} in flight"));
    let mut table = Table::default();
    for _ in 0..ROUNDS {
        table.measure("a task per call", per_task(&to)).await;
        table.measure("pipelined by one task", pipelined(&to, bytes)).await;
        table.measure("pipelined by one task, typed", pipelined(&to, order)).await;
    }
    table.print();
}

async fn bytes(to: Address<Message>, body: Bytes) {
    let answer = to.call(|reply| Message::Echo(body, reply)).await.expect("an answer");
    assert_eq!(answer.len(), SIZE);
}

async fn order(to: Address<Message>, _body: Bytes) {
    let order = |reply| Message::Order { number: 1_000_000, item: "a pallet".into(), amount: 2.5, reply };
    let receipt = to.call(order).await.expect("an answer");
    assert_eq!((receipt.number, receipt.sum), (1_000_000, 20.0));
}

/// As many tasks as are in flight, each of which ends with its answer; the end of one begins another.
async fn per_task(to: &Address<Message>) {
    let body = Bytes::from(vec![7; SIZE]);
    let mut tasks = VecDeque::with_capacity(WINDOW);
    for _ in 0..CALLS {
        if tasks.len() == WINDOW {
            let first: tokio::task::JoinHandle<()> = tasks.pop_front().expect("not empty");
            first.await.expect("it ends");
        }
        tasks.push_back(tokio::spawn(bytes(to.clone(), body.clone())));
    }
    for task in tasks {
        task.await.expect("it ends");
    }
}

/// One task that begins calls and waits for the first of them where too many are in flight.
async fn pipelined<F: Future<Output = ()>>(to: &Address<Message>, call: impl Fn(Address<Message>, Bytes) -> F) {
    let body = Bytes::from(vec![7; SIZE]);
    let mut calls: VecDeque<Pin<Box<F>>> = VecDeque::with_capacity(WINDOW);
    for _ in 0..CALLS {
        if calls.len() == WINDOW {
            calls.pop_front().expect("not empty").await;
        }
        let mut next = Box::pin(call(to.clone(), body.clone()));
        if future::poll_once(&mut next).await.is_none() {
            calls.push_back(next);
        }
    }
    for call in calls {
        call.await;
    }
}

/// What came of several rounds of each thing.
#[derive(Default)]
struct Table(Vec<(&'static str, Vec<(f64, f64)>)>);

impl Table {
    async fn measure(&mut self, what: &'static str, work: impl Future<Output = ()>) {
        let (begin, before) = (Instant::now(), Cpu::now());
        work.await;
        let measured = (begin.elapsed().as_secs_f64(), (Cpu::now() - before).total());
        match self.0.iter_mut().find(|(known, _)| *known == what) {
            Some((_, rounds)) => rounds.push(measured),
            None => self.0.push((what, vec![measured])),
        }
    }

    fn print(&self) {
        for (what, rounds) in &self.0 {
            let column = |of: fn(&(f64, f64)) -> f64| Samples::new(rounds.iter().map(of).collect());
            row(&format!("{what}: thousand calls/s"), 0, &column(|(time, _)| CALLS as f64 / time / 1e3));
            row(
                &format!("{what}: processor time a call, both ends and the kernel, ns"),
                0,
                &column(|(_, cpu)| cpu / CALLS as f64 * 1e9),
            );
        }
    }
}

/// Measures calls within one node, beside a bounded channel with a oneshot in each message, by turns.
pub(crate) fn local() {
    head(&format!("a call of {SIZE} B within a node, one at a time, beside a bounded channel of tokio with a oneshot"));
    let pool = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    within_node("a runtime of two threads", &pool);
    within_node("one thread", &Builder::new_current_thread().enable_all().build().expect("a runtime"));
}

fn within_node(what: &str, runtime: &Runtime) {
    const CALLS: u32 = 20_000;
    type Asked = (Bytes, oneshot::Sender<Bytes>);
    let measured = runtime.block_on(runtime.spawn(async {
        let node = start(0, None).await;
        let to = answerer(&node, &node);
        let (asks, mut asked) = mpsc::channel::<Asked>(1024);
        tokio::spawn(async move {
            while let Some((body, reply)) = asked.recv().await {
                reply.send(body).expect("it waits");
            }
        });
        let body = Bytes::from(vec![7; SIZE]);
        let mut rounds = Vec::new();
        for _ in 0..2 * ROUNDS + 1 {
            let begin = Instant::now();
            for _ in 0..CALLS {
                let (reply, answer) = oneshot::channel();
                asks.send((body.clone(), reply)).await.expect("it is open");
                assert_eq!(answer.await.expect("an answer").len(), SIZE);
            }
            let channel = begin.elapsed();
            let begin = Instant::now();
            for _ in 0..CALLS {
                bytes(to.clone(), body.clone()).await;
            }
            rounds.push((channel, begin.elapsed()));
        }
        rounds
    }));
    let measured: Vec<(Duration, Duration)> = measured.expect("it ends");
    let nanos = |time: &Duration| time.as_secs_f64() * 1e9 / f64::from(CALLS);
    let column = |of: &dyn Fn(&(Duration, Duration)) -> f64| Samples::new(measured.iter().map(of).collect());
    row(&format!("{what}: a channel and a oneshot, ns"), 0, &column(&|(channel, _)| nanos(channel)));
    row(&format!("{what}: a call, ns"), 0, &column(&|(_, call)| nanos(call)));
    row(&format!("{what}: ratio"), 2, &column(&|(channel, call)| nanos(call) / nanos(channel)));
}
