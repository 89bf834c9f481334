//! Books that differ: an audit sees each of them.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::cx::Cx;
use super::super::node::{Node, Target, Timer, Wait};
use super::super::{Active, Machine, Run};
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

fn audit(bench: &mut Bench, change: fn(&mut Cx<'_>, &mut Node)) -> bool {
    let Machine { host, run } = &mut bench.machine;
    let Run::Active(active) = run else { panic!("it runs") };
    let Active { local, node } = &mut **active;
    change(&mut Cx { host, local }, node);
    catch_unwind(AssertUnwindSafe(|| node.audit(host, local))).is_ok()
}

#[test]
fn an_audit_sees_each_count_that_drifts() {
    assert!(audit(&mut busy(), |_, _| {}), "sound");
    let drifts: [fn(&mut Cx<'_>, &mut Node); 20] = [
        |_, node| node.chosen_count += 1,
        |_, node| node.closing.extend(node.conns.keys().copied()),
        |_, node| node.dials_in_flight -= 1,
        |_, node| node.digest += 1,
        |_, node| node.half_open_count += 1,
        |_, node| node.pulse *= 2,
        |_, node| node.reaching += 1,
        |_, node| node.session_count += 1,
        |_, node| node.up_count += 1,
        |_, node| node.half_open.clear(),
        |_, node| node.dial_timers.set(Target::Seed(9), Instant::START),
        |_, node| node.dials.values_mut().for_each(|dial| dial.conn = None),
        |_, node| node.dials.clear(),
        |_, node| node.heartbeats.insert(ConnId(99), Instant::START),
        |cx, _| cx.local.timers.set(Timer::Steady(ConnId(99)), Instant::START),
        |cx, _| cx.local.timers.set(Timer::TakeIn, Instant::START),
        |cx, node| cx.local.waits.cancel(&Wait::Handshake(*node.conns.last_key_value().expect("a stranger").0)),
        |_, node| node.peers.values_mut().for_each(|peer| peer.session = None),
        |_, node| node.peers.values_mut().for_each(|peer| peer.admission.sessions.clear()),
        |cx, _| cx.host.lookups.abandon(),
    ];
    for (place, drift) in drifts.into_iter().enumerate() {
        assert!(!audit(&mut busy(), drift), "drift {place}");
    }
}
