//! What is played: each step does something, says what has to follow, and waits until that is seen.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use noex_driver::{ClusterConfig, ClusterStatus, ExitReason, NodeDownReason, NodeId, Runtime};

use super::Host;
use super::board::{Board, Entry, Mood, NAMES, Report, Sight, What};
use super::kettle;

pub(super) const HEARTBEAT: Duration = Duration::from_millis(300);
pub(super) const MISSES: u32 = 3;
/// The number of steps.
pub(super) const STEPS: usize = 9;

/// How long a step may take on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long the audience has for what it sees.
const LOOK: Duration = Duration::from_millis(2800);

const ALICE: usize = 0;
const BOB: usize = 1;
const CAROL: usize = 2;
const DAVE: usize = 3;
const ERIN: usize = 4;

/// Why the script ended before its end.
#[derive(Debug)]
pub(super) enum Ending {
    /// What should have happened did not.
    Failed(String),
    /// The user has seen enough.
    Quit,
}

/// A report that one node is down: by whom, about whom, why.
type Down = (usize, usize, NodeDownReason);

/// Plays all steps, and stops the nodes however that ends.
pub(super) fn play<H: Host>(board: &Arc<Board<H::Runtime>>) -> Result<(), Ending> {
    let mut script =
        Script::<H> { board: board.clone(), hosts: NAMES.map(|_| None), secret: Vec::new(), since: 0, acted: Duration::ZERO };
    let ending = script.play();
    for (node, host) in script.hosts.iter().enumerate() {
        if let Some(host) = host {
            host.run(board.cluster(node).stop());
        }
    }
    board.write(What::Ended(match &ending {
        Ok(()) => format!("all {STEPS} steps were seen to happen"),
        Err(Ending::Failed(why)) => format!("FAILED: {why}"),
        Err(Ending::Quit) => "ended early".into(),
    }));
    ending
}

struct Script<H: Host> {
    /// When the last deed was done.
    acted: Duration,
    board: Arc<Board<H::Runtime>>,
    hosts: [Option<H>; NAMES.len()],
    secret: Vec<u8>,
    /// Where in the log the current step began.
    since: usize,
}

impl<H: Host> Script<H> {
    fn play(&mut self) -> Result<(), Ending> {
        let everyone: Vec<usize> = (0..NAMES.len()).collect();

        self.step(
            1,
            "Five nodes start, one after the other",
            "Each of them knows a single address, that of alice. It learns the others' from her and connects to them by itself.",
        );
        for node in 0..NAMES.len() {
            self.start(node)?;
            self.pause(Duration::from_millis(600))?;
        }
        self.mesh("everyone sees everyone", &everyone)?;
        self.look([])?;

        self.step(
            2,
            "alice writes to all the others",
            "Whoever is connected can be sent bytes: authenticated, in order, and at most once.",
        );
        self.write_to_all()?;
        self.look([])?;

        self.step(
            3,
            "alice calls a process of bob's",
            "A process is whoever owns a mailbox. Any node can call it, and gets a typed answer, or an error that says how far it came.",
        );
        self.start_kettle(BOB)?;
        self.call_kettle(ALICE, BOB)?;
        self.look([])?;

        self.step(
            4,
            "alice watches a process of carol's",
            "A monitor tells once that a process has ended, and why. Nothing has to be waited for when it is set.",
        );
        self.start_kettle(CAROL)?;
        self.watch_kettle(ALICE, CAROL)?;
        self.call_kettle(ALICE, CAROL)?;
        self.look([])?;

        let others = except(&everyone, CAROL);
        self.step(
            5,
            "carol is killed, without a goodbye",
            "Her connections break. The others notice that at once and report her down, and alice's monitor fires.",
        );
        self.kill(CAROL);
        let downs = self.downs(&others, &[CAROL], NodeDownReason::ConnectionClosed)?;
        self.kettle_ended(ALICE, CAROL)?;
        self.look(downs)?;

        self.step(6, "carol comes back", "She has her old name and address, and starts from nothing.");
        self.start(CAROL)?;
        self.mesh("everyone sees everyone again", &everyone)?;
        self.look([])?;

        let others = except(&everyone, DAVE);
        self.step(
            7,
            "dave freezes",
            "His process stands still and his connections stay open. Nothing but the missing heartbeats gives him away.",
        );
        let thaw = self.freeze(DAVE)?;
        let downs = self.downs(&others, &[DAVE], NodeDownReason::HeartbeatTimeout)?;
        self.look(downs)?;

        self.step(
            8,
            "dave wakes up",
            "He finds his connections closed by the others. He blames nobody for the pause, which was his own, and connects again.",
        );
        drop(thaw);
        self.act(DAVE, Mood::Running, "goes on");
        let downs = self.downs(&[DAVE], &others, NodeDownReason::ConnectionClosed)?;
        self.mesh("dave blamed nobody, and everyone sees everyone again", &everyone)?;
        self.look(downs)?;

        let others = except(&everyone, ERIN);
        self.step(9, "erin leaves", "She says goodbye, so the others know that it is no failure, and nobody tries to reach her.");
        self.leave(ERIN);
        let door = self.doorkeeper(ERIN)?;
        let downs = self.downs(&others, &[ERIN], NodeDownReason::GracefulShutdown)?;
        self.look(downs)?;
        match door.accept() {
            Ok(_) => Err(Ending::Failed("somebody tried to reach erin".into())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.board.write(What::Seen("since then nobody has tried to reach erin".into()));
                self.pause(LOOK / 2)
            }
            Err(error) => Err(Ending::Failed(format!("cannot watch the port of erin: {error}"))),
        }
    }

