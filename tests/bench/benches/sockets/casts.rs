//! Casts one way between two nodes, beside messages by `send`, by turns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use noex_tokio::{Address, Bytes, Cluster, Limits, Mailbox, MessageStream, NodeId, Protocol};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;

use crate::process::{Raw, SIZE, Typed};
use crate::system::Cpu;
use crate::table::{Samples, head, row};
use crate::{config, seed};

const ROUNDS: usize = 15;
const MESSAGES: usize = 512 << 10;

/// How many are on their way at most: `window` batches, of which the receiver says when it has read one.
#[derive(Clone, Copy)]
struct Flow {
    batch: usize,
    window: usize,
}

/// As in `payloads`; more than a mailbox takes by default.
const WIDE: Flow = Flow { batch: 1024, window: 64 };
/// What a mailbox takes by default.
const NARROW: Flow = Flow { batch: 64, window: 15 };

/// Measures casts from one task to another on a runtime of two threads.
pub(crate) fn measure() {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        head(&format!("casts of {SIZE} B one way between two nodes in one process, authenticated"));
        for (what, flow) in [("65,536 on their way", WIDE), ("960 on their way", NARROW)] {
            compare(what, flow).await;
        }
    });
}

async fn compare(what: &str, flow: Flow) {
    let limits = Limits::default().mailbox_messages(flow.batch * (flow.window + 1));
    let (a, b) = (Cluster::new(), Cluster::new());
    a.start(config(0)).await.expect("it can listen");
    b.start(config(1).seeds([seed(&a)]).limits(limits)).await.expect("it can listen");
    for node in [&a, &b] {
        node.wait_for_nodes(1, Duration::from_secs(10)).await.expect("they meet");
    }
    let (mut sends, mut raws, mut typeds) = (Rounds::default(), Rounds::default(), Rounds::default());
    for _ in 0..ROUNDS {
        sends.push(flow.send(&a, &b).await);
        raws.push(flow.cast(&a, &b, |body, _| Raw(body.clone())).await);
        typeds.push(flow.cast(&a, &b, |_, number| Typed::new(number)).await);
    }
    for (of, rounds) in [("send", &sends), ("cast, bytes", &raws), ("cast, typed", &typeds)] {
        row(&format!("{what}: {of}, million/s"), 2, &rounds.column(|(time, _)| MESSAGES as f64 / time / 1e6));
        row(&format!("{what}: {of}, processor time a message, ns"), 0, &rounds.column(|(_, cpu)| cpu / MESSAGES as f64 * 1e9));
    }
    for (of, rounds) in [("cast, bytes", &raws), ("cast, typed", &typeds)] {
        let ratios = rounds.0.iter().zip(&sends.0).map(|((cast, _), (send, _))| send / cast);
        row(&format!("{what}: {of}, in those of send"), 2, &Samples::new(ratios.collect()));
    }
}

/// Of each, seconds by the clock and of processor time.
#[derive(Default)]
struct Rounds(Vec<(f64, f64)>);

impl Rounds {
    fn push(&mut self, round: (f64, f64)) {
        self.0.push(round);
    }

    fn column(&self, of: impl Fn(&(f64, f64)) -> f64) -> Samples {
        Samples::new(self.0.iter().map(of).collect())
    }
}

impl Flow {
    async fn send(self, a: &Cluster, b: &Cluster) -> (f64, f64) {
        let room = Arc::new(Semaphore::new(self.window));
        let (from, to, messages) = (a.clone(), b.local_node_id().expect("it runs"), b.messages());
        timed(sending(self, room.clone(), from, to), reading(self, room, messages)).await
    }

    async fn cast<M: Protocol>(self, a: &Cluster, b: &Cluster, message: fn(&Bytes, u64) -> M) -> (f64, f64) {
        let room = Arc::new(Semaphore::new(self.window));
        let mailbox = b.open::<M>().expect("there is room");
        let to = a.address(mailbox.id().clone());
        timed(casting(self, room.clone(), to, message), taking(self, room, mailbox)).await
    }
}

async fn timed(
    sending: impl Future<Output = ()> + Send + 'static,
    reading: impl Future<Output = ()> + Send + 'static,
) -> (f64, f64) {
    let (begin, before) = (Instant::now(), Cpu::now());
    let tasks = [tokio::spawn(sending), tokio::spawn(reading)];
    for task in tasks {
        task.await.expect("it ends");
    }
    (begin.elapsed().as_secs_f64(), (Cpu::now() - before).total())
}

async fn sending(Flow { batch, .. }: Flow, room: Arc<Semaphore>, a: Cluster, to: NodeId) {
    let body = Bytes::from(vec![7; SIZE]);
    for number in 0..MESSAGES {
        if number % batch == 0 {
            room.acquire().await.expect("it is open").forget();
        }
        a.send(&to, body.clone()).expect("there is room");
    }
}

async fn casting<M: Protocol>(Flow { batch, .. }: Flow, room: Arc<Semaphore>, to: Address<M>, message: fn(&Bytes, u64) -> M) {
    let body = Bytes::from(vec![7; SIZE]);
    for number in 0..MESSAGES {
        if number % batch == 0 {
            room.acquire().await.expect("it is open").forget();
        }
        to.cast(message(&body, number as u64)).expect("there is room");
    }
}

async fn reading(Flow { batch, .. }: Flow, room: Arc<Semaphore>, mut messages: MessageStream) {
    for number in 1..=MESSAGES {
        messages.next().await.expect("it is open").expect("none is dropped");
        if number % batch == 0 {
            room.add_permits(1);
        }
    }
}

async fn taking<M: Protocol>(Flow { batch, .. }: Flow, room: Arc<Semaphore>, mut mailbox: Mailbox<M>) {
    for number in 1..=MESSAGES {
        mailbox.next().await.expect("it is open");
        if number % batch == 0 {
            room.add_permits(1);
        }
    }
}
