//! A full mesh from one seed, all nodes started at once: in this or in several processes.

use std::io::{BufRead, BufReader, Write};
use std::pin::pin;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use futures_lite::future;
use hmac::{Hmac, KeyInit, Mac};
use noex_bench::Work;
use noex_tokio::{Cluster, ClusterEvent, EventStream, Limits};
use sha2::{Digest, Sha256};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::system::{Cpu, allow_open_files};
use crate::table::{Samples, head, row};
use crate::{config, seed};

const PATIENCE: Duration = Duration::from_secs(120);
/// How long the mesh is watched for downs once it is formed.
const WATCHED: Duration = Duration::from_secs(1);

/// Forms a mesh of `nodes` nodes in `processes` processes, several times. Each node has so many dials under way at most.
pub(crate) fn measure(nodes: usize, processes: usize, rounds: usize, dials: usize) {
    head(&format!(
        "full mesh of {nodes} nodes in {processes} process(es), from one seed, all started at once, {dials} dials in flight"
    ));
    let formed: Vec<_> = (0..rounds).map(|_| form(nodes, processes, dials)).collect();
    let handshakes = nodes * (nodes - 1) / 2;
    let machines: Vec<_> = (0..rounds).map(|_| machines(handshakes)).collect();
    let floor: Vec<_> = (0..rounds).map(|_| cryptography(handshakes)).collect();
    let column = |of: fn(&Formed) -> f64| Samples::new(formed.iter().map(of).collect());
    row("time to form, s", 3, &column(|round| round.time));
    row("processor time, s", 2, &column(|round| round.user + round.kernel));
    row("of it in the kernel, s", 2, &column(|round| round.kernel));
    row("a handshake for each session, the machines alone, in memory, on one core, s", 3, &Samples::new(machines));
    row("the floor: the cryptography of these handshakes alone, on one core, s", 3, &Samples::new(floor));
    row(&format!("handshakes, for {handshakes} sessions"), 0, &column(|round| round.handshakes as f64 / 2.0));
    row("ups", 0, &column(|round| round.ups as f64));
    row("downs", 0, &column(|round| round.downs as f64));
    row("error events", 0, &column(|round| round.errors as f64));
    for round in &formed {
        assert_eq!((round.ups, round.downs), (nodes * (nodes - 1), 0), "ups and downs");
    }
}

/// What came of one formation.
#[derive(Default)]
struct Formed {
    downs: usize,
    errors: usize,
    /// Completed ends of handshakes, two for each.
    handshakes: usize,
    kernel: f64,
    time: f64,
    ups: usize,
    user: f64,
}

