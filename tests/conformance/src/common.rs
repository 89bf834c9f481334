//! What the scenarios share, and tests of one runtime may use too.

use std::fmt::{Debug, Display};
use std::future::{Future, poll_fn};
use std::net::TcpListener;
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::Poll;
use std::time::Duration;

use async_io::Timer;
use futures_lite::future;
use noex_driver::{
    Cluster, ClusterConfig, ClusterError, ClusterEvent, ClusterStatus, EventStream, Message, MessageStream, NodeDownReason,
    NodeId, Runtime,
};

/// Longer than anything here takes on a machine that is busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How many heartbeats of a lively node may be missed.
pub const MISSED: u32 = 15;

/// A node on loopback that loses no time between two tries.
pub fn config(name: &str) -> ClusterConfig {
    ClusterConfig::new(name)
        .host("127.0.0.1")
        .port(0)
        .reconnect_base_delay(Duration::from_millis(20))
        .reconnect_max_delay(Duration::from_millis(200))
}

/// The same with heartbeats often enough to wait for some. Many may be missed, since a node that shares a busy machine with all other
/// tests is silent for that long at times, and its peers are right to say so.
pub fn lively(name: &str) -> ClusterConfig {
    config(name).heartbeat_interval(Duration::from_millis(200)).heartbeat_miss_threshold(MISSED)
}

/// A node that listens.
pub async fn start<R: Runtime>(config: ClusterConfig) -> Cluster<R> {
    let cluster = Cluster::new();
    patient(cluster.start(config)).await.unwrap();
    cluster
}

/// Two nodes, the second of which seeds the first, with a session between them.
pub async fn pair<R: Runtime>(a: ClusterConfig, b: ClusterConfig) -> (Cluster<R>, Cluster<R>) {
    let a = start(a).await;
    let b = start(b.seeds([seed(&a)])).await;
    meet(&a, &b).await;
    (a, b)
}

/// Waits until there is a session between two nodes.
pub async fn meet<R: Runtime>(a: &Cluster<R>, b: &Cluster<R>) {
    let (a_id, b_id) = (id(a), id(b));
    eventually("two nodes meet", || a.is_node_connected(&b_id) == Ok(true) && b.is_node_connected(&a_id) == Ok(true)).await;
}

/// The identity of a node that runs.
pub fn id<R: Runtime>(cluster: &Cluster<R>) -> NodeId {
    cluster.local_node_id().unwrap()
}

/// What to seed to reach a node.
pub fn seed<R: Runtime>(cluster: &Cluster<R>) -> String {
    id(cluster).to_string()
}

