//! The examples of processes, as programs of their own that call each other.
#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SECRET: &str = "the secret of these examples";

const COUNTERS: [&str; 2] = [env!("CARGO_BIN_EXE_tokio-counter"), env!("CARGO_BIN_EXE_async-std-counter")];
const WORKERS: [&str; 2] = [env!("CARGO_BIN_EXE_tokio-workers"), env!("CARGO_BIN_EXE_async-std-workers")];

/// A program that runs, and is killed where the test fails.
struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    fn start(program: &str, args: &[&str]) -> Self {
        let mut child = command(program, args).stdout(Stdio::piped()).spawn().unwrap();
        let (tell, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines }
    }

    /// Waits for a line that begins so, and gives the rest of it.
    fn says(&self, begin: &str) -> String {
        let mut before = Vec::new();
        loop {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(60)) else {
                panic!("it should have said {begin:?}, and said {before:#?}")
            };
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.into();
            }
            before.push(line);
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits until it has ended well, and gives what it still said.
    fn ends(mut self) -> Vec<String> {
        let rest = self.lines.iter().collect();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {rest:#?}");
        rest
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _over = self.child.kill();
        let _over = self.child.wait();
    }
}

fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env("CLUSTER_SECRET", SECRET).stdin(Stdio::null());
    command
}

/// What a program prints that ends by itself.
fn printed(program: &str, args: &[&str]) -> String {
    let Output { status, stdout, stderr } = command(program, args).output().unwrap();
    assert!(status.success(), "{args:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().trim_end().into()
}

/// Starts a program that says so when it has its port, which may still be another test's.
fn at_fixed_port(program: &str, args: &[&str], begun: &str) -> Program {
    for _ in 0..600 {
        let running = Program::start(program, args);
        // They end where it ends.
        if running.lines.iter().any(|line| line.ends_with(begun)) {
            return running;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("{program} finds its port taken")
}

#[test]
fn a_counter_is_called_and_watched_from_other_nodes() {
    let [tokio, async_std] = COUNTERS;
    for (counter, caller) in [(tokio, tokio), (tokio, async_std), (async_std, tokio), (async_std, async_std)] {
        // Given a counter, it counts what others add, and each caller is told.
        let counting = Program::start(counter, &["open", "0"]);
        let node = &counting.says("counting on ");
        assert_eq!(printed(caller, &["add", "2", node]), "2");
        assert_eq!(printed(caller, &["add", "3", node]), "5");
        assert_eq!(printed(caller, &["get", node]), "5");
        // A cast is sent before its node leaves.
        assert_eq!(printed(caller, &["reset", node]), "sent");
        assert_eq!(printed(caller, &["get", node]), "0");

        // Asked to end, it says so to whoever watches.
        let watcher = Program::start(caller, &["watch", node]);
        watcher.says("watching");
        assert_eq!(printed(caller, &["add", "4", node]), "4");
        counting.signal(Signal::SIGTERM);
        assert_eq!(watcher.says("the counter ended: "), "shutdown");
        watcher.ends();
        assert_eq!(counting.ends(), ["counted to 4"]);
    }
}

#[test]
fn whoever_watches_a_counter_that_is_killed_is_told() {
    for counter in COUNTERS {
        let counting = Program::start(counter, &["open", "0"]);
        let node = &counting.says("counting on ");
        let watcher = Program::start(counter, &["watch", node]);
        watcher.says("watching");
        counting.signal(Signal::SIGKILL);
        assert_eq!(watcher.says("the counter ended: "), "no connection");
        watcher.ends();
    }
}

#[test]
fn jobs_go_to_other_workers_where_it_is_certain_that_they_were_not_done() {
    let [tokio, async_std] = WORKERS;
    for (coordinator, leaver, victim) in [(tokio, async_std, tokio), (async_std, tokio, async_std)] {
        // Given a coordinator with three workers, each of which has a job and the next one.
        let pool = Program::start(coordinator, &["coordinator", "16", "0"]);
        let node = &pool.says("the pool is on ");
        let worker = |program, name| Program::start(program, &["worker", name, node]);
        let (stayer, leaver, victim) = (worker(coordinator, "anna"), worker(leaver, "ben"), worker(victim, "cleo"));
        for worker in [&stayer, &leaver, &victim] {
            worker.says("job ");
        }

        // One leaves, and finishes its job; one is killed.
        leaver.signal(Signal::SIGTERM);
        victim.signal(Signal::SIGKILL);
        leaver.ends();

        // Each job is done once, or may have been.
        let said = pool.ends();
        let is_done = |line: &String| {
            let (job, square) = line.strip_prefix("job ")?.split_once(" is done: ")?;
            let (job, square): (u64, u64) = (job.parse().unwrap(), square.parse().unwrap());
            assert_eq!(square, job * job);
            Some(job)
        };
        let done: Vec<u64> = said.iter().filter_map(is_done).collect();
        let set_aside = said.iter().filter(|line| line.contains("is set aside")).count();
        assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), done.len(), "{said:#?}");
        assert_eq!(done.len() + set_aside, 16, "{said:#?}");
        // Two of the killed one's, and one that crossed the goodbye of the other.
        assert!(set_aside <= 3, "{said:#?}");
        let last = said.last().unwrap();
        assert_eq!(*last, format!("of 16 jobs {} are done, and {set_aside} may be", done.len()));
    }
}

#[test]
fn a_coordinator_calls_a_process_of_each_worker() {
    let node = env!("CARGO_BIN_EXE_tokio-node");
    for coordinator in [env!("CARGO_BIN_EXE_tokio-coordinator"), env!("CARGO_BIN_EXE_async-std-coordinator")] {
        let worker = |name, port| {
            let args = ["--name", name, "--host", "127.0.0.1", "--port", port, "--echo"];
            at_fixed_port(node, &args, "status running")
        };
        let (first, second) = (worker("worker1", "4370"), worker("worker2", "4371"));
        let coordinator = at_fixed_port(coordinator, &[], "Started as coordinator@127.0.0.1:4369");
        coordinator.says("Connected to 2 nodes:");
        for _ in [&first, &second] {
            assert_eq!(coordinator.says("    answers: "), "hello");
        }
        coordinator.signal(Signal::SIGTERM);
        assert_eq!(coordinator.ends(), ["Shutting down..."]);
    }
}