/// A process with some of the nodes.
struct Part {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Part {
    fn new(numbers: [usize; 4]) -> Self {
        let program = std::env::current_exe().expect("a program");
        let mut command = Command::new(program);
        command.arg("mesh-part").args(numbers.map(|number| number.to_string()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process");
        let input = child.stdin.take().expect("piped");
        let output = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, input, output }
    }

    fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it listens");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        assert!(line.ends_with('\n'), "the process ended early");
        line.trim_end().to_owned()
    }
}

fn form(nodes: usize, processes: usize, dials: usize) -> Formed {
    let mut parts = Vec::new();
    for part in 0..processes {
        let (first, end) = (nodes * part / processes, nodes * (part + 1) / processes);
        let mut part = Part::new([first, end - first, nodes, dials]);
        assert_eq!(part.hear(), "ready");
        parts.push(part);
    }
    let begin = Instant::now();
    parts[0].say("");
    let seed = parts[0].hear();
    parts.iter_mut().for_each(|part| part.say(&seed));
    for part in &mut parts {
        assert_eq!(part.hear(), "formed");
    }
    let time = begin.elapsed().as_secs_f64();
    let mut sum = Formed { time, ..Formed::default() };
    for part in &mut parts {
        let line = part.hear();
        let numbers: Vec<f64> = line.split(' ').map(|number| number.parse().expect("a number")).collect();
        sum.user += numbers[0];
        sum.kernel += numbers[1];
        sum.ups += numbers[2] as usize;
        sum.downs += numbers[3] as usize;
        sum.errors += numbers[4] as usize;
        sum.handshakes += numbers[5] as usize;
    }
    // Nobody ends while another one still watches.
    for part in parts {
        drop(part.input);
        let mut child = part.child;
        assert!(child.wait().expect("a status").success());
    }
    sum
}

/// Some of the nodes, in a process of their own that says over its output how far it is.
pub(crate) fn part([first, count, nodes, dials]: [usize; 4]) {
    // Two for each session where both its nodes are here, as many again for dials that cross, and some.
    allow_open_files((count * nodes * 3 / 2 + 1_000) as u64);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let config = |node: usize| config(node).limits(Limits::default().dials_in_flight(dials));
    println!("ready");
    let mut told = hear();
    let before = Cpu::now();
    runtime.block_on(async {
        let mut started = Vec::new();
        if first == 0 && told.is_empty() {
            let cluster = Cluster::new();
            let events = cluster.events();
            cluster.start(config(0)).await.expect("it can listen");
            println!("{}", seed(&cluster));
            started.push((cluster, events));
            told = hear();
        }
        let mut starts = JoinSet::new();
        for node in first + started.len()..first + count {
            let config = config(node).seeds([&told]);
            starts.spawn(async move {
                let cluster = Cluster::new();
                let events = cluster.events();
                cluster.start(config).await.expect("it can listen");
                (cluster, events)
            });
        }
        started.extend(starts.join_all().await);
        for (cluster, _) in &started {
            cluster.wait_for_nodes(nodes - 1, PATIENCE).await.expect("the mesh forms");
        }
        println!("formed");
        let Cpu { kernel, user } = Cpu::now() - before;
        tokio::time::sleep(WATCHED).await;
        let mut seen = Formed::default();
        for (cluster, events) in &mut started {
            seen.handshakes += cluster.counters().handshakes as usize;
            seen.read(events).await;
        }
        println!("{user} {kernel} {} {} {} {}", seen.ups, seen.downs, seen.errors, seen.handshakes);
        hear();
    });
}

fn hear() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("text");
    line.trim_end().to_owned()
}

impl Formed {
    /// Counts the events so far.
    async fn read(&mut self, events: &mut EventStream) {
        while let Some(Some(event)) = future::poll_once(pin!(events.next())).await {
            match event {
                ClusterEvent::NodeUp(_) => self.ups += 1,
                ClusterEvent::NodeDown { .. } => self.downs += 1,
                ClusterEvent::Error(_) => self.errors += 1,
                _ => {}
            }
        }
    }
}

/// How long the machines take for so many handshakes, up to both ups, one after the other in memory.
fn machines(handshakes: usize) -> f64 {
    let ready = Work::Handshake.set_up();
    let one = || {
        let mut ready = ready.clone();
        let begin = Instant::now();
        ready.run();
        begin.elapsed()
    };
    (0..handshakes).map(|_| one()).sum::<Duration>().as_secs_f64()
}

/// How long the hashes of so many handshakes take, both sides: those of `docs/wire.md`, and no byte beside them.
fn cryptography(handshakes: usize) -> f64 {
    let begin = Instant::now();
    for _ in 0..handshakes * 2 {
        // Two frames in the transcript; the key of the session; four keys from it, of which two make proofs.
        let transcript = Sha256::digest(std::hint::black_box([7; 300]));
        let session = tag(&[7; 32], &transcript);
        for label in 0..4 {
            let key = tag(&session, &[label; 14]);
            std::hint::black_box(Hmac::<Sha256>::new_from_slice(&key).expect("any length will do"));
            if label < 2 {
                std::hint::black_box(tag(&key, &[7; 50]));
            }
        }
    }
    begin.elapsed().as_secs_f64()
}

fn tag(key: &[u8], data: &[u8]) -> [u8; 32] {
    Hmac::<Sha256>::new_from_slice(key).expect("any length will do").chain_update(data).finalize().into_bytes().into()
}
