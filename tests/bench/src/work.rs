//! What is measured, each piece with its setting.

use std::time::Duration;

use bytes::Bytes;
use noex_proto::{Input, NodeId, ProcessId, defaults};

use crate::Cluster;

/// A piece of work.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// A call of so many bytes, of a process on the other machine, and its answer.
    Call(usize),
    /// The same within one machine.
    CallWithin(usize),
    /// A cast of so many bytes, from one machine to a process on the other.
    Cast(usize),
    /// Two machines from the dial to both ups: handshake and admission.
    Handshake,
    /// A heartbeat interval of so many nodes with sessions to all others: a heartbeat from each to each, and the ticks between.
    Heartbeats(usize),
    /// One node joins a mesh of so many.
    Join(usize),
    /// So many monitors of a process fire, as the session with its node ends.
    MonitorsFire(usize),
    /// A message of so many bytes from one machine to the other.
    Payload(usize),
    /// A tick with so many peers, to each of which a heartbeat is due.
    TickDue(usize),
    /// A tick with so many peers, none of which is due.
    TickIdle(usize),
}

/// Work that is set up.
#[derive(Clone, Debug)]
pub struct Ready {
    cluster: Cluster,
    doing: Doing,
}

#[derive(Clone, Debug)]
enum Doing {
    /// A call from node 0, to this process of that node.
    Call(usize, ProcessId, Bytes),
    /// A cast from node 0 to a process of node 1.
    Cast(ProcessId, Bytes),
    /// The node that was started last joins.
    Join,
    /// The session of node 0 ends.
    Lose,
    /// A message from node 0, and all that follows at this moment.
    Send(NodeId, Bytes),
    /// A tick of node 0, whose actions nobody performs.
    Tick,
    /// A heartbeat interval.
    Wait,
}

impl Work {
    /// Each with its name.
    pub const ALL: [(&str, Self); 20] = [
        ("call-64", Self::Call(64)),
        ("call-within-64", Self::CallWithin(64)),
        ("cast-64", Self::Cast(64)),
        ("handshake", Self::Handshake),
        ("heartbeats-2", Self::Heartbeats(2)),
        ("heartbeats-10", Self::Heartbeats(10)),
        ("join-10", Self::Join(10)),
        ("join-50", Self::Join(50)),
        ("monitors-fire-65536", Self::MonitorsFire(65_536)),
        ("payload-64", Self::Payload(64)),
        ("payload-1k", Self::Payload(1024)),
        ("payload-64k", Self::Payload(64 << 10)),
        ("payload-1m", Self::Payload(1 << 20)),
        ("tick-due-1", Self::TickDue(1)),
        ("tick-due-10", Self::TickDue(10)),
        ("tick-due-100", Self::TickDue(100)),
        ("tick-due-1000", Self::TickDue(1000)),
        ("tick-idle-10", Self::TickIdle(10)),
        ("tick-idle-100", Self::TickIdle(100)),
        ("tick-idle-1000", Self::TickIdle(1000)),
    ];

    /// Brings about the state in which the work is done.
    #[must_use]
    pub fn set_up(self) -> Ready {
        let (cluster, doing) = match self {
            Self::Call(size) => calling(1, size),
            Self::CallWithin(size) => calling(0, size),
            Self::Cast(size) => {
                let mut cluster = Cluster::mesh(2);
                let (process, body) = (cluster.open(1), Bytes::from(vec![7; size]));
                // The tables have their first entries.
                cluster.cast(0, (1, &process), body.clone());
                (cluster, Doing::Cast(process, body))
            }
            Self::Handshake => (joining(1), Doing::Join),
            Self::Heartbeats(nodes) => {
                let mut cluster = Cluster::mesh(nodes);
                cluster.run_for(defaults::HEARTBEAT_INTERVAL * 5);
                (cluster, Doing::Wait)
            }
            Self::Join(nodes) => (joining(nodes), Doing::Join),
            Self::MonitorsFire(count) => {
                let mut cluster = Cluster::mesh(2);
                let process = cluster.open(1);
                cluster.watch(&process, count);
                (cluster, Doing::Lose)
            }
            Self::Payload(size) => {
                let cluster = Cluster::mesh(2);
                let to = cluster.id(1);
                (cluster, Doing::Send(to, Bytes::from(vec![7; size])))
            }
            Self::TickDue(peers) => {
                let mut cluster = Cluster::star(peers);
                // After a second without another peer the node asks one of them for its members: that is not what is counted.
                cluster.pass(Duration::from_secs(1));
                cluster.feed_alone(0, Input::Tick);
                cluster.pass(defaults::HEARTBEAT_INTERVAL);
                (cluster, Doing::Tick)
            }
            Self::TickIdle(peers) => (Cluster::star(peers), Doing::Tick),
        };
        Ready { cluster, doing }
    }
}

/// Two machines, and a process of one of them that was called before.
fn calling(node: usize, size: usize) -> (Cluster, Doing) {
    let mut cluster = Cluster::mesh(2);
    let (process, body) = (cluster.open(node), Bytes::from(vec![7; size]));
    cluster.call(0, (node, &process), body.clone());
    (cluster, Doing::Call(node, process, body))
}

/// A mesh, and a node that is about to dial its first.
fn joining(nodes: usize) -> Cluster {
    let mut cluster = Cluster::mesh(nodes);
    cluster.start();
    cluster
}

impl Ready {
    /// Does the work. A function of its own, so that a profiler can tell it from the setting.
    #[inline(never)]
    pub fn run(&mut self) {
        match &self.doing {
            Doing::Call(node, process, body) => self.cluster.call(0, (*node, process), body.clone()),
            Doing::Cast(process, body) => self.cluster.cast(0, (1, process), body.clone()),
            Doing::Join => self.cluster.join(),
            Doing::Lose => self.cluster.lose(),
            Doing::Send(to, payload) => {
                self.cluster.send(0, to, payload.clone());
                self.cluster.settle();
            }
            Doing::Tick => self.cluster.feed_alone(0, Input::Tick),
            Doing::Wait => self.cluster.run_for(defaults::HEARTBEAT_INTERVAL),
        }
    }
}
