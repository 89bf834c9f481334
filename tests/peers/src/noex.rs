//! noex: a session of each with each, over TCP.

use std::time::Duration;

use noex_tokio::{Cluster, ClusterConfig};

use crate::member::{Member, Plan, address};

/// A node with a secret, and defaults but for a heartbeat interval of so many seconds.
pub(crate) struct Noex<const INTERVAL: u64>(Cluster);

impl<const INTERVAL: u64> Member for Noex<INTERVAL> {
    async fn start(number: usize, _: Plan) -> Self {
        let config = ClusterConfig::new(format!("node{number}"))
            .host("127.0.0.1")
            .port(address(number).port())
            .heartbeat_interval(Duration::from_secs(INTERVAL))
            .cluster_secret("a secret of the comparison")
            .seeds((number > 0).then(|| format!("node0@{}", address(0))));
        let cluster = Cluster::new();
        cluster.start(config).await.expect("it can listen");
        Self(cluster)
    }

    fn live(&self) -> usize {
        self.0.connected_node_count().unwrap_or(0)
    }

    fn downs(&self) -> usize {
        self.0.counters().downs as usize
    }
}
