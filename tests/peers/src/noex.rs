//! noex: a session of each with each, over TCP.

use std::time::Duration;

use noex_driver::Runtime;
use noex_tokio::ClusterConfig;

use crate::member::{Member, Plan, address};

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

fn config(number: usize) -> ClusterConfig {
    ClusterConfig::new(format!("node{number}")).host("127.0.0.1").cluster_secret("a secret of the comparison")
}
