//! Whoever is not reached is waited for, sought or dialled, whatever happens in whatever order.

use std::format;
use std::net::SocketAddr;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

use proptest::collection::vec as many;
use proptest::prelude::*;

use super::{ADDRESS, Bench, INTERVAL, MS, Rogue, SECRET, heartbeat, intro, members, offer};
use crate::id::incarnation::Incarnation;
use crate::mesh::node::Node;
use crate::wire::handshake::{HandshakeFailure, LocalHello, RejectCode, Responder, ResponderStep, reject_frame};
use crate::wire::keys::Secrets;
use crate::wire::message::{Control, Member};
use crate::{Action, ClusterConfig, ConnId, ConnectError, Input, Limits, LookupId, NodeId, NodeStatus, Secret};

/// What is random of one happening.
type Dice = (u8, u8, u8);

/// Nodes less and greater than the one under test, at addresses, behind a name of their own, and behind one that leads to all.
const NODES: [&str; 6] =
    ["a@10.0.1.1:1", "z@10.0.1.1:1", "b@one.example:2", "c@all.example:3", "y@all.example:3", "z@10.0.1.2:4"];

const SEEDS: [&str; 10] = [
    "a@10.0.1.1:1",
    "10.0.1.1:1",
    "z@10.0.1.1:1",
    "one.example:2",
    "one.example.:2",
    "b@one.example.:2",
    "all.example:3",
    "c@all.example:3",
    "m@10.0.0.1:4369",
    "10.0.0.1:4369",
];

fn id(die: u8) -> NodeId {
    NODES[usize::from(die) % NODES.len()].parse().expect("an id")
}

fn pick<T: Copy>(of: &[T], die: u8) -> Option<T> {
    of.get(usize::from(die) % of.len().max(1)).copied()
}

/// The machine, and all that it waits for.
struct World {
    bench: Bench,
    seen: usize,
    dials: Vec<ConnId>,
    lookups: Vec<LookupId>,
    count: u64,
}

impl World {
    fn new(seeds: &[&str]) -> Self {
        let limits = Limits { dials_in_flight: 3, lookups_in_flight: 1, members: 4, disconnected_nodes: 3, ..Limits::default() };
        let config = ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(seeds.iter().take(4)).limits(limits);
        let mut world = Self { bench: Bench::of(config), seen: 0, dials: vec![], lookups: vec![], count: 0 };
        world.look();
        world
    }

    fn node(&self) -> &Node {
        &self.bench.machine.active().expect("it runs").node
    }

    /// What the driver is asked for.
    fn look(&mut self) {
        for action in &self.bench.actions[self.seen..] {
            match action {
                Action::Connect { conn, .. } => self.dials.push(*conn),
                Action::Resolve { lookup, .. } => self.lookups.push(*lookup),
                Action::Close { conn, .. } => self.dials.retain(|dial| dial != conn),
                _ => {}
            }
        }
        self.seen = self.bench.actions.len();
    }

    fn happen(&mut self, (what, which, how): Dice) {
        let dial = pick(&self.dials, which);
        let peers: Vec<ConnId> = self.bench.members.keys().copied().collect();
        let peer = pick(&peers, which);
        match (what % 16, dial, peer) {
            (0..=2, Some(conn), _) => {
                self.dials.retain(|dial| *dial != conn);
                let errors =
                    [ConnectError::Refused, ConnectError::TimedOut, ConnectError::Unreachable, ConnectError::Local("no".into())];
                self.bench.feed(Input::DialFailed { conn, error: errors[usize::from(how) % 4].clone() });
            }
            (3..=5, Some(conn), _) => {
                self.dials.retain(|dial| *dial != conn);
                self.serve(conn, how);
            }
            (6 | 7, ..) => {
                if let Some(lookup) = pick(&self.lookups, which) {
                    self.lookups.retain(|other| *other != lookup);
                    let addrs = match how % 8 {
                        0 => Err("try again".into()),
                        1 => Ok(vec![]),
                        count => Ok((0..count).map(|last| SocketAddr::from(([10, 0, 7, last], 0))).collect()),
                    };
                    self.bench.feed(Input::Resolved { addrs, lookup });
                }
            }
            (8, ..) => {
                let seeds =
                    (0..8_usize).filter(|bit| how >> bit & 1 == 1).map(|bit| SEEDS[(usize::from(which) + bit) % 10].to_string());
                let (now, seeds) = (self.bench.now, seeds.take(4).collect::<Vec<String>>());
                self.bench.machine.set_seeds(now, &seeds).expect("valid");
                self.bench.feed(Input::Tick);
            }
            (9 | 10, ..) => {
                let conn = self.bench.authenticate(&id(which), 1 + how % 2, ADDRESS);
                self.introduce(conn, how / 2);
            }
            (11, _, Some(conn)) => {
                if how % 2 == 0 {
                    self.bench.say(conn, &[Control::Goodbye]);
                } else {
                    self.bench.feed(Input::Closed { conn });
                }
                self.bench.members.remove(&conn);
            }
            (12 | 13, _, Some(conn)) => {
                self.bench.say(conn, &[heartbeat(u64::from(how))]);
                let told: Vec<Member> =
                    (0..6).filter(|bit| how >> bit & 1 == 1).map(|bit| (id(bit), Incarnation([1 + (how >> 7); 16]))).collect();
                self.bench.say(conn, &[members(told)]);
            }
            (14, ..) => self.bench.run(u32::from(how) * 4 * MS),
            (15, ..) => {
                for conn in peers {
                    self.bench.say(conn, &[Control::Ping(0)]);
                }
                self.bench.run(u32::from(how) * 40 * MS);
            }
            _ => {}
        }
        self.look();
    }

