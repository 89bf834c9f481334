//! What is particular to async-std: the process has one runtime, which begins by itself.

use futures_lite::future;
use noex_async_std::{Cluster, ClusterConfig, ClusterStatus};

#[test]
fn a_node_may_be_started_from_any_thread() {
    let node = Cluster::new();
    let config = ClusterConfig::new("a").host("127.0.0.1").port(0);
    assert_eq!(future::block_on(node.start(config)), Ok(()));
    assert_eq!(node.status(), ClusterStatus::Running);
    future::block_on(node.stop());
    assert_eq!(node.status(), ClusterStatus::Stopped);
}
