//! Forming, noticing a crash, and what a cluster costs at rest.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::LIBRARIES;
use crate::member::{Member, Plan};
use crate::system::{Cpu, allow_open_files};
use crate::table::{Samples, head, row};

/// Between what is done to a cluster and what is measured next.
const SETTLED: Duration = Duration::from_secs(5);
/// How long a cluster at rest is measured.
const RESTED: Duration = Duration::from_secs(20);
/// How long a cluster with loss is watched.
const WATCHED: Duration = Duration::from_secs(60);
/// What takes longer counts as never.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(5);

/// What is measured without loss, in the order in which a part prints it, and how many digits to show.
const ROWS: [(&str, usize); 8] = [
    ("full membership, s", 3),
    ("all noticed a process that died, s", 3),
    ("all noticed a node that froze, s", 3),
    ("bytes on the wire a node and second, headers included", 0),
    ("packets a node and second", 1),
    ("processor time a node, % of one core", 3),
    ("memory of the process a node, KiB", 0),
    ("downs of nodes that were well", 0),
];
const LOSS_ROWS: [(&str, usize); 2] = [("full membership, s", 3), ("downs of nodes that were well", 0)];

/// Measures all libraries by turns.
pub(crate) fn compare(nodes: usize, rounds: usize) {
    head(&format!("membership of {nodes} nodes in one process"));
    table(&LIBRARIES, Plan { loss: 0.0, nodes }, rounds, &ROWS);
}

/// Measures those that use datagrams while so many percent of them are lost.
pub(crate) fn compare_loss(nodes: usize, percent: usize, rounds: usize) {
    head(&format!("{nodes} nodes in one process, {percent} % of datagrams lost, {} s", WATCHED.as_secs()));
    table(&["foca", "chitchat"], Plan { loss: percent as f64 / 100.0, nodes }, rounds, &LOSS_ROWS);
}

fn table(libraries: &[&str], plan: Plan, rounds: usize, rows: &[(&str, usize)]) {
    let mut measured: Vec<Vec<Vec<f64>>> = vec![Vec::new(); libraries.len()];
    for _ in 0..rounds {
        for (library, measured) in libraries.iter().zip(&mut measured) {
            measured.push(alone(library, plan));
        }
    }
    for (place, (what, digits)) in rows.iter().enumerate() {
        for (library, measured) in libraries.iter().zip(&measured) {
            let column = measured.iter().map(|round| round[place]).collect();
            row(&format!("{what}: {library}"), *digits, &Samples::new(column));
        }
    }
}

/// Measures one library in a process and a network namespace of its own.
fn alone(library: &str, plan: Plan) -> Vec<f64> {
    let program = std::env::current_exe().expect("a program");
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" part \"$@\""]).arg(program).arg(library);
    command.args([plan.nodes, (plan.loss * 100.0).round() as usize].map(|number| number.to_string()));
    let output = command.stderr(Stdio::inherit()).output().expect("unshare is there");
    assert!(output.status.success(), "{library} failed");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split_whitespace().map(|number| number.parse().expect("a number")).collect()
}