    /// Begins a step.
    fn step(&mut self, number: usize, title: &'static str, about: &'static str) {
        self.since = self.board.log_len();
        self.board.write(What::Step { number, title, about });
    }

    fn act(&mut self, node: usize, mood: Mood, text: &'static str) {
        self.acted = self.board.elapsed();
        self.board.set_mood(node, mood, text);
    }

    fn start(&mut self, node: usize) -> Result<(), Ending> {
        let wrong = |error: &dyn std::fmt::Display| Ending::Failed(format!("{} does not start: {error}", NAMES[node]));
        let host = H::new().map_err(|error| wrong(&error))?;
        if self.secret.is_empty() {
            let entropy = host.run(async { H::Runtime::current().map(|rt| rt.entropy()) });
            self.secret = entropy.map_err(|error| wrong(&error))?.map_err(|error| wrong(&error))?.into();
        }
        // The system chooses the port at first; who comes back has to take the same.
        let port = self.board.id(node).map_or(0, |id| id.port());
        let config = ClusterConfig::new(NAMES[node])
            .host("127.0.0.1")
            .port(port)
            .seeds(self.board.id(ALICE).filter(|_| node != ALICE).iter().map(ToString::to_string))
            .cluster_name("demo")
            .cluster_secret(self.secret.clone())
            .heartbeat_interval(HEARTBEAT)
            .heartbeat_miss_threshold(MISSES)
            .reconnect_base_delay(Duration::from_millis(200))
            .reconnect_max_delay(Duration::from_secs(2));
        let cluster = self.board.cluster(node);
        host.run(cluster.start(config)).map_err(|error| wrong(&error))?;
        let id = cluster.local_node_id().map_err(|error| wrong(&error))?;
        self.hosts[node] = Some(host);
        self.board.set_id(node, id);
        self.act(node, Mood::Running, "starts");
        Ok(())
    }

    fn kill(&mut self, node: usize) {
        self.act(node, Mood::Killed, "is killed");
        if let Some(host) = self.hosts[node].take() {
            host.kill();
        }
    }

    /// Freezes a node until what is given is dropped.
    fn freeze(&mut self, node: usize) -> Result<Sender<()>, Ending> {
        let (thaw, until) = channel();
        self.host(node)?.freeze(until);
        self.act(node, Mood::Frozen, "freezes");
        Ok(thaw)
    }

    fn leave(&mut self, node: usize) {
        self.act(node, Mood::Left, "leaves");
        if let Some(host) = self.hosts[node].take() {
            host.run(self.board.cluster(node).stop());
        }
    }

    /// Listens where a node listened, to see whether it is missed.
    fn doorkeeper(&self, node: usize) -> Result<TcpListener, Ending> {
        let port = self.board.id(node).map_or(0, |id| id.port());
        let door = TcpListener::bind(("127.0.0.1", port)).and_then(|door| door.set_nonblocking(true).map(|()| door));
        door.map_err(|error| Ending::Failed(format!("cannot watch the port of {}: {error}", NAMES[node])))
    }

