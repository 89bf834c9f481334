//! noex: a session of each with each, over TCP.

use std::time::Duration;

use noex_driver::Runtime;
use noex_tokio::{Bytes, ClusterConfig, MessageStream, NodeId};

use crate::member::{Member, Plan, address};
use crate::messages::{Pair, SMALL, is_asked};

/// A node with a secret, and defaults but for a heartbeat interval of so many seconds.
pub(crate) struct Noex<R: Runtime, const INTERVAL: u64>(noex_driver::Cluster<R>);

impl<R: Runtime, const INTERVAL: u64> Member for Noex<R, INTERVAL> {
    async fn start(number: usize, _: Plan) -> Self {
        let config = config(number)
            .port(address(number).port())
            .heartbeat_interval(Duration::from_secs(INTERVAL))
            .seeds((number > 0).then(|| format!("node0@{}", address(0))));
        let cluster = noex_driver::Cluster::new();
        cluster.start(config).await.expect("it can listen");
        Self(cluster)
    }

    /// Both ends of each session, and of those that are dialled from both sides and given up.
    fn open_files(nodes: usize) -> usize {
        nodes * nodes * 3 / 2
    }

    fn live(&self) -> usize {
        self.0.connected_node_count().unwrap_or(0)
    }

    fn downs(&self) -> usize {
        self.0.counters().downs as usize
    }
}

pub(crate) struct NoexPair {
    answers: MessageStream,
    far: NodeId,
    near: noex_tokio::Cluster,
}

impl Pair for NoexPair {
    async fn open() -> Self {
        let (near, far) = (noex_tokio::Cluster::new(), noex_tokio::Cluster::new());
        near.start(config(0).port(0)).await.expect("it can listen");
        let seed = near.local_node_id().expect("it runs").to_string();
        far.start(config(1).port(0).seeds([seed])).await.expect("it can listen");
        let far_id = far.local_node_id().expect("it runs");
        for node in [&near, &far] {
            node.wait_for_nodes(1, Duration::from_secs(10)).await.expect("they meet");
        }
        let mut messages = far.messages();
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                let message = message.expect("none is dropped");
                if is_asked(&message.payload) {
                    far.send(&message.from, message.payload.slice(..SMALL)).expect("there is room");
                }
            }
        });
        Self { answers: near.messages(), far: far_id, near }
    }

    async fn send(&mut self, message: &Bytes) {
        self.near.send(&self.far, message.clone()).expect("there is room");
    }

    async fn answer(&mut self) {
        self.answers.next().await.expect("it is open").expect("none is dropped");
    }
}

pub(crate) fn config(number: usize) -> ClusterConfig {
    ClusterConfig::new(format!("node{number}")).host("127.0.0.1").cluster_secret("a secret of the comparison")
}
