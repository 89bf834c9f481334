//! A logger that asks the node, as async-std logs what its tasks do.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use log::{LevelFilter, Log, Metadata, Record};
use noex_async_std::Cluster;
use noex_conformance::common::{config, patient};

static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::new);
static LOGGED: AtomicUsize = AtomicUsize::new(0);

struct Tagging;

impl Log for Tagging {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, _: &Record<'_>) {
        let _id = CLUSTER.local_node_id();
        LOGGED.fetch_add(1, Ordering::Relaxed);
    }

    fn flush(&self) {}
}

#[test]
fn a_logger_may_ask_the_node() {
    log::set_logger(&Tagging).unwrap();
    log::set_max_level(LevelFilter::Trace);
    async_std::task::block_on(async {
        let peer = Cluster::new();
        peer.start(config("peer")).await.unwrap();
        let seed = peer.local_node_id().unwrap().to_string();
        patient(CLUSTER.start(config("a").seeds([seed]))).await.unwrap();
        patient(CLUSTER.wait_for_nodes(1, noex_conformance::common::PATIENCE)).await.unwrap();
        patient(CLUSTER.stop()).await;
    });
    assert!(LOGGED.load(Ordering::Relaxed) > 0, "async-std logs its tasks");
}