    fn write_to_all(&mut self) -> Result<(), Ending> {
        const TEXT: &str = "tea at five?";
        self.act(ALICE, Mood::Running, "writes to all");
        let wanted: Vec<usize> = (0..NAMES.len()).filter(|node| *node != ALICE).collect();
        for id in wanted.iter().filter_map(|node| self.board.id(*node)) {
            let sent = self.board.cluster(ALICE).send(&id, TEXT);
            sent.map_err(|error| Ending::Failed(format!("alice cannot write to {id}: {error}")))?;
        }
        self.see("the others got it".into(), |_, log| {
            let got = log.iter().filter_map(|entry| match &entry.what {
                What::Heard { node, report: Report::Message { from: ALICE, text } } if text == TEXT => Some(*node),
                _ => None,
            });
            sorted(got) == wanted
        })
    }

    fn start_kettle(&mut self, node: usize) -> Result<(), Ending> {
        let cluster = self.board.cluster(node);
        let started = self.host(node)?.run(async { kettle::start(cluster) });
        started.map_err(|error| Ending::Failed(format!("the kettle of {} does not start: {error}", NAMES[node])))?;
        self.act(node, Mood::Running, "starts a kettle");
        Ok(())
    }

    fn call_kettle(&mut self, node: usize, other: usize) -> Result<(), Ending> {
        self.act(node, Mood::Running, "calls a kettle: two cups, please");
        let (cluster, id) = (self.board.cluster(node), self.running(other)?);
        let answer = self.host(node)?.run(kettle::ask(&kettle::of(cluster, id), 2));
        let text = answer.map_err(|error| Ending::Failed(format!("{} gets no tea: {error}", NAMES[node])))?;
        self.board.write(What::Heard { node, report: Report::Answer { from: other, text } });
        self.see(format!("{} got an answer of {}'s", NAMES[node], NAMES[other]), |_, log| {
            let is_answer = |entry: &Entry| match &entry.what {
                What::Heard { node: by, report: Report::Answer { from, text } } => {
                    (*by, *from, text.as_str()) == (node, other, "2 cups of tea")
                }
                _ => false,
            };
            log.iter().any(is_answer)
        })
    }

    /// Lets a node watch the kettle of another one, and report its end.
    fn watch_kettle(&mut self, node: usize, other: usize) -> Result<(), Ending> {
        let kettle = kettle::of(self.board.cluster(node), self.running(other)?);
        let board = self.board.clone();
        let watching = self.host(node)?.run(async {
            H::Runtime::current().map(|rt| {
                rt.spawn(async move {
                    if let Ok(reason) = kettle.exited().await {
                        board.write(What::Heard { node, report: Report::Ended { who: other, reason } });
                    }
                });
            })
        });
        watching.map_err(|error| Ending::Failed(format!("{} cannot watch: {error}", NAMES[node])))?;
        self.act(node, Mood::Running, "watches a kettle");
        Ok(())
    }

    /// Waits until a node has reported that the kettle of another one ended, as their session did.
    fn kettle_ended(&mut self, node: usize, other: usize) -> Result<(), Ending> {
        self.see(format!("the monitor of {} fired", NAMES[node]), |_, log| {
            let is_end = |entry: &Entry| match &entry.what {
                What::Heard { node: by, report: Report::Ended { who, reason } } => {
                    (*by, *who) == (node, other) && *reason == ExitReason::NoConnection
                }
                _ => false,
            };
            log.iter().any(is_end)
        })
    }

    fn host(&self, node: usize) -> Result<&H, Ending> {
        self.hosts[node].as_ref().ok_or_else(|| Ending::Failed(format!("{} does not run", NAMES[node])))
    }

    /// The identity of a node that has started.
    fn running(&self, node: usize) -> Result<NodeId, Ending> {
        self.board.id(node).ok_or_else(|| Ending::Failed(format!("{} has not started", NAMES[node])))
    }

    /// Waits until all of these nodes see each other.
    fn mesh(&mut self, what: &str, nodes: &[usize]) -> Result<(), Ending> {
        self.see(what.into(), |board, _| meshed(board, nodes))
    }

    /// Waits until each of `by` has reported each of `about` down for this reason, and gives those reports.
    fn downs(&mut self, by: &[usize], about: &[usize], reason: NodeDownReason) -> Result<Vec<Down>, Ending> {
        let wanted: Vec<Down> = by.iter().flat_map(|by| about.iter().map(|about| (*by, *about, reason))).collect();
        let verb = if by.len() == 1 { "reports" } else { "report" };
        self.see(format!("{} {verb} {} down: {reason}", list(by), list(about)), |_, log| {
            let seen = reported(log);
            wanted.iter().all(|down| seen.contains(down))
        })?;
        Ok(wanted)
    }

