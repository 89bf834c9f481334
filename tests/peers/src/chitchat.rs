//! chitchat: scuttlebutt over datagrams and a phi accrual failure detector, a gossip round each second and defaults for the rest.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport, UdpTransport};
use chitchat::{
    ChitchatConfig, ChitchatEnvelope, ChitchatHandle, ChitchatId, FailureDetectorConfig, ProtocolVersion, spawn_chitchat,
};

use crate::member::{Member, Plan, address};
use crate::network::{Datagrams, Network};

pub(crate) struct Chitchat {
    _handle: ChitchatHandle,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    downs: AtomicUsize,
    live: AtomicUsize,
}

impl Member for Chitchat {
    async fn start(number: usize, plan: Plan) -> Self {
        let id = ChitchatId::new(format!("node{number}"), 0, address(number));
        let config = ChitchatConfig {
            catchup_callback: None,
            chitchat_id: id.clone(),
            cluster_id: "comparison".into(),
            extra_liveness_predicate: None,
            failure_detector_config: FailureDetectorConfig::default(),
            gossip_interval: Duration::from_secs(1),
            listen_addr: address(number),
            marked_for_deletion_grace_period: Duration::from_secs(3600),
            protocol_version: ProtocolVersion::V1,
            seed_nodes: (number > 0).then(|| address(0).to_string()).into_iter().collect(),
        };
        let handle = spawn_chitchat(config, Vec::new(), &ImpairedUdp(plan.network)).await.expect("the port is free");
        let seen = Arc::<Seen>::default();
        let mut live = handle.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
        let told = seen.clone();
        tokio::spawn(async move {
            let mut before = BTreeSet::new();
            while live.changed().await.is_ok() {
                let now: BTreeSet<_> = live.borrow_and_update().keys().filter(|other| **other != id).cloned().collect();
                told.downs.fetch_add(before.difference(&now).count(), Relaxed);
                told.live.store(now.len(), Relaxed);
                before = now;
            }
        });
        Self { _handle: handle, seen }
    }

    /// A socket each.
    fn open_files(nodes: usize) -> usize {
        nodes
    }

    fn live(&self) -> usize {
        self.seen.live.load(Relaxed)
    }

    fn downs(&self) -> usize {
        self.seen.downs.load(Relaxed)
    }
}

/// The library's transport, on a network that loses and delays.
struct ImpairedUdp(Network);

struct ImpairedSocket {
    datagrams: Datagrams<RecvOutcome>,
    socket: Box<dyn Socket>,
}

#[async_trait]
impl Transport for ImpairedUdp {
    async fn open(&self, address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(ImpairedSocket { datagrams: Datagrams::new(self.0), socket: UdpTransport.open(address).await? }))
    }
}

#[async_trait]
impl Socket for ImpairedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        self.socket.local_addr()
    }

    async fn send(&mut self, to: SocketAddr, envelope: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        self.socket.send(to, envelope).await
    }

    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        loop {
            tokio::select! {
                received = self.socket.recv() => {
                    if let Some(received) = self.datagrams.pass(received?) {
                        return Ok(received);
                    }
                }
                Some(received) = self.datagrams.next() => return Ok(received),
            }
        }
    }
}