/// One library in this process: prints what [`ROWS`] or [`LOSS_ROWS`] name.
pub(crate) fn part<M: Member>(plan: Plan) {
    allow_open_files((plan.nodes * plan.nodes * 3 / 2 + 1_000) as u64);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let numbers = if plan.loss > 0.0 { runtime.block_on(with_loss::<M>(plan)) } else { runtime.block_on(at_rest::<M>(plan)) };
    println!("{}", numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    // Nobody says goodbye.
    std::process::exit(0);
}

async fn with_loss<M: Member>(plan: Plan) -> Vec<f64> {
    let (members, formed) = form::<M>(0..plan.nodes, plan).await;
    let formed = formed + full(members.iter(), plan.nodes - 1).await;
    tokio::time::sleep(WATCHED).await;
    vec![formed, members.iter().map(M::downs).sum::<usize>() as f64]
}

async fn at_rest<M: Member>(plan: Plan) -> Vec<f64> {
    let memory = resident();
    let last = plan.nodes - 2;
    let victims = [last, last + 1].map(|number| Victim::<M>::start(number, plan));
    let (members, started) = form::<M>(0..last, plan).await;
    let victims = victims.map(Victim::wait);
    let all = members.iter().chain(victims.iter().map(|victim| &*victim.member));
    let formed = started + full(all, plan.nodes - 1).await;
    tokio::time::sleep(SETTLED).await;

    let (before, cpu, begin) = (Traffic::now(), Cpu::now(), Instant::now());
    tokio::time::sleep(RESTED).await;
    let (after, cpu, share) = (Traffic::now(), Cpu::now() - cpu, 1.0 / begin.elapsed().as_secs_f64() / plan.nodes as f64);
    let memory = (resident() - memory) / plan.nodes as f64;
    let downs = members.iter().map(M::downs).sum::<usize>() as f64;

    let [frozen, died] = victims;
    let died = died.end(End::Die);
    let noticed_death = full(members.iter().chain([&*frozen.member]), plan.nodes - 2).await;
    tokio::time::sleep(SETTLED).await;
    let frozen = frozen.end(End::Freeze);
    let noticed_freeze = full(members.iter(), plan.nodes - 3).await;
    drop((died, frozen));
    vec![
        formed,
        noticed_death,
        noticed_freeze,
        (after.bytes - before.bytes) * share,
        (after.packets - before.packets) * share,
        cpu.total() * share * 100.0,
        memory,
        downs,
    ]
}

/// Starts nodes at once, and says how long that took.
async fn form<M: Member>(numbers: std::ops::Range<usize>, plan: Plan) -> (Vec<M>, f64) {
    let begin = Instant::now();
    let mut starts = JoinSet::new();
    for number in numbers {
        starts.spawn(M::start(number, plan));
    }
    (starts.join_all().await, begin.elapsed().as_secs_f64())
}

/// How long it takes until each takes exactly so many others to be up.
async fn full<'a, M: Member>(members: impl Iterator<Item = &'a M>, live: usize) -> f64 {
    let begin = Instant::now();
    let members: Vec<_> = members.collect();
    while members.iter().any(|member| member.live() != live) {
        if begin.elapsed() > PATIENCE {
            return f64::INFINITY;
        }
        tokio::time::sleep(LOOK).await;
    }
    begin.elapsed().as_secs_f64()
}

/// A node on a thread and a runtime of its own, which can die or freeze alone.
struct Victim<M> {
    end: oneshot::Sender<End>,
    member: Arc<M>,
}

struct Starting<M> {
    end: oneshot::Sender<End>,
    member: mpsc::Receiver<Arc<M>>,
}

enum End {
    /// All that its process held is closed, and nothing is said.
    Die,
    /// It does nothing any more, and closes nothing.
    Freeze,
}

impl<M: Member> Victim<M> {
    fn start(number: usize, plan: Plan) -> Starting<M> {
        let (end, ended) = oneshot::channel();
        let (started, member) = mpsc::channel();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let member = Arc::new(M::start(number, plan).await);
                started.send(member).expect("it is waited for");
                match ended.await {
                    Ok(End::Freeze) => loop {
                        thread::park();
                    },
                    Ok(End::Die) | Err(_) => {}
                }
            });
        });
        Starting { end, member }
    }

    fn wait(starting: Starting<M>) -> Self {
        Self { end: starting.end, member: starting.member.recv().expect("it starts") }
    }

    /// Ends it; the handle is kept, since to drop it may be a goodbye.
    fn end(self, how: End) -> Arc<M> {
        self.end.send(how).unwrap_or_else(|_| unreachable!("it listens"));
        self.member
    }
}

/// What went over the loopback interface so far.
struct Traffic {
    bytes: f64,
    packets: f64,
}

impl Traffic {
    fn now() -> Self {
        let text = fs::read_to_string("/proc/self/net/dev").expect("on Linux");
        let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:")).expect("a loopback interface");
        let mut numbers = line.split_whitespace().map(|number| number.parse().expect("a number"));
        let bytes = numbers.next().expect("a number");
        let packets = numbers.next().expect("a number");
        Self { bytes, packets }
    }
}

/// KiB of memory that this process has.
fn resident() -> f64 {
    let text = fs::read_to_string("/proc/self/status").expect("on Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