    /// Waits until something is seen in the log of this step, or on the board.
    fn see(&mut self, what: String, seen: impl Fn(&Board<H::Runtime>, &[Entry]) -> bool) -> Result<(), Ending> {
        const LAP: Duration = Duration::from_millis(10);
        // In laps and not by the clock: a machine that stood still has shown nothing.
        for _ in 0..PATIENCE.as_millis() / LAP.as_millis() {
            let log = self.board.entries(self.since);
            if seen(&self.board, &log) {
                let last = log.iter().rev().find(|entry| matches!(entry.what, What::Heard { .. }));
                let after = last.map_or(Duration::ZERO, |entry| entry.at.saturating_sub(self.acted));
                self.board.write(What::Seen(format!("{what}, after {} ms", after.as_millis())));
                return Ok(());
            }
            self.pause(LAP)?;
        }
        Err(Ending::Failed(format!("waited {} s in vain for: {what}; {}", PATIENCE.as_secs(), self.unseen())))
    }

    /// Who does not see whom, of those that run.
    fn unseen(&self) -> String {
        let running = |node: &usize| self.board.mood(*node) == Mood::Running;
        let mut unseen = Vec::new();
        for node in (0..NAMES.len()).filter(running) {
            for other in (0..NAMES.len()).filter(running).filter(|other| *other != node) {
                let sight = self.board.sight(node, other);
                if sight != Some(Sight::Up) {
                    unseen.push(format!("{} of {}: {sight:?}", NAMES[node], NAMES[other]));
                }
            }
        }
        if unseen.is_empty() { "all that run see each other".into() } else { unseen.join(", ") }
    }

    /// Ends a step: leaves time to look at it, and makes sure that nobody was reported down but these, and that the others are up.
    fn look(&mut self, downs: impl IntoIterator<Item = Down>) -> Result<(), Ending> {
        self.pause(LOOK)?;
        let mut unexpected = reported(&self.board.entries(self.since));
        for down in downs {
            if let Some(place) = unexpected.iter().position(|seen| *seen == down) {
                unexpected.remove(place);
            }
        }
        if let Some((by, about, reason)) = unexpected.first() {
            return Err(Ending::Failed(format!("{} reported {} down, unexpectedly: {reason}", NAMES[*by], NAMES[*about])));
        }
        let running: Vec<usize> = (0..NAMES.len()).filter(|node| self.board.mood(*node) == Mood::Running).collect();
        if !meshed(&self.board, &running) {
            return Err(Ending::Failed(format!("{} do not all see each other any more", list(&running))));
        }
        Ok(())
    }

    fn pause(&self, time: Duration) -> Result<(), Ending> {
        let end = Instant::now() + time;
        loop {
            if self.board.quits() {
                return Err(Ending::Quit);
            }
            match end.saturating_duration_since(Instant::now()) {
                Duration::ZERO => return Ok(()),
                left => thread::sleep(left.min(Duration::from_millis(50))),
            }
        }
    }
}

/// Whether all of these nodes run and see each other.
fn meshed<R: Runtime>(board: &Board<R>, nodes: &[usize]) -> bool {
    nodes.iter().all(|node| {
        let running = board.cluster(*node).status() == ClusterStatus::Running;
        running && nodes.iter().all(|other| node == other || board.sight(*node, *other) == Some(Sight::Up))
    })
}

fn reported(log: &[Entry]) -> Vec<Down> {
    let downs = log.iter().filter_map(|entry| match &entry.what {
        What::Heard { node, report: Report::Down { who, reason } } => Some((*node, *who, *reason)),
        _ => None,
    });
    downs.collect()
}

fn except(nodes: &[usize], one: usize) -> Vec<usize> {
    nodes.iter().copied().filter(|node| *node != one).collect()
}

fn sorted(nodes: impl Iterator<Item = usize>) -> Vec<usize> {
    nodes.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Names, as one says them.
fn list(nodes: &[usize]) -> String {
    let names: Vec<&str> = nodes.iter().map(|node| NAMES[*node]).collect();
    match names.as_slice() {
        names if names.len() == NAMES.len() - 1 => "the others".into(),
        [] => "nobody".into(),
        [one] => (*one).into(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
