//! Nodes on machines of their own, one of each runtime: what they tell of themselves leads to them, and they meet.
//!
//! A machine is a network namespace, which takes root. Where there is none to be had, the test says so and passes. All addresses are
//! inside of those namespaces.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

#[path = "../chaos/command.rs"]
mod command;
mod machines;
mod nodes;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use noex_conformance::proxy::Proxy;

use crate::machines::Machines;
use crate::nodes::{NODES, Nodes, all};

/// Seeds by the names in the machines' hosts file.
fn seeds() -> Vec<String> {
    all(|node| format!("n{node}@machine-{node}.test:4369"))
}

/// The identities, with these hosts.
fn ids(host: impl Fn(usize) -> String) -> Vec<String> {
    all(|node| format!("n{node}@{}:4369", host(node)))
}

/// The network card comes after a bridge of containers, which has the same address on each machine, and a carrier.
#[test]
fn machines_with_a_bridge_of_the_same_address_meet() {
    let Some(machines) = Machines::new(|node| format!("10.77.0.{}", node + 1)) else { return };
    for node in 0..NODES {
        machines.batch(
            node,
            "link add name docker0 type bridge\naddr add 172.17.0.1/16 dev docker0\nlink set dev docker0 up\n\
             link add name inner type veth peer name outer\nlink set dev outer master docker0 up\nlink set dev inner up\n",
        );
        machines.plug(node, &format!("addr add 10.77.0.{}/24 dev eth0\n", node + 1));
        machines.batch(node, "route add default via 10.77.0.254 dev eth0\n");
    }
    Nodes::start(&seeds(), |node, program| machines.command(node, program)).meet(&ids(|node| format!("10.77.0.{}", node + 1)));
}

/// No default route decides, and the link that came first has no carrier.
#[test]
fn a_link_without_a_carrier_does_not_count() {
    let Some(machines) = Machines::new(|node| format!("10.77.0.{}", node + 1)) else { return };
    for node in 0..NODES {
        machines.batch(
            node,
            "link add name unplugged type veth peer name down\naddr add 172.17.0.1/16 dev unplugged\nlink set dev unplugged up\n",
        );
        machines.plug(node, &format!("addr add 10.77.0.{}/24 dev eth0\n", node + 1));
    }
    Nodes::start(&seeds(), |node, program| machines.command(node, program)).meet(&ids(|node| format!("10.77.0.{}", node + 1)));
}

/// The first machine has an address for IPv4 too, which leads the others nowhere.
#[test]
fn machines_whose_only_common_family_is_ipv6_meet() {
    let Some(machines) = Machines::with_ipv6(|node| format!("fd77::{}", node + 1)) else { return };
    machines.batch(
        0,
        "link add name own type veth peer name end\naddr add 10.99.0.1/24 dev own\nlink set dev own up\nlink set dev end up\n",
    );
    for node in 0..NODES {
        machines.plug(node, &format!("addr add fd77::{}/64 dev eth0 nodad\n", node + 1));
        machines.batch(node, "route add default via fd77::fe dev eth0\n");
    }
    let nodes = Nodes::start(&seeds(), |node, program| {
        let mut command = machines.command(node, program);
        command.args(["--host", "::"]);
        command
    });
    nodes.meet(&ids(|node| format!("[fd77::{}]", node + 1)));
}

/// As it is the default of some systems.
#[test]
fn machines_where_ipv6_is_apart_meet_by_ipv4() {
    let Some(machines) = Machines::with_ipv6(|node| format!("10.77.0.{}", node + 1)) else { return };
    for node in 0..NODES {
        machines.run(node, &["sh", "-c", "echo 1 > /proc/sys/net/ipv6/bindv6only"]);
        machines.plug(node, &format!("addr add 10.77.0.{}/24 dev eth0\n", node + 1));
    }
    let nodes = Nodes::start(&seeds(), |node, program| {
        let mut command = machines.command(node, program);
        command.args(["--host", "::"]);
        command
    });
    nodes.meet(&ids(|node| format!("10.77.0.{}", node + 1)));
}

#[test]
fn nodes_that_start_before_their_network_wait_for_it() {
    let Some(machines) = Machines::new(|node| format!("10.77.0.{}", node + 1)) else { return };
    let nodes = Nodes::start(&seeds(), |node, program| {
        let mut command = machines.command(node, program);
        command.args(["--start-timeout-ms", "60000"]);
        command
    });
    nodes.listen_on("00000000:1111");
    for node in 0..NODES {
        machines.plug(node, &format!("addr add 10.77.0.{}/24 dev eth0\n", node + 1));
    }
    nodes.meet(&ids(|node| format!("10.77.0.{}", node + 1)));
}

/// All but the first tell an address at which everyone meets himself.
#[test]
fn who_tells_other_machines_a_loopback_address_is_refused_and_both_are_told_why() {
    let Some(machines) = Machines::new(|node| format!("10.77.0.{}", node + 1)) else { return };
    for node in 0..NODES {
        machines.plug(node, &format!("addr add 10.77.0.{}/24 dev eth0\n", node + 1));
    }
    let nodes = Nodes::start(&seeds()[..1], |node, program| {
        let mut command = machines.command(node, program);
        if node > 0 {
            command.args(["--advertise-host", "127.0.0.1"]);
        }
        command
    });
    nodes.print(|node| match node {
        0 => "error fault of peer n2@127.0.0.1:4369 at 10.77.0.3:".to_owned(),
        _ => "error refused by peer at 10.77.0.1:4369: this node tells a loopback address".to_owned(),
    });
    nodes.nobody_is_up();
}

/// As the installer of a large distribution has it, with a name that each machine calls itself by.
#[test]
fn a_hostname_that_means_loopback_is_warned_of() {
    let Some(machines) = Machines::new(|_| "127.0.1.1".to_owned()) else { return };
    let nodes = Nodes::start(&[], |node, program| {
        let mut command = machines.command(node, program);
        command.args(["--host", &format!("machine-{node}.test")]);
        command
    });
    nodes.print(|node| format!("error peers are told machine-{node}.test, and this node listens on 127.0.1.1 alone"));
}

/// Containers whose published ports are others than the inner ones. No machine of their own is needed for that.
#[test]
fn nodes_behind_published_ports_meet() {
    // Inner addresses of this process's own, and outer ports that are free.
    let own = std::process::id();
    let inner = |node: usize| {
        SocketAddr::from(([127, 64 + (own % 128) as u8, 200, node as u8 + 1], 10_000 + (own / 128) as u16 % 20_000))
    };
    let published = all(|node| Proxy::between((Ipv4Addr::LOCALHOST, 0).into(), inner(node)));
    let ids = all(|node| published[node].seed(&format!("n{node}")));
    let nodes = Nodes::start(&ids, |node, program| {
        let (_, outer) = ids[node].rsplit_once(':').unwrap();
        let mut command = Command::new(program);
        command.args(["--host", &inner(node).ip().to_string(), "--port", &inner(node).port().to_string()]);
        command.args(["--advertise-host", "127.0.0.1", "--advertise-port", outer]);
        command
    });
    nodes.meet(&ids);
}
