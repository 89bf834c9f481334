//! A cluster of processes, in turn on each of the runtimes.

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::log::{Line, Log, downs, view};

const PROGRAMS: [&str; 3] =
    [env!("CARGO_BIN_EXE_tokio-node"), env!("CARGO_BIN_EXE_async-std-node"), env!("CARGO_BIN_EXE_smol-node")];
const HEARTBEAT: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);
/// What a process may hold more than at first, in KiB: what an allocator keeps, and the stacks of threads that were not needed before.
const KEPT: u64 = 4 << 10;

/// Where nodes live.
pub(crate) trait Place: Debug {
    /// A command that runs a program at the place of a node.
    fn command(&self, node: usize, program: &str) -> Command;
    /// The address that a node listens on.
    fn host(&self, node: usize) -> String;
    /// The address that it tells others.
    fn advertised(&self, node: usize) -> String {
        self.host(node)
    }
    /// The port of all.
    fn port(&self) -> u16;
}

#[derive(Debug)]
pub(crate) struct Cluster<P: Place> {
    /// The most that any process held when all were connected first.
    first: Usage,
    log: Arc<Log>,
    nodes: Vec<Node>,
    pub(crate) place: P,
    threshold: u32,
}

#[derive(Debug)]
struct Node {
    id: String,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    input: ChildStdin,
    reader: JoinHandle<()>,
}

/// What a process holds: descriptors, and memory in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    descriptors: u64,
    pub(crate) memory: u64,
}

/// How much of the log there was at some moment.
#[derive(Debug)]
pub(crate) struct Mark(Vec<usize>);

