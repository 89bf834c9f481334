//! Books that differ: an audit sees each of them.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::State;
use super::super::node::{Node, Target, Timer, Wait};
use super::{ADDRESS, Bench, SECOND, node};
use crate::{ClusterConfig, ConnId, Input, Instant};

/// A node with a member that is up, a session that is not admitted, a stranger, a dial under way, and a name that is looked up.
fn busy() -> Bench {
    let mut bench = Bench::of(ClusterConfig::new("m").seeds(["10.0.9.9:1", "seed.example:1"]));
    bench.up("b");
    bench.authenticate(&node("c"), 1, ADDRESS);
    let conn = bench.machine.next_conn();
    bench.feed(Input::Accepted { conn, remote: SocketAddr::from((ADDRESS, 9)) });
    bench.run(SECOND / 2);
    bench
}

fn audit(bench: &mut Bench, change: fn(&mut Node)) -> bool {
    let State::Node(node) = &mut bench.machine.state else { panic!("it runs") };
    change(node);
    catch_unwind(AssertUnwindSafe(|| node.audit())).is_ok()
}

#[test]
fn an_audit_sees_each_count_that_drifts() {
    assert!(audit(&mut busy(), |_| {}), "sound");
    let drifts: [fn(&mut Node); 20] = [
        |node| node.chosen_count += 1,
        |node| node.closing.extend(node.conns.keys().copied()),
        |node| node.dials_in_flight -= 1,
        |node| node.digest += 1,
        |node| node.half_open_count += 1,
        |node| node.pulse *= 2,
        |node| node.reaching += 1,
        |node| node.session_count += 1,
        |node| node.up_count += 1,
        |node| node.half_open.clear(),
        |node| node.dial_timers.set(Target::Seed(9), Instant::START),
        |node| node.dials.values_mut().for_each(|dial| dial.conn = None),
        |node| node.dials.clear(),
        |node| node.heartbeats.insert(ConnId(99), Instant::START),
        |node| node.timers.set(Timer::Steady(ConnId(99)), Instant::START),
        |node| node.timers.set(Timer::TakeIn, Instant::START),
        |node| node.waits.cancel(&Wait::Handshake(*node.conns.last_key_value().expect("a stranger").0)),
        |node| node.peers.values_mut().for_each(|peer| peer.session = None),
        |node| node.peers.values_mut().for_each(|peer| peer.admission.sessions.clear()),
        |node| node.out.lookups.abandon(),
    ];
    for (place, drift) in drifts.into_iter().enumerate() {
        assert!(!audit(&mut busy(), drift), "drift {place}");
    }
}
