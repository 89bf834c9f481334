//! A host: a machine, its clock and its application.

use std::cell::Cell;
use std::hash::Hash;
use std::rc::Rc;
use std::time::Duration;

use noex_proto::testing::Contract;
use noex_proto::{ClusterStatus, ConnId, Instant, Machine, NodeId, SubscriptionId};

use super::digest::Digest;
use super::scenario::Node;
use crate::safety::Monitor;

/// Times are told apart to within this, and then by powers of two.
const GRAIN: Duration = Duration::from_millis(500);

/// A process and its clock. Hosts have clocks of their own, which run as fast or as slowly as the search likes.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) node: Rc<Node>,
    pub(super) machine: Machine,
    pub(super) contract: Contract,
    pub(super) now: Instant,
    /// How many times a node has been started here.
    pub(super) starts: u8,
    /// Its process was paused, and has not seen to its deadlines since.
    pub(super) paused: bool,
    /// How many phases of a rotation of secrets it has gone through.
    pub(super) phase: u8,
    pub(super) monitor: Monitor,
    pub(super) messages_of: SubscriptionId,
    /// A subscriber that has never read.
    pub(super) late: SubscriptionId,
    /// The hash of this part of the state, or 0.
    pub(super) hash: Cell<u128>,
}

impl Host {
    pub(super) fn new(node: Rc<Node>, starts: u8) -> Self {
        let mut machine = Machine::new();
        let (messages_of, late) = (machine.subscribe_messages(), machine.subscribe_events());
        Self {
            node,
            machine,
            contract: Contract::default(),
            now: Instant::START,
            starts,
            paused: false,
            phase: 0,
            monitor: Monitor::default(),
            messages_of,
            late,
            hash: Cell::new(0),
        }
    }

    pub(super) fn id(&self) -> &NodeId {
        &self.node.id
    }

    pub(super) fn is_running(&self) -> bool {
        self.monitor.status == ClusterStatus::Running
    }

    /// Its machine has a deadline.
    pub(super) fn is_waiting(&self) -> bool {
        self.machine.poll_timeout().is_some()
    }

    /// Nothing runs here: it has not been started again since it crashed or left.
    pub(super) fn is_stopped(&self) -> bool {
        self.monitor.status == ClusterStatus::Stopped
    }

    /// The connection of the session with each node that is up.
    pub(super) fn sessions(&self) -> Vec<(NodeId, ConnId)> {
        let session = |id: &NodeId| Some((id.clone(), self.machine.session(id).ok()??));
        self.monitor.up.keys().filter_map(session).collect()
    }

    /// Everything that has an influence on what follows, the application's picture included.
    pub(super) fn digest(&self) -> u128 {
        if self.hash.get() == 0 {
            let mut digest = Digest::default();
            (self.starts, self.paused, self.phase).hash(&mut digest);
            self.machine.hash_abstraction(GRAIN, &mut digest);
            self.monitor.hash_abstraction(&mut digest);
            self.hash.set(digest.value());
        }
        self.hash.get()
    }
}
