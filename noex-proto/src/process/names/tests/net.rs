//! Some nodes that tell each other of names.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::PeerFault;
use crate::process::names::claims::Claiming;

pub(super) const P: ProtocolHash = ProtocolHash(*b"protocol");
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) struct Node {
    pub(super) names: Names,
    pub(super) counters: Counters,
    pub(super) effects: Vec<Effect>,
    pub(super) sessions: BTreeMap<usize, ConnId>,
    last: u64,
}

/// Nodes, each of which has a process with the number 1, and what is on its way between them.
pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) run: RunTime,
    pub(super) limits: Limits,
    pub(super) nodes: Vec<Node>,
    pub(super) wires: BTreeMap<(usize, usize), VecDeque<Said>>,
    pub(super) audits: bool,
}

pub(super) fn name(text: &str) -> ProcessName {
    text.parse().expect("valid")
}

/// The process with this number of a node.
pub(super) fn process(node: usize, number: u64) -> ProcessId {
    ProcessId::new(id(node), Incarnation::default(), number)
}

impl Net {
    /// Nodes without seeds that are all up with each other, and have told that they have no names.
    pub(super) fn new(nodes: usize) -> Self {
        let mut net = Self::apart(nodes, Limits::default());
        for i in 0..nodes {
            for j in i + 1..nodes {
                net.connect(i, j);
            }
        }
        net.settle();
        net.nodes.iter_mut().for_each(|node| node.effects.clear());
        net
    }

    /// Nodes that are not connected.
    pub(super) fn apart(nodes: usize, limits: Limits) -> Self {
        let node = |number| Node {
            names: started(number, false),
            counters: Counters::default(),
            effects: Vec::new(),
            sessions: BTreeMap::new(),
            last: 0,
        };
        let (now, run) = (Instant::START, RunTime::START);
        Self { now, run, limits, nodes: (0..nodes).map(node).collect(), wires: BTreeMap::new(), audits: true }
    }

    pub(super) fn with<T>(&mut self, i: usize, work: impl FnOnce(&mut Names, &mut Step<'_>) -> T) -> T {
        let Node { names, counters, effects, .. } = &mut self.nodes[i];
        let done = work(names, &mut Step { now: self.now, limits: &self.limits, counters });
        effects.extend(names.take_effects());
        if self.audits {
            names.audit();
        }
        done
    }

    // Sessions

    pub(super) fn connect(&mut self, i: usize, j: usize) {
        self.up(i, j, true);
        self.up(j, i, true);
    }

    pub(super) fn up(&mut self, i: usize, j: usize, capable: bool) {
        self.nodes[i].last += 1;
        let peer = ConnId(self.nodes[i].last);
        self.nodes[i].sessions.insert(j, peer);
        self.wires.insert((j, i), VecDeque::new());
        let (id, incarnation) = (id(j), Incarnation::default());
        self.with(i, |names, step| names.up(step, &Newcomer { peer, id: &id, incarnation, capable, silence: 40 * SECOND }));
    }

    /// One end learns that the session is over.
    pub(super) fn down(&mut self, i: usize, j: usize) {
        let peer = self.nodes[i].sessions.remove(&j).expect("it was up");
        self.wires.remove(&(j, i));
        self.with(i, |names, step| names.down(step, peer));
    }

    pub(super) fn disconnect(&mut self, i: usize, j: usize) {
        self.down(i, j);
        self.down(j, i);
    }

    // What is told

    /// A node says all that it has to say to another.
    pub(super) fn say(&mut self, i: usize, j: usize) {
        let Some(peer) = self.nodes[i].sessions.get(&j).copied() else { return };
        while self.nodes[i].names.waits(peer) {
            self.say_one(i, j);
        }
    }

    /// A record of that.
    pub(super) fn say_one(&mut self, i: usize, j: usize) -> Vec<Said> {
        let peer = self.nodes[i].sessions[&j];
        let mut record = RecordBuilder::with_capacity(0);
        self.nodes[i].names.fill_record(peer, self.run, &mut record);
        let items = said(record);
        self.wires.entry((i, j)).or_default().extend(items.iter().cloned());
        items
    }

    /// All that is on its way from one node to another arrives.
    pub(super) fn hear(&mut self, i: usize, j: usize) {
        while self.hear_one(i, j) {}
    }

    pub(super) fn hear_one(&mut self, i: usize, j: usize) -> bool {
        let Some(said) = self.wires.get_mut(&(i, j)).and_then(VecDeque::pop_front) else { return false };
        assert_eq!(self.forge(i, j, said.clone()), Ok(()), "a fault of an honest node: {said:?}");
        true
    }

    /// A node tells another one something.
    pub(super) fn forge(&mut self, i: usize, j: usize, said: Said) -> Result<(), PeerFault> {
        let peer = self.nodes[j].sessions[&i];
        self.with(j, |names, step| match said {
            Said::Told(told) => names.take(step, peer, told),
            Said::Ack(ack) => names.ack_arrived(step, peer, ack),
        })
    }

    /// All say and hear all that there is.
    pub(super) fn settle(&mut self) {
        for _ in 0..20 {
            for i in 0..self.nodes.len() {
                for j in 0..self.nodes.len() {
                    self.say(i, j);
                    self.hear(i, j);
                }
            }
        }
        assert!(self.wires.values().all(VecDeque::is_empty), "it never ends");
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.run = self.run + time;
        for i in 0..self.nodes.len() {
            self.with(i, Names::tick);
        }
    }

    // What the application does

    pub(super) fn claim(&mut self, i: usize, text: &str) -> Result<ClaimId, ClaimError> {
        self.claim_with(i, 1, text, ClaimOptions::default(), false)
    }

    pub(super) fn claim_with(
        &mut self,
        i: usize,
        process: u64,
        text: &str,
        options: ClaimOptions,
        when_free: bool,
    ) -> Result<ClaimId, ClaimError> {
        let claiming = Claiming { name: name(text), process, protocol: P, options, when_free, lost: 0 };
        self.with(i, |names, step| names.claim(step, claiming))
    }

    pub(super) fn stand_by(&mut self, i: usize, text: &str) -> ClaimId {
        self.claim_with(i, 1, text, ClaimOptions::default(), true).expect("it can stand by")
    }

    /// A node's process has a name, of which its caller has heard.
    pub(super) fn hold(&mut self, i: usize, text: &str, options: ClaimOptions) -> ClaimId {
        let claim = self.claim_with(i, 1, text, options, false).expect("it is free");
        self.settle();
        assert!(self.nodes[i].names.claim_returned(claim).is_some(), "it has settled");
        self.effects(i);
        claim
    }

    pub(super) fn effects(&mut self, i: usize) -> Vec<Effect> {
        core::mem::take(&mut self.nodes[i].effects)
    }

    /// The process that a node finds under a name.
    pub(super) fn whereis(&self, i: usize, text: &str) -> Option<ProcessId> {
        self.nodes[i].names.whereis(&name(text)).map(|holder| holder.process)
    }

    /// What all nodes find, which is the same.
    pub(super) fn holder(&self, text: &str) -> Option<ProcessId> {
        let found: Vec<_> = (0..self.nodes.len()).map(|i| self.whereis(i, text)).collect();
        assert!(found.iter().all(|holder| *holder == found[0]), "{found:?}");
        found[0].clone()
    }
}