impl<P: Place> Cluster<P> {
    /// All connected, of nodes that seed the first two.
    pub(crate) fn start(count: usize, threshold: u32, place: P) -> Self {
        let nodes =
            (0..count).map(|node| Node { id: format!("n{node}@{}:{}", place.advertised(node), place.port()), process: None });
        let nodes = nodes.collect();
        let mut cluster = Self { first: Usage::default(), log: Arc::new(Log::new(count)), nodes, place, threshold };
        for node in cluster.all() {
            cluster.spawn(node);
        }
        cluster.settle();
        // Heartbeats of all: what a process comes to hold at all, it holds by then.
        let begin = Instant::now();
        cluster.poll("the first heartbeats", || (begin.elapsed() > HEARTBEAT * 2).then_some(()).ok_or("a moment"));
        for node in cluster.all() {
            let usage = cluster.usage(node);
            cluster.first.descriptors = cluster.first.descriptors.max(usage.descriptors);
            cluster.first.memory = cluster.first.memory.max(usage.memory);
        }
        cluster
    }

    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.nodes.len()).collect()
    }

    /// All but some.
    pub(crate) fn others(&self, than: &[usize]) -> Vec<usize> {
        self.all().into_iter().filter(|node| !than.contains(node)).collect()
    }

    pub(crate) fn id(&self, node: usize) -> &str {
        &self.nodes[node].id
    }

    /// The longest that a peer may be silent.
    pub(crate) fn detection(&self) -> Duration {
        HEARTBEAT * self.threshold + HEARTBEAT / 2
    }

    /// The time that nodes have to agree in when the network is well again.
    pub(crate) fn allowed(&self) -> Duration {
        self.detection() + Duration::from_secs(10) + LONGEST_BACKOFF + HEARTBEAT * 3 + Duration::from_secs(20)
    }

    pub(crate) fn spawn(&mut self, node: usize) {
        let host = self.place.host(node);
        let mut command = self.place.command(node, PROGRAMS[node % PROGRAMS.len()]);
        command.args(["--name", &format!("n{node}"), "--host", &host, "--port", &self.place.port().to_string()]);
        command.args(["--advertise-host", &self.place.advertised(node), "--stop-timeout-ms", "5000"]);
        command.args(["--heartbeat-ms", &HEARTBEAT.as_millis().to_string(), "--miss-threshold", &self.threshold.to_string()]);
        command.args(["--reconnect-max-ms", &LONGEST_BACKOFF.as_millis().to_string()]);
        for seed in &self.nodes[..2] {
            command.args(["--seed", &seed.id]);
        }
        command.env("CLUSTER_SECRET", "the secret of these tests");
        // What is freed goes back to the system at once, so that the memory of the process is what it holds.
        command.envs([("MALLOC_MMAP_THRESHOLD_", "16384"), ("MALLOC_TRIM_THRESHOLD_", "65536")]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program of a node");
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        self.log.began(node);
        let log = self.log.clone();
        // It ends with the process, and before the next process of the node begins.
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                log.push(node, String::from_utf8_lossy(line.unwrap().as_bytes()).into_owned());
            }
        });
        self.nodes[node].process = Some(Process { child, input, reader });
    }

    /// SIGKILL, and waits until the process and its lines have ended.
    pub(crate) fn kill(&mut self, nodes: &[usize]) {
        for node in nodes {
            self.signal(*node, Signal::SIGKILL);
        }
        for node in nodes {
            self.ended(*node);
        }
    }

    /// SIGINT, by which a node leaves.
    pub(crate) fn leave(&mut self, node: usize) {
        self.signal(node, Signal::SIGINT);
        let status = self.ended(node);
        assert!(status, "n{node} did not end well");
    }

    pub(crate) fn signal(&self, node: usize, signal: Signal) {
        kill(Pid::from_raw(self.pid(node).try_into().unwrap()), signal).unwrap();
    }

    fn ended(&mut self, node: usize) -> bool {
        let mut process = self.nodes[node].process.take().expect("the node runs");
        let status = process.child.wait().unwrap();
        process.reader.join().unwrap();
        status.success()
    }

    fn pid(&self, node: usize) -> u32 {
        self.nodes[node].process.as_ref().expect("the node runs").child.id()
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, node: usize, line: &str) {
        let input = &mut self.nodes[node].process.as_mut().expect("the node runs").input;
        writeln!(input, "{line}").unwrap();
    }

    pub(crate) fn mark(&self) -> Mark {
        Mark(self.log.lines().iter().map(Vec::len).collect())
    }

    /// Waits until something holds of the lines since then.
    pub(crate) fn wait(&self, what: &str, since: &Mark, mut holds: impl FnMut(&[&[Line]]) -> bool) {
        self.log.wait(what, self.allowed(), |nodes| {
            let since: Vec<&[Line]> = nodes.iter().zip(&since.0).map(|(lines, from)| &lines[*from..]).collect();
            holds(&since)
        });
    }

    /// Waits until each of these nodes holds the others of them for up, and nobody else.
    pub(crate) fn agree(&self, what: &str, nodes: &[usize]) {
        let ids: BTreeSet<&str> = nodes.iter().map(|node| self.id(*node)).collect();
        self.log.wait(what, self.allowed(), |lines| {
            nodes.iter().all(|node| {
                let mut seen = view(&lines[*node]);
                seen.insert(self.id(*node)) && seen == ids
            })
        });
    }

    /// Waits until all that run agree.
    pub(crate) fn settle(&self) {
        let running: Vec<usize> = self.all().into_iter().filter(|node| self.nodes[*node].process.is_some()).collect();
        self.agree("all that run are connected", &running);
    }

    /// Waits until each of these nodes has seen a node go down, for one reason.
    pub(crate) fn seen_down(&self, gone: usize, by: &[usize], reason: &str, since: &Mark) {
        let down = (self.id(gone), reason);
        let what = format!("n{gone} is down with {reason}");
        self.wait(&what, since, |lines| by.iter().all(|node| downs(lines[*node]).any(|one| one == down)));
    }

    /// None of these nodes saw another of them go down.
    pub(crate) fn no_downs_among(&self, nodes: &[usize], since: &Mark) {
        let lines = self.log.lines();
        for node in nodes {
            for (id, reason) in downs(&lines[*node][since.0[*node]..]) {
                assert!(nodes.iter().all(|other| self.id(*other) != id), "a false down: n{node} saw {id} with {reason}");
            }
        }
    }

    /// The reasons of all downs that a node saw.
    pub(crate) fn reasons(&self, node: usize, since: &Mark) -> Vec<String> {
        let lines = self.log.lines();
        downs(&lines[node][since.0[node]..]).map(|(_, reason)| reason.to_owned()).collect()
    }

    pub(crate) fn usage(&self, node: usize) -> Usage {
        let process = format!("/proc/{}", self.pid(node));
        let status = fs::read_to_string(Path::new(&process).join("status")).unwrap();
        let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line with the memory");
        Usage {
            descriptors: fs::read_dir(Path::new(&process).join("fd")).unwrap().count() as u64,
            memory: memory.split_whitespace().next().unwrap().parse().unwrap(),
        }
    }

    /// Waits until no process holds more than there was at first, and says how much that is.
    pub(crate) fn nothing_is_left(&self) {
        self.settle();
        let most = self.poll("what was held is released", || {
            let usages: Vec<Usage> = self.all().into_iter().map(|node| self.usage(node)).collect();
            let most = Usage {
                descriptors: usages.iter().map(|usage| usage.descriptors).max().unwrap_or_default(),
                memory: usages.iter().map(|usage| usage.memory).max().unwrap_or_default(),
            };
            let released = most.descriptors <= self.first.descriptors && most.memory <= self.first.memory + KEPT;
            if released { Ok(most) } else { Err(format!("{most:?}, at first {:?}", self.first)) }
        });
        println!("at first at most {:?}, at the end {most:?}", self.first);
    }

    /// Waits for something that no line tells of.
    pub(crate) fn poll<T, E: Display>(&self, what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
        let begin = Instant::now();
        loop {
            match look() {
                Ok(found) => return found,
                Err(instead) => assert!(begin.elapsed() < self.allowed(), "not within {:?}: {what}: {instead}", self.allowed()),
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Lets a fault last until some time after it began.
    pub(crate) fn last(&self, begin: Instant, length: Duration) {
        thread::sleep(length.saturating_sub(begin.elapsed()));
    }
}

impl<P: Place> Drop for Cluster<P> {
    fn drop(&mut self) {
        for process in self.nodes.iter_mut().filter_map(|node| node.process.as_mut()) {
            let _gone = process.child.kill();
            let _gone = process.child.wait();
        }
    }
}
