//! What is done to connections: each node stands behind a proxy, at an address of its own, which is the one that it tells others.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use nix::sys::signal::Signal;
use noex_conformance::proxy::Proxy;

use crate::cluster::{Cluster, Mark, Place};
use crate::log::{Word, downs};
use crate::processes::{Loopback, heals};
use crate::{Form, THRESHOLD};

/// Few, since the proxies have threads for each connection, and each connection has its fault.
const NODES: usize = 5;

#[derive(Debug)]
struct Proxied {
    loopback: Loopback,
    proxies: Vec<Proxy>,
}

impl Proxied {
    fn new() -> Self {
        let mut place = Self { loopback: Loopback::new(), proxies: Vec::new() };
        let addr = |host: String| -> SocketAddr { format!("{host}:{}", place.port()).parse().unwrap() };
        let proxies = (0..NODES).map(|node| Proxy::between(addr(place.advertised(node)), addr(place.host(node)))).collect();
        place.proxies = proxies;
        place
    }
}

impl Place for Proxied {
    fn command(&self, node: usize, program: &str) -> Command {
        self.loopback.command(node, program)
    }

    fn host(&self, node: usize) -> String {
        self.loopback.host(node)
    }

    fn advertised(&self, node: usize) -> String {
        self.loopback.addr(100 + node)
    }

    fn port(&self) -> u16 {
        self.loopback.port()
    }
}

fn start() -> Cluster<Proxied> {
    Cluster::start(NODES, THRESHOLD, Proxied::new())
}

/// With a fault that hurts nobody, a node leaves, comes back, and hears a message.
fn is_borne(mut cluster: Cluster<Proxied>, size: usize) {
    let mark = cluster.mark();
    let others = cluster.others(&[2]);
    cluster.leave(2);
    cluster.spawn(2);
    cluster.settle();
    cluster.type_line(1, &"x".repeat(size));
    cluster.wait("the message arrives", &mark, |lines| {
        [0, 2, 3, 4].iter().all(|node| lines[*node].iter().any(|line| line.word == Word::Message))
    });
    heals(&cluster, &[&others], &mark);
}

/// Both ends of each session see it end. There may be other connections: a node that dials the seed that it is itself has one.
fn lose_each_other(cluster: &Cluster<Proxied>, mark: &Mark) {
    cluster.wait("each node has lost each other", mark, |lines| {
        lines.iter().all(|lines| downs(lines).map(|(id, _)| id).collect::<BTreeSet<_>>().len() == NODES - 1)
    });
}

pub(crate) fn bytes_that_come_one_by_one_are_heard(_form: &Form) {
    let cluster = start();
    cluster.place.proxies.iter().for_each(|proxy| proxy.trickle(true));
    // Little: each byte is a write and a read, and a record is a sign of life only when it is whole.
    is_borne(cluster, 2_000);
}

pub(crate) fn slow_ways_are_borne(_form: &Form) {
    let cluster = start();
    cluster.place.proxies.iter().for_each(|proxy| proxy.delay(std::time::Duration::from_millis(150)));
    // Several records.
    is_borne(cluster, 200_000);
}

/// By heartbeats, which are short: what is reset in the middle of one has begun it.
pub(crate) fn connections_that_are_torn_within_a_frame_come_back(_form: &Form) {
    let cluster = start();
    for _ in 0..3 {
        let mark = cluster.mark();
        cluster.place.proxies.iter().for_each(Proxy::tear);
        lose_each_other(&cluster, &mark);
        assert!(
            cluster.all().iter().all(|node| cluster.reasons(*node, &mark).iter().all(|reason| reason == "connection_closed"))
        );
        heals(&cluster, &[], &mark);
    }
}

/// Who dialled comes again; the other end has a session that died without its knowledge.
pub(crate) fn ends_that_hear_nothing_of_their_peers_end_are_replaced(_form: &Form) {
    let cluster = start();
    let mark = cluster.mark();
    cluster.place.proxies.iter().for_each(Proxy::half_open);
    lose_each_other(&cluster, &mark);
    heals(&cluster, &[], &mark);
}

/// Longer than a peer may be silent. A process that is frozen as well accuses nobody.
pub(crate) fn frozen_connections_time_out_and_come_back(_form: &Form) {
    let cluster = start();
    let mark = cluster.mark();
    cluster.signal(4, Signal::SIGSTOP);
    cluster.place.proxies.iter().for_each(Proxy::freeze);
    cluster.wait("all are alone", &mark, |lines| lines[..4].iter().all(|lines| downs(lines).count() == 4));
    cluster.place.proxies.iter().for_each(Proxy::thaw);
    cluster.signal(4, Signal::SIGCONT);
    cluster.settle();
    assert!(cluster.reasons(4, &mark).iter().all(|reason| reason == "connection_closed"));
    heals(&cluster, &[], &mark);
}