/// A port that is free, and that the system gives to nobody who asks for any.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let spread = std::process::id() as u16 % 1_000 * 20;
    loop {
        let port = 10_000 + (spread + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// Waits, but not for ever. By a clock of its own, so that a runtime whose timers fail is found out too.
#[track_caller]
pub fn patient<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    within_patience(Location::caller(), future)
}

async fn within_patience<T>(what: impl Display, future: impl Future<Output = T>) -> T {
    let late = async {
        Timer::after(PATIENCE).await;
        panic!("it takes too long: {what}")
    };
    future::or(future, late).await
}

/// Waits until a condition holds about which no event tells.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    within_patience(what, async {
        while !holds() {
            Timer::after(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Waits for heartbeats of every node to every other, one after the other.
pub async fn heartbeats<R: Runtime>(clusters: &[&Cluster<R>], count: usize) {
    for _ in 0..count {
        let heard = |cluster: &Cluster<R>| -> Vec<_> {
            cluster.connected_nodes().unwrap().into_iter().map(|node| (node.id, node.uptime)).collect()
        };
        let before: Vec<_> = clusters.iter().map(|cluster| heard(cluster)).collect();
        eventually("heartbeats flow", || {
            let mut both = clusters.iter().zip(&before);
            both.all(|(cluster, before)| {
                let now = heard(cluster);
                before.iter().all(|(id, uptime)| now.iter().any(|(other, later)| id == other && later > uptime))
            })
        })
        .await;
    }
}

/// Runs futures at the same time.
pub async fn all<T>(futures: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<Pin<Box<_>>> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none()
                && let Poll::Ready(value) = future.as_mut().poll(cx)
            {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

/// A subscriber who remembers what it was told.
#[derive(Debug)]
pub struct Watch {
    events: EventStream,
    /// All that was read of the stream, until it is forgotten.
    pub seen: Vec<ClusterEvent>,
}

impl Watch {
    /// Subscribes.
    pub fn new<R: Runtime>(cluster: &Cluster<R>) -> Self {
        Self { events: cluster.events(), seen: Vec::new() }
    }

    /// What happens from now on is looked at alone.
    pub async fn forget(&mut self) {
        self.read().await;
        self.seen.clear();
    }

    /// Takes what is there.
    pub async fn read(&mut self) -> &[ClusterEvent] {
        while let Some(Some(event)) = future::poll_once(pin!(self.events.next())).await {
            self.seen.push(event);
        }
        &self.seen
    }

    /// Waits for an event, among those seen as well.
    pub async fn find<T>(&mut self, what: &str, want: impl Fn(&ClusterEvent) -> Option<T>) -> T {
        if let Some(found) = self.seen.iter().find_map(&want) {
            return found;
        }
        let Self { events, seen } = self;
        within_patience(what, async {
            loop {
                let event = events.next().await.expect("the stream is open");
                let found = want(&event);
                seen.push(event);
                if let Some(found) = found {
                    return found;
                }
            }
        })
        .await
    }

    /// Waits for an error event, among those seen as well.
    pub async fn error(&mut self, what: &str, want: impl Fn(&ClusterError) -> bool) {
        self.find(what, |event| matches!(event, ClusterEvent::Error(error) if want(error)).then_some(())).await;
    }

    /// Waits until a node is down, and says why.
    pub async fn down(&mut self, wanted: &NodeId) -> NodeDownReason {
        self.find("a node goes down", |event| match event {
            ClusterEvent::NodeDown { id, reason } if id == wanted => Some(*reason),
            _ => None,
        })
        .await
    }

    /// Waits until a node is up.
    pub async fn up(&mut self, wanted: &NodeId) {
        self.find("a node comes up", |event| matches!(event, ClusterEvent::NodeUp(node) if node.id == *wanted).then_some(()))
            .await;
    }

    /// Waits until the node has a status.
    pub async fn status(&mut self, wanted: ClusterStatus) {
        self.find("a status", |event| (*event == ClusterEvent::StatusChange(wanted)).then_some(())).await;
    }

    /// Fails as soon as a node goes down, and not by the end of somebody's patience.
    pub async fn nobody_goes_down<T>(&mut self) -> T {
        while let Some(event) = self.events.next().await {
            assert!(!matches!(event, ClusterEvent::NodeDown { .. }), "{event}");
            self.seen.push(event);
        }
        panic!("the stream is open")
    }

    /// The ids that came up, in order.
    pub fn ups(&self) -> Vec<NodeId> {
        self.seen.iter().cloned().filter_map(ClusterEvent::into_node_up).map(|node| node.id).collect()
    }

    /// The ids that went down, in order, with the reasons.
    pub fn downs(&self) -> Vec<(NodeId, NodeDownReason)> {
        self.seen.iter().cloned().filter_map(ClusterEvent::into_node_down).collect()
    }

    /// The errors seen, in order.
    pub fn errors(&self) -> Vec<ClusterError> {
        self.seen.iter().cloned().filter_map(ClusterEvent::into_error).collect()
    }

    /// The statuses seen, in order.
    pub fn statuses(&self) -> Vec<ClusterStatus> {
        self.seen.iter().cloned().filter_map(ClusterEvent::into_status_change).collect()
    }
}

/// The next message of a stream.
pub async fn message(messages: &mut MessageStream) -> Message {
    within_patience("a message arrives", messages.next()).await.expect("the stream is open").expect("the reader is fast enough")
}
