//! foca: SWIM over datagrams, with its configuration for local networks, driven as its example of an agent does it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::pending;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use foca::{AccumulatingRuntime, Config, Identity, NoCustomBroadcast, OwnedNotification, PostcardCodec, Timer};
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use crate::member::{Member, Plan, address};
use crate::network::Datagrams;

/// How long to wait for an answer of the seed before asking it again.
const RETRY: Duration = Duration::from_secs(1);

pub(crate) struct Foca(Arc<Seen>);

#[derive(Default)]
struct Seen {
    downs: AtomicUsize,
    live: AtomicUsize,
}

/// An address, and how often its node has come back.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Id(SocketAddr, u32);

impl Identity for Id {
    type Addr = SocketAddr;

    fn renew(&self) -> Option<Self> {
        Some(Self(self.0, self.1 + 1))
    }

    fn addr(&self) -> SocketAddr {
        self.0
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.1 > adversary.1
    }
}

impl Member for Foca {
    async fn start(number: usize, plan: Plan) -> Self {
        let nodes = NonZeroU32::new(plan.nodes as u32).expect("some nodes");
        let socket = UdpSocket::bind(address(number)).await.expect("the port is free");
        let foca = foca::Foca::new(Id(address(number), 0), Config::new_lan(nodes), rand::make_rng(), PostcardCodec);
        let seen = Arc::<Seen>::default();
        let agent = Agent {
            announce: (number > 0).then(Instant::now),
            datagrams: Datagrams::new(plan.network),
            foca,
            runtime: AccumulatingRuntime::new(),
            seen: seen.clone(),
            socket,
            timers: BinaryHeap::new(),
        };
        tokio::spawn(agent.run());
        Self(seen)
    }

    /// A socket each.
    fn open_files(nodes: usize) -> usize {
        nodes
    }

    fn live(&self) -> usize {
        self.0.live.load(Relaxed)
    }

    fn downs(&self) -> usize {
        self.0.downs.load(Relaxed)
    }
}

struct Agent {
    /// When to ask the seed to be let in, as long as nobody has answered.
    announce: Option<Instant>,
    datagrams: Datagrams<Vec<u8>>,
    foca: foca::Foca<Id, PostcardCodec, StdRng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Id>,
    seen: Arc<Seen>,
    socket: UdpSocket,
    timers: BinaryHeap<Reverse<(Instant, Timer<Id>)>>,
}

impl Agent {
    async fn run(mut self) {
        let mut buffer = [0; 2048];
        loop {
            let due = self.timers.peek().map(|Reverse((due, _))| *due);
            let announce = self.announce;
            let outcome = tokio::select! {
                received = self.socket.recv(&mut buffer) => match received.map(|length| self.datagrams.pass(buffer[..length].to_vec())) {
                    Ok(Some(data)) => self.foca.handle_data(&data, &mut self.runtime),
                    _ => Ok(()),
                },
                Some(data) = self.datagrams.next() => self.foca.handle_data(&data, &mut self.runtime),
                () = until(due) => match self.timers.pop() {
                    Some(Reverse((_, timer))) => self.foca.handle_timer(timer, &mut self.runtime),
                    None => Ok(()),
                },
                () = until(announce) => {
                    self.announce = Some(Instant::now() + RETRY);
                    self.foca.announce(Id(address(0), 0), &mut self.runtime)
                }
            };
            // The agent of the library's example passes over them too, as they are about what came from outside.
            let _unheeded = outcome;
            self.follow().await;
        }
    }

    /// Does what follows from an input.
    async fn follow(&mut self) {
        while let Some((to, data)) = self.runtime.to_send() {
            let _lost = self.socket.send_to(&data, to.0).await;
        }
        let now = Instant::now();
        while let Some((delay, timer)) = self.runtime.to_schedule() {
            self.timers.push(Reverse((now + delay, timer)));
        }
        while let Some(notification) = self.runtime.to_notify() {
            if matches!(notification, OwnedNotification::MemberDown(_)) {
                self.seen.downs.fetch_add(1, Relaxed);
            }
        }
        let live = self.foca.num_members();
        if live > 0 {
            self.announce = None;
        }
        self.seen.live.store(live, Relaxed);
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
