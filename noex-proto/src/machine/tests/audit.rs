//! Books that differ: an audit sees each of them.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::{Active, Machine, Run};
use super::{ADDRESS, Bench, SECOND, node};
use crate::mesh::cx::{Cx, Timer, Wait};
use crate::mesh::detector::Detector;
use crate::mesh::dialler::{Dialler, Target};
use crate::mesh::links;
use crate::mesh::node::Node;
use crate::mesh::peers::Peers;
use crate::{ClusterConfig, ConnId, Input, Instant};

type Links = links::Links<Target>;

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

fn audit(bench: &mut Bench, change: impl Fn(&mut Cx<'_>, &mut Node)) -> bool {
    let Machine { host, processes: _, run } = &mut bench.machine;
    let Run::Active(active) = run else { panic!("it runs") };
    let Active { local, node, .. } = &mut **active;
    change(&mut Cx { host, local, above: &mut () }, node);
    catch_unwind(AssertUnwindSafe(|| node.audit(host, local))).is_ok()
}

#[test]
fn an_audit_sees_each_book_that_drifts() {
    assert!(audit(&mut busy(), |_, _| {}), "sound");
    for (place, drift) in Links::DRIFTS.into_iter().enumerate() {
        assert!(!audit(&mut busy(), |_, node| drift(&mut node.links)), "links {place}");
    }
    for (place, drift) in Peers::DRIFTS.into_iter().enumerate() {
        assert!(!audit(&mut busy(), |_, node| drift(&mut node.peers)), "peers {place}");
    }
    for (place, drift) in Detector::DRIFTS.into_iter().enumerate() {
        assert!(!audit(&mut busy(), |_, node| drift(&mut node.detector)), "detector {place}");
    }
    for (place, drift) in Dialler::DRIFTS.into_iter().enumerate() {
        assert!(!audit(&mut busy(), |_, node| drift(&mut node.dialler)), "dialler {place}");
    }
    let drifts: [fn(&mut Cx<'_>, &mut Node); 4] = [
        |cx, _| cx.local.timers.set(Timer::Steady(ConnId(99)), Instant::START),
        |cx, _| cx.local.timers.set(Timer::TakeIn, Instant::START),
        |cx, node| cx.local.waits.cancel(&Wait::Handshake(node.links.iter().last().expect("a stranger").0)),
        |cx, _| cx.host.lookups.abandon(),
    ];
    for (place, drift) in drifts.into_iter().enumerate() {
        assert!(!audit(&mut busy(), drift), "deadlines and lookups {place}");
    }
}
