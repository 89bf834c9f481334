//! Processes of nodes, one of each runtime, and what they print.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const PROGRAMS: [&str; NODES] =
    [env!("CARGO_BIN_EXE_tokio-node"), env!("CARGO_BIN_EXE_async-std-node"), env!("CARGO_BIN_EXE_smol-node")];
pub(crate) const NODES: usize = 3;
/// Longer than anything here takes on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thing for each node.
pub(crate) fn all<T>(of: impl FnMut(usize) -> T) -> Vec<T> {
    (0..NODES).map(of).collect()
}

/// They are killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Nodes(Vec<Node>);

#[derive(Debug)]
struct Node {
    child: Child,
    /// What it printed.
    lines: Arc<Mutex<Vec<String>>>,
    number: usize,
}

impl Nodes {
    /// Starts one of each runtime, in the configuration that `command` gives and, for the rest, the default one.
    pub(crate) fn start(seeds: &[String], command: impl Fn(usize, &str) -> Command) -> Self {
        Self(all(|node| {
            let mut command = command(node, PROGRAMS[node]);
            command.args(["--name", &format!("n{node}")]).env("CLUSTER_SECRET", "the secret of these tests");
            for seed in seeds {
                command.args(["--seed", seed]);
            }
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the program of a node");
            let (output, lines) = (child.stdout.take().expect("it is piped"), Arc::default());
            let log: Arc<Mutex<Vec<String>>> = Arc::clone(&lines);
            thread::spawn(move || {
                for line in BufReader::new(output).lines() {
                    log.lock().unwrap().push(line.unwrap());
                }
            });
            Node { child, lines, number: node }
        }))
    }

    /// Waits until each listens on an address, as the kernel writes it.
    pub(crate) fn listen_on(&self, address: &str) {
        self.wait("all listen", |node| {
            let table = fs::read_to_string(format!("/proc/{}/net/tcp", node.child.id())).unwrap_or_default();
            // Its state follows the peer's address, which is none.
            table.contains(&format!("{address} 00000000:0000 0A"))
        });
    }

    /// Waits until each has printed a line with a text.
    pub(crate) fn print(&self, text: impl Fn(usize) -> String) {
        self.wait("all say so", |node| node.lines().iter().any(|line| line.contains(&text(node.number))));
    }

    /// None has met another.
    pub(crate) fn nobody_is_up(&self) {
        assert!(self.0.iter().flat_map(Node::lines).all(|line| !line.contains(" up ")), "{:#?}", self.0);
    }

    fn wait(&self, what: &str, holds: impl Fn(&Node) -> bool) {
        let begin = Instant::now();
        while !self.0.iter().all(&holds) {
            assert!(begin.elapsed() < PATIENCE, "it takes too long: {what}: {:#?}", self.0);
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until they run under these identities, and each holds all others for up.
    pub(crate) fn meet(&self, ids: &[String]) {
        self.wait("all are called as they are to be", |node| {
            let lines = node.lines();
            let own = lines.iter().find_map(|line| line.split_once(" self ")).map(|(_, id)| id.to_owned());
            assert!(own.as_ref().is_none_or(|own| *own == node.id(ids)), "it is to be {}: {lines:#?}", node.id(ids));
            own.is_some()
        });
        self.wait("all have met", |node| {
            let mut up = BTreeSet::from([node.id(ids)]);
            for line in node.lines() {
                match line.split(' ').collect::<Vec<_>>()[..] {
                    [_, "up", id, ..] => up.insert(id.to_owned()),
                    [_, "down", id, ..] => up.remove(id),
                    _ => false,
                };
            }
            up.iter().eq(ids)
        });
    }
}

impl Node {
    fn id(&self, ids: &[String]) -> String {
        ids[self.number].clone()
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for node in &mut self.0 {
            let _gone = node.child.kill();
            let _gone = node.child.wait();
        }
    }
}