    /// Who was dialled answers.
    fn serve(&mut self, conn: ConnId, how: u8) {
        let since = self.bench.actions.len();
        self.bench.feed(Input::Connected { conn, remote: SocketAddr::from((ADDRESS, 1)) });
        if self.node().links.get(conn).is_none() {
            // It was to show no more than that the port of a silent peer is open.
            return;
        }
        let codes = [RejectCode::Busy, RejectCode::WrongTarget];
        match how % 8 {
            0 => return self.bench.feed(Input::Closed { conn }),
            1 => return self.bench.receive(conn, "HTTP/1.1 400 Bad Request".into()),
            2 | 3 => return self.bench.receive(conn, reject_frame(codes[usize::from(how % 2)])),
            _ => {}
        }
        let secrets = Secrets::new(Some(&Secret::from(SECRET)), &[]);
        let own = self.bench.machine.local_node_id().expect("running");
        let (id, incarnation) = if how / 8 % 8 == 7 {
            (own, self.bench.machine.active().expect("it runs").local.incarnation)
        } else {
            (id(how / 8), Incarnation([1 + how % 2; 16]))
        };
        let hello = LocalHello { caps: 0, context: "noex", id: &id, incarnation, interval: INTERVAL, secrets: &secrets };
        let mut responder = Responder::new([9; 32]);
        let challenge = match responder.on_frame(&hello, &self.bench.frame(conn, since)) {
            Ok(ResponderStep::Send(challenge)) => challenge,
            Err(HandshakeFailure::Fault { reject: Some(code), .. }) => return self.bench.receive(conn, reject_frame(code)),
            other => panic!("{other:?}"),
        };
        let since = self.bench.actions.len();
        self.bench.receive(conn, challenge);
        let Ok(ResponderStep::Done(auth_ok, keyed)) = responder.on_frame(&hello, &self.bench.frame(conn, since)) else {
            panic!("auth")
        };
        let rogue = Rogue { id: id.clone(), sealer: keyed.sealer, opener: keyed.opener, heard: vec![] };
        self.bench.members.insert(conn, rogue);
        self.bench.receive(conn, auth_ok);
        self.introduce(conn, how / 2);
    }

    /// A session's admission, as far as the peer goes on with it.
    fn introduce(&mut self, conn: ConnId, how: u8) {
        self.count += 1;
        let offers = self.bench.members[&conn].id < self.bench.machine.local_node_id().expect("running");
        if offers {
            self.bench.say(conn, &[offer()]);
        }
        match how % 8 {
            0 => {}
            1 => self.bench.feed(Input::Closed { conn }),
            2 => self.bench.say(conn, &[Control::Refused(how / 8)]),
            _ => self.bench.say(conn, &[intro(self.count)]),
        }
    }

    /// That each target has one way to its next dial, and each dial its connection and its place, is audited after each input.
    fn check(&self) -> Result<(), TestCaseError> {
        let node = self.node();
        prop_assert!(node.dialler.slots().in_flight() <= 3 && self.bench.machine.host.lookups.under_way() <= 1);
        prop_assert!(
            node.dialler.seeds().all(|target| node.dialler.iter().any(|(of, _)| *of == target)),
            "a seed is not dialled"
        );
        for (id, peer) in node.peers.iter() {
            let left = node.peers.departed().get(id).is_some_and(|(left, _)| peer.incarnation == Some(*left));
            let pending = peer.status() == NodeStatus::Connecting && !peer.pair.sessions().is_empty();
            let excused = peer.session().is_some() || left || pending;
            let is_dialled = node.dialler.iter().any(|(target, _)| node.dialler.node_at(target) == Some(id));
            prop_assert!(excused || is_dialled, "{id} is {:?} and not dialled: {peer:?}", peer.status());
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    /// Every target that is not reached has one of: a time to be dialled at, a place in the queue, a lookup, a connection. Every node that is
    /// lost and did not leave has a target.
    #[test]
    fn whoever_is_not_reached_is_dialled_sometime(seeds in many(0..SEEDS.len(), 0..4), dice in many(any::<Dice>(), 0..120)) {
        let seeds: Vec<&str> = seeds.into_iter().map(|seed| SEEDS[seed]).collect();
        let mut world = World::new(&seeds);
        for (step, die) in dice.into_iter().enumerate() {
            world.happen(die);
            world.check().map_err(|error| TestCaseError::fail(format!("after {step}: {error}")))?;
        }
    }
}
