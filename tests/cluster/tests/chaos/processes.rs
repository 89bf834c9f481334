//! What is done to processes, on loopback.

use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::cluster::{Cluster, Mark, Place};
use crate::log::{Line, Word, downs};
use crate::{Form, THRESHOLD};

/// Loopback addresses of its own for each test and node, so that all may have one port.
#[derive(Debug)]
pub(crate) struct Loopback {
    test: u8,
}

impl Loopback {
    pub(crate) fn new() -> Self {
        static TESTS: AtomicU8 = AtomicU8::new(0);
        Self { test: TESTS.fetch_add(1, Ordering::Relaxed) }
    }

    /// The last part is the node's.
    pub(crate) fn addr(&self, last: usize) -> String {
        format!("127.{}.{}.{last}", 64 + std::process::id() % 128, self.test)
    }
}

impl Place for Loopback {
    fn command(&self, _node: usize, program: &str) -> Command {
        Command::new(program)
    }

    fn host(&self, node: usize) -> String {
        self.addr(node + 1)
    }

    fn port(&self) -> u16 {
        // Below those that a system gives to whoever asks for any.
        10_000 + (std::process::id() / 128 % 20_000) as u16
    }
}

fn start(form: &Form) -> Cluster<Loopback> {
    Cluster::start(form.nodes, THRESHOLD, Loopback::new())
}

pub(crate) fn all_leave_and_come_back_one_after_the_other(form: &Form) {
    let mut cluster = start(form);
    for node in cluster.all() {
        let others = cluster.others(&[node]);
        let mark = cluster.mark();
        cluster.leave(node);
        cluster.seen_down(node, &others, "graceful_shutdown", &mark);
        cluster.spawn(node);
        cluster.settle();
        cluster.no_downs_among(&others, &mark);
    }
    cluster.nothing_is_left();
}

/// Killed as soon as it has met anybody, so that its peers still hold sessions with the one before.
pub(crate) fn one_restarts_again_and_again(form: &Form) {
    let mut cluster = start(form);
    let node = form.nodes - 1;
    let others = cluster.others(&[node]);
    let begin = cluster.mark();
    for _ in 0..form.restarts {
        cluster.kill(&[node]);
        let mark = cluster.mark();
        cluster.spawn(node);
        cluster.wait("the node has met another", &mark, |lines| lines[node].iter().any(|line| matches!(line.word, Word::Up(_))));
    }
    cluster.nothing_is_left();
    cluster.no_downs_among(&others, &begin);
}

pub(crate) fn half_of_them_are_killed_at_once(form: &Form) {
    let mut cluster = start(form);
    let killed: Vec<usize> = cluster.all().into_iter().filter(|node| node % 2 == 1).collect();
    let left = cluster.others(&killed);
    let mark = cluster.mark();
    cluster.kill(&killed);
    for node in &killed {
        cluster.seen_down(*node, &left, "connection_closed", &mark);
    }
    cluster.settle();
    for node in &killed {
        cluster.spawn(*node);
    }
    cluster.nothing_is_left();
    cluster.no_downs_among(&left, &mark);
}

pub(crate) fn all_restart_at_once(form: &Form) {
    let mut cluster = start(form);
    cluster.kill(&cluster.all());
    let mark = cluster.mark();
    for node in cluster.all() {
        cluster.spawn(node);
    }
    cluster.nothing_is_left();
    cluster.no_downs_among(&cluster.all(), &mark);
}

pub(crate) fn a_node_frozen_for_twice_the_detection_time_comes_back(form: &Form) {
    let cluster = start(form);
    // On each of the runtimes.
    for node in form.nodes - 3..form.nodes {
        let others = cluster.others(&[node]);
        let mark = cluster.mark();
        let begin = Instant::now();
        cluster.signal(node, Signal::SIGSTOP);
        cluster.seen_down(node, &others, "heartbeat_timeout", &mark);
        cluster.last(begin, cluster.detection() * 2);
        cluster.signal(node, Signal::SIGCONT);
        let closed = |lines: &[&[Line]]| downs(lines[node]).count() == others.len();
        cluster.wait("it has seen that all have given it up", &mark, closed);
        cluster.settle();
        assert!(
            cluster.reasons(node, &mark).iter().all(|reason| reason == "connection_closed"),
            "it accuses nobody of its own pause"
        );
        cluster.no_downs_among(&others, &mark);
    }
    cluster.nothing_is_left();
}

/// It is frozen for less than a peer may be silent for, while another sends more than it will queue.
pub(crate) fn a_node_that_reads_nothing_costs_a_bounded_queue(form: &Form) {
    /// What a node queues for one peer, by its default, in KiB.
    const QUEUE: u64 = 32 << 10;
    /// What the system's buffers and an allocator may add.
    const SLACK: u64 = 32 << 10;
    const BATCHES: usize = 10;
    const BATCH: usize = 100;
    let threshold = THRESHOLD + 120 + 2 * u32::try_from(form.unread.as_secs()).unwrap();
    let mut cluster = Cluster::start(form.nodes, threshold, Loopback::new());
    let (sender, node) = (0, form.nodes - 1);
    let readers = cluster.others(&[sender, node]);
    let mark = cluster.mark();
    let before = cluster.usage(sender).memory;
    let begin = Instant::now();
    cluster.signal(node, Signal::SIGSTOP);
    let messages = |lines: &[Line]| lines.iter().filter(|line| line.word == Word::Message).count();
    let line = "x".repeat(64 << 10);
    for batch in 1..=BATCHES {
        for _ in 0..BATCH {
            cluster.type_line(sender, &line);
        }
        cluster
            .wait("whoever reads has all", &mark, |lines| readers.iter().all(|reader| messages(lines[*reader]) == batch * BATCH));
    }
    let sent = |lines: &[&[Line]]| -> Option<usize> {
        let counts: Vec<usize> = lines[sender].iter().filter_map(|line| line.text.split_once(" sent ")?.1.parse().ok()).collect();
        (counts.len() == BATCHES * BATCH).then(|| counts.iter().sum())
    };
    let mut taken = 0;
    cluster.wait("all has been sent or refused", &mark, |lines| match sent(lines) {
        Some(sum) => {
            taken = sum - BATCHES * BATCH * readers.len();
            true
        }
        None => false,
    });
    assert!(taken < BATCHES * BATCH, "nothing was refused");
    let held = cluster.usage(sender).memory;
    assert!(held < before + QUEUE + SLACK, "{held} KiB are held, {before} before");
    cluster.last(begin, form.unread);
    cluster.signal(node, Signal::SIGCONT);
    cluster.wait("all that was taken arrives", &mark, |lines| messages(lines[node]) == taken);
    println!("of {} messages of 64 KiB {taken} were taken for who reads nothing; at most {held} KiB were held", BATCHES * BATCH);
    cluster.nothing_is_left();
    cluster.no_downs_among(&cluster.all(), &mark);
}

/// What is the same for all faults of a network: who is hurt comes back, and nobody else is hurt.
pub(crate) fn heals<P: Place>(cluster: &Cluster<P>, unhurt: &[&[usize]], mark: &Mark) {
    cluster.nothing_is_left();
    for nodes in unhurt {
        cluster.no_downs_among(nodes, mark);
    }
}
