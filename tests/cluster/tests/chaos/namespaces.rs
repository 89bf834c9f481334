//! What is done to a network: each node has a host of its own, a network namespace, and the hosts hang at two bridges with a link
//! between them. All addresses are inside of those namespaces.

use std::process::{Command, id};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::cluster::{Cluster, Place};
use crate::command::run;
use crate::processes::heals;
use crate::{Form, THRESHOLD};

#[derive(Debug)]
struct Hosts {
    /// The namespace with the bridges; a host's has the node's number at the end.
    hub: String,
    nodes: usize,
}

impl Hosts {
    /// An error where the machine allows no namespaces and bridges, or has not got the command for them.
    fn new(nodes: usize) -> Result<Self, String> {
        static TESTS: AtomicUsize = AtomicUsize::new(0);
        let hub = format!("noex-{}-{}-", id(), TESTS.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &hub], "")?;
        // From here on, dropping it removes what there is.
        let hosts = Self { hub, nodes };
        let mut bridges = String::from("link add name link-a type veth peer name link-b\n");
        for half in ["a", "b"] {
            bridges += &format!("link add name bridge-{half} type bridge\nlink set dev bridge-{half} up\n");
            bridges += &format!("link set dev link-{half} master bridge-{half} up\n");
        }
        run("ip", &["-n", &hosts.hub, "-batch", "-"], &bridges)?;
        let neighbours: String = (0..nodes)
            .map(|node| format!("neigh replace {} lladdr {} dev eth0 nud permanent\n", hosts.host(node), mac(node)))
            .collect();
        for node in 0..nodes {
            let namespace = hosts.namespace(node);
            run("ip", &["netns", "add", &namespace], "").unwrap();
            let half = if hosts.halves()[0].contains(&node) { "a" } else { "b" };
            let port = format!(
                "link add name port{node} type veth peer name eth0 netns {namespace}\nlink set dev port{node} master bridge-{half} up\n"
            );
            run("ip", &["-n", &hosts.hub, "-batch", "-"], &port).unwrap();
            // Addresses are not asked for, so that a cut of one direction is one.
            let own = format!(
                "link set dev lo up\nlink set dev eth0 address {}\naddr add {}/24 dev eth0\nlink set dev eth0 up\n",
                mac(node),
                hosts.host(node)
            );
            run("ip", &["-n", &namespace, "-batch", "-"], &(own + &neighbours)).unwrap();
        }
        Ok(hosts)
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}{node}", self.hub)
    }

    fn halves(&self) -> [Vec<usize>; 2] {
        let half = self.nodes / 2;
        [(0..half).collect(), (half..self.nodes).collect()]
    }

    /// The link between the halves.
    fn link(&self, args: &[&str]) {
        let hub = ["-n", self.hub.as_str()];
        run("ip", &[&hub, args].concat(), "").unwrap();
    }

    /// Whether what the first half sends reaches the second. The way back is open.
    fn one_way(&self, open: bool) {
        let state = if open { "on" } else { "off" };
        let port = ["link", "set", "dev", "link-a", "type", "bridge_slave"];
        self.link(&[&port[..], &["learning", state, "flood", state, "mcast_flood", state, "bcast_flood", state]].concat());
        // What was learned until then is forgotten, or it would be sent there still.
        self.link(&[&port[..], &["fdb_flush"]].concat());
    }
}

fn mac(node: usize) -> String {
    format!("02:00:00:00:01:{node:02x}")
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for node in 0..self.nodes {
            let _was_never_there = run("ip", &["netns", "del", &self.namespace(node)], "");
        }
        let _was_never_there = run("ip", &["netns", "del", &self.hub], "");
    }
}

impl Place for Hosts {
    fn command(&self, node: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node), program]);
        command
    }

    fn host(&self, node: usize) -> String {
        format!("10.0.0.{}", node + 1)
    }

    fn port(&self) -> u16 {
        4369
    }
}

fn start(form: &Form) -> Option<Cluster<Hosts>> {
    match Hosts::new(form.nodes) {
        Ok(hosts) => Some(Cluster::start(form.nodes, THRESHOLD, hosts)),
        Err(error) => {
            eprintln!(
                "skipped: this machine gives nodes no hosts of their own, which takes root and network namespaces: {error}"
            );
            None
        }
    }
}

/// For three times as long as it takes to notice.
pub(crate) fn halves_that_hear_nothing_of_each_other_meet_again(form: &Form) {
    let Some(cluster) = start(form) else { return };
    let halves = cluster.place.halves();
    let mark = cluster.mark();
    let begin = Instant::now();
    cluster.place.link(&["link", "set", "dev", "link-a", "down"]);
    for half in &halves {
        cluster.agree("a half is for itself", half);
    }
    cluster.last(begin, cluster.detection() * 3);
    cluster.place.link(&["link", "set", "dev", "link-a", "up"]);
    heals(&cluster, &[&halves[0], &halves[1]], &mark);
}

pub(crate) fn halves_of_which_one_hears_nothing_of_the_other_meet_again(form: &Form) {
    let Some(cluster) = start(form) else { return };
    let halves = cluster.place.halves();
    let mark = cluster.mark();
    let begin = Instant::now();
    cluster.place.one_way(false);
    for half in &halves {
        cluster.agree("a half is for itself", half);
    }
    cluster.last(begin, cluster.detection() * 3);
    cluster.place.one_way(true);
    heals(&cluster, &[&halves[0], &halves[1]], &mark);
    // Who heard nothing had to find out; the others are told.
    assert!(halves[1].iter().all(|node| cluster.reasons(*node, &mark).iter().all(|reason| reason == "heartbeat_timeout")));
}

/// As on a bad line between two places: nobody goes down for it.
pub(crate) fn a_network_that_delays_and_loses_is_borne(form: &Form) {
    let Some(mut cluster) = start(form) else { return };
    for end in ["link-a", "link-b"] {
        let netem =
            ["-n", &cluster.place.hub, "qdisc", "add", "dev", end, "root", "netem", "delay", "50ms", "20ms", "loss", "1%"];
        if let Err(error) = run("tc", &netem, "") {
            return eprintln!("skipped: this machine's kernel makes no link slow and lossy: {error}");
        }
    }
    let node = form.nodes - 1;
    let others = cluster.others(&[node]);
    let mark = cluster.mark();
    cluster.leave(node);
    cluster.spawn(node);
    cluster.settle();
    let begin = Instant::now();
    cluster.last(begin, cluster.detection() * 3);
    heals(&cluster, &[&others], &mark);
}
