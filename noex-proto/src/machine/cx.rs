//! What each part of a node is handed: the local node, and the way out of the machine.

use alloc::collections::BTreeSet;
use core::net::{IpAddr, SocketAddr};

use rand_chacha::ChaCha12Rng;

use super::host::Host;
use super::node::{InstanceId, Timer, Wait};
use crate::config::Settings;
use crate::handshake::LocalHello;
use crate::time::RunTime;
use crate::timers::Timers;
use crate::{Instant, NodeId, SendError, WallTime};

/// The local node: its identity, its settings, its clocks and its deadlines.
#[derive(Clone, Debug)]
pub(super) struct Local {
    pub(super) settings: Settings,
    pub(super) id: NodeId,
    pub(super) instance: InstanceId,
    /// The addresses of this machine, a bounded number of them.
    pub(super) own_addresses: BTreeSet<IpAddr>,
    pub(super) rng: ChaCha12Rng,
    pub(super) started: Instant,
    /// Real time, as handed in.
    pub(super) now: Instant,
    /// The wall-clock time of the last bytes that came, and the real time then.
    pub(super) wall: (WallTime, Instant),
    /// The node's own running time, on which everything that waits for a peer is measured.
    pub(super) run: RunTime,
    pub(super) timers: Timers<Timer, Instant>,
    pub(super) waits: Timers<Wait, RunTime>,
}

/// What a part may use beside its own state while it handles something.
#[derive(Debug)]
pub(super) struct Cx<'a> {
    pub(super) host: &'a mut Host,
    pub(super) local: &'a mut Local,
}

impl Local {
    /// What this node says of itself in a handshake.
    pub(super) fn hello(&self) -> LocalHello<'_> {
        LocalHello {
            id: &self.id,
            instance: self.instance,
            interval: self.settings.heartbeat_interval,
            caps: 0,
            context: &self.settings.cluster_name,
            secrets: &self.settings.secrets,
        }
    }

    /// The wall-clock time, as far as it is known: few inputs tell it.
    pub(super) fn wall_time(&self) -> WallTime {
        let (wall, at) = self.wall;
        wall + (self.now - at)
    }

    /// Whether a peer at this address is on this machine, so that loopback addresses mean the same to both.
    pub(super) fn is_near(&self, remote: Option<SocketAddr>) -> bool {
        let ip = remote.map(|remote| remote.ip().to_canonical());
        ip.is_some_and(|ip| ip.is_loopback() || self.own_addresses.contains(&ip))
    }

    /// Whether a payload may have this size.
    pub(super) const fn can_be_sent(&self, size: usize) -> Result<(), SendError> {
        let limit = self.settings.limits.message_bytes;
        if size > limit { Err(SendError::TooLarge { limit, size }) } else { Ok(()) }
    }
}

impl Cx<'_> {
    /// Real time.
    pub(super) const fn now(&self) -> Instant {
        self.local.now
    }

    /// The node's own running time.
    pub(super) const fn run(&self) -> RunTime {
        self.local.run
    }
}
