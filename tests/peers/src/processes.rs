//! noex: a process on another node. What is not answered is a cast, and what is answered a call.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use futures_lite::future;
use noex_tokio::{Address, Bytes, Call, Cluster, Limits, Protocol, Reply};
use serde::{Deserialize, Serialize};

use crate::calls::Caller;
use crate::messages::{Pair, SMALL, is_asked};
use crate::noex::config;

/// More than any measurement has on its way: by default a mailbox takes 1,024.
const MAILBOX: usize = 128 << 10;

#[derive(Deserialize, Serialize)]
enum Request {
    Ask(Bytes, Reply<Bytes>),
    Tell(Bytes),
}

impl Protocol for Request {
    const NAME: &'static str = "request/1";
}

#[derive(Clone)]
pub(crate) struct Process {
    far: Address<Request>,
    /// The nodes, which run as long as this.
    _nodes: [Cluster; 2],
}

impl Process {
    async fn new() -> Self {
        let (near, far) = (Cluster::new(), Cluster::new());
        near.start(config(0).port(0)).await.expect("it can listen");
        let seed = near.local_node_id().expect("it runs").to_string();
        let limits = Limits::default().mailbox_messages(MAILBOX);
        far.start(config(1).port(0).seeds([seed]).limits(limits)).await.expect("it can listen");
        for node in [&near, &far] {
            node.wait_for_nodes(1, Duration::from_secs(10)).await.expect("they meet");
        }
        let mut mailbox = far.open::<Request>().expect("there is room");
        let process = mailbox.id().clone();
        tokio::spawn(async move {
            while let Some(request) = mailbox.next().await {
                if let Request::Ask(message, reply) = request {
                    reply.send(message.slice(..SMALL));
                }
            }
        });
        Self { far: near.address(process), _nodes: [near, far] }
    }
}

impl Caller for Process {
    async fn open() -> Self {
        Self::new().await
    }

    async fn call(self, message: Bytes) {
        self.far.call(|reply| Request::Ask(message, reply)).await.expect("it answers");
    }
}

pub(crate) struct ProcessPair {
    answers: VecDeque<Answer>,
    process: Process,
}

enum Answer {
    Come,
    Coming(Pin<Box<Call<Bytes>>>),
}

impl Pair for ProcessPair {
    async fn open() -> Self {
        Self { answers: VecDeque::new(), process: Process::new().await }
    }

    async fn send(&mut self, message: &Bytes) {
        let (far, message) = (&self.process.far, message.clone());
        if !is_asked(&message) {
            return far.cast(Request::Tell(message)).expect("there is room");
        }
        let mut call = Box::pin(far.call(|reply| Request::Ask(message, reply)));
        // Its first poll sends it.
        let answer = match future::poll_once(&mut call).await {
            Some(answer) => {
                answer.expect("it answers");
                Answer::Come
            }
            None => Answer::Coming(call),
        };
        self.answers.push_back(answer);
    }

    async fn answer(&mut self) {
        if let Answer::Coming(call) = self.answers.pop_front().expect("one was asked for") {
            call.await.expect("it answers");
        }
    }
}
