//! Machines: network namespaces that can be plugged to one bridge.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::command::run;
use crate::nodes::{NODES, all};

#[derive(Debug)]
pub(crate) struct Machines {
    /// The hosts file of all.
    hosts: PathBuf,
    /// The namespace with the bridge; a machine's has the node's number at the end.
    hub: String,
}

impl Machines {
    /// Machines with loopback and nothing else, on which `machine-0.test` and so on have these addresses.
    pub(crate) fn new(address: impl Fn(usize) -> String) -> Option<Self> {
        match Self::try_new(address) {
            Ok(machines) => Some(machines),
            Err(error) => {
                eprintln!("skipped: no machines to be had, which takes root and network namespaces: {error}");
                None
            }
        }
    }

    /// The same, where the system has IPv6.
    pub(crate) fn with_ipv6(address: impl Fn(usize) -> String) -> Option<Self> {
        if !Path::new("/proc/net/if_inet6").exists() {
            eprintln!("skipped: this system has no IPv6");
            return None;
        }
        Self::new(address)
    }

    /// An error where the machine allows no namespaces and bridges, or has not got the command for them.
    fn try_new(address: impl Fn(usize) -> String) -> Result<Self, String> {
        static TESTS: AtomicUsize = AtomicUsize::new(0);
        let hub = format!("noex-m-{}-{}-", id(), TESTS.fetch_add(1, Ordering::Relaxed));
        run("ip", &["netns", "add", &hub], "")?;
        // From here on, dropping it removes what there is.
        let machines = Self { hosts: std::env::temp_dir().join(format!("{hub}hosts")), hub };
        let hosts: String = all(|node| format!("{} machine-{node}.test\n", address(node))).concat();
        fs::write(&machines.hosts, "127.0.0.1 localhost\n".to_owned() + &hosts).map_err(|error| error.to_string())?;
        run("ip", &["-n", &machines.hub, "-batch", "-"], "link add name bridge type bridge\nlink set dev bridge up\n")?;
        // As each machine is plugged to it.
        run("ip", &["-n", &machines.hub, "link", "add", "name", "cable", "type", "veth", "peer", "name", "end"], "")?;
        for node in 0..NODES {
            run("ip", &["netns", "add", &machines.namespace(node)], "")?;
            run("ip", &["-n", &machines.namespace(node), "link", "set", "dev", "lo", "up"], "")?;
        }
        Ok(machines)
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}{node}", self.hub)
    }

    /// Lines for the command `ip` on a machine.
    pub(crate) fn batch(&self, node: usize, lines: &str) {
        run("ip", &["-n", &self.namespace(node), "-batch", "-"], lines).unwrap();
    }

    /// Gives a machine its network card.
    pub(crate) fn plug(&self, node: usize, addresses: &str) {
        let card = format!(
            "link add name port{node} type veth peer name eth0 netns {}\nlink set dev port{node} master bridge up\n",
            self.namespace(node)
        );
        run("ip", &["-n", &self.hub, "-batch", "-"], &card).unwrap();
        self.batch(node, &("link set dev eth0 up\n".to_owned() + addresses));
    }

    /// Runs a command on a machine.
    pub(crate) fn run(&self, node: usize, words: &[&str]) {
        run("ip", &[&["netns", "exec", &self.namespace(node)], words].concat(), "").unwrap();
    }

    /// A command that runs a program on a machine, with the hosts file of all.
    pub(crate) fn command(&self, node: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(node), "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""]);
        command.arg(&self.hosts).arg(program);
        command
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for node in 0..NODES {
            let _was_never_there = run("ip", &["netns", "del", &self.namespace(node)], "");
        }
        let _was_never_there = run("ip", &["netns", "del", &self.hub], "");
        let _was_never_there = fs::remove_file(&self.hosts);
    }
}
