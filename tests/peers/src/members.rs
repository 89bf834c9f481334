//! Forming, noticing a crash, what a cluster costs at rest, and downs of nodes that are well.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rlimit::Resource;
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::impaired::NETWORK;
use crate::member::{Member, Plan};
use crate::report::{Figure, print};
use crate::system::{Cpu, allow_open_files};
use crate::table::head;

/// Between what is done to a cluster and what is measured next.
const SETTLED: Duration = Duration::from_secs(5);
/// How long a cluster at rest is measured.
const RESTED: Duration = Duration::from_secs(20);
/// How long a cluster on a network that loses or delays is watched.
const WATCHED: Duration = Duration::from_secs(60);
/// What takes longer counts as never.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK: Duration = Duration::from_millis(5);
/// Open files that are not a library's.
const SPARE_FILES: usize = 1_000;

/// What is measured on a calm network, in the order in which a part prints it.
const FIGURES: [Figure; 8] = [
    ("full membership, s", 3),
    ("all noticed a process that died, s", 3),
    ("all noticed a node that froze, s", 3),
    ("bytes on the wire a node and second, headers included", 0),
    ("packets a node and second", 1),
    ("processor time a node, % of one core", 3),
    ("memory of the process a node, KiB", 0),
    ("downs of nodes that were well", 0),
];
/// What is measured on another network.
const IMPAIRED_FIGURES: [Figure; 2] = [("full membership, s", 3), ("downs of nodes that were well", 0)];

/// A library that is compared.
pub(crate) struct Library {
    calm: fn(Plan),
    impaired: fn(Plan),
    pub(crate) name: &'static str,
    open_files: fn(usize) -> usize,
}

impl Library {
    /// Its members on a calm network, and those on another one.
    pub(crate) const fn new<C: Member, I: Member>(name: &'static str) -> Self {
        Self { calm: part::<C>, impaired: part::<I>, name, open_files: C::open_files }
    }

    /// Measures it in this process.
    pub(crate) fn part(&self, plan: Plan) {
        let network = NETWORK.get_or_init(|| plan.network);
        if network.is_calm() { (self.calm)(plan) } else { (self.impaired)(plan) }
    }

    /// Measures it in a process and a network namespace of its own.
    fn alone(&self, Plan { network, nodes }: Plan) -> Vec<f64> {
        let program = std::env::current_exe().expect("a program");
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" part \"$@\""]).arg(program);
        command.args([nodes.to_string(), network.delay.as_millis().to_string(), network.loss.to_string()]).arg(self.name);
        let output = command.stderr(Stdio::inherit()).output().expect("unshare is there");
        assert!(output.status.success(), "{} failed", self.name);
        let text = String::from_utf8(output.stdout).expect("text");
        text.split_whitespace().map(|number| number.parse().expect("a number")).collect()
    }
}

/// Measures libraries by turns, those apart of which a process has no room for so many nodes.
pub(crate) fn compare(libraries: &[&Library], plan: Plan, rounds: u32) {
    let Plan { network, nodes } = plan;
    let (_, limit) = Resource::NOFILE.get().expect("a limit");
    let mut measured = Vec::new();
    for library in libraries {
        let files = (library.open_files)(nodes) + SPARE_FILES;
        if files as u64 > limit {
            println!("left out, as it takes {files} open files, and the limit is {limit}: {}", library.name);
        } else {
            measured.push((*library, Vec::new()));
        }
    }
    if measured.is_empty() {
        return;
    }
    let figures = if network.is_calm() {
        head(&format!("membership of {nodes} nodes in one process"));
        &FIGURES[..]
    } else {
        let (loss, delay, watched) = (network.loss * 100.0, network.delay.as_millis(), WATCHED.as_secs());
        head(&format!("{nodes} nodes in one process, {loss} % of packets lost, late by up to {delay} ms, {watched} s"));
        &IMPAIRED_FIGURES
    };
    for _ in 0..rounds {
        for (library, measured) in &mut measured {
            measured.push(library.alone(plan));
        }
    }
    let measured: Vec<_> = measured.into_iter().map(|(library, measured)| (library.name, measured)).collect();
    print(figures, &measured);
}

/// One library in this process: prints what [`FIGURES`] or [`IMPAIRED_FIGURES`] name.
fn part<M: Member>(plan: Plan) {
    allow_open_files((M::open_files(plan.nodes) + SPARE_FILES) as u64);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let numbers =
        runtime.block_on(async { if plan.network.is_calm() { at_rest::<M>(plan).await } else { impaired::<M>(plan).await } });
    println!("{}", numbers.iter().map(f64::to_string).collect::<Vec<_>>().join(" "));
    // Nobody says goodbye.
    std::process::exit(0);
}

async fn impaired<M: Member>(plan: Plan) -> Vec<f64> {
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
