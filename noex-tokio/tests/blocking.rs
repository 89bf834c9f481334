//! The example of noex-proto that drives the machine by blocking sockets and threads, in a cluster with a node on tokio.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../noex-proto/examples/blocking/driver.rs"]
mod driver;

use std::time::Duration;

use driver::{Heard, Work};
use noex_proto::Input;
use noex_tokio::{Cluster, ClusterConfig, ClusterEvent, ClusterStatus, NodeDownReason};

const PATIENCE: Duration = Duration::from_secs(30);

fn config(name: &str) -> ClusterConfig {
    ClusterConfig::new(name).host("127.0.0.1").port(0).cluster_secret("sixteen bytes or more")
}

/// The node on tokio has a runtime of several threads, as this test blocks the one that it runs on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_a_runtime_joins_talks_and_leaves() {
    let (tokio, other) = (Cluster::new(), Cluster::new());
    tokio.start(config("tokio")).await.unwrap();
    let tokio_id = tokio.local_node_id().unwrap();
    other.start(config("other").seeds([tokio_id.to_string()])).await.unwrap();
    let mut messages = tokio.messages();
    let (work, heard) = driver::start(config("blocking").seeds([tokio_id.to_string()])).unwrap();

    // It meets the one that it seeds, and by that one the other.
    tokio.wait_for_nodes(2, PATIENCE).await.unwrap();
    other.wait_for_nodes(2, PATIENCE).await.unwrap();
    let id = tokio.node_ids().unwrap().into_iter().find(|id| id.name() == "blocking").unwrap();
    let mut ups = 0;
    while ups < 2 {
        if let Heard::Event(noex_proto::ClusterEvent::NodeUp(_)) = heard.recv_timeout(PATIENCE).unwrap() {
            ups += 1;
        }
    }

    // Enough for several records and for more than a window.
    let payload = |number: u8| vec![number; 300_000];
    for number in 0..20 {
        tokio.send(&id, payload(number)).unwrap();
        work.send(Work::Input(Input::Send { payload: payload(number).into(), to: tokio_id.clone() })).unwrap();
    }
    for number in 0..20 {
        let Heard::Message(message) = heard.recv_timeout(PATIENCE).unwrap() else { panic!("nothing else happens") };
        assert_eq!((message.from, message.payload), (tokio_id.clone(), payload(number).into()));
        let message = messages.next().await.unwrap().unwrap();
        assert_eq!((&message.from, message.payload), (&id, payload(number).into()));
    }

    // It leaves, and both are told.
    let mut events = other.events();
    work.send(Work::Input(Input::Stop)).unwrap();
    let reason = loop {
        if let ClusterEvent::NodeDown { id: left, reason } = events.next().await.unwrap() {
            assert_eq!(left, id);
            break reason;
        }
    };
    assert_eq!(reason, NodeDownReason::GracefulShutdown);
    let mut statuses = Vec::new();
    while let Ok(heard) = heard.recv_timeout(PATIENCE) {
        match heard {
            Heard::Event(noex_proto::ClusterEvent::StatusChange(status)) => statuses.push(status),
            Heard::Event(event) => panic!("its own stop is no {event}"),
            Heard::Message(_) => panic!("nobody talks"),
        }
    }
    assert_eq!(statuses, [ClusterStatus::Stopping, ClusterStatus::Stopped]);
}
